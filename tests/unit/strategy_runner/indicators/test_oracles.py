"""Every indicator against at least one independent package, on the same random data.

The packages are in the extra `oracles`. tclf needs an older numpy: its answers are a fixture
(tests/fixtures/indicators, made with tclf 0.4.0).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from strategy_runner import indicators as own

pytest.importorskip("wickra", reason="extra oracles")
import hawkesbook
import orderflow_metrics as ofm
import pandas as pd
import scipy.special
import scipy.stats
import statsmodels.api as sm
import wickra
from HawkesPyLib.processes import UnivariateHawkesProcess
from orderflow_metrics.mlofi import BookSnapshot, multi_level_ofi
from orderflow_metrics.orderbook import Level

ROWS = 400
WINDOW = 50
random = np.random.default_rng(20261120)
MID = 100.0 + np.cumsum(random.integers(-2, 3, ROWS)) * 0.01
BID, ASK = MID - 0.01, MID + random.integers(1, 4, ROWS) * 0.01
BID_SIZE, ASK_SIZE = random.integers(1, 90, (2, ROWS)) / 4.0
PRICE, SIZE = MID + random.integers(-1, 2, ROWS) * 0.01, random.integers(1, 50, ROWS) / 4.0
SIDE = random.choice([-1.0, 1.0], ROWS)
QUOTES = list(zip(BID, BID_SIZE, ASK, ASK_SIZE, strict=True))
TRADES = list(zip(PRICE, SIZE, SIDE > 0, strict=True))
# 700 events with ties, of buys and sells.
TIMES = np.sort(random.integers(0, 300 * 10**9, 700) // 10**8 * 10**8)
SECONDS, HORIZON = TIMES * 1e-9, 300 * 10**9
SIDES = random.choice([-1.0, 1.0], len(TIMES))


def agree(found: np.ndarray, wanted: list[float | None], rel: float = 1e-11) -> None:
    filled = np.array([math.nan if each is None else each for each in wanted])
    assert np.array_equal(np.isnan(found), np.isnan(filled))
    assert not np.isnan(filled).all()
    assert np.allclose(found, filled, rtol=rel, atol=rel, equal_nan=True)


def book(levels: int) -> np.ndarray:
    columns = []
    for m in range(levels):
        sizes = random.integers(1, 90, (2, ROWS)) / 4.0
        columns += [BID - 0.02 * m, sizes[0], ASK + 0.02 * m, sizes[1]]
    return np.ascontiguousarray(np.stack(columns, axis=1))


def test_ofi_equals_wickra_and_orderflow_metrics() -> None:
    quotes = [ofm.L1Quote(*row) for row in QUOTES]
    ofi, events = own.Ofi(), []
    for row in QUOTES:
        ofi.update(*row)
        events.append(ofi.event)
    agree(np.array(events[1:]), ofm.ofi_series(quotes))
    theirs = wickra.OrderFlowImbalance(WINDOW)
    wanted = [theirs.update([bp], [bs], [ap], [az]) for bp, bs, ap, az in QUOTES]
    found = own.Ofi.batch(BID, BID_SIZE, ASK, ASK_SIZE, window=WINDOW)
    both = [
        w if w is not None and not math.isnan(f) else None
        for w, f in zip(wanted, found, strict=True)
    ]
    agree(found, both)


def test_mlofi_equals_orderflow_metrics() -> None:
    books = book(5)
    snapshots = [
        BookSnapshot(
            [Level(*row[4 * m : 4 * m + 2]) for m in range(5)],
            [Level(*row[4 * m + 2 : 4 * m + 4]) for m in range(5)],
        )
        for row in books
    ]
    mlofi = own.Mlofi(5)
    mlofi.update(books[0])
    for k in range(1, ROWS):
        mlofi.update(books[k])
        agree(np.array(mlofi.events), multi_level_ofi(snapshots[k - 1], snapshots[k], 5))


def test_vpin_equals_wickra() -> None:
    theirs = wickra.Vpin(40.0, 10)
    agree(
        own.Vpin.batch(PRICE, SIZE, SIDE, bucket_volume=40.0, buckets=10),
        [theirs.update(*row) for row in TRADES],
    )
    lots = (SIZE * 4).astype(np.int64)
    fixed = own.VpinFixed.batch(PRICE, lots, SIDE, bucket_volume=160, buckets=10)
    agree(fixed, list(own.Vpin.batch(PRICE, SIZE, SIDE, bucket_volume=40.0, buckets=10)))


def test_bulk_shares_equal_orderflow_metrics_and_scipy() -> None:
    found = own.BvcShare.batch(PRICE, sigma=0.013)
    changes = np.diff(PRICE)
    agree(
        found[1:], [ofm.vpin.__globals__["bvc_buy_fraction"](dp, 0.013) for dp in changes], rel=2e-7
    )
    agree(found[1:], list(scipy.special.ndtr(changes / 0.013)), rel=1e-14)
    student = own.BvcShare.batch(PRICE, sigma=0.013, distribution="t025")
    agree(student[1:], list(scipy.stats.t.cdf(changes / 0.013, 0.25)), rel=1e-9)


@pytest.mark.parametrize("x", np.concatenate([np.linspace(-37.0, 9.0, 231), [-1e-9, 1e-9, 8.5]]))
def test_tails_of_the_normal_distribution_are_precise(x: float) -> None:
    share = own.BvcShare(sigma=1.0)
    share.update(0.0)
    assert share.update(x) == pytest.approx(scipy.special.ndtr(x), rel=2e-13)


@pytest.mark.parametrize("x", [-1e9, -300.0, -2.0, -0.4, -1e-6, 1e-6, 0.2, 0.5, 0.51, 3.0, 1e5])
def test_student_with_a_quarter_degree_of_freedom(x: float) -> None:
    share = own.BvcShare(sigma=1.0, distribution="t025")
    share.update(0.0)
    assert share.update(x) == pytest.approx(scipy.stats.t.cdf(x, 0.25), rel=1e-10)


def test_hawkes_equals_hawkesbook() -> None:
    mu, alpha, beta = 0.7, 1.1, 2.9
    hawkes = own.Hawkes(mu, alpha, beta)
    for i, t in enumerate(TIMES[:60].tolist()):
        hawkes.update(t)
        later = t + 12_345_678
        wanted = hawkesbook.exp_hawkes_intensity(later * 1e-9, SECONDS[: i + 1], (mu, alpha, beta))
        assert hawkes.peek(later) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.timeout(120)
def test_likelihood_equals_hawkesbook_and_hawkespylib() -> None:
    mu, alpha, beta = 0.7, 1.1, 2.9
    value, _ = own.hawkes_log_likelihood(TIMES, HORIZON, mu, alpha, beta)
    theirs = hawkesbook.exp_log_likelihood(SECONDS, 300.0, np.array([mu, alpha, beta]))
    assert value == pytest.approx(theirs, rel=1e-11)
    process = UnivariateHawkesProcess("expo")
    process.set_params(mu=mu, eta=alpha / beta, theta=1 / beta)
    process.set_arrival_times(SECONDS, 300.0)
    assert value == pytest.approx(process.compute_logL(), rel=1e-11)


@pytest.mark.timeout(120)
def test_two_streams_equal_hawkesbook() -> None:
    mu, alpha, beta = (0.4, 0.5), ((0.9, 0.3), (0.2, 0.8)), (2.9, 3.7)
    ids = (SIDES < 0).astype(np.int64)
    # There, alpha[source] is a vector over targets, and the decay belongs to the target.
    parameters = (np.array(mu), np.array(alpha).T.copy(), np.array(beta))
    value, _ = own.hawkes_bivariate_log_likelihood(TIMES, SIDES, HORIZON, mu, alpha, beta)
    theirs = hawkesbook.mutual_exp_log_likelihood(SECONDS, ids, 300.0, parameters)
    assert value == pytest.approx(theirs, rel=1e-11)
    pair = own.HawkesBivariate(mu, alpha, beta)
    found = pair.update_many(TIMES, SIDES)
    for i in range(0, len(TIMES), 50):
        wanted = hawkesbook.mutual_exp_hawkes_intensity(
            SECONDS[i], SECONDS[: i + 1], ids[: i + 1], parameters
        )
        assert found[i] == pytest.approx(wanted, rel=1e-11)


@pytest.mark.timeout(120)
def test_a_fit_is_no_worse_than_hawkesbooks() -> None:
    path = own.simulate_hawkes(0.8, 1.2, 2.4, 400 * 10**9, 11)
    fit = own.fit_hawkes(path, 400 * 10**9)
    theirs = hawkesbook.exp_mle(path * 1e-9, 400.0)
    best = hawkesbook.exp_log_likelihood(path * 1e-9, 400.0, theirs)
    assert fit.is_converged
    assert fit.log_likelihood >= best - 1e-6
    assert (fit.mu, fit.alpha, fit.beta) == pytest.approx(tuple(theirs), rel=1e-2)
    for found, true, error in zip(fit[:3], (0.8, 1.2, 2.4), fit.standard_errors, strict=True):
        assert abs(found - true) < 4 * error
    residuals = own.hawkes_residuals(path, fit.mu, fit.alpha, fit.beta)
    statistic, p_value = scipy.stats.kstest(residuals, "expon")
    assert fit.ks_statistic == pytest.approx(statistic, rel=1e-9)
    assert fit.ks_p_value == pytest.approx(p_value, abs=0.01)


def test_kyle_equals_wickra_and_statsmodels() -> None:
    found = own.KyleLambda.batch(PRICE, SIZE, SIDE, window=WINDOW)
    theirs = wickra.KylesLambda(WINDOW)
    wanted = [theirs.update(p, v, buy, p) for p, v, buy in TRADES]
    agree(found[WINDOW:], wanted[WINDOW:], rel=1e-8)
    x = sm.add_constant((SIZE * SIDE)[-WINDOW:])
    fitted = sm.OLS(np.diff(PRICE)[-WINDOW:], x).fit()
    assert found[-1] == pytest.approx(fitted.params[1], rel=1e-8)


def test_amihud_equals_wickra() -> None:
    theirs = wickra.AmihudIlliquidity(WINDOW)
    agree(
        own.Amihud.batch(PRICE, SIZE, SIDE, window=WINDOW),
        [theirs.update(*row) for row in TRADES],
        rel=1e-9,
    )


def test_roll_equals_numpy() -> None:
    """wickra and orderflow-metrics demean both columns by one mean: another value by design."""
    found = own.RollSpread.batch(PRICE, window=WINDOW)
    changes = np.diff(PRICE)
    for k in range(WINDOW + 2, ROWS):
        pairs = changes[k - WINDOW - 1 : k]
        covariance = np.cov(pairs[:-1], pairs[1:])[0, 1]
        if covariance < 0:
            assert found[k] == pytest.approx(2 * math.sqrt(-covariance), rel=1e-8)
        else:
            assert math.isnan(found[k])


def test_realised_variances_equal_orderflow_metrics() -> None:
    returns = np.diff(np.log(PRICE))
    for name, theirs in (
        ("RealizedVariance", ofm.realized_variance),
        ("BipowerVariation", ofm.bipower_variation),
        ("MedRv", ofm.med_rv),
        ("MinRv", ofm.min_rv),
    ):
        found = getattr(own, name).batch(PRICE, window=WINDOW)
        wanted = [theirs(list(returns[k - WINDOW : k])) for k in range(WINDOW, ROWS)]
        assert np.isnan(found[:WINDOW]).all()
        agree(found[WINDOW:], wanted, rel=1e-9)


def test_ewma_equals_pandas() -> None:
    squares = pd.Series(np.diff(np.log(PRICE)) ** 2)
    agree(
        own.EwmaVariance.batch(PRICE, decay=0.94)[1:],
        list(squares.ewm(alpha=0.06, adjust=False).mean()),
    )
    found = own.DecayedSum.batch(PRICE, TIMES[:ROWS].copy(), half_life_ns=10**9)
    weights = [np.exp2(-(TIMES[k] - TIMES[: k + 1]) * 1e-9) for k in range(ROWS)]
    agree(found, [float(np.sum(PRICE[: k + 1] * w)) for k, w in enumerate(weights)], rel=1e-10)


def test_flow_equals_wickra() -> None:
    imbalance, delta = wickra.TradeImbalance(WINDOW), wickra.SignedVolume()
    wanted = [imbalance.update(*row) for row in TRADES]
    agree(own.TradeFlowImbalance.batch(PRICE, SIZE, SIDE, window=WINDOW), wanted)
    agree(own.Cvd.batch(PRICE, SIZE, SIDE), list(np.cumsum([delta.update(*row) for row in TRADES])))


def test_quote_readings_equal_wickra_and_orderflow_metrics() -> None:
    quotes = [ofm.L1Quote(*row) for row in QUOTES]
    micro = wickra.Microprice()
    columns = (BID, BID_SIZE, ASK, ASK_SIZE)
    agree(
        own.WeightedMid.batch(*columns), [micro.update([a], [b], [c], [d]) for a, b, c, d in QUOTES]
    )
    agree(own.WeightedMid.batch(*columns), [ofm.weighted_mid(q) for q in quotes])
    agree(own.Mid.batch(*columns), [ofm.mid(q) for q in quotes])
    agree(own.SpreadBps.batch(*columns), [ofm.relative_spread_bps(q) for q in quotes])
    agree(own.QueueImbalance.batch(*columns), [ofm.depth_imbalance(q) for q in quotes])


def test_depth_imbalance_equals_wickra() -> None:
    books = book(4)
    theirs = wickra.OrderBookImbalanceTopN(4)
    wanted = [theirs.update(row[0::4], row[1::4], row[2::4], row[3::4]) for row in books.tolist()]
    agree(own.DepthImbalance.batch(books, levels=4), wanted)


def test_signs_equal_orderflow_metrics_and_tclf() -> None:
    agree(own.TickRule.batch(PRICE), ofm.tick_rule(list(PRICE)))
    made = json.loads(
        (Path(__file__).parents[3] / "fixtures/indicators/trade_signs.json").read_text()
    )
    price, bid, ask = (np.array(column) for column in zip(*made["rows"], strict=True))
    for name, signs in made["signs"].items():
        rule = getattr(own, name)
        found = rule.batch(price) if name == "TickRule" else rule.batch(price, bid, ask)
        agree(found, signs)
