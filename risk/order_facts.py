"""One order as a set of facts, and the words for what happens to it.

Values only; risk/order.py alone changes them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from risk.orders import Request, Wanted

__all__ = ["OVER", "Alarm", "Change", "Doubt", "Fill", "Order", "State"]


class State(IntEnum):
    """Where an order is; from FILLED on it is over."""

    PENDING_NEW = 1
    SENT = 2
    ACKED = 3
    PARTIAL = 4
    PENDING_CANCEL = 5
    PENDING_REPLACE = 6
    UNKNOWN = 7
    FILLED = 8
    CANCELLED = 9
    EXPIRED = 10
    REJECTED = 11
    DENIED = 12


OVER: Final = State.FILLED  # and every state above it


class Doubt(IntEnum):
    """Bits of what has no answer; any of them makes an order UNKNOWN."""

    # No IntFlag: its operators cost microseconds, and every report needs some.
    NONE = 0
    NEW = 1
    CANCEL = 2
    REPLACE = 4
    # The venue counts more than the executions that we were told of.
    FILLS = 8
    # Its words contradict each other.
    WORDS = 16


class Alarm(IntEnum):
    """What a person should hear of."""

    LATE_FILL = 1
    OVERFILL = 2
    # An execution without an id, or without a price or a positive size.
    BAD_FILL = 3
    # A rejection of an order that has traded, a replacement that nobody asked for.
    CONTRADICTION = 4
    # An execution of a quantity that an operator has already booked; it is not counted again.
    FILL_AFTER_RESOLUTION = 5


class Fill(msgspec.Struct, frozen=True, gc=False):
    """An execution that counts. late: how much of `size` had no reservation any more."""

    exec_id: str
    price: int
    size: int
    late: int
    fee: int
    fee_currency: str
    ts_event_ns: int | None


class Change(msgspec.Struct, frozen=True, gc=False):
    """What a step did. is_new False: a repetition or a straggler, nothing happened."""

    before: State
    after: State
    is_new: bool = True
    fill: Fill | None = None
    # The working price and size are other ones / the replacement did not happen.
    is_replaced: bool = False
    is_replace_refused: bool = False
    alarm: Alarm | None = None

    @property
    def is_over(self) -> bool:
        """Whether this step ended the order."""
        return self.before < OVER <= self.after


class Order(msgspec.Struct, gc=False):
    """The facts of one order. Only this module changes them.

    price, size: the working ones; filled: by executions; cum: the most that the venue has counted;
    end: the venue's last word, which holds once no execution is missing.
    """

    request: Request
    number: int
    ref: str
    price: int | None
    size: int
    state: State = State.PENDING_NEW
    venue_id: str = ""
    filled: int = 0
    cum: int = 0
    is_acked: bool = False
    cancel_asked: bool = False
    replace_asked: bool = False
    replace_price: int | None = None
    replace_size: int = 0
    doubts: int = 0
    end: int = 0
    # Quantity that an operator booked without an execution.
    assumed: int = 0
    executions: set[str] = msgspec.field(default_factory=set)
    past: tuple[tuple[int | None, int], ...] = ()
    code: str = ""
    reason: str = ""
    # Of this process only: when anything was last asked of the venue, when the order was sent
    # itself (0 once the venue has spoken of it), and when anything was last heard.
    asked_mono_ns: int = 0
    sent_mono_ns: int = 0
    heard_mono_ns: int = 0
    unknown_mono_ns: int = 0

    @property
    def is_over(self) -> bool:
        return self.state >= OVER

    @property
    def leaves(self) -> int:
        """What may still trade; the whole of a replacement under way where that is more."""
        size = self.size
        if self.replace_asked and self.replace_size > size:
            size = self.replace_size
        return max(size - self.filled, 0)

    @property
    def keenest(self) -> int | None:
        """The price nearest to the other side at which it may rest: a replacement's, if it is out.

        None: any, of a market order; a replacement without a price keeps the order's own.
        """
        if not self.replace_asked or self.price is None or self.replace_price is None:
            return self.price
        keener = max if self.request.side == "B" else min
        return keener(self.price, self.replace_price)

    def wanted(self) -> Wanted:
        """The order for a broker that shall cancel or replace it."""
        request = self.request
        return Wanted(
            number=self.number,
            ref=self.ref,
            venue_id=self.venue_id,
            instrument=request.instrument,
            symbol=request.symbol,
            side=request.side,
            price=self.price,
            size=self.size,
        )
