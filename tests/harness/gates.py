"""A gate with one instrument, one account and limits wide enough for a test's own subject."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from risk.approval import ApprovedOrder, Denied
from risk.gate import Gate
from risk.limits import UNLIMITED, LimitConfig, Limits, LimitsConfig, VenueLimitConfig
from risk.orders import AccountState, Request
from tickd.events import EVENT, Flag, Kind, Side
from tickd.native import EventBatch

SECOND = 1_000_000_000
START_NS = 1_000 * SECOND
# Friday, 2026-11-20, 10:00 UTC.
WALL_NS = 1_795_168_800 * SECOND
INSTRUMENT = 77
ACCOUNT, STRATEGY, VENUE, SYMBOL = "main", "ofi", "sim", "ABC"
# Price 100.00 at scale 2, sizes of whole units, a tick of 0.05, one unit of size worth itself.
PRICE = 10_000
DEFINITION = {
    "venue": VENUE,
    "symbol": SYMBOL,
    "asset_class": "spot",
    "price_scale": 2,
    "size_scale": 0,
    "tick": 5,
    "lot": 1,
    "multiplier": "1",
}
OPEN: dict[str, Any] = {
    name: UNLIMITED
    for name in LimitConfig.__struct_fields__
    if name.endswith(("_max", "_bps", "_min", "window_ms"))
    and name not in {"orders_window_ms", "executions_window_ms"}
}


class Word:
    """A halt word of this process alone."""

    def __init__(self, word: int = 1 << 8) -> None:
        self.word = word

    def trip(self, flags: int = 1) -> None:
        self.word = ((self.word >> 8) + 1) << 8 | flags


def row(**limits: Any) -> LimitConfig:
    """A row for everything: unlimited but for what is given."""
    return LimitConfig(**{"tradable": True, "hours": ("always",), **OPEN, **limits})


def limits_of(*rows: LimitConfig, **settings: Any) -> Limits:
    venue = VenueLimitConfig(venue=VENUE, messages_max=1_000_000, window_ms=1_000)
    given = {"limits": rows or (row(),), "venues": (venue,), **settings}
    return Limits(LimitsConfig(**given))


class Desk:
    """A gate, a clock, and orders with numbers of their own."""

    def __init__(
        self,
        backend: Literal["native", "numpy"],
        *rows: LimitConfig,
        is_funded: bool = True,
        is_quoted: bool = True,
        definition: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.halt = Word()
        self.gate = Gate(limits_of(*rows, **settings), halt=self.halt, backend=backend)
        self.now = START_NS
        self.wall = WALL_NS
        self.number = 0
        self.gate.define(INSTRUMENT, msgspec.json.encode(definition or DEFINITION))
        if is_funded:
            self.fund(10**15)
        if is_quoted:
            self.quote()

    def fund(self, free: int, equity: int | None = None, pnl: int = 0) -> None:
        state = AccountState(currency="USD", equity=free if equity is None else equity, free=free)
        self.gate.account(ACCOUNT, state, mono_ns=self.now)
        self.gate.set_day_pnl(ACCOUNT, pnl)

    def quote(self, bid: int = PRICE, ask: int = PRICE, instrument: int = INSTRUMENT) -> None:
        self.gate.take(quotes([(instrument, bid, ask)], self.now))

    def request(self, side: str = "B", price: Any = PRICE, size: Any = 1, **given: Any) -> Request:
        self.number += 1
        fields = {
            "client_id": 7 << 32 | self.number,
            "strategy": STRATEGY,
            "account": ACCOUNT,
            "instrument": INSTRUMENT,
            "venue": VENUE,
            "symbol": SYMBOL,
            "side": side,
            "price": price,
            "size": size,
        }
        return Request(**{**fields, **given})

    def ask(self, request: Request) -> ApprovedOrder | Denied:
        return self.gate.check(request, self.number, mono_ns=self.now, wall_ns=self.wall)

    def order(
        self, side: str = "B", price: Any = PRICE, size: Any = 1, **given: Any
    ) -> ApprovedOrder | Denied:
        return self.ask(self.request(side, price, size, **given))

    def reason(self, side: str = "B", price: Any = PRICE, size: Any = 1, **given: Any) -> str:
        """The name of the reason, `-` for an approval."""
        return name_of(self.order(side, price, size, **given))

    def position(self) -> tuple[int, int, int]:
        return self.gate.position(ACCOUNT, STRATEGY, INSTRUMENT)


def name_of(answer: object) -> str:
    return answer.reason.name if isinstance(answer, Denied) else "-"


def quotes(rows: list[tuple[int, int, int]], mono_ns: int) -> EventBatch:
    """A burst of two-sided quotes: (instrument, bid, ask)."""
    events = np.zeros(2 * len(rows), EVENT)
    for at, (instrument, bid, ask) in enumerate(rows):
        for each, side, price in ((2 * at, Side.BID, bid), (2 * at + 1, Side.ASK, ask)):
            events[each]["instrument"], events[each]["kind"] = instrument, Kind.QUOTE
            events[each]["side"], events[each]["price"] = side, price
            events[each]["seq"] = 1 << 16 | each
        events[2 * at + 1]["flags"] = Flag.LAST
    return EventBatch.from_events(events.tobytes(), [(0, 0, len(events))], mono_ns)


def trades(rows: list[tuple[int, int, int]], mono_ns: int) -> EventBatch:
    """A burst of trades: (instrument, price, flags)."""
    events = np.zeros(len(rows), EVENT)
    for at, (instrument, price, flags) in enumerate(rows):
        events[at]["instrument"], events[at]["kind"] = instrument, Kind.TRADE
        events[at]["price"], events[at]["flags"] = price, flags
        events[at]["seq"] = 1 << 16 | at
    return EventBatch.from_events(events.tobytes(), [(0, 0, len(events))], mono_ns)
