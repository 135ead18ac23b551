"""Twins of the rules that sign trades: tick, quote, Lee-Ready, EMO, CLNV."""

from __future__ import annotations

import math
from typing import ClassVar

from strategy_runner.indicators.twin.prices import PriceTwin
from strategy_runner.indicators.twin.snapshot import (
    Array,
    Floats,
    Refused,
    Twin,
    column,
    output,
    row_refused,
    same_length,
)


class _Signing(Twin):
    """A rule that signs trades, and the last prices."""

    FIELDS = (("_value", "d"), ("rule", "B"), ("price", "d"), ("tick", "d"))
    RULE: ClassVar[int] = 0

    def __init__(self, strict: bool = False) -> None:
        super().__init__(strict=strict)
        self.rule = self.RULE
        self._forget()

    def _forget(self) -> None:
        self.price, self.tick = math.nan, 0.0

    @property
    def is_ready(self) -> bool:
        return self.count > 0

    def _by_quote(self, price: float, bid: float, ask: float) -> float:
        return 0.0

    def _print(self, price: float, bid: float, ask: float) -> float:
        if not math.isfinite(price):
            return self._skip()
        self.count += 1
        if price > self.price:
            self.tick = 1.0
        elif price < self.price:
            self.tick = -1.0
        self.price = price
        value = 0.0
        if math.isfinite(bid) and math.isfinite(ask):
            value = self._by_quote(price, bid, ask)
            self.n_crossed += bid >= ask and self.RULE != TickRule.RULE
        if value == 0.0 and self.RULE != QuoteRule.RULE:
            value = self.tick
        self._value = value
        return value


class TickRule(_Signing, PriceTwin):
    """Against the last different price; the first trade is 0."""

    KIND = 70

    @property
    def warmup(self) -> int:
        return 2

    def update(self, price: float, ts_ns: int = 0) -> float:
        return self._print(float(price), math.nan, math.nan)


class _PrintTwin(_Signing):
    """Takes a trade's price and the quote that it met."""

    def update(self, price: float, bid_price: float, ask_price: float) -> float:
        return self._print(float(price), float(bid_price), float(ask_price))

    def peek(self, price: float, bid_price: float, ask_price: float) -> float:
        try:
            return self.copy().update(price, bid_price, ask_price)
        except Refused:
            return math.nan

    def update_many(
        self, price: Array, bid_price: Array, ask_price: Array, out: Floats | None = None
    ) -> Floats:
        columns = [column(price), column(bid_price), column(ask_price)]
        values = output(out, (same_length(columns),))
        for i, row in enumerate(zip(*columns, strict=True)):
            try:
                values[i] = self.update(*row)
            except Refused:
                raise row_refused(i) from None
        return values

    @classmethod
    def batch(cls, price: Array, bid_price: Array, ask_price: Array, **params: object) -> Floats:
        return cls._made(params).update_many(price, bid_price, ask_price)


def _sign(*, buy: bool, sell: bool) -> float:
    return float(buy - sell)


class QuoteRule(_PrintTwin):
    """Against the mid; 0 at the mid."""

    KIND = 71
    RULE = 1

    def _by_quote(self, price: float, bid: float, ask: float) -> float:
        mid = (bid + ask) / 2.0
        return _sign(buy=price > mid, sell=price < mid)


class LeeReady(QuoteRule):
    """The quote rule, at the mid the tick rule."""

    KIND = 72
    RULE = 2


class Emo(_PrintTwin):
    """At the ask a buy, at the bid a sell, else the tick rule."""

    KIND = 73
    RULE = 3

    def _by_quote(self, price: float, bid: float, ask: float) -> float:
        return _sign(buy=price == ask, sell=price == bid)


class Clnv(_PrintTwin):
    """The quote rule within 30 % of the spread from the touch, else the tick rule."""

    KIND = 74
    RULE = 4

    def _by_quote(self, price: float, bid: float, ask: float) -> float:
        near = 0.3 * (ask - bid)
        return _sign(buy=ask - near <= price <= ask, sell=bid <= price <= bid + near)
