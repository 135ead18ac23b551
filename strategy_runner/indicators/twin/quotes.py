"""Twins of the indicators of best quotes: OFI, mid, spread, imbalance, slope, microprice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from strategy_runner.indicators.twin.elementary import ln
from strategy_runner.indicators.twin.seen import QuoteView, quote_of, time_of
from strategy_runner.indicators.twin.snapshot import (
    Array,
    Floats,
    Refused,
    Times,
    Twin,
    column,
    output,
    row_refused,
    same_length,
    times_of,
)
from strategy_runner.indicators.twin.window import Rows


class Quote(NamedTuple):
    """A quote whose missing sides are at infinity, with size 0."""

    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float

    @property
    def is_whole(self) -> bool:
        return self.bid_size > 0.0 and self.ask_size > 0.0

    @property
    def is_crossed(self) -> bool:
        return self.bid_price >= self.ask_price


EMPTY = Quote(-math.inf, 0.0, math.inf, 0.0)


def _side(price: float, size: float, missing: float) -> float | None:
    """The price; `missing` without a size; None when a number is not one."""
    if not 0.0 <= size < math.inf or math.isnan(price):
        return None
    if size == 0.0:
        return missing
    return price if math.isfinite(price) else None


def cleaned(bid_price: float, bid_size: float, ask_price: float, ask_size: float) -> Quote | None:
    bid = _side(bid_price, bid_size, -math.inf)
    ask = _side(ask_price, ask_size, math.inf)
    return None if bid is None or ask is None else Quote(bid, bid_size, ask, ask_size)


def flow(before: Quote, now: Quote) -> float:
    """e_n between two quotes; an adverse move removes the previous size."""
    bid = (now.bid_size if now.bid_price >= before.bid_price else 0.0) - (
        before.bid_size if now.bid_price <= before.bid_price else 0.0
    )
    ask = (now.ask_size if now.ask_price <= before.ask_price else 0.0) - (
        before.ask_size if now.ask_price >= before.ask_price else 0.0
    )
    return bid - ask


def missing_is_empty(missing: str) -> bool:
    if missing not in {"empty", "unknown"}:
        raise ValueError(f"missing is \"{missing}\", not 'empty' or 'unknown'")
    return missing == "empty"


class QuoteTwin(Twin):
    """Takes quotes. Subclasses say what one means in `_take`."""

    def _take(self, now: Quote, ts_ns: int) -> float:
        raise NotImplementedError

    def update(
        self,
        bid_price: float,
        bid_size: float,
        ask_price: float,
        ask_size: float,
        ts_ns: int = 0,
    ) -> float:
        numbers = float(bid_price), float(bid_size), float(ask_price), float(ask_size)
        now = cleaned(*numbers)
        return self._skip() if now is None else self._take(now, ts_ns)

    def on_quote(self, quote: QuoteView) -> float:
        return self.update(*quote_of(quote), time_of(quote))

    def peek(
        self,
        bid_price: float,
        bid_size: float,
        ask_price: float,
        ask_size: float,
        ts_ns: int = 0,
    ) -> float:
        try:
            return self.copy().update(bid_price, bid_size, ask_price, ask_size, ts_ns)
        except Refused:
            return math.nan

    def update_many(
        self,
        bid_price: Array,
        bid_size: Array,
        ask_price: Array,
        ask_size: Array,
        ts_ns: Times | None = None,
        out: Floats | None = None,
    ) -> Floats:
        columns = [column(each) for each in (bid_price, bid_size, ask_price, ask_size)]
        rows = same_length(columns)
        values = output(out, (rows,))
        for i, (bp, bs, ap, az, ts) in enumerate(zip(*columns, times_of(ts_ns, rows), strict=True)):
            try:
                values[i] = self.update(bp, bs, ap, az, int(ts))
            except Refused:
                raise row_refused(i) from None
        return values

    @classmethod
    def batch(
        cls,
        bid_price: Array,
        bid_size: Array,
        ask_price: Array,
        ask_size: Array,
        ts_ns: Times | None = None,
        **params: object,
    ) -> Floats:
        return cls._made(params).update_many(bid_price, bid_size, ask_price, ask_size, ts_ns)


class Ofi(QuoteTwin):
    """Order-flow imbalance of the best quotes."""

    KIND = 1
    FIELDS = (
        ("missing_is_empty", "?"),
        ("skip_crossed", "?"),
        ("before", "4d"),
        ("has_before", "?"),
        ("event", "d"),
        ("_value", "d"),
        ("window", ""),
    )
    PARTS: ClassVar = {"window": Rows}

    def __init__(
        self,
        window: int | None = None,
        horizon_ns: int | None = None,
        half_life_ns: int | None = None,
        missing: str = "empty",
        strict: bool = False,
        *,
        skip_crossed: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        self.missing_is_empty = missing_is_empty(missing)
        self.skip_crossed = skip_crossed
        self.before: Sequence[float] = EMPTY
        self.has_before = False
        self.event = math.nan
        self.window = Rows(1, window, horizon_ns, half_life_ns)

    @property
    def is_ready(self) -> bool:
        return self.window.is_full

    @property
    def warmup(self) -> int:
        return self.window.warmup + 1

    @property
    def n_early(self) -> int:
        return self.window.early

    def take(self) -> float:
        """The sum so far, and an empty window; the last quote stays the reference."""
        total = self.window.sums[0]
        self.window.clear()
        self._value = math.nan
        return total

    def _forget(self) -> None:
        self.window.clear()
        self.before, self.has_before, self.event = EMPTY, False, math.nan

    def _take(self, now: Quote, ts_ns: int) -> float:
        if now.is_crossed:
            self.n_crossed += 1
            if self.skip_crossed:
                return self._skip()
        self.count += 1
        if not self.missing_is_empty and not now.is_whole:
            self.event = 0.0 if self.has_before else math.nan
            return self._value
        before = Quote(*self.before)
        self.before = now
        if not self.has_before:
            self.has_before = True
            return math.nan
        self.event = flow(before, now)
        self.window.push((self.event,), ts_ns)
        if self.window.is_full:
            self._value = self.window.sums[0]
        return self._value


class Reading(QuoteTwin):
    """The last value of a formula over one quote."""

    FIELDS = (("skip_crossed", "?"), ("_value", "d"))

    def __init__(self, strict: bool = False, *, skip_crossed: bool = False) -> None:
        super().__init__(strict=strict)
        self.skip_crossed = skip_crossed

    def _of(self, q: Quote) -> float:
        raise NotImplementedError

    def _take(self, now: Quote, ts_ns: int) -> float:
        if now.is_crossed:
            self.n_crossed += 1
            if self.skip_crossed:
                return self._skip()
        self.count += 1
        self._value = self._of(now) if now.is_whole else math.nan
        return self._value


class Mid(Reading):
    KIND = 30

    def _of(self, q: Quote) -> float:
        return (q.bid_price + q.ask_price) / 2.0


class Spread(Reading):
    KIND = 31

    def _of(self, q: Quote) -> float:
        return q.ask_price - q.bid_price


class SpreadBps(Reading):
    KIND = 32

    def _of(self, q: Quote) -> float:
        mid = (q.bid_price + q.ask_price) / 2.0
        return (q.ask_price - q.bid_price) / mid * 1e4 if mid > 0.0 else math.nan


class WeightedMid(Reading):
    KIND = 33

    def _of(self, q: Quote) -> float:
        crossed = q.bid_price * q.ask_size + q.ask_price * q.bid_size
        return crossed / (q.bid_size + q.ask_size)


class QueueImbalance(Reading):
    KIND = 34

    def _of(self, q: Quote) -> float:
        return (q.bid_size - q.ask_size) / (q.bid_size + q.ask_size)


class QuoteSlope(Reading):
    KIND = 35

    def _of(self, q: Quote) -> float:
        sizes = ln(q.bid_size) + ln(q.ask_size)
        defined = sizes > 0.0 and q.bid_price > 0.0
        return ln(q.ask_price / q.bid_price) / sizes if defined else math.nan


class Microprice(QuoteTwin):
    """Stoikov's microprice: mid plus an adjustment looked up by spread and imbalance."""

    KIND = 36
    FIELDS = (("_value", "d"), ("tick", "d"), ("buckets", "Q"), ("spreads", "Q"), ("table", "*d"))

    def __init__(self, table: Sequence[Sequence[float]], tick: float, strict: bool = False) -> None:
        super().__init__(strict=strict)
        rows = [[float(cell) for cell in row] for row in table]
        self.buckets = len(rows[0]) if rows else 0
        if any(len(row) != self.buckets for row in rows):
            raise ValueError("the rows of the table differ in length")
        self.table = [cell for row in rows for cell in row]
        self.spreads = len(rows)
        self.tick = float(tick)
        is_finite = bool(self.table) and all(math.isfinite(cell) for cell in self.table)
        if not is_finite or not 0.0 < self.tick < math.inf:
            wants = "a table of finite numbers, a row per spread in ticks, and a tick above 0"
            raise ValueError(f"malformed parameters: {wants}")

    def _adjustment(self, q: Quote) -> float:
        share = q.bid_size / (q.bid_size + q.ask_size)
        cell = min(int(share * self.buckets), self.buckets - 1)
        ticks = int((q.ask_price - q.bid_price) / self.tick + 0.5)
        row = min(max(ticks, 1), self.spreads) - 1
        return self.table[row * self.buckets + cell]

    def _take(self, now: Quote, ts_ns: int) -> float:
        self.count += 1
        self._value = math.nan
        if now.is_crossed:
            self.n_crossed += 1
        elif now.is_whole:
            self._value = (now.bid_price + now.ask_price) / 2.0 + self._adjustment(now)
        return self._value
