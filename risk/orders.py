"""The words that gate, router and brokers share: what is asked for, and what a venue reports.

Values only. Prices and sizes are mantissas in the instrument's scales, money is an integer in
units of 1e-8 of the account's currency. It decides nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from tickd.units import MONEY_SCALE

__all__ = [
    "MONEY_SCALE",
    "NEVER_LEFT",
    "AccountState",
    "Report",
    "ReportKind",
    "Request",
    "Side",
    "Snapshot",
    "TimeInForce",
    "VenueOrder",
    "VenuePosition",
    "Wanted",
]

Side = Literal["B", "A"]
TimeInForce = Literal["gtc", "ioc", "fok", "post_only"]


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A new order as it was asked for; nobody has looked at it yet.

    client_id: the asker's, unique for ever: owner << 32 | number. price None: a market order.
    """

    client_id: int
    strategy: str
    account: str
    instrument: int
    venue: str
    symbol: str
    side: Side
    price: int | None
    size: int
    time_in_force: TimeInForce = "gtc"
    reduce_only: bool = False


class Wanted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a broker needs to know of an order that is out, to cancel or to replace it.

    ref: ours, letters and digits, as it went to the venue; venue_id: the venue's, empty before its
    acknowledgement.
    """

    number: int
    ref: str
    venue_id: str
    instrument: int
    symbol: str
    side: Side
    price: int | None
    size: int


# Codes of REJECTED for what an order thread refused behind the approval: it never left.
NEVER_LEFT: Final = frozenset(
    {"HALTED", "STALE", "RATE_LIMIT", "LINE_DOWN", "WITHDRAWN", "STOPPED"}
)


class ReportKind(IntEnum):
    """What a venue says about an order, or a broker about its line."""

    ACKED = 1
    FILL = 2
    CANCELLED = 3
    EXPIRED = 4
    REJECTED = 5
    CANCEL_REJECTED = 6
    REPLACED = 7
    REPLACE_REJECTED = 8
    # Of the whole broker: what was sent and not answered is in doubt.
    LINE_DOWN = 9
    LINE_UP = 10
    # Of one order: it may or may not have reached the venue (a timeout, a 5xx, a broken answer).
    IN_DOUBT = 11


class Report(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that a venue reported. Reports may come twice, late and in any order.

    ref, venue_id: at least one of them names the order (neither for LINE_*). FILL: exec_id is the
    venue's and unique; price and size are this fill's; fee is money paid, negative: received.
    cum_size: filled so far as the venue counts, None where it does not say. REPLACED: price and
    size are the order's new ones, size as a whole.
    """

    kind: ReportKind
    ref: str = ""
    venue_id: str = ""
    exec_id: str = ""
    price: int | None = None
    size: int | None = None
    cum_size: int | None = None
    fee: int = 0
    fee_currency: str = ""
    code: str = ""
    reason: str = ""
    ts_event_ns: int | None = None


class VenueOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order as a venue lists it; `is_open` False: it is over, `end` says how."""

    ref: str
    venue_id: str
    symbol: str
    side: Side
    price: int | None
    size: int
    cum_size: int
    is_open: bool
    end: Literal["", "filled", "cancelled", "expired", "rejected"] = ""


class VenuePosition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the venue says we hold: bought minus sold, size mantissa."""

    symbol: str
    size: int


class AccountState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Money of an account, in units of 1e-8 of its currency."""

    currency: str
    equity: int
    free: int
    margin_used: int = 0
    unrealised: int = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue lists, asked for at `asked_mono_ns` (before the first question went out).

    is_healthy: the session was up before and after, and every list is whole; of one that is not,
    absence proves nothing. fills: FILL reports of the time that the broker can look back.
    """

    asked_mono_ns: int
    is_healthy: bool
    orders: tuple[VenueOrder, ...]
    fills: tuple[Report, ...]
    positions: tuple[VenuePosition, ...]
    account: AccountState | None
