"""Fitting finds what made the data; simulation has the moments of the theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strategy_runner.indicators import (
    IntegratedOfi,
    Microprice,
    fit_hawkes,
    fit_integrated_weights,
    fit_microprice,
    hawkes_log_likelihood,
    simulate_hawkes,
)
from strategy_runner.indicators.backend import load
from strategy_runner.indicators.fitting import deepest

SECOND = 10**9


def test_paths_are_the_same_for_a_seed_in_both_backends() -> None:
    paths = [load(name).hawkes_path(1.0, 0.6, 2.0, 200 * SECOND, 5) for name in ("native", "numpy")]
    assert paths[0] == paths[1]
    path = simulate_hawkes(1.0, 0.6, 2.0, 200 * SECOND, 5)
    assert path.tobytes() == paths[0]
    assert (np.diff(path) >= 0).all()
    assert path[-1] < 200 * SECOND
    assert not np.array_equal(path[:10], simulate_hawkes(1.0, 0.6, 2.0, 200 * SECOND, 6)[:10])


def test_number_of_events_has_the_theoretical_mean_and_variance() -> None:
    """1,000 paths from an empty history; within 4 standard errors."""
    mu, alpha, beta, seconds = 1.0, 1.0, 2.0, 60.0
    counts = np.array(
        [len(simulate_hawkes(mu, alpha, beta, 60 * SECOND, seed)) for seed in range(1000)]
    )
    n = alpha / beta
    lag = n / (beta - alpha) * (1 - math.exp(-(beta - alpha) * seconds))
    mean, variance = mu / (1 - n) * (seconds - lag), mu * seconds / (1 - n) ** 3
    assert abs(counts.mean() - mean) < 4 * math.sqrt(variance / len(counts))
    assert counts.var(ddof=1) == pytest.approx(variance, rel=0.2)


def test_explosive_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha below beta"):
        simulate_hawkes(1.0, 2.0, 2.0, SECOND, 1)


def test_fit_is_a_maximum_and_its_errors_cover_the_truth() -> None:
    truth = (0.5, 2.0, 4.0)
    path = simulate_hawkes(*truth, 2000 * SECOND, 3)
    fit = fit_hawkes(path, 2000 * SECOND)
    assert fit.is_converged
    assert fit.branching == pytest.approx(fit.alpha / fit.beta)
    for found, true, error in zip(fit[:3], truth, fit.standard_errors, strict=True):
        assert 0 < error < 0.2 * true
        assert abs(found - true) < 4 * error
    assert fit.ks_p_value > 1e-3
    value, gradient = hawkes_log_likelihood(path, 2000 * SECOND, *fit[:3])
    assert value == pytest.approx(fit.log_likelihood)
    assert np.allclose(gradient, 0.0, atol=1e-3)
    assert value > hawkes_log_likelihood(path, 2000 * SECOND, *truth)[0]


def test_a_poisson_stream_has_no_branching() -> None:
    times = np.sort(np.random.default_rng(1).integers(0, 1000 * SECOND, 2000))
    fit = fit_hawkes(times, 1000 * SECOND)
    assert fit.branching < 0.1
    assert fit.mu == pytest.approx(2.0, rel=0.15)


def test_too_few_events_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_hawkes(np.arange(5), SECOND)
    with pytest.raises(ValueError, match="ascending"):
        fit_hawkes(np.arange(20)[::-1].copy(), SECOND)


def test_weights_are_the_direction_of_most_variance() -> None:
    random = np.random.default_rng(2)
    common = random.normal(size=(5000, 1)) * 10
    sums = common * np.array([0.6, -0.3, 0.1]) + random.normal(size=(5000, 3)) * 0.1
    sums[7] = math.nan
    weights = fit_integrated_weights(sums)
    wanted = np.array([0.6, -0.3, 0.1])
    assert weights == pytest.approx(wanted / np.linalg.norm(wanted), abs=0.01)
    assert np.abs(IntegratedOfi(weights.tolist()).weights).sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="too few"):
        fit_integrated_weights(sums[:1])


def market(rows: int, seed: int) -> tuple[np.ndarray, ...]:
    """A mid that moves half a tick toward the heavier side, with the probability of its share."""
    random = np.random.default_rng(seed)
    bid_size, ask_size = random.integers(1, 20, (2, rows)).astype(float)
    share = bid_size / (bid_size + ask_size)
    moves = np.where(random.random(rows) < 0.3, np.where(random.random(rows) < share, 1, -1), 0)
    bid = 100.0 + np.concatenate([[0], np.cumsum(moves)[:-1]])
    return bid, bid_size, bid + 1.0, ask_size


def test_microprice_leans_to_the_heavier_side() -> None:
    quotes = market(40_000, 5)
    table = fit_microprice(*quotes, tick=1.0, buckets=10, spreads=1)
    assert table.shape == (1, 10)
    assert np.allclose(table, -table[:, ::-1], atol=1e-9)
    assert (np.diff(table[0]) > 0).all()
    micro = Microprice(table.tolist(), 1.0)
    value = micro.update(100.0, 19.0, 101.0, 1.0)
    assert 100.5 < value < 101.5
    assert value == 100.5 + table[0, 9]


def test_microprice_survives_empty_cells() -> None:
    """States nobody saw get no adjustment instead of another state's."""
    quotes = market(2000, 6)
    table = fit_microprice(*quotes, tick=1.0, buckets=4, spreads=3)
    assert (table[1:] == 0.0).all()
    assert np.abs(table[0]).max() > 0.05


def test_a_still_market_has_no_microprice() -> None:
    ones = np.ones(50)
    with pytest.raises(ValueError, match="never changes"):
        fit_microprice(ones, ones, ones * 2.0, ones, tick=1.0)


def test_of_equal_optima_one_that_converged_is_taken() -> None:
    """A descent that stalls an ulp lower is no better; one that is really lower is."""
    at = np.zeros(3)
    stalled, converged = (0.39100981009493751, at, False), (0.39100981009493826, at + 1.0, True)
    assert deepest([converged, stalled]) is converged
    assert deepest([stalled, converged]) is converged
    lower = (0.391, at + 2.0, False)
    assert deepest([converged, lower]) is lower
