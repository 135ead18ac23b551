"""What the definitions of the indicators imply, on any input.

Method: hypothesis draws bytes, which become rows; each law compares two runs, or one run with a
literal form in exact arithmetic.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strategy_runner.indicators import (
    Cvd,
    Hawkes,
    HawkesBivariate,
    IntegratedOfi,
    Mlofi,
    Ofi,
    TradeFlowImbalance,
    Vpin,
    VpinBvc,
    VpinFixed,
    hawkes_bivariate_log_likelihood,
    hawkes_log_likelihood,
    hawkes_residuals,
    simulate_hawkes,
)
from strategy_runner.indicators.fitting import ks_exponential
from tests.reference.indicator_rows import BYTES, Row, rows_of

pytestmark = pytest.mark.timeout(120)
laws = settings(max_examples=1000, deadline=None)
rows = st.binary(min_size=2 * BYTES, max_size=40 * BYTES).map(
    lambda data: rows_of(data, clean=True)
)
gaps = st.lists(st.integers(0, 3 * 10**9), min_size=2, max_size=40)
rates = st.tuples(st.floats(0.05, 5.0), st.floats(0.01, 3.0), st.floats(0.1, 20.0))


def quotes(data: list[Row], scale: float = 1.0) -> list[tuple[float, float, float, float]]:
    return [
        (r["bid_price"], scale * r["bid_size"], r["ask_price"], scale * r["ask_size"]) for r in data
    ]


def streamed(indicator: Any, data: list[tuple[Any, ...]]) -> list[float]:
    return [indicator.update(*row) for row in data]


def same(a: list[float], b: list[float]) -> bool:
    return np.array_equal(np.array(a), np.array(b), equal_nan=True)


@laws
@given(rows)
def test_a_mirrored_book_has_the_opposite_ofi(data: list[Row]) -> None:
    mirrored = [(-ap, az, -bp, bs) for bp, bs, ap, az in quotes(data)]
    assert same(streamed(Ofi(), quotes(data)), [-x for x in streamed(Ofi(), mirrored)])


@laws
@given(rows)
def test_ofi_is_linear_in_size(data: list[Row]) -> None:
    doubled = [2.0 * x for x in streamed(Ofi(window=3), quotes(data))]
    assert same(streamed(Ofi(window=3), quotes(data, scale=2.0)), doubled)


@laws
@given(rows)
def test_one_level_is_ofi(data: list[Row]) -> None:
    for span in ({}, {"window": 4}, {"horizon_ns": 10**8}, {"half_life_ns": 10**8}):
        ofi, mlofi = Ofi(**span), Mlofi(1, **span)
        for row, quote in zip(data, quotes(data), strict=True):
            a, b = (
                ofi.update(*quote, int(row["ts_ns"])),
                mlofi.update(list(quote), int(row["ts_ns"])),
            )
            assert struct.pack("<d", a) == struct.pack("<d", b)
            assert same([ofi.event], mlofi.events)


@laws
@given(rows)
def test_at_constant_prices_ofi_telescopes_to_the_change_of_the_queues(data: list[Row]) -> None:
    still = [(99.0, bs, 101.0, az) for _, bs, _, az in quotes(data)]
    exact = [Fraction(bs) - Fraction(az) for _, bs, _, az in still]
    ofi = Ofi()
    for k, row in enumerate(still):
        value = ofi.update(*row)
        if k:
            assert value == pytest.approx(float(exact[k] - exact[0]), abs=1e-9 * 1e5)


@laws
@given(rows)
def test_a_repeated_quote_adds_nothing(data: list[Row]) -> None:
    once, twice = Ofi(), Ofi()
    for row in quotes(data):
        once.update(*row)
        twice.update(*row)
        twice.update(*row)
        if once.count > 1:
            assert twice.value == once.value
            assert twice.event == 0.0


@laws
@given(rows, st.integers(1, 30))
def test_the_last_n_events_are_summed(data: list[Row], window: int) -> None:
    ofi, events = Ofi(window=window), []
    for row in quotes(data):
        value = ofi.update(*row)
        if ofi.count > 1:
            events.append(Fraction(ofi.event))
        assert ofi.is_ready == (len(events) >= window) == (not math.isnan(value))
        if ofi.is_ready:
            assert value == pytest.approx(float(sum(events[-window:])), rel=1e-9, abs=1e-6)


@laws
@given(rows, st.integers(1, 10**9))
def test_a_time_window_is_open_at_its_left(data: list[Row], horizon: int) -> None:
    ofi, events = Ofi(horizon_ns=horizon), []
    for row, quote in zip(data, quotes(data), strict=True):
        now = int(row["ts_ns"])
        value = ofi.update(*quote, now)
        if ofi.count > 1:
            events.append((now, Fraction(ofi.event)))
        inside = [e for t, e in events if now - horizon < t <= now]
        if ofi.is_ready:
            assert now - events[0][0] >= horizon
            assert value == pytest.approx(float(sum(inside)), rel=1e-9, abs=1e-6)


@laws
@given(rows)
def test_the_sign_of_the_weights_is_the_sign_of_integrated_ofi(data: list[Row]) -> None:
    books = [([*q, q[0] - 0.01, 2.0, q[2] + 0.01, 3.0],) for q in quotes(data)]
    plus = streamed(IntegratedOfi([0.75, 0.25], window=3), books)
    minus = streamed(IntegratedOfi([-3.0, -1.0], window=3), books)
    assert same(plus, [-x for x in minus])


def trades(data: list[Row]) -> list[tuple[float, float, float]]:
    return [(r["price"], min(r["size"], 50.0), r["side"]) for r in data]


@laws
@given(rows, st.sampled_from([0.3, 1.0, 4.0]), st.integers(1, 6), st.booleans())
def test_vpin_stays_within_zero_and_one(
    data: list[Row], volume: float, n: int, split: bool
) -> None:
    for indicator in (
        Vpin(volume, n, split),
        VpinBvc(volume, n, sigma=0.01, split=split),
        VpinBvc(volume, n, distribution="t025", split=split),
    ):
        for value in streamed(indicator, trades(data)):
            assert math.isnan(value) or 0.0 <= value <= 1.0


@laws
@given(rows)
def test_vpin_does_not_care_which_side_is_which(data: list[Row]) -> None:
    flipped = [(p, v, -s) for p, v, s in trades(data)]
    assert same(streamed(Vpin(2.0, 3), trades(data)), streamed(Vpin(2.0, 3), flipped))


@laws
@given(rows, st.integers(1, 1 << 20))
def test_splitting_a_trade_in_two_changes_nothing(data: list[Row], seed: int) -> None:
    whole, halves = VpinFixed(7, 3), VpinFixed(7, 3)
    for i, (price, size, side) in enumerate(trades(data)):
        lots = int(size * 10)
        part = seed * (i + 1) % (lots + 1)
        whole.update(price, lots, side)
        halves.update(price, part, side)
        halves.update(price, lots - part, side)
        assert same([whole.value], [halves.value])
        assert whole.filled == halves.filled
        assert whole.n_closed == halves.n_closed


@laws
@given(rows, st.integers(1, 9), st.integers(1, 5))
def test_vpin_is_the_expansion_into_single_lots(data: list[Row], volume: int, n: int) -> None:
    """Appendix A.1 of the paper, literally."""
    fixed, units = VpinFixed(volume, n), []
    vpin = Vpin(float(volume), n)
    for price, size, side in trades(data):
        lots = int(size * 3)
        value = fixed.update(price, lots, side)
        assert same([vpin.update(price, float(lots), side)], [value])
        units += [int(side)] * lots
        closed = [sum(units[i : i + volume]) for i in range(0, len(units) - volume + 1, volume)]
        if len(closed) < n:
            assert math.isnan(value)
        else:
            wanted = Fraction(sum(abs(x) for x in closed[-n:]), n * volume)
            assert value == float(wanted)
            assert fixed.parts_per_billion == wanted * 10**9 // 1


@laws
@given(st.lists(st.integers(0, 20), min_size=4, max_size=30), st.integers(2, 8))
def test_the_z_score_never_uses_the_current_bucket(buys: list[int], n: int) -> None:
    fixed, signed = VpinFixed(20, n), []
    for bought in buys:
        fixed.update(1.0, bought, 1)
        fixed.update(1.0, 20 - bought, -1)
        signed.append(2 * bought - 20)
        before, x = signed[-n - 1 : -1], signed[-1]
        if len(before) < n or len(set(before)) == 1:
            assert math.isnan(fixed.zscore)
            assert not fixed.is_toxic
            continue
        mean = Fraction(sum(before), n)
        variance = sum((b - mean) ** 2 for b in before) / (n - 1)
        assert fixed.zscore == pytest.approx(float(x - mean) / math.sqrt(variance), rel=1e-12)
        assert fixed.is_toxic == ((x - mean) ** 2 > 9 * variance)


@laws
@given(rows)
def test_the_rank_is_the_share_of_values_not_above(data: list[Row]) -> None:
    fixed, values = VpinFixed(3, 2, ranked=5), []
    for price, size, side in trades(data):
        for _ in range(min(int(size * 3), 40)):  # one lot at a time: every bucket's value is seen
            closed = fixed.n_closed
            fixed.update(price, 1, side)
            if fixed.n_closed > closed and fixed.is_ready:
                values.append(fixed.value)
        if values:
            last = values[-5:]
            assert fixed.cdf == sum(x <= last[-1] for x in last) / len(last)


@laws
@given(rows)
def test_flow_imbalance_is_the_share_of_signed_volume(data: list[Row]) -> None:
    flow, cvd = TradeFlowImbalance(), Cvd()
    signed = total = Fraction(0)
    for price, size, side in trades(data):
        signed += Fraction(size) * int(side)
        total += Fraction(size)
        assert flow.update(price, size, side) == pytest.approx(float(signed / total), abs=1e-9)
        assert cvd.update(price, size, side) == pytest.approx(float(signed), abs=1e-9)


def times_from(distances: list[int]) -> np.ndarray:
    return np.cumsum(np.array(distances, dtype=np.int64))


@laws
@given(gaps, rates, st.integers(0, 2**62))
def test_intensity_does_not_depend_on_the_epoch(
    distances: list[int], rate: tuple[float, float, float], shift: int
) -> None:
    times = times_from(distances)
    assert (
        Hawkes.batch(times, mu=rate[0], alpha=rate[1], beta=rate[2]).tobytes()
        == Hawkes.batch(times + shift, mu=rate[0], alpha=rate[1], beta=rate[2]).tobytes()
    )


@laws
@given(gaps, rates)
def test_intensity_follows_the_literal_sum(
    distances: list[int], rate: tuple[float, float, float]
) -> None:
    mu, alpha, beta = rate
    times = times_from(distances)
    hawkes = Hawkes(mu, alpha, beta)
    for i, t in enumerate(times):
        ages = (t - times[:i]) * 1e-9
        left = mu + alpha * float(np.sum(np.exp(-beta * ages)))
        assert hawkes.update(int(t)) == pytest.approx(left + alpha, rel=1e-11)
        assert hawkes.left(int(t)) == pytest.approx(left, rel=1e-11)


@laws
@given(gaps, rates, st.sampled_from([2, 4, 1024]))
def test_time_and_rates_scale_together(
    distances: list[int], rate: tuple[float, float, float], c: int
) -> None:
    times = times_from(distances)
    horizon = int(times[-1]) + 1
    slower = [x / c for x in rate]
    a = Hawkes.batch(times, mu=rate[0], alpha=rate[1], beta=rate[2])
    b = Hawkes.batch(times * c, mu=slower[0], alpha=slower[1], beta=slower[2])
    assert np.allclose(a, b * c, rtol=1e-12)
    near, _ = hawkes_log_likelihood(times, horizon, *rate)
    far, _ = hawkes_log_likelihood(times * c, horizon * c, *slower)
    assert far == pytest.approx(near - len(times) * math.log(c), rel=1e-9, abs=1e-9)


@laws
@given(gaps, st.lists(st.booleans(), min_size=40, max_size=40), rates, rates)
def test_without_cross_terms_two_streams_are_two(
    distances: list[int], picks: list[bool], one: tuple[float, ...], two: tuple[float, ...]
) -> None:
    times = times_from(distances)
    sides = np.array([1.0 if pick else -1.0 for pick in picks[: len(times)]])
    alpha = ((one[1], 0.0), (0.0, two[1]))
    pair = HawkesBivariate((one[0], two[0]), alpha, (one[2], two[2]))
    buys, sells = Hawkes(*one), Hawkes(*two)
    for t, side in zip(times.tolist(), sides, strict=True):
        (buys if side > 0 else sells).update(t)
        assert pair.update(t, side) == pytest.approx((buys.peek(t), sells.peek(t)), rel=1e-12)
    horizon = int(times[-1]) + 10**9
    together, _ = hawkes_bivariate_log_likelihood(
        times, sides, horizon, (one[0], two[0]), alpha, (one[2], two[2])
    )
    apart = [
        hawkes_log_likelihood(times[sides == side], horizon, *rate)[0]
        for side, rate in ((1.0, one), (-1.0, two))
    ]
    assert together == pytest.approx(sum(apart), rel=1e-9, abs=1e-9)


def slope(f: Any, at: list[float], k: int) -> float:
    h = 1e-6 * at[k]
    up, down = list(at), list(at)
    up[k] += h
    down[k] -= h
    return (f(up) - f(down)) / (2 * h)


@laws
@given(gaps, rates)
def test_the_gradient_is_the_slope(distances: list[int], rate: tuple[float, float, float]) -> None:
    times = times_from(distances)
    horizon = int(times[-1]) + 10**9
    value, gradient = hawkes_log_likelihood(times, horizon, *rate)
    for k, found in enumerate(gradient):
        measured = slope(lambda at: hawkes_log_likelihood(times, horizon, *at)[0], list(rate), k)
        # Differences of a value of this size are known to so many digits only.
        noise = 1e-10 * max(abs(value), 1.0) / (1e-6 * rate[k])
        assert found == pytest.approx(measured, rel=1e-4, abs=1e-6 + noise)


@laws
@given(gaps, st.lists(st.booleans(), min_size=40, max_size=40), rates)
def test_the_gradient_of_two_streams_is_the_slope(
    distances: list[int], picks: list[bool], rate: tuple[float, float, float]
) -> None:
    times = times_from(distances)
    sides = [1.0 if pick else -1.0 for pick in picks[: len(times)]]
    horizon = int(times[-1]) + 10**9
    mu, alpha, beta = rate
    at = [mu, 1.5 * mu, alpha, 0.5 * alpha, 0.25 * alpha, 2 * alpha, beta, 2 * beta, 3 * beta, beta]

    def value(x: list[float]) -> float:
        a, b = ((x[2], x[3]), (x[4], x[5])), ((x[6], x[7]), (x[8], x[9]))
        return hawkes_bivariate_log_likelihood(times, sides, horizon, x[:2], a, b)[0]

    _, gradient = hawkes_bivariate_log_likelihood(
        times, sides, horizon, at[:2], (at[2:4], at[4:6]), (at[6:8], at[8:10])
    )
    size = max(abs(value(at)), 1.0)
    for k, found in enumerate(gradient):
        noise = 1e-10 * size / (1e-6 * at[k])
        assert found == pytest.approx(slope(value, at, k), rel=1e-4, abs=1e-6 + noise)


@laws
@given(st.integers(0, 2**64 - 1))
def test_residuals_of_the_true_model_are_exponential(seed: int) -> None:
    """A thousand paths of some 4,000 events; a wrong compensator fails all of them."""
    path = simulate_hawkes(1.0, 1.5, 2.5, 1600 * 10**9, seed)
    assume(len(path) > 1000)
    _, p_value = ks_exponential(hawkes_residuals(path, 1.0, 1.5, 2.5))
    assert p_value > 1e-7
    _, wrong = ks_exponential(hawkes_residuals(path, 1.0, 1.0, 2.5))
    assert wrong < 1e-5
