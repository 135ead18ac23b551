"""What is fitted offline: Hawkes parameters, weights of levels, the microprice's table.

Plain numpy around the chosen backend's likelihood, and paths to test with. It updates nothing
online.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from strategy_runner.indicators.selected import (
    hawkes_log_likelihood,
    hawkes_path,
    hawkes_residuals,
)

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

EVENTS_MIN = 10
# A branching ratio of 1 explodes: fits stay below.
_BRANCHING_MAX = 0.999
_STEPS_MAX = 200
# Decays to start from, in units of the mean rate: clusters wider to far narrower than the gaps.
_STARTS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)


class HawkesFit(NamedTuple):
    """Maximum-likelihood parameters, per second."""

    mu: float
    alpha: float
    beta: float
    branching: float
    log_likelihood: float
    standard_errors: tuple[float, float, float]  # of mu, alpha, beta; NaN at a bound
    ks_statistic: float  # of the residuals against Exp(1)
    ks_p_value: float
    events: int
    is_converged: bool


def simulate_hawkes(mu: float, alpha: float, beta: float, horizon: int, seed: int) -> Times:
    """Event times in (0, horizon), int64 ns, by Ogata's thinning; the same everywhere for a seed.

    Rates are per second, `horizon` is in ns. Raises ValueError when alpha >= beta.
    """
    path = hawkes_path(mu, alpha, beta, horizon, seed)
    return np.frombuffer(path, dtype=np.int64).copy()


def _natural(x: Floats) -> tuple[float, float, float]:
    """(mu, alpha, beta) of (ln mu, logit branching, ln beta)."""
    mu, beta = math.exp(x[0]), math.exp(x[2])
    branching = _BRANCHING_MAX / (1.0 + math.exp(-x[1]))
    return mu, branching * beta, beta


class _Objective:
    """The negative log-likelihood per event, and its gradient, of unbounded parameters."""

    def __init__(self, times: Times, horizon: int) -> None:
        self.times = times
        self.horizon = horizon
        rate = len(times) / (horizon * 1e-9)
        # Beyond e^25 of the mean rate nothing can be told apart, and exp would overflow.
        self.low = np.array([math.log(rate) - 25.0, -25.0, math.log(rate) - 12.0])
        self.high = np.array([math.log(rate) + 2.0, 25.0, math.log(rate) + 25.0])

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        if not np.all((x >= self.low) & (x <= self.high)):
            return math.inf, np.zeros(3)
        mu, alpha, beta = _natural(x)
        value, by = hawkes_log_likelihood(self.times, self.horizon, mu, alpha, beta)
        branching = alpha / beta
        gradient = np.array(
            [
                mu * by[0],
                by[1] * beta * branching * (1.0 - branching / _BRANCHING_MAX),
                beta * (by[2] + branching * by[1]),
            ]
        )
        return -value / len(self.times), -gradient / len(self.times)


def descend(
    objective: Callable[[Floats], tuple[float, Floats]], x: Floats
) -> tuple[float, Floats, bool]:
    """BFGS with backtracking: the least value, where it is, and whether the gradient vanished."""
    value, gradient = objective(x)
    inverse: Floats = np.eye(len(x))
    for _ in range(_STEPS_MAX):
        if np.max(np.abs(gradient)) < 1e-8:
            return value, x, True
        direction = -inverse @ gradient
        slope = float(gradient @ direction)
        if slope >= 0.0:
            inverse, direction, slope = np.eye(len(x)), -gradient, -float(gradient @ gradient)
        step = min(1.0, 2.0 / float(np.max(np.abs(direction))))
        new_value, new_gradient = objective(x + step * direction)
        for _ in range(40):
            if new_value <= value + 1e-4 * step * slope:
                break
            step *= 0.5
            new_value, new_gradient = objective(x + step * direction)
        else:
            return value, x, bool(np.max(np.abs(gradient)) < 1e-5)
        moved, turned = step * direction, new_gradient - gradient
        x, value, gradient = x + moved, new_value, new_gradient
        curvature = float(moved @ turned)
        if curvature > 1e-14:
            left = np.eye(len(x)) - np.outer(moved, turned) / curvature
            turned_back: Floats = left @ inverse @ left.T
            inverse = turned_back + np.outer(moved, moved) / curvature
    return value, x, False


def deepest(tried: Sequence[tuple[float, Floats, bool]]) -> tuple[float, Floats, bool]:
    """Of what several starts reached: the least value; of equal ones, one that converged.

    Values that differ by rounding alone are equal: at the same optimum one descent may have
    stalled an ulp lower than another that saw its gradient vanish; which one is the processor's.
    """
    least = min(value for value, _, _ in tried)
    same = [each for each in tried if each[0] <= least + 1e-12 * (1.0 + abs(least))]
    return min(same, key=lambda each: (not each[2], each[0]))


def _standard_errors(
    times: Times, horizon: int, at: tuple[float, float, float]
) -> tuple[float, float, float]:
    """From the observed information: differences of the analytic gradient."""
    hessian = np.empty((3, 3))
    for k, center in enumerate(at):
        width = 1e-5 * center
        sides = []
        for sign in (1.0, -1.0):
            moved = [x + sign * width * (j == k) for j, x in enumerate(at)]
            sides.append(np.array(hawkes_log_likelihood(times, horizon, *moved)[1]))
        hessian[k] = (sides[0] - sides[1]) / (2.0 * width)
    information = -(hessian + hessian.T) / 2.0
    if not np.all(np.isfinite(information)) or np.min(np.linalg.eigvalsh(information)) <= 0.0:
        return math.nan, math.nan, math.nan
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    return float(errors[0]), float(errors[1]), float(errors[2])


def ks_exponential(residuals: Floats) -> tuple[float, float]:
    """Kolmogorov-Smirnov statistic against Exp(1), and its p-value (Stephens' correction)."""
    n = len(residuals)
    uniform = -np.expm1(-np.sort(residuals))
    steps = np.arange(n + 1) / n
    distance = float(max(np.max(steps[1:] - uniform), np.max(uniform - steps[:-1])))
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    if x < 0.2:
        return distance, 1.0
    terms = [(-1.0) ** (k - 1) * math.exp(-2.0 * k * k * x * x) for k in range(1, 101)]
    return distance, min(max(2.0 * math.fsum(terms), 0.0), 1.0)


def fit_hawkes(times: Times, horizon: int) -> HawkesFit:
    """Fit (mu, alpha, beta) to event times in [0, horizon], int64 ns, ascending.

    Raises ValueError for fewer than 10 events, or times that are not ascending within the horizon.
    """
    if len(times) < EVENTS_MIN:
        raise ValueError(f"{len(times)} events are too few for a fit, at least {EVENTS_MIN}")
    objective = _Objective(times, horizon)
    rate = len(times) / (horizon * 1e-9)
    tried = [
        descend(objective, np.array([math.log(rate / 2.0), 0.0, math.log(rate * start)]))
        for start in _STARTS
    ]
    value, x, is_converged = deepest(tried)
    mu, alpha, beta = at = _natural(x)
    statistic, p_value = ks_exponential(hawkes_residuals(times, mu, alpha, beta))
    return HawkesFit(
        mu=mu,
        alpha=alpha,
        beta=beta,
        branching=alpha / beta,
        log_likelihood=-value * len(times),
        standard_errors=_standard_errors(times, horizon, at),
        ks_statistic=statistic,
        ks_p_value=p_value,
        events=len(times),
        is_converged=is_converged,
    )


def fit_integrated_weights(sums: Floats) -> Floats:
    """First principal vector of historical OFI vectors (rows), its dominant loading positive.

    `IntegratedOfi` takes it, frozen. Rows with NaN are left out; ValueError for fewer than 2.
    """
    rows = sums[np.all(np.isfinite(sums), axis=1)]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} whole rows are too few for a principal vector")
    _, vectors = np.linalg.eigh(np.cov(rows, rowvar=False).reshape(rows.shape[1], -1))
    first: Floats = vectors[:, -1]
    return -first if first[np.argmax(np.abs(first))] < 0.0 else first


def fit_microprice(
    bid_price: Floats,
    bid_size: Floats,
    ask_price: Floats,
    ask_size: Floats,
    *,
    tick: float,
    buckets: int = 10,
    spreads: int = 2,
    terms: int = 6,
) -> Floats:
    """Stoikov's table (spread in ticks x imbalance bucket) of adjustments to the mid.

    Estimated on the quotes and their mirror images, so that it is antisymmetric in imbalance.
    Quotes with wider spreads are left out. Raises ValueError when no mid ever changes.
    """
    share = bid_size / (bid_size + ask_size)
    column = np.minimum((share * buckets).astype(np.int64), buckets - 1)
    width = np.rint((ask_price - bid_price) / tick).astype(np.int64)
    mid = (bid_price + ask_price) / 2.0
    known = (width >= 1) & (width <= spreads)
    known = known[:-1] & known[1:]
    change = np.rint(np.diff(mid) / (tick / 2.0)).astype(np.int64)[known]
    states = buckets * spreads
    quiet, moving = np.zeros((states, states)), np.zeros((states, states))
    drift = np.zeros(states)
    for columns, sign in ((column, 1), (buckets - 1 - column, -1)):
        state = (width - 1) * buckets + columns
        before, after = state[:-1][known], state[1:][known]
        still = change == 0
        np.add.at(quiet, (before[still], after[still]), 1.0)
        np.add.at(moving, (before[~still], after[~still]), 1.0)
        np.add.at(drift, before, sign * change * (tick / 2.0))
    if not moving.any():
        raise ValueError("the mid never changes: there is nothing to fit")
    seen = np.maximum((quiet + moving).sum(axis=1), 1.0)
    quiet, moving, drift = quiet / seen[:, None], moving / seen[:, None], drift / seen
    # States that never lead to a change have no expectation of one: least squares leaves them at 0.
    until_change = np.linalg.pinv(np.eye(states) - quiet)
    step = until_change @ drift
    turn = until_change @ moving
    adjustment, term = np.zeros(states), step
    for _ in range(terms):
        adjustment = adjustment + term
        term = turn @ term
    table: Floats = adjustment.reshape(spreads, buckets)
    if np.max(np.abs(table + table[:, ::-1])) > 1e-6 * tick:
        raise ValueError("the table is not antisymmetric: the quotes are too few")
    return table
