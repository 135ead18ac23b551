"""What twins take of a strategy's views, as native/py/src/indicators/seen.rs does.

Natural values, and the venue's time, else the time of receipt. It computes nothing.
"""

from __future__ import annotations

import math
from typing import Protocol

from tickd.events import TS_UNDEF

_SIDES = {"B": 1.0, "A": -1.0}


class Timed(Protocol):
    """Has the two times of an event."""

    @property
    def ts_event_ns(self) -> int: ...
    @property
    def ts_recv_ns(self) -> int: ...


class QuoteView(Timed, Protocol):
    """`tickd.native.Quote`, or what looks like it."""

    def floats(self) -> tuple[float, float, float, float]: ...


class TradeView(Timed, Protocol):
    """`tickd.native.Trade`, or what looks like it."""

    @property
    def price_f(self) -> float: ...
    @property
    def size_f(self) -> float: ...
    @property
    def side(self) -> str: ...


def time_of(view: Timed) -> int:
    return view.ts_recv_ns if view.ts_event_ns == TS_UNDEF else view.ts_event_ns


def quote_of(view: QuoteView) -> tuple[float, float, float, float]:
    """A side that was never said is a missing one."""
    bid_price, bid_size, ask_price, ask_size = view.floats()
    if math.isnan(bid_price) or math.isnan(bid_size):
        bid_price, bid_size = 0.0, 0.0
    if math.isnan(ask_price) or math.isnan(ask_size):
        ask_price, ask_size = 0.0, 0.0
    return bid_price, bid_size, ask_price, ask_size


def side_of(view: TradeView) -> float:
    return _SIDES.get(view.side, 0.0)
