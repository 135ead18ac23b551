"""Twins of the indicators of prices: realised variances, EWMA, decayed sum, Roll, bulk shares."""

from __future__ import annotations

import math
from typing import ClassVar

from strategy_runner.indicators.twin.elementary import LN_2, exp_decay, ln
from strategy_runner.indicators.twin.seen import TradeView, time_of
from strategy_runner.indicators.twin.snapshot import (
    Array,
    Floats,
    Refused,
    Times,
    Twin,
    column,
    output,
    row_refused,
    times_of,
)
from strategy_runner.indicators.twin.trades import Bulk
from strategy_runner.indicators.twin.window import I64_MAX, Rows

_ROOT_3 = 1.7320508075688772


class PriceTwin(Twin):
    """Takes prices. Subclasses say what one means in `_take`."""

    # Whether a price must be above 0: its logarithm is taken.
    IS_POSITIVE: ClassVar[bool] = False

    def _take(self, price: float, ts_ns: int) -> float:
        raise NotImplementedError

    def update(self, price: float, ts_ns: int = 0) -> float:
        price = float(price)
        if not math.isfinite(price) or (self.IS_POSITIVE and price <= 0.0):
            return self._skip()
        self.count += 1
        return self._take(price, ts_ns)

    def on_trade(self, trade: TradeView) -> float:
        return self.update(trade.price_f, time_of(trade))

    def peek(self, price: float, ts_ns: int = 0) -> float:
        try:
            return self.copy().update(price, ts_ns)
        except Refused:
            return math.nan

    def update_many(
        self, price: Array, ts_ns: Times | None = None, out: Floats | None = None
    ) -> Floats:
        prices = column(price)
        values = output(out, (len(prices),))
        for i, (p, ts) in enumerate(zip(prices, times_of(ts_ns, len(prices)), strict=True)):
            try:
                values[i] = self.update(p, ts)
            except Refused:
                raise row_refused(i) from None
        return values

    @classmethod
    def batch(cls, price: Array, ts_ns: Times | None = None, **params: object) -> Floats:
        return cls._made(params).update_many(price, ts_ns)


class RealizedVariance(PriceTwin):
    """Sum of squared log returns."""

    KIND = 80
    IS_POSITIVE = True
    ESTIMATOR: ClassVar[int] = 0
    REACH: ClassVar[int] = 1  # returns that one term takes
    FIELDS = (
        ("_value", "d"),
        ("estimator", "B"),
        ("returns", "Q"),
        ("price", "d"),
        ("last", "d"),
        ("second", "d"),
        ("window", ""),
    )
    PARTS: ClassVar = {"window": Rows}

    def __init__(self, window: int | None = None, strict: bool = False) -> None:
        super().__init__(strict=strict)
        if window is not None and window < max(self.REACH, 2):
            wants = "a window of at least 2 returns, 3 for MedRv"
            raise ValueError(f"unsupported parameters: {wants}")
        self.estimator = self.ESTIMATOR
        self.window = Rows(1, None if window is None else window - self.REACH + 1)
        self._forget()

    def _forget(self) -> None:
        self.window.clear()
        self.returns, self.price, self.last, self.second = 0, math.nan, 0.0, 0.0

    @property
    def is_ready(self) -> bool:
        return self.window.is_full and self.returns >= 2

    @property
    def warmup(self) -> int:
        return max(self.window.warmup + self.REACH - 1, 2) + 1

    def _term(self, now: float) -> float:
        return now * now

    def _scale(self, n: float) -> float:
        return 1.0

    def _take(self, price: float, ts_ns: int) -> float:
        before, self.price = self.price, price
        if math.isnan(before):
            return math.nan
        now = abs(ln(price / before))
        self.returns += 1
        term = self._term(now)
        self.last, self.second = now, self.last
        if self.returns >= self.REACH:
            self.window.push((term,), ts_ns)
        if self.is_ready:
            n = float(self.window.length + self.REACH - 1)
            self._value = self._scale(n) * self.window.sums[0]
        return self._value


class BipowerVariation(RealizedVariance):
    """Sum of products of neighbouring returns, times pi/2."""

    KIND = 81
    ESTIMATOR, REACH = 1, 2

    def _term(self, now: float) -> float:
        return now * self.last

    def _scale(self, n: float) -> float:
        return math.pi / 2.0


class MedRv(RealizedVariance):
    """From the median of three."""

    KIND = 82
    ESTIMATOR, REACH = 2, 3

    def _term(self, now: float) -> float:
        median = max(min(now, self.last), min(max(now, self.last), self.second))
        return median * median

    def _scale(self, n: float) -> float:
        return math.pi / (6.0 - 4.0 * _ROOT_3 + math.pi) * (n / (n - 2.0))


class MinRv(RealizedVariance):
    """From the smaller of two."""

    KIND = 83
    ESTIMATOR, REACH = 3, 2

    def _term(self, now: float) -> float:
        return min(now, self.last) * min(now, self.last)

    def _scale(self, n: float) -> float:
        return math.pi / (math.pi - 2.0) * (n / (n - 1.0))


def _faded(half_life_ns: int, last_ns: int, now_ns: int) -> float:
    """Weight of the past after some time; backward time stands still."""
    passed = float(min(max(now_ns - last_ns, 0), I64_MAX))
    return exp_decay(-passed * (LN_2 / half_life_ns))


class EwmaVariance(PriceTwin):
    """EWMA of squared log returns, started with the first."""

    KIND = 61
    IS_POSITIVE = True
    FIELDS = (
        ("_value", "d"),
        ("keep", "d"),
        ("half_life_ns", "q"),
        ("price", "d"),
        ("last_ns", "q"),
    )

    def __init__(
        self,
        decay: float | None = None,
        half_life_ns: int | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        by_count = decay is not None and half_life_ns is None and 0.0 < decay < 1.0
        by_time = half_life_ns is not None and decay is None and half_life_ns > 0
        if not by_count and not by_time:
            wants = "either a decay between 0 and 1 or a half_life_ns from 1"
            raise ValueError(f"unsupported parameters: {wants}")
        self.keep = 0.0 if decay is None else float(decay)
        self.half_life_ns = 0 if half_life_ns is None else half_life_ns
        self._forget()

    def _forget(self) -> None:
        self.price, self.last_ns = math.nan, 0

    @property
    def warmup(self) -> int:
        return 2

    def _take(self, price: float, ts_ns: int) -> float:
        before, self.price = self.price, price
        last_ns, self.last_ns = self.last_ns, ts_ns
        if math.isnan(before):
            return math.nan
        change = ln(price / before)
        square = change * change
        keep = self.keep
        if self.half_life_ns > 0:
            keep = _faded(self.half_life_ns, last_ns, ts_ns)
        if math.isnan(self._value):
            self._value = square
        else:
            self._value = keep * self._value + (1.0 - keep) * square
        return self._value


class DecayedSum(PriceTwin):
    """Sum of values that halve with time."""

    KIND = 62
    FIELDS = (("_value", "d"), ("half_life_ns", "q"), ("last_ns", "q"))

    def __init__(self, half_life_ns: int, strict: bool = False) -> None:
        super().__init__(strict=strict)
        if half_life_ns < 1:
            raise ValueError("malformed parameters: a half_life_ns from 1")
        self.half_life_ns = half_life_ns
        self.last_ns = 0

    def _forget(self) -> None:
        self.last_ns = 0

    @property
    def is_ready(self) -> bool:
        return self.count > 0

    def _take(self, price: float, ts_ns: int) -> float:
        if self.count == 1:
            self._value, self.last_ns = price, ts_ns
        else:
            self._value = self._value * _faded(self.half_life_ns, self.last_ns, ts_ns) + price
            self.last_ns = max(self.last_ns, ts_ns)
        return self._value


class RollSpread(PriceTwin):
    """2 sqrt(-cov) of neighbouring price changes."""

    KIND = 63
    FIELDS = (("_value", "d"), ("price", "d"), ("change", "d"), ("window", ""))
    PARTS: ClassVar = {"window": Rows}

    def __init__(self, window: int | None = None, strict: bool = False) -> None:
        super().__init__(strict=strict)
        if window is not None and window < 2:
            wants = "a window of at least 2 pairs of changes"
            raise ValueError(f"unsupported parameters: {wants}")
        self.window = Rows(3, window)
        self._forget()

    def _forget(self) -> None:
        self.window.clear()
        self.price = self.change = math.nan

    @property
    def is_ready(self) -> bool:
        return self.window.is_full and self.window.length >= 2

    @property
    def warmup(self) -> int:
        return max(self.window.warmup, 2) + 2

    def _take(self, price: float, ts_ns: int) -> float:
        change, self.price = price - self.price, price
        before, self.change = self.change, change
        if math.isnan(before):
            return math.nan
        self.window.push((before, change, before * change), ts_ns)
        if self.is_ready:
            n = float(self.window.length)
            x, y, xy = self.window.sums
            covariance = (xy - x * y / n) / (n - 1.0)
            self._value = 2.0 * math.sqrt(-covariance) if covariance < 0.0 else math.nan
        return self._value


class BvcShare(PriceTwin):
    """The bought share of each bar."""

    KIND = 79
    FIELDS = (("_value", "d"), ("bulk", ""))
    PARTS: ClassVar = {"bulk": Bulk}

    def __init__(
        self,
        sigma: float | None = None,
        distribution: str = "normal",
        *,
        decay: float = 0.99,
        strict: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        self.bulk = Bulk(sigma, decay, distribution)

    def _forget(self) -> None:
        self.bulk.clear()

    @property
    def is_ready(self) -> bool:
        return self.count > 0

    def _take(self, price: float, ts_ns: int) -> float:
        self._value = self.bulk.share(price)
        return self._value
