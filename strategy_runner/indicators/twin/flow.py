"""Twins of trade-flow imbalance, volume delta, Kyle's lambda and Amihud's illiquidity."""

from __future__ import annotations

import math
from typing import ClassVar

from strategy_runner.indicators.twin.elementary import ln
from strategy_runner.indicators.twin.trades import TradeTwin
from strategy_runner.indicators.twin.window import Rows


def _signed(size: float, side: float) -> float:
    return (size if side > 0.0 else 0.0) - (size if side < 0.0 else 0.0)


class _Windowed(TradeTwin):
    """Has a window, and is ready when it is full."""

    PARTS: ClassVar = {"window": Rows}
    window: Rows

    @property
    def is_ready(self) -> bool:
        return self.window.is_full

    @property
    def warmup(self) -> int:
        return self.window.warmup

    def _forget(self) -> None:
        self.window.clear()


class TradeFlowImbalance(_Windowed):
    """Signed volume over volume with a side."""

    KIND = 50
    FIELDS = (("_value", "d"), ("window", ""))

    def __init__(
        self,
        window: int | None = None,
        horizon_ns: int | None = None,
        half_life_ns: int | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        self.window = Rows(2, window, horizon_ns, half_life_ns)

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        self.count += 1
        signed = _signed(size, side)
        self.window.push((signed, abs(signed)), ts_ns)
        if self.window.is_full:
            total, classified = self.window.sums
            is_defined = classified > 0.0
            self._value = min(max(total / classified, -1.0), 1.0) if is_defined else math.nan
        return self._value


class Cvd(TradeTwin):
    """Cumulative volume delta."""

    KIND = 51
    FIELDS = (("_value", "d"), ("total", "d"))

    def __init__(self, strict: bool = False) -> None:
        super().__init__(strict=strict)
        self.total = 0.0

    @property
    def is_ready(self) -> bool:
        return self.count > 0

    def _forget(self) -> None:
        self.total = 0.0

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        self.count += 1
        self.total += _signed(size, side)
        self._value = self.total
        return self._value


class KyleLambda(_Windowed):
    """OLS slope, with intercept, of price changes on signed volume."""

    KIND = 52
    FIELDS = (("_value", "d"), ("price", "d"), ("window", ""))

    def __init__(self, window: int | None = None, strict: bool = False) -> None:
        super().__init__(strict=strict)
        self.price = math.nan
        self.window = Rows(4, window)

    @property
    def is_ready(self) -> bool:
        return self.window.is_full and self.window.length >= 2

    @property
    def warmup(self) -> int:
        return max(self.window.warmup, 2) + 1

    def _forget(self) -> None:
        self.window.clear()
        self.price = math.nan

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        self.count += 1
        before, self.price = self.price, price
        if math.isnan(before):
            return math.nan
        change, signed = price - before, _signed(size, side)
        self.window.push((signed, change, signed * signed, signed * change), ts_ns)
        if self.is_ready:
            n = float(self.window.length)
            x, y, xx, xy = self.window.sums
            spread = xx - x * x / n
            self._value = (xy - x * y / n) / spread if spread > 1e-12 * xx else math.nan
        return self._value


class Amihud(_Windowed):
    """Mean of |log return| over traded value."""

    KIND = 53
    FIELDS = (("_value", "d"), ("price", "d"), ("window", ""))

    def __init__(self, window: int | None = None, strict: bool = False) -> None:
        super().__init__(strict=strict)
        self.price = math.nan
        self.window = Rows(1, window)

    @property
    def warmup(self) -> int:
        return self.window.warmup + 1

    def _forget(self) -> None:
        self.window.clear()
        self.price = math.nan

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        if price <= 0.0 or size == 0.0:
            return self._skip()
        self.count += 1
        before, self.price = self.price, price
        if math.isnan(before):
            return math.nan
        self.window.push((abs(ln(price / before)) / (price * size),), ts_ns)
        if self.window.is_full:
            self._value = self.window.sums[0] / self.window.length
        return self._value
