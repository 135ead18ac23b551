"""Which order is whose: our references, the venue's ids, the SDK's handles. Loop only, pure.

The venue knows no order id of ours. A stock order's messages carry our `custom_field`, those of
futures do not; the call's own callback ties a reference to an id; until then messages wait here.
It decides nothing about an order's state; that is the router's.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple, final

import msgspec

from risk.approval import ApprovedOrder
from risk.brokers.port import Traded
from risk.brokers.shioaji.wire import OrderMessage, Scales, deal_of, text_of
from risk.orders import Report

__all__ = ["Correlation", "Entry", "Waiting", "owned_deal", "scales_in"]

# Beyond so many the oldest finished ones are forgotten; late fills then come under the venue's id.
ENTRIES_MAX: Final = 16_384
EVENTS_MAX: Final = 65_536
WAITING_MAX: Final = 4_096
# The sixth and later characters of a deal's order number count the deals of a futures order.
ORDNO_LENGTH: Final = 5


class Waiting(NamedTuple):
    """A message whose order is not known yet."""

    message: OrderMessage
    since_ns: int


def scales_in(traded: Traded | None) -> Scales | None:
    """What a definition says of them."""
    return None if traded is None else Scales(traded.price_scale, traded.size_scale)


@final
class Entry:
    """One order that went out of this process."""

    __slots__ = (
        "_aliases",
        "_borrowed",
        "asked_price",
        "asked_size",
        "cancel_since_ns",
        "deals",
        "handle",
        "is_over",
        "order",
        "price",
        "ref",
        "scales",
        "size",
        "venue_id",
    )

    def __init__(self, ref: str, order: ApprovedOrder, scales: Scales) -> None:
        self.ref: Final = ref
        self.order: Final = order
        self.scales: Final = scales
        self.price = order.request.price
        self.size = order.request.size  # as a whole, after what was taken away
        self.asked_price: int | None = None  # of the change that is under way
        self.asked_size: int | None = None
        self.venue_id = ""
        self.handle: Any = None  # the SDK's Trade, for cancelling and changing
        self.cancel_since_ns: int | None = None  # a cancel waits for the venue's id
        self.is_over = False
        self.deals: dict[str, tuple[int, int]] = {}  # exec id -> (price, size), as told
        self._borrowed: dict[str, tuple[int, int]] = {}  # told from a Trade's list alone
        self._aliases: dict[str, str] = {}  # exec id of a message -> under which it was told

    def name_deal(self, exec_id: str, price: int, size: int) -> str:
        """Under which id to tell a deal that has a message or a record.

        One that a Trade's list has told first keeps that name, so that it counts once.
        """
        told = self._aliases.get(exec_id, exec_id)
        if told not in self.deals:
            like = (name for name, deal in self._borrowed.items() if deal == (price, size))
            told = next(like, exec_id)
            if told != exec_id:
                del self._borrowed[told]
                self._aliases[exec_id] = told
            self.deals[told] = (price, size)
        return told

    def borrow_deal(self, exec_id: str, price: int, size: int) -> None:
        """Tell a deal of which no message has come; it may still come, under another id."""
        self.deals[exec_id] = self._borrowed[exec_id] = (price, size)


def owned_deal(read: OrderMessage, owner: Entry) -> Report:
    """The FILL of a deal of ours, under the id that counts it once. Raises MalformedError."""
    fill = deal_of(read, owner.ref, owner.scales)
    assert fill.price is not None
    assert fill.size is not None
    name = owner.name_deal(fill.exec_id, fill.price, fill.size)
    return msgspec.structs.replace(fill, exec_id=name)


@final
class Correlation:
    """See the module. Everything is bounded."""

    def __init__(self) -> None:
        self._by_ref: OrderedDict[str, Entry] = OrderedDict()
        self._by_id: dict[str, Entry] = {}
        self._unidentified: dict[str, Entry] = {}  # out, or about to be, and without an id
        self._events: OrderedDict[str, None] = OrderedDict()
        self._waiting: list[Waiting] = []
        self.duplicates = 0

    def add(self, entry: Entry) -> None:
        """An order is about to go out."""
        self._by_ref[entry.ref] = self._unidentified[entry.ref] = entry
        if len(self._by_ref) > ENTRIES_MAX:
            self._forget_one()

    def _forget_one(self) -> None:
        for ref, entry in self._by_ref.items():
            if entry.is_over:
                del self._by_ref[ref]
                self._unidentified.pop(ref, None)
                self._by_id.pop(entry.venue_id, None)
                return

    def of_ref(self, ref: str) -> Entry | None:
        return self._by_ref.get(ref) if ref else None

    def of_id(self, venue_id: str) -> Entry | None:
        return self._by_id.get(venue_id) if venue_id else None

    def identify(self, entry: Entry, venue_id: str, handle: Any = None) -> list[OrderMessage]:
        """The venue calls `entry` so: the messages that waited for this."""
        if handle is not None:
            entry.handle = handle
        if not venue_id or entry.venue_id == venue_id:
            return []
        entry.venue_id = venue_id
        self._by_id[venue_id] = entry
        self._unidentified.pop(entry.ref, None)
        mine = [each.message for each in self._waiting if each.message.venue_id == venue_id]
        self._waiting = [each for each in self._waiting if each.message.venue_id != venue_id]
        return mine

    def owner(self, message: OrderMessage) -> Entry | None:
        """Whose message it is, by id, by our reference, by a handle that has learnt its id."""
        found = self.of_id(message.venue_id) or self.of_ref(message.ref)
        return found if found is not None else self._by_handle(message)

    def _by_handle(self, message: OrderMessage) -> Entry | None:
        for entry in self._unidentified.values():
            if entry.handle is None:
                continue
            order = entry.handle.order
            if message.venue_id and text_of(order.id) == message.venue_id:
                return entry
            ordno = text_of(order.ordno)
            same = ordno and ordno[:ORDNO_LENGTH] == message.ordno[:ORDNO_LENGTH]
            if same and text_of(order.seqno) == message.seqno:
                return entry
        return None

    def has_unidentified(self) -> bool:
        """Whether a message without an owner may still turn out to be ours."""
        return bool(self._unidentified)

    def finish(self, entry: Entry) -> None:
        """Nothing but late deals will come of it."""
        entry.is_over = True
        self._unidentified.pop(entry.ref, None)

    def hold(self, message: OrderMessage, now_ns: int) -> OrderMessage | None:
        """Let it wait for its order; what has to leave for it, where too many wait."""
        self._waiting.append(Waiting(message, now_ns))
        return self._waiting.pop(0).message if len(self._waiting) > WAITING_MAX else None

    def release(self, before_ns: int) -> list[OrderMessage]:
        """Messages that waited since before: nobody claimed them."""
        out = [each.message for each in self._waiting if each.since_ns <= before_ns]
        self._waiting = [each for each in self._waiting if each.since_ns > before_ns]
        return out

    def is_new(self, event_id: str) -> bool:
        """Whether a message comes for the first time; without an id nobody can tell."""
        if not event_id:
            return True
        if event_id in self._events:
            self.duplicates += 1
            return False
        self._events[event_id] = None
        if len(self._events) > EVENTS_MAX:
            self._events.popitem(last=False)
        return True

    def cancels_overdue(self, before_ns: int) -> list[Entry]:
        """Orders whose cancel has waited for an id since before; they wait no more."""
        found = [
            entry
            for entry in self._unidentified.values()
            if entry.cancel_since_ns is not None and entry.cancel_since_ns <= before_ns
        ]
        for entry in found:
            entry.cancel_since_ns = None
        return found
