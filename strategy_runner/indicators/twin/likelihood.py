"""Twins of the Hawkes likelihoods, their gradients, the residuals and the simulation."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from strategy_runner.indicators.twin.elementary import exp_decay, ln, one_less_exp
from strategy_runner.indicators.twin.hawkes import NS, Decays, checked, decay_matrix
from strategy_runner.indicators.twin.snapshot import Floats, Times, times_of

_TIMES = "ascending times from 0 to the horizon, mu and beta above 0, alpha from 0"
_MASK = (1 << 64) - 1


def _checked_times(times: Times, horizon: int | None) -> list[int]:
    ns = times_of(times, len(times))
    last = ns[-1] if ns else 0
    end = last if horizon is None else horizon
    is_sorted = all(a <= b for a, b in pairwise(ns))
    if not is_sorted or (ns and ns[0] < 0) or last > end or end < 0:
        raise ValueError(f"malformed parameters: {_TIMES}")
    return ns


def hawkes_log_likelihood(
    times: Times, horizon: int, mu: float, alpha: float, beta: float
) -> tuple[float, tuple[float, float, float]]:
    ns = _checked_times(times, horizon)
    mu, alpha, beta = checked(mu, above=True), checked(alpha), checked(beta, above=True)
    logs = by_mu = by_alpha = by_beta = spent = spent_by_beta = 0.0
    before = aged = 0.0
    last = ns[0] if ns else 0
    for t in ns:
        passed = float(t - last) * NS
        keep = exp_decay(-beta * passed)
        excited = keep * before
        aged = keep * (aged + passed * before)
        inverse = 1.0 / (mu + alpha * excited)
        logs += ln(mu + alpha * excited)
        by_mu += inverse
        by_alpha += excited * inverse
        by_beta += aged * inverse
        ahead = float(horizon - t) * NS
        less = one_less_exp(beta * ahead)
        spent += less
        spent_by_beta += ahead * (1.0 - less)
        before = 1.0 + excited
        last = t
    seconds, ratio = float(horizon) * NS, alpha / beta
    return logs - mu * seconds - ratio * spent, (
        by_mu - seconds,
        by_alpha - spent / beta,
        ratio / beta * spent - alpha * by_beta - ratio * spent_by_beta,
    )


def hawkes_residuals(times: Times, mu: float, alpha: float, beta: float) -> Floats:
    ns = _checked_times(times, None)
    mu, alpha, beta = checked(mu), checked(alpha), checked(beta, above=True)
    out = np.empty(len(ns))
    before, last = 0.0, 0
    for i, t in enumerate(ns):
        passed = float(t - last) * NS
        less = one_less_exp(beta * passed)
        out[i] = mu * passed + alpha / beta * before * less
        before = 1.0 + before * (1.0 - less)
        last = t
    return out


class _Target:
    """The sums of one of the two intensities over the events of both."""

    def __init__(self, mu: float, alpha: list[float], beta: list[float], first: int) -> None:
        self.mu = checked(mu, above=True)
        self.alpha = [checked(a) for a in alpha]
        self.beta = [checked(b, above=True) for b in beta]
        self.before, self.aged, self.last = [0.0, 0.0], [0.0, 0.0], first
        self.logs = self.by_mu = 0.0
        self.by_alpha, self.by_beta = [0.0, 0.0], [0.0, 0.0]
        self.spent, self.spent_by_beta = [0.0, 0.0], [0.0, 0.0]

    def event(self, t: int, source: int, ahead: float, *, is_own: bool) -> None:
        passed = float(t - self.last) * NS
        self.last = t
        for s in range(2):
            keep = exp_decay(-self.beta[s] * passed)
            self.aged[s] = keep * (self.aged[s] + passed * self.before[s])
            self.before[s] *= keep
        if is_own:
            excited = self.alpha[0] * self.before[0] + self.alpha[1] * self.before[1]
            inverse = 1.0 / (self.mu + excited)
            self.logs += ln(self.mu + excited)
            self.by_mu += inverse
            for s in range(2):
                self.by_alpha[s] += self.before[s] * inverse
                self.by_beta[s] += self.aged[s] * inverse
        less = one_less_exp(self.beta[source] * ahead)
        self.spent[source] += less
        self.spent_by_beta[source] += ahead * (1.0 - less)
        self.before[source] += 1.0

    def result(self, seconds: float) -> tuple[float, list[list[float]]]:
        """Its part of the log-likelihood; derivatives by mu, by alpha, by beta."""
        (a0, a1), (b0, b1), (s0, s1) = self.alpha, self.beta, self.spent
        value = self.logs - self.mu * seconds - (a0 / b0 * s0 + a1 / b1 * s1)
        by_alpha = [self.by_alpha[s] - self.spent[s] / self.beta[s] for s in range(2)]
        by_beta = [
            a / b / b * spent - a * total - a / b * weighted
            for a, b, spent, total, weighted in zip(
                self.alpha, self.beta, self.spent, self.by_beta, self.spent_by_beta, strict=True
            )
        ]
        return value, [[self.by_mu - seconds], by_alpha, by_beta]


def hawkes_bivariate_log_likelihood(
    times: Times,
    sides: Sequence[float] | Floats,
    horizon: int,
    mu: Sequence[float],
    alpha: Sequence[Sequence[float]],
    beta: Decays,
) -> tuple[float, list[float]]:
    ns = _checked_times(times, horizon)
    if any(side == 0 or side != side for side in sides):  # noqa: PLR0124 - NaN
        raise ValueError("every event needs a side")
    if len(sides) != len(ns):
        raise ValueError(f"malformed parameters: {_TIMES}")
    b = decay_matrix(beta)
    first = ns[0] if ns else 0
    targets = [
        _Target(mu[k], [float(a) for a in alpha[k]], b[2 * k : 2 * k + 2], first) for k in range(2)
    ]
    for t, side in zip(ns, sides, strict=True):
        source = int(side < 0)
        ahead = float(horizon - t) * NS
        for k, target in enumerate(targets):
            target.event(t, source, ahead, is_own=k == source)
    parts = [target.result(float(horizon) * NS) for target in targets]
    gradient = [x for which in range(3) for _, by in parts for x in by[which]]
    return parts[0][0] + parts[1][0], gradient


class _Random:
    """xoshiro256++ seeded through splitmix64, as the native module's."""

    def __init__(self, seed: int) -> None:
        self.state: list[int] = []
        x = seed & _MASK
        for _ in range(4):
            x = (x + 0x9E3779B97F4A7C15) & _MASK
            z = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
            self.state.append(z ^ (z >> 31))

    def unit(self) -> float:
        """Uniform in (0, 1]."""
        a, b, c, d = self.state
        bits = (_rotated((a + d) & _MASK, 23) + a) & _MASK
        c, d = c ^ a, d ^ b
        self.state = [a ^ d, b ^ c, c ^ ((b << 17) & _MASK), _rotated(d, 45)]
        return float((bits >> 11) + 1) * (1.0 / float(1 << 53))


def _rotated(x: int, by: int) -> int:
    return ((x << by) | (x >> (64 - by))) & _MASK


def hawkes_path(mu: float, alpha: float, beta: float, horizon: int, seed: int) -> bytes:
    """Event times of one path, as bytes of int64 nanoseconds, by Ogata's thinning."""
    mu, alpha, beta = checked(mu, above=True), checked(alpha), checked(beta, above=True)
    if alpha >= beta or horizon < 0:
        wants = "mu and beta above 0, alpha below beta, a horizon from 0"
        raise ValueError(f"unsupported parameters: {wants}")
    random = _Random(seed)
    times: list[int] = []
    now, excited = 0, 0.0
    while True:
        bound = mu + alpha * excited
        wait = int(-ln(random.unit()) / bound * 1e9)
        now += wait
        if now >= horizon:
            return struct.pack(f"<{len(times)}q", *times)
        excited *= exp_decay(-beta * (float(wait) * 1e-9))
        if random.unit() * bound <= mu + alpha * excited:
            times.append(now)
            excited += 1.0
