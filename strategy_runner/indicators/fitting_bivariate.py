"""Buys and sells that excite each other: paths, residuals and maximum likelihood, offline.

One common decay is fitted. Plain numpy and Python around the chosen backend's likelihood; one
stream is in `fitting`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from strategy_runner.indicators.fitting import (
    EVENTS_MIN,
    Floats,
    Times,
    deepest,
    descend,
    ks_exponential,
)
from strategy_runner.indicators.selected import hawkes_bivariate_log_likelihood

Pair = tuple[float, float]
Matrix = tuple[Pair, Pair]
Sides = NDArray[np.int8]
Decays = float | Sequence[float] | Sequence[Sequence[float]]
Rows = Sequence[Sequence[float]]

_NS = 1e-9
_RADIUS_MAX = 0.999
_STARTS = (1.0, 10.0, 100.0)  # decays to start from, in units of the mean rate


class HawkesBivariateFit(NamedTuple):
    """Maximum-likelihood parameters, per second; `alpha[target][source]`."""

    mu: Pair
    alpha: Matrix
    beta: float
    spectral_radius: float
    log_likelihood: float
    standard_errors: tuple[float, ...]  # of mu, alpha row by row, beta; NaN at a bound
    ks_statistics: Pair  # of the buys' and the sells' residuals against Exp(1)
    ks_p_values: Pair
    events: int
    is_converged: bool


def _matrix(beta: Decays) -> Floats:
    """[target][source], from one decay, one per target, or one per pair."""
    given = np.asarray(beta, dtype=np.float64)
    whole: Floats = np.broadcast_to(given[:, None] if given.ndim == 1 else given, (2, 2)).copy()
    return whole


def spectral_radius(alpha: Rows, beta: Decays) -> float:
    """Below 1 the two streams are stationary."""
    kernel = np.asarray(alpha, dtype=np.float64) / _matrix(beta)
    return float(np.max(np.abs(np.linalg.eigvals(kernel))))


def simulate_hawkes_bivariate(
    mu: Sequence[float], alpha: Rows, beta: Decays, horizon: int, seed: int
) -> tuple[Times, Sides]:
    """Times in (0, horizon), int64 ns, and sides (1 buy, -1 sell), by Ogata's thinning.

    Rates are per second, `horizon` is in ns. Raises ValueError when the process explodes.
    """
    if not spectral_radius(alpha, beta) < 1.0:
        raise ValueError("the spectral radius of alpha over beta must be below 1")
    draw = np.random.Generator(np.random.PCG64(seed)).random
    base, jumps = np.asarray(mu, dtype=np.float64), np.asarray(alpha, dtype=np.float64)
    decays, excited = _matrix(beta), np.zeros((2, 2))
    now, until = 0.0, horizon * _NS
    times: list[int] = []
    sides: list[int] = []
    rate = base.copy()
    while True:
        # Intensities only fall until the next event.
        bound = float(rate.sum())
        wait = -math.log1p(-draw()) / bound if bound > 0.0 else math.inf
        now += wait
        if now >= until:
            return np.array(times, dtype=np.int64), np.array(sides, dtype=np.int8)
        excited *= np.exp(-decays * wait)
        rate = base + (jumps * excited).sum(axis=1)
        level = draw() * bound
        if level < float(rate.sum()):
            source = 0 if level < rate[0] else 1
            times.append(int(now / _NS))
            sides.append(1 - 2 * source)
            excited[:, source] += 1.0
            rate = base + (jumps * excited).sum(axis=1)


def hawkes_bivariate_residuals(
    times: Times, sides: Sides | Floats, mu: Sequence[float], alpha: Rows, beta: Decays
) -> tuple[Floats, Floats]:
    """Each side's compensator between its own events: Exp(1) under the true parameters."""
    weights, decays = np.asarray(alpha, dtype=np.float64), _matrix(beta)
    shares, base = weights / decays, np.asarray(mu, dtype=np.float64)
    excited, spent = np.zeros((2, 2)), np.zeros(2)
    found: tuple[list[float], list[float]] = ([], [])
    before = 0
    for ts_ns, side in zip(times.tolist(), sides.tolist(), strict=True):
        passed = (ts_ns - before) * _NS
        gone = -np.expm1(-decays * passed)
        spent += base * passed + (shares * excited * gone).sum(axis=1)
        source = 0 if side > 0 else 1
        found[source].append(float(spent[source]))
        spent[source] = 0.0
        excited *= 1.0 - gone
        excited[:, source] += 1.0
        before = ts_ns
    return np.array(found[0]), np.array(found[1])


class _Objective:
    """The negative log-likelihood per event, and its gradient, of the parameters' logarithms."""

    def __init__(self, times: Times, sides: Floats, horizon: int) -> None:
        self.times, self.sides, self.horizon = times, sides, horizon
        rate = len(times) / (horizon * _NS)
        self.low = np.full(7, math.log(rate) - 25.0)
        self.high = np.array([math.log(rate) + 2.0] * 2 + [math.log(rate) + 25.0] * 5)

    def at(self, natural: Floats) -> tuple[float, Floats]:
        """Value and gradient by mu, alpha row by row, beta."""
        mu, alpha, beta = natural[:2].tolist(), natural[2:6].reshape(2, 2).tolist(), natural[6]
        value, by = hawkes_bivariate_log_likelihood(
            self.times, self.sides, self.horizon, mu, alpha, float(beta)
        )
        return value, np.array([*by[:6], sum(by[6:])])

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        if not np.all((x >= self.low) & (x <= self.high)):
            return math.inf, np.zeros(7)
        natural = np.exp(x)
        if spectral_radius(natural[2:6].reshape(2, 2).tolist(), float(natural[6])) >= _RADIUS_MAX:
            return math.inf, np.zeros(7)
        value, gradient = self.at(natural)
        return -value / len(self.times), -gradient * natural / len(self.times)


def _standard_errors(objective: _Objective, natural: Floats) -> tuple[float, ...]:
    """From the observed information: differences of the analytic gradient."""
    hessian = np.empty((7, 7))
    for k, center in enumerate(natural):
        width = np.zeros(7)
        width[k] = 1e-5 * center
        sides = [objective.at(natural + sign * width)[1] for sign in (1.0, -1.0)]
        hessian[k] = (sides[0] - sides[1]) / (2.0 * width[k])
    information = -(hessian + hessian.T) / 2.0
    if not np.all(np.isfinite(information)) or np.min(np.linalg.eigvalsh(information)) <= 0.0:
        return (math.nan,) * 7
    return tuple(np.sqrt(np.diag(np.linalg.inv(information))).tolist())


def fit_hawkes_bivariate(times: Times, sides: Sides | Floats, horizon: int) -> HawkesBivariateFit:
    """Fit mu, alpha and one decay to events in [0, horizon], int64 ns, ascending.

    Raises ValueError for fewer than 10 events of a side, an event without a side, or times that
    are not ascending within the horizon.
    """
    signs = np.asarray(sides, dtype=np.float64)
    buys, sells = int(np.sum(signs > 0)), int(np.sum(signs < 0))
    if min(buys, sells) < EVENTS_MIN:
        raise ValueError(f"{min(buys, sells)} events of a side are too few, at least {EVENTS_MIN}")
    objective = _Objective(times, signs, horizon)
    seconds = horizon * _NS
    mean = len(times) / seconds
    tried = []
    for start in _STARTS:
        beta = mean * start
        first = [buys / seconds / 2.0, sells / seconds / 2.0, *[beta / 4.0] * 4, beta]
        tried.append(descend(objective, np.log(first)))
    value, x, is_converged = deepest(tried)
    natural = np.exp(x)
    mu0, mu1, a00, a01, a10, a11, decay = natural.tolist()
    mu, alpha = (mu0, mu1), ((a00, a01), (a10, a11))
    tests = [ks_exponential(r) for r in hawkes_bivariate_residuals(times, signs, mu, alpha, decay)]
    return HawkesBivariateFit(
        mu=mu,
        alpha=alpha,
        beta=decay,
        spectral_radius=spectral_radius(alpha, decay),
        log_likelihood=-value * len(times),
        standard_errors=_standard_errors(objective, natural),
        ks_statistics=(tests[0][0], tests[1][0]),
        ks_p_values=(tests[0][1], tests[1][1]),
        events=len(times),
        is_converged=is_converged,
    )
