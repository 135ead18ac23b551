"""Fitting two streams finds what made them; their residuals are those of one stream each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strategy_runner.indicators import (
    HawkesBivariate,
    fit_hawkes_bivariate,
    hawkes_bivariate_log_likelihood,
    hawkes_bivariate_residuals,
    hawkes_residuals,
    simulate_hawkes_bivariate,
)
from strategy_runner.indicators.fitting import ks_exponential

SECOND = 10**9
MU, ALPHA, BETA = (0.6, 0.4), ((1.0, 0.5), (0.8, 0.6)), 3.0


def test_paths_are_the_same_for_a_seed_and_within_the_horizon() -> None:
    times, sides = simulate_hawkes_bivariate(MU, ALPHA, BETA, 100 * SECOND, 5)
    again, same = simulate_hawkes_bivariate(MU, ALPHA, BETA, 100 * SECOND, 5)
    assert np.array_equal(times, again)
    assert np.array_equal(sides, same)
    assert (times.dtype, sides.dtype) == (np.int64, np.int8)
    assert (np.diff(times) >= 0).all()
    assert times[-1] < 100 * SECOND
    other, _ = simulate_hawkes_bivariate(MU, ALPHA, BETA, 100 * SECOND, 6)
    assert not np.array_equal(times[:10], other[:10])


def test_both_sides_have_their_theoretical_rates() -> None:
    """(I - n)^-1 mu, from 40 paths; a path's mean scatters by about a twentieth."""
    seconds = 200
    counts = np.zeros(2)
    for seed in range(40):
        _, sides = simulate_hawkes_bivariate(MU, ALPHA, BETA, seconds * SECOND, seed)
        counts += ((sides > 0).sum(), (sides < 0).sum())
    rates = np.linalg.solve(np.eye(2) - np.array(ALPHA) / BETA, MU)
    assert counts / (40 * seconds) == pytest.approx(rates, rel=0.06)


def test_explosive_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="spectral radius"):
        simulate_hawkes_bivariate(MU, ((2.0, 1.5), (1.5, 2.0)), 3.0, SECOND, 1)


def test_without_cross_terms_residuals_are_those_of_two_streams() -> None:
    alpha, betas = ((1.0, 0.0), (0.0, 0.5)), (2.0, 4.0)
    times, sides = simulate_hawkes_bivariate(MU, alpha, betas, 200 * SECOND, 2)
    buys, sells = hawkes_bivariate_residuals(times, sides, MU, alpha, betas)
    assert buys == pytest.approx(hawkes_residuals(times[sides > 0], MU[0], 1.0, 2.0), rel=1e-9)
    assert sells == pytest.approx(hawkes_residuals(times[sides < 0], MU[1], 0.5, 4.0), rel=1e-9)


def test_residuals_sum_to_the_integral_of_the_intensity() -> None:
    """Against a fine Riemann sum over `HawkesBivariate`."""
    times, sides = simulate_hawkes_bivariate(MU, ALPHA, BETA, 20 * SECOND, 3)
    hawkes, sums, step = HawkesBivariate(MU, ALPHA, BETA), np.zeros(2), SECOND // 2000
    last = int(times[-1])
    events = list(zip(times.tolist(), sides.tolist(), strict=True))
    for middle in range(step // 2, last, step):
        while events and events[0][0] <= middle:
            hawkes.update(*events.pop(0))
        sums += hawkes.peek(middle) if hawkes.count else MU
    sums *= step * 1e-9
    residuals = hawkes_bivariate_residuals(times, sides, MU, ALPHA, BETA)
    side = 0 if sides[-1] > 0 else 1
    assert residuals[side].sum() == pytest.approx(sums[side], rel=2e-3)


def test_fit_is_a_maximum_and_its_errors_cover_the_truth() -> None:
    times, sides = simulate_hawkes_bivariate(MU, ALPHA, BETA, 2000 * SECOND, 11)
    fit = fit_hawkes_bivariate(times, sides, 2000 * SECOND)
    assert fit.is_converged
    found = (*fit.mu, *fit.alpha[0], *fit.alpha[1], fit.beta)
    truth = (*MU, *ALPHA[0], *ALPHA[1], BETA)
    for own, true, error in zip(found, truth, fit.standard_errors, strict=True):
        assert 0 < error < 0.5 * true
        assert abs(own - true) < 4 * error
    assert min(fit.ks_p_values) > 1e-3
    assert fit.spectral_radius < 1.0
    signs = sides.astype(np.float64)
    value, _ = hawkes_bivariate_log_likelihood(
        times, signs, 2000 * SECOND, fit.mu, fit.alpha, fit.beta
    )
    at_truth, _ = hawkes_bivariate_log_likelihood(times, signs, 2000 * SECOND, MU, ALPHA, BETA)
    assert value == pytest.approx(fit.log_likelihood)
    assert value > at_truth


def test_residuals_of_a_wrong_model_are_not_exponential() -> None:
    times, sides = simulate_hawkes_bivariate(MU, ALPHA, BETA, 2000 * SECOND, 12)
    right = hawkes_bivariate_residuals(times, sides, MU, ALPHA, BETA)
    wrong = hawkes_bivariate_residuals(times, sides, MU, ((0.2, 0.1), (0.1, 0.2)), BETA)
    for good, bad in zip(right, wrong, strict=True):
        assert ks_exponential(good)[1] > 1e-4
        assert ks_exponential(bad)[1] < 1e-6


def test_too_few_events_and_missing_sides_are_refused() -> None:
    times = np.arange(1, 25, dtype=np.int64) * SECOND
    sides = np.array([1, -1] * 12, dtype=np.int8)
    with pytest.raises(ValueError, match="too few"):
        fit_hawkes_bivariate(times, np.ones(24, dtype=np.int8), 30 * SECOND)
    sides[:2] = 0
    with pytest.raises(ValueError, match="needs a side"):
        fit_hawkes_bivariate(times, sides, 30 * SECOND)
    assert math.isfinite(fit_hawkes_bivariate(times[2:], sides[2:], 30 * SECOND).log_likelihood)
