"""Twins of the Hawkes intensities, of one stream of events and of buys against sells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Self

from strategy_runner.indicators.twin.elementary import LN_2, exp_decay
from strategy_runner.indicators.twin.seen import TradeView, side_of, time_of
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
from strategy_runner.indicators.twin.window import I64_MAX

NS = 1e-9
RATES = "finite rates, mu and alpha from 0, beta above 0"

Decays = float | Sequence[float] | Sequence[Sequence[float]]


def checked(x: float, *, above: bool = False) -> float:
    """A finite number that is not negative, or above 0."""
    if not math.isfinite(x) or x < 0.0 or (above and x == 0.0):
        raise ValueError(f"malformed parameters: {RATES}")
    return float(x)


class _Timed(Twin):
    """Has a last event, and counts what lies before it."""

    last_ns: int

    @property
    def is_ready(self) -> bool:
        return self.count > 0

    def _passed(self, ts_ns: int) -> float:
        """Seconds since the last event; backward time stands still."""
        return float(min(max(ts_ns - self.last_ns, 0), I64_MAX)) * NS

    def _now(self, ts_ns: int) -> int:
        """The time of an event; raises when it is strict and the time runs backward."""
        if self.count > 0 and ts_ns < self.last_ns:
            self.n_backward += 1
            if self.strict:
                self._skip()
            return self.last_ns
        return ts_ns


class Hawkes(_Timed):
    """Intensity of one stream of events."""

    KIND = 20
    FIELDS = (
        ("mu", "d"),
        ("alpha", "d"),
        ("beta", "d"),
        ("excited", "d"),
        ("last_ns", "q"),
        ("left_limit", "d"),
        ("_value", "d"),
    )

    def __init__(self, mu: float, alpha: float, beta: float, *, strict: bool = False) -> None:
        super().__init__(strict=strict)
        self.mu, self.alpha, self.beta = checked(mu), checked(alpha), checked(beta, above=True)
        self._forget()

    @classmethod
    def from_branching(
        cls, mu: float, branching: float, half_life_ns: int, *, strict: bool = False
    ) -> Self:
        beta = LN_2 / (half_life_ns * 1e-9) if half_life_ns else math.inf
        return cls(mu, branching * beta, beta, strict=strict)

    def _forget(self) -> None:
        self.excited, self.last_ns, self.left_limit = 0.0, 0, math.nan

    def _excited_at(self, ts_ns: int) -> float:
        if self.count == 0:
            return 0.0
        return self.excited * exp_decay(-self.beta * self._passed(ts_ns))

    def peek(self, ts_ns: int) -> float:
        return self.mu + self.alpha * self._excited_at(ts_ns)

    def left(self, ts_ns: int) -> float:
        """At (or before) the last event: what that one found."""
        is_past = self.count > 0 and ts_ns <= self.last_ns
        return self.left_limit if is_past else self.peek(ts_ns)

    def decay_to(self, ts_ns: int) -> float:
        if self.count > 0 and ts_ns > self.last_ns:
            self.excited = self._excited_at(ts_ns)
            self.last_ns = ts_ns
            self.left_limit = self._value = self.mu + self.alpha * self.excited
        return self._value

    def update(self, ts_ns: int, mark: float = 1.0) -> float:
        if not 0.0 <= mark < math.inf:
            return self._skip()
        now = self._now(ts_ns)
        excited = self._excited_at(now)
        self.left_limit = self.mu + self.alpha * excited
        self.excited = excited + mark
        self._value = self.mu + self.alpha * self.excited
        self.last_ns = now
        self.count += 1
        return self._value

    def on_trade(self, trade: TradeView) -> float:
        return self.update(time_of(trade))

    def update_many(self, ts_ns: Times, out: Floats | None = None) -> Floats:
        times = times_of(ts_ns, len(ts_ns))
        values = output(out, (len(times),))
        for i, ts in enumerate(times):
            try:
                values[i] = self.update(ts)
            except Refused:
                raise row_refused(i) from None
        return values

    @classmethod
    def batch(cls, ts_ns: Times, **params: object) -> Floats:
        return cls._made(params).update_many(ts_ns)


def decay_matrix(beta: Decays) -> list[float]:
    """[target][source] flat, from one decay, one per target, or one per pair."""
    if isinstance(beta, int | float):
        return [float(beta)] * 4
    rows = [[float(b)] * 2 if isinstance(b, int | float) else [float(x) for x in b] for b in beta]
    return [each for row in rows for each in row]


class HawkesBivariate(_Timed):
    """Intensities of buys and sells that excite each other."""

    KIND = 21
    FIELDS = (
        ("mu", "2d"),
        ("alpha", "4d"),
        ("beta", "4d"),
        ("is_common", "?"),
        ("excited", "4d"),
        ("last_ns", "q"),
        ("left_limit", "2d"),
        ("pair", "2d"),
    )
    PARTS: ClassVar = {}

    def __init__(
        self,
        mu: Sequence[float],
        alpha: Sequence[Sequence[float]],
        beta: Decays,
        *,
        strict: bool = False,
    ) -> None:
        super().__init__(strict=strict)
        self.mu = [checked(x) for x in mu]
        self.alpha = [checked(x) for row in alpha for x in row]
        self.beta = [checked(x, above=True) for x in decay_matrix(beta)]
        self.is_common = len(set(self.beta)) == 1
        self._forget()

    def _forget(self) -> None:
        self.excited, self.last_ns = [0.0] * 4, 0
        self.left_limit, self.pair = [math.nan] * 2, [math.nan] * 2

    @property
    def value(self) -> float:
        """(buy - sell) / (buy + sell)."""
        buy, sell = self.pair
        return (buy - sell) / (buy + sell) if buy + sell > 0.0 else math.nan

    @property
    def values(self) -> tuple[float, float]:
        return self.pair[0], self.pair[1]

    def _decayed(self, ts_ns: int) -> list[float]:
        if self.count == 0:
            return [0.0] * 4
        passed = self._passed(ts_ns)
        if self.is_common:
            keep = exp_decay(-self.beta[0] * passed)
            return [r * keep for r in self.excited]
        pairs = zip(self.excited, self.beta, strict=True)
        return [r * exp_decay(-b * passed) for r, b in pairs]

    def _intensities(self, excited: list[float]) -> list[float]:
        r00, r01, r10, r11 = excited
        a00, a01, a10, a11 = self.alpha
        return [self.mu[0] + (a00 * r00 + a01 * r01), self.mu[1] + (a10 * r10 + a11 * r11)]

    def peek(self, ts_ns: int) -> tuple[float, float]:
        buy, sell = self._intensities(self._decayed(ts_ns))
        return buy, sell

    def left(self, ts_ns: int) -> tuple[float, float]:
        if self.count > 0 and ts_ns <= self.last_ns:
            return self.left_limit[0], self.left_limit[1]
        return self.peek(ts_ns)

    def decay_to(self, ts_ns: int) -> tuple[float, float]:
        if self.count > 0 and ts_ns > self.last_ns:
            self.excited = self._decayed(ts_ns)
            self.last_ns = ts_ns
            self.left_limit = self.pair = self._intensities(self.excited)
        return self.values

    def update(self, ts_ns: int, side: float) -> tuple[float, float]:
        if side == 0 or math.isnan(side):
            return self._skip(), math.nan
        now = self._now(ts_ns)
        decayed = self._decayed(now)
        self.left_limit = self._intensities(decayed)
        buy, sell = (1.0, 0.0) if side > 0 else (0.0, 1.0)
        r00, r01, r10, r11 = decayed
        self.excited = [r00 + buy, r01 + sell, r10 + buy, r11 + sell]
        self.pair = self._intensities(self.excited)
        self.last_ns = now
        self.count += 1
        return self.values

    def on_trade(self, trade: TradeView) -> tuple[float, float]:
        return self.update(time_of(trade), side_of(trade))

    def update_many(self, ts_ns: Times, side: Array, out: Floats | None = None) -> Floats:
        sides = column(side)
        values = output(out, (len(sides), 2))
        for i, (ts, s) in enumerate(zip(times_of(ts_ns, len(sides)), sides, strict=True)):
            try:
                values[i] = self.update(ts, s)
            except Refused:
                raise row_refused(i) from None
        return values

    @classmethod
    def batch(cls, ts_ns: Times, side: Array, **params: object) -> Floats:
        return cls._made(params).update_many(ts_ns, side)
