"""Twins of the three VPINs, and what every twin of trades has."""

from __future__ import annotations

import math
from typing import ClassVar

from strategy_runner.indicators.twin.buckets import BUCKETS, Buckets, WholeBuckets
from strategy_runner.indicators.twin.elementary import normal, student_quarter
from strategy_runner.indicators.twin.seen import TradeView, side_of, time_of
from strategy_runner.indicators.twin.snapshot import (
    Array,
    Fields,
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

_CLOSED_PER_TRADE_MAX = 1e6
_FIXED_VOLUME_MAX = 1 << 53
_FIXED_TOTAL_MAX = 1 << 61
_DISTRIBUTIONS = {"normal": False, "t025": True}


class TradeTwin(Twin):
    """Takes trades. Subclasses say what one means in `_take`."""

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        raise NotImplementedError

    def update(self, price: float, size: float, side: float = 0.0, ts_ns: int = 0) -> float:
        price, size, side = float(price), float(size), float(side)
        if not (math.isfinite(price) and 0.0 <= size < math.inf) or math.isnan(side):
            return self._skip()
        return self._take(price, size, side, ts_ns)

    def on_trade(self, trade: TradeView) -> float:
        return self.update(trade.price_f, trade.size_f, side_of(trade), time_of(trade))

    def peek(self, price: float, size: float, side: float = 0.0, ts_ns: int = 0) -> float:
        try:
            return self.copy().update(price, size, side, ts_ns)
        except Refused:
            return math.nan

    def update_many(
        self,
        price: Array,
        size: Array,
        side: Array,
        ts_ns: Times | None = None,
        out: Floats | None = None,
    ) -> Floats:
        columns = [column(price), column(size), column(side)]
        rows = same_length(columns)
        values = output(out, (rows,))
        for i, (p, v, s, ts) in enumerate(zip(*columns, times_of(ts_ns, rows), strict=True)):
            try:
                values[i] = self.update(p, v, s, int(ts))
            except Refused:
                raise row_refused(i) from None
        return values

    @classmethod
    def batch(
        cls, price: Array, size: Array, side: Array, ts_ns: Times | None = None, **params: object
    ) -> Floats:
        return cls._made(params).update_many(price, size, side, ts_ns)


def _positive(x: float) -> float:
    if not 0.0 < x < math.inf:
        raise ValueError(f"malformed parameters: {BUCKETS}")
    return float(x)


class _VpinTwin(TradeTwin):
    """What every VPIN has beyond the others."""

    FIELDS: ClassVar[tuple[tuple[str, str], ...]] = (("_value", "d"), ("open", ""))
    PARTS: ClassVar = {"open": Buckets}
    open: Buckets

    @property
    def cdf(self) -> float:
        return self.open.history.cdf

    @property
    def zscore(self) -> float:
        return self.open.history.zscore

    @property
    def is_toxic(self) -> bool:
        return self.open.history.is_toxic

    @property
    def unclassified(self) -> float:
        return self.open.unclassified / self.open.total if self.open.total > 0 else math.nan

    @property
    def buckets(self) -> int:
        return len(self.open.imbalances.places)

    @property
    def n_closed(self) -> int:
        return self.open.imbalances.seen

    @property
    def filled(self) -> float:
        return float(self.open.volume - self.open.left)

    def drop_partial(self) -> None:
        self.open.drop_partial()

    def _forget(self) -> None:
        self.open.clear()

    def _fill(self, size: float, side: float, nothing: float = 0.0) -> float:
        self.count += 1
        if size == 0:
            return self._value
        if side > 0.0:
            closed = self.open.fill(size, lambda part: (part, nothing))
        elif side < 0.0:
            closed = self.open.fill(size, lambda part: (nothing, part))
        else:
            self.open.unclassified += size
            closed = self.open.fill(size, lambda _: (nothing, nothing))
        if closed:
            self._value = self.open.value
        return self._value


class Vpin(_VpinTwin):
    """VPIN of trades with an aggressor."""

    KIND = 10

    def __init__(
        self,
        bucket_volume: float,
        buckets: int,
        split: bool = True,
        *,
        ranked: int = 1000,
        strict: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        self.open = Buckets(_positive(bucket_volume), buckets, ranked, split=split)

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        if size > _CLOSED_PER_TRADE_MAX * self.open.volume:
            return self._skip()
        return self._fill(size, side)


class VpinFixed(_VpinTwin):
    """VPIN in whole lots, without a rounding before the last division."""

    KIND = 11
    PARTS: ClassVar = {"open": WholeBuckets}

    def __init__(
        self,
        bucket_volume: int,
        buckets: int,
        split: bool = True,
        *,
        ranked: int = 1000,
        strict: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        if not isinstance(bucket_volume, int):
            raise TypeError(f"bucket_volume must be an integer, not {bucket_volume!r}")
        self.open = WholeBuckets(bucket_volume, buckets, ranked, split=split)
        if not 1 <= bucket_volume <= _FIXED_VOLUME_MAX // buckets:
            raise ValueError("overflow parameters: buckets times volume at most 2^53, from 1")

    @property
    def _lots_max(self) -> int:
        if self.open.split:
            return min(int(self.open.volume) * int(_CLOSED_PER_TRADE_MAX), _FIXED_TOTAL_MAX)
        return _FIXED_VOLUME_MAX // self.buckets

    @property
    def parts_per_billion(self) -> int | None:
        if not self.is_ready:
            return None
        return int(self.open.imbalance_sum) * 1_000_000_000 // int(self.open.volume_sum)

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        whole = int(size)
        if float(whole) != size or whole > self._lots_max:
            return self._skip()
        if self.open.total > _FIXED_TOTAL_MAX:
            # Only the share of the unclassified is made of them.
            self.open.total //= 2
            self.open.unclassified //= 2
        return self._fill(whole, side, nothing=0)


class Bulk(Fields):
    """Which share of a bar's volume was bought, from its price change."""

    FIELDS = (
        ("sigma", "d"),
        ("decay", "d"),
        ("is_student", "?"),
        ("price", "d"),
        ("variance", "d"),
        ("has_variance", "?"),
    )

    def __init__(self, sigma: float | None, decay: float, distribution: str) -> None:
        if distribution not in _DISTRIBUTIONS:
            raise ValueError(f"distribution is \"{distribution}\", not 'normal' or 't025'")
        self.is_student = _DISTRIBUTIONS[distribution]
        self.sigma = 0.0 if sigma is None else _positive(sigma)  # 0: estimated
        if not 0.0 < decay < 1.0:
            raise ValueError("malformed parameters: a decay between 0 and 1")
        self.decay = decay
        self.clear()

    def clear(self) -> None:
        self.price, self.variance, self.has_variance = math.nan, 0.0, False

    def share(self, price: float) -> float:
        """The bought share of a bar that ended at `price`; 1/2 for the first."""
        change = price - self.price
        is_first = math.isnan(self.price)
        self.price = price
        if is_first:
            return 0.5
        sigma = self.sigma if self.sigma > 0.0 else self._estimate(change)
        if change == 0.0:
            return 0.5
        x = change / sigma if sigma > 0.0 else math.copysign(math.inf, change)
        return student_quarter(x) if self.is_student else normal(x)

    def _estimate(self, change: float) -> float:
        """Sigma before this change, which then joins the estimate."""
        sigma = math.sqrt(self.variance)
        square = change * change
        joined = self.decay * self.variance + (1.0 - self.decay) * square
        self.variance = joined if self.has_variance else square
        self.has_variance = True
        return sigma


class VpinBvc(_VpinTwin):
    """VPIN with bulk volume classification."""

    KIND = 12
    FIELDS = (("_value", "d"), ("bulk", ""), ("open", ""))
    PARTS: ClassVar = {"bulk": Bulk, "open": Buckets}

    def __init__(
        self,
        bucket_volume: float,
        buckets: int,
        sigma: float | None = None,
        distribution: str = "normal",
        *,
        decay: float = 0.99,
        split: bool = True,
        ranked: int = 1000,
        strict: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        self.bulk = Bulk(sigma, decay, distribution)
        self.open = Buckets(_positive(bucket_volume), buckets, ranked, split=split)

    def _forget(self) -> None:
        self.bulk.clear()
        self.open.clear()

    def _take(self, price: float, size: float, side: float, ts_ns: int) -> float:
        if size > _CLOSED_PER_TRADE_MAX * self.open.volume:
            return self._skip()
        self.count += 1
        if size == 0.0:
            return self._value
        share = self.bulk.share(price)
        if self.open.fill(size, lambda part: (share * part, part - share * part)):
            self._value = self.open.value
        return self._value
