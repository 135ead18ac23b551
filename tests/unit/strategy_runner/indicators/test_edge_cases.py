"""The table of edge cases, row by row, in both backends; and both sides of each fork."""

from __future__ import annotations

import copy
import math
import pickle
from types import ModuleType

import numpy as np
import pytest

from strategy_runner.indicators.backend import load

NAN, INF = math.nan, math.inf
QUOTE = (100.0, 5.0, 101.0, 7.0)
BAD_QUOTES = [
    (NAN, 5.0, 101.0, 7.0),
    (100.0, NAN, 101.0, 7.0),
    (100.0, 5.0, INF, 7.0),
    (100.0, 5.0, 101.0, INF),
    (100.0, -1.0, 101.0, 7.0),
    (-INF, 5.0, 101.0, 7.0),
    (NAN, 0.0, 101.0, 7.0),
]
BAD_TRADES = [
    (NAN, 1.0, 1),
    (INF, 1.0, 1),
    (1.0, NAN, 1),
    (1.0, -1.0, 1),
    (1.0, INF, 1),
    (1.0, 1.0, NAN),
]


@pytest.fixture(params=["native", "numpy"])
def m(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)


def test_first_quote_is_nan_and_not_ready(m: ModuleType) -> None:
    ofi = m.Ofi()
    assert math.isnan(ofi.update(*QUOTE))
    assert math.isnan(ofi.event)
    assert not ofi.is_ready
    assert not ofi.initialized
    assert (ofi.count, ofi.warmup) == (1, 2)
    assert ofi.update(*QUOTE) == 0.0
    assert ofi.is_ready


@pytest.mark.parametrize(
    ("now", "event"),
    [
        ((100.0, 0.0, 101.0, 7.0), -5.0),  # a vanished bid takes what was there
        ((-INF, 0.0, 101.0, 7.0), -5.0),  # the same, said with infinity
        ((0.0, 0.0, 101.0, 7.0), -5.0),  # a price without a size says nothing
        ((100.0, 5.0, 101.0, 0.0), 7.0),
        ((0.0, 0.0, 0.0, 0.0), 2.0),
    ],
)
def test_missing_side_is_an_empty_one(m: ModuleType, now: tuple[float, ...], event: float) -> None:
    ofi = m.Ofi()
    ofi.update(*QUOTE)
    assert ofi.update(*now) == event
    assert ofi.update(*QUOTE) == 0.0, "what returns adds what had gone"


def test_unknown_missing_side_contributes_nothing_and_is_no_reference(m: ModuleType) -> None:
    ofi = m.Ofi(missing="unknown")
    ofi.update(*QUOTE)
    ofi.update(100.0, 6.0, 101.0, 7.0)
    assert ofi.update(100.0, 0.0, 101.0, 7.0) == 1.0
    assert ofi.event == 0.0
    assert ofi.update(100.0, 8.0, 101.0, 7.0) == 3.0, "against 6, the last whole quote"


@pytest.mark.parametrize("ask", [100.0, 99.0])
def test_locked_and_crossed_quotes_are_counted_and_computed(m: ModuleType, ask: float) -> None:
    ofi, skipping = m.Ofi(), m.Ofi(skip_crossed=True)
    for indicator in (ofi, skipping):
        indicator.update(*QUOTE)
    assert ofi.update(100.0, 5.0, ask, 3.0) == -3.0
    assert (ofi.n_crossed, ofi.n_skipped) == (1, 0)
    assert math.isnan(skipping.update(100.0, 5.0, ask, 3.0))
    assert (skipping.n_crossed, skipping.n_skipped) == (1, 1)


@pytest.mark.parametrize("bad", BAD_QUOTES)
def test_bad_quotes_are_skipped_without_a_trace(m: ModuleType, bad: tuple[float, ...]) -> None:
    makers = [m.Ofi, m.Mid, lambda **k: m.Microprice([[0.1]], 1.0, **k)]
    for make in makers:
        indicator, untouched, strict = make(), make(), make(strict=True)
        for each in (indicator, untouched, strict):
            each.update(*QUOTE)
        assert math.isnan(indicator.update(*bad))
        assert (indicator.n_skipped, indicator.count) == (1, 1)
        after = (100.0, 6.0, 101.0, 7.0)
        assert indicator.update(*after) == untouched.update(*after)
        with pytest.raises(ValueError, match="refused"):
            strict.update(*bad)
        assert strict.n_skipped == 1
        assert strict.update(*after) == untouched.value, "the refused row left no trace"


@pytest.mark.parametrize("bad", BAD_TRADES)
def test_bad_trades_are_skipped_without_a_trace(m: ModuleType, bad: tuple[float, ...]) -> None:
    makers = [lambda **k: m.Vpin(3.0, 1, **k), m.Cvd, lambda **k: m.VpinBvc(3.0, 1, **k)]
    for make in [*makers, m.TradeFlowImbalance]:
        indicator, untouched, strict = make(), make(), make(strict=True)
        for each in (indicator, untouched, strict):
            each.update(1.0, 2.0, 1)
        assert math.isnan(indicator.update(*bad))
        assert indicator.n_skipped == 1
        with pytest.raises(ValueError, match="refused"):
            strict.update(*bad)
        after = (1.5, 2.0, -1)
        assert indicator.update(*after) == untouched.update(*after) == strict.update(*after)


def test_bad_rows_of_columns_are_nan_and_strict_names_the_row(m: ModuleType) -> None:
    sizes = np.array([5.0, 6.0, NAN, 7.0])
    ones = np.ones(4)
    found = m.Ofi.batch(ones, sizes, ones * 2.0, ones)
    assert np.array_equal(found, [NAN, 1.0, NAN, 2.0], equal_nan=True)
    with pytest.raises(ValueError, match="row 2 refused"):
        m.Ofi.batch(ones, sizes, ones * 2.0, ones, strict=True)


def test_size_zero_does_nothing_to_vpin(m: ModuleType) -> None:
    vpin = m.Vpin(3.0, 1)
    vpin.update(1.0, 2.0, 1)
    vpin.update(1.0, 0.0, 1)
    assert (vpin.filled, vpin.count) == (2.0, 2)


def test_a_straddling_trade_fills_as_many_buckets_as_it_needs(m: ModuleType) -> None:
    vpin = m.Vpin(0.3, 2)
    vpin.update(1.0, 0.1, -1)
    assert vpin.update(1.0, 0.8, 1) == pytest.approx((0.3 + 0.3) / 0.6)
    assert vpin.n_closed == 3
    assert vpin.filled == 0.0, "exactly, though 0.1 + 0.8 is not 0.9 in floats"


@pytest.mark.parametrize("volume", [1e-9, 0.1, 1e12])
def test_the_residue_guard_is_relative(m: ModuleType, volume: float) -> None:
    """An absolute one would close buckets too early, or never."""
    vpin = m.Vpin(volume, 1)
    for _ in range(30):
        vpin.update(1.0, volume / 3.0, 1)
    assert vpin.n_closed == 10


def test_unknown_aggressors_fill_buckets_but_no_side(m: ModuleType) -> None:
    vpin = m.Vpin(4.0, 1)
    vpin.update(1.0, 2.0, 0)
    assert vpin.update(1.0, 1.0, 1) is not None
    assert vpin.update(1.0, 1.0, -1) == 0.0
    assert vpin.unclassified == 0.5
    vpin.update(1.0, 3.0, 0)
    assert vpin.update(1.0, 1.0, 1) == 1.0, "over classified volume"
    vpin.update(1.0, 4.0, 0)
    assert math.isnan(vpin.value), "nothing classified"


def test_whole_lots_never_overflow(m: ModuleType) -> None:
    """The lifetime's volume is halved, trades beyond the bound of the sums are skipped."""
    vpin = m.VpinFixed(1 << 50, 4, False)
    for i in range(6000):
        vpin.update(1.0, 1 << 51, i % 3 - 1)
    assert vpin.n_closed == vpin.count == 6000
    assert vpin.unclassified == pytest.approx(1 / 3, rel=1e-2)
    assert abs(vpin.zscore) < 10
    vpin.update(1.0, 1 << 52, 1)
    assert vpin.n_skipped == 1
    split = m.VpinFixed(3, 2)
    split.update(1.0, 3_000_001, 1)
    assert (split.n_skipped, split.n_closed) == (1, 0)
    split.update(1.0, 30_000, 1)
    assert split.n_closed == 10_000


def test_drop_partial_forgets_the_open_bucket(m: ModuleType) -> None:
    vpin = m.Vpin(4.0, 1)
    vpin.update(1.0, 3.0, 1)
    vpin.drop_partial()
    assert vpin.filled == 0.0
    assert vpin.update(1.0, 4.0, -1) == 1.0


def test_whole_trades_overshoot_without_split(m: ModuleType) -> None:
    """Fork: the ratio of sums, not the mean of ratios, and not the sum over n V."""
    vpin = m.Vpin(10.0, 2, False)
    vpin.update(1.0, 25.0, 1)
    vpin.update(1.0, 4.0, -1)
    value = vpin.update(1.0, 8.0, 1)
    assert value == (25.0 + 4.0) / 37.0
    assert value != (25.0 + 4.0) / 20.0
    assert value != (25.0 / 25.0 + 4.0 / 12.0) / 2.0


def test_adverse_moves_take_the_previous_size(m: ModuleType) -> None:
    """Fork: Cont, Kukanov, Stoikov against a transcription with the current size."""
    ofi = m.Ofi()
    ofi.update(*QUOTE)
    ofi.update(99.0, 50.0, 101.0, 7.0)
    assert ofi.event == -5.0
    assert ofi.event != -50.0
    mlofi = m.Mlofi(1)
    mlofi.update(QUOTE)
    mlofi.update((100.0, 5.0, 102.0, 70.0))
    assert mlofi.events == [7.0]


def test_a_vanished_queue_conserves_quantity(m: ModuleType) -> None:
    """What the fork is decided by: leaving and coming back sums to the change of the queue."""
    ofi = m.Ofi()
    for row in (QUOTE, (99.0, 50.0, 101.0, 7.0), (100.0, 9.0, 101.0, 7.0)):
        ofi.update(*row)
    assert ofi.value == 9.0 - 5.0


def test_ties_are_sequential(m: ModuleType) -> None:
    """Fork: an earlier event at the same time excites the later one."""
    times = np.array([10**9, 10**9], dtype=np.int64)
    mu, alpha, beta = 0.5, 1.0, 2.0
    hawkes = m.Hawkes(mu, alpha, beta)
    assert [hawkes.update(int(t)) for t in times] == [mu + alpha, mu + 2 * alpha]
    assert hawkes.left(10**9) == mu + alpha, "not mu, the strict form"
    value, _ = m.hawkes_log_likelihood(times, 2 * 10**9, mu, alpha, beta)
    spent = 2 * alpha / beta * (1 - math.exp(-beta))
    sequential = math.log(mu) + math.log(mu + alpha) - 2 * mu - spent
    strict = 2 * math.log(mu) - 2 * mu - spent
    assert value == pytest.approx(sequential, rel=1e-12)
    assert abs(value - strict) > 1.0


def test_first_event_leaves_mu_behind_it(m: ModuleType) -> None:
    hawkes = m.Hawkes(0.5, 1.0, 2.0)
    assert math.isnan(hawkes.value)
    assert hawkes.peek(5) == hawkes.left(5) == 0.5
    assert hawkes.update(5) == 1.5
    assert hawkes.left(5) == 0.5
    assert hawkes.peek(5) == 1.5
    assert hawkes.peek(5 + 10**9) == hawkes.left(5 + 10**9) == pytest.approx(0.5 + math.exp(-2))
    assert hawkes.value == 1.5, "asking changes nothing"


def test_a_mark_of_zero_does_not_jump(m: ModuleType) -> None:
    hawkes = m.Hawkes(0.5, 1.0, 2.0)
    assert hawkes.update(5, 0.0) == 0.5
    assert hawkes.update(5, 2.5) == 3.0
    assert math.isnan(hawkes.update(6, -1.0))
    assert hawkes.n_skipped == 1


def test_backward_time_stands_still_or_raises(m: ModuleType) -> None:
    hawkes, pair = m.Hawkes(0.5, 1.0, 2.0), m.HawkesBivariate((0.5, 0.5), ((1, 0), (0, 1)), 2.0)
    hawkes.update(1000)
    pair.update(1000, 1)
    assert hawkes.update(0) == 2.5
    assert pair.update(0, 1) == (2.5, 0.5)
    assert hawkes.n_backward == pair.n_backward == 1
    strict = m.Hawkes(0.5, 1.0, 2.0, strict=True)
    strict.update(1000)
    with pytest.raises(ValueError, match="refused"):
        strict.update(0)
    assert strict.value == 1.5


def test_decay_to_passes_time_without_an_event(m: ModuleType) -> None:
    hawkes = m.Hawkes(0.5, 1.0, 2.0)
    hawkes.update(0)
    assert hawkes.decay_to(10**9) == hawkes.peek(10**9) == pytest.approx(0.5 + math.exp(-2))
    assert hawkes.count == 1
    assert hawkes.update(10**9) == pytest.approx(1.5 + math.exp(-2))


def test_long_silence_decays_to_the_base(m: ModuleType) -> None:
    hawkes = m.Hawkes(0.5, 1.0, 1e5)
    hawkes.update(0)
    assert hawkes.peek(2**62) == 0.5


def test_branching_and_half_life_are_another_way_to_say_it(m: ModuleType) -> None:
    hawkes = m.Hawkes.from_branching(0.5, 0.8, 10**9)
    beta = math.log(2)
    assert hawkes.update(0) == pytest.approx(0.5 + 0.8 * beta)
    assert hawkes.peek(10**9) == pytest.approx(0.5 + 0.4 * beta)


def test_windows_may_be_emptied_for_fixed_bins(m: ModuleType) -> None:
    """The first event of a bin counts; its reference is the last quote of the previous one."""
    ofi = m.Ofi()
    ofi.update(*QUOTE)
    ofi.update(100.0, 6.0, 101.0, 7.0)
    assert ofi.take() == 1.0
    assert math.isnan(ofi.value)
    ofi.update(100.0, 9.0, 101.0, 7.0)
    assert ofi.take() == 3.0


def test_reset_is_the_beginning_with_the_same_parameters(m: ModuleType) -> None:
    ofi, fresh = m.Ofi(window=2), m.Ofi(window=2)
    for indicator, clean, row in (
        (ofi, fresh, QUOTE),
        (m.Vpin(1.0, 2), m.Vpin(1.0, 2), (1.0, 5.0, 1)),
        (m.Hawkes(1, 1, 2), m.Hawkes(1, 1, 2), (5,)),
        (m.KyleLambda(2), m.KyleLambda(2), (1.0, 5.0, 1)),
        (m.MedRv(), m.MedRv(), (1.0,)),
        (m.Mlofi(1), m.Mlofi(1), ([1.0, 2.0, 3.0, 4.0],)),
        (m.VpinBvc(1.0, 2), m.VpinBvc(1.0, 2), (1.0, 5.0)),
        (m.LeeReady(), m.LeeReady(), (1.0, 0.5, 1.5)),
    ):
        for _ in range(5):
            indicator.update(*row)
        assert indicator != clean
        indicator.reset()
        assert indicator == clean


def test_copies_and_pickles_are_equal_and_apart(m: ModuleType) -> None:
    ofi = m.Ofi(window=2)
    ofi.update(*QUOTE)
    for twin in (ofi.copy(), copy.copy(ofi), copy.deepcopy(ofi), pickle.loads(pickle.dumps(ofi))):
        assert twin == ofi
        twin.update(*QUOTE)
        assert twin != ofi
        assert ofi.count == 1
    assert ofi != 5


def test_peek_says_what_update_would(m: ModuleType) -> None:
    ofi = m.Ofi()
    ofi.update(*QUOTE)
    before = ofi.state()
    assert ofi.peek(100.0, 8.0, 101.0, 7.0) == 3.0
    assert math.isnan(m.Ofi(strict=True).peek(NAN, 1.0, 2.0, 1.0))
    assert ofi.state() == before
    vpin = m.Vpin(1.0, 1)
    assert vpin.peek(1.0, 1.0, 1) == 1.0
    assert vpin.count == 0
    book = m.DepthImbalance(1)
    assert book.peek([1.0, 3.0, 2.0, 1.0]) == 0.5
    assert m.TickRule().peek(1.0) == 0.0
    assert m.QuoteRule().peek(3.0, 1.0, 2.0) == 1.0


def test_states_of_others_are_refused(m: ModuleType) -> None:
    state = m.Mid().state()
    with pytest.raises(ValueError, match="unsupported"):
        m.Spread.from_state(state)
    with pytest.raises(ValueError, match="checksum"):
        m.Mid.from_state(state[:-1] + bytes([state[-1] ^ 1]))
    bent = bytes([*state[:6], 9, *state[7:-4]])
    with pytest.raises(ValueError, match="refused"):
        m.Mid.from_state(bent + state[-4:])
    for cut in range(len(state)):
        with pytest.raises(ValueError, match="refused"):
            m.Mid.from_state(state[:cut])
    with pytest.raises(ValueError, match="unsupported"):
        m.IntegratedOfi.from_state(m.Mlofi(2).state())


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("Ofi", {"window": 0}, {}),
        ("Ofi", {"window": 5, "horizon_ns": 5}, {}),
        ("Ofi", {"half_life_ns": -1}, {}),
        ("Ofi", {"missing": "zero"}, {}),
        ("Mlofi", {"levels": 0}, {}),
        ("Mlofi", {"levels": 2}, {"weights": [1.0]}),
        ("IntegratedOfi", {"weights": [0.0, 0.0]}, {}),
        ("Vpin", {"bucket_volume": 0.0, "buckets": 5}, {}),
        ("Vpin", {"bucket_volume": INF, "buckets": 5}, {}),
        ("Vpin", {"bucket_volume": 1.0, "buckets": 0}, {}),
        ("VpinFixed", {"bucket_volume": 1 << 60, "buckets": 5}, {}),
        ("VpinBvc", {"bucket_volume": 1.0, "buckets": 5, "sigma": 0.0}, {}),
        ("VpinBvc", {"bucket_volume": 1.0, "buckets": 5, "distribution": "cauchy"}, {}),
        ("Hawkes", {"mu": -1.0, "alpha": 1.0, "beta": 2.0}, {}),
        ("Hawkes", {"mu": 1.0, "alpha": 1.0, "beta": 0.0}, {}),
        ("Hawkes", {"mu": NAN, "alpha": 1.0, "beta": 1.0}, {}),
        ("EwmaVariance", {}, {}),
        ("EwmaVariance", {"decay": 0.9, "half_life_ns": 5}, {}),
        ("DecayedSum", {"half_life_ns": 0}, {}),
        ("MedRv", {"window": 2}, {}),
        ("RollSpread", {"window": 1}, {}),
        ("BookSlope", {"levels": 2, "side": "left"}, {}),
        ("Microprice", {"table": [[0.1], [0.1, 0.2]], "tick": 1.0}, {}),
        ("Microprice", {"table": [], "tick": 1.0}, {}),
        ("Microprice", {"table": [[NAN]], "tick": 1.0}, {}),
    ],
)
def test_wrong_parameters_are_refused(
    m: ModuleType, name: str, arguments: dict[str, object], named: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"parameters|is \"|differ in length"):
        getattr(m, name)(**arguments, **named)


def test_wrong_arrays_are_refused(m: ModuleType) -> None:
    ones = np.ones(4)
    for wrong in ([1.0] * 4, np.ones(4, dtype=np.float32), np.ones(8)[::2]):
        with pytest.raises(TypeError):
            m.Ofi().update_many(wrong, ones, ones, ones)
    for foreign in (">f8", ">i8"):  # what network captures and FITS files have
        with pytest.raises(TypeError, match=f"not {foreign}"):
            m.Ofi().update_many(np.ones(4, dtype=foreign), ones, ones, ones)
    with pytest.raises(TypeError):
        m.Ofi().update_many(ones, ones, ones, ones, np.arange(4, dtype=">i8"))
    with pytest.raises(TypeError):
        m.Ofi().update_many(ones, ones, ones, ones, out=np.empty(4, dtype=">f8"))
    with pytest.raises(TypeError, match="not float32"):
        m.Ofi().update_many(ones.astype(np.float32), ones, ones, ones)
    with pytest.raises(ValueError, match="length"):
        m.Ofi().update_many(ones, ones[:3], ones, ones)
    with pytest.raises(ValueError, match="rows"):
        m.Ofi().update_many(ones, ones, ones, ones, np.zeros(3, dtype=np.int64))
    with pytest.raises(TypeError):
        m.Ofi().update_many(ones, ones, ones, ones, ones)
    with pytest.raises(ValueError, match="shape"):
        m.Ofi().update_many(ones, ones, ones, ones, out=np.empty(3))
    with pytest.raises(TypeError):
        m.Ofi().update_many(ones, ones, ones, ones, out=np.empty(4, dtype=np.int64))
    with pytest.raises(ValueError, match="numbers"):
        m.Mlofi(2).update(np.ones(4))
    with pytest.raises(TypeError):
        m.Mlofi(1).update(np.ones(4, dtype=np.float32))
    with pytest.raises(ValueError, match="books"):
        m.Mlofi(2).update_many(np.ones(12))


def test_out_is_written_and_returned(m: ModuleType) -> None:
    ones, out = np.ones(4), np.empty(4)
    assert m.Mid().update_many(ones, ones, ones * 3.0, ones, out=out) is out
    assert (out == 2.0).all()
    pair = m.HawkesBivariate((0.5, 0.5), ((1, 0), (0, 1)), 2.0)
    times = np.arange(3, dtype=np.int64)
    assert pair.update_many(times, np.array([1, -1, 1], dtype=np.int8)).shape == (3, 2)


def test_integers_are_mantissas(m: ModuleType) -> None:
    whole = np.array([100, 101, 100], dtype=np.int64)
    sizes = np.array([5, 6, 7], dtype=np.int64)
    by_column = m.Ofi.batch(whole, sizes, whole + 2, sizes)
    ofi = m.Ofi()
    rows = zip(whole.tolist(), sizes.tolist(), strict=True)
    assert np.array_equal(by_column, [ofi.update(p, s, p + 2, s) for p, s in rows], equal_nan=True)


def test_levels_come_as_buffers_or_sequences(m: ModuleType) -> None:
    flat = [100.0, 5.0, 101.0, 7.0, 99.0, 1.0, 102.0, 2.0]
    for book in (
        flat,
        tuple(flat),
        np.array(flat),
        np.array(flat).reshape(2, 4),
        np.array(flat, dtype=np.int64),
    ):
        assert m.DepthImbalance(2).update(book) == (6.0 - 9.0) / 15.0


def test_matrix_has_the_levels_sums(m: ModuleType) -> None:
    books = np.array([[100.0, 5.0, 101.0, 7.0, 99.0, 1.0, 102.0, 2.0]] * 3)
    books[1:, 5] += 3.0
    books[2:, 1] += 1.0
    matrix = m.Mlofi(2).update_matrix(books)
    assert np.array_equal(matrix, [[NAN, NAN], [0.0, 3.0], [1.0, 3.0]], equal_nan=True)
    assert np.array_equal(m.Mlofi.batch(books, levels=2), [NAN, 1.5, 2.0], equal_nan=True)
    assert m.Mlofi(2).take() == [0.0, 0.0]


def test_a_window_without_size_has_no_integrated_ofi(m: ModuleType) -> None:
    ofi = m.IntegratedOfi([1.0])
    for _ in range(3):
        assert math.isnan(ofi.update([1.0, 0.0, 2.0, 0.0]))
    assert ofi.weights == [1.0]


@pytest.mark.parametrize(
    ("price", "signs"),
    [
        (100.0, {"QuoteRule": -1, "LeeReady": -1, "Emo": -1, "Clnv": -1}),
        (102.0, {"QuoteRule": 1, "LeeReady": 1, "Emo": 1, "Clnv": 1}),
        (101.0, {"QuoteRule": 0, "LeeReady": 1, "Emo": 1, "Clnv": 1}),
        (100.5, {"QuoteRule": -1, "LeeReady": -1, "Emo": 1, "Clnv": -1}),
        (100.8, {"QuoteRule": -1, "LeeReady": -1, "Emo": 1, "Clnv": 1}),
        (101.5, {"QuoteRule": 1, "LeeReady": 1, "Emo": 1, "Clnv": 1}),
        (99.0, {"QuoteRule": -1, "LeeReady": -1, "Emo": -1, "Clnv": -1}),
        (103.0, {"QuoteRule": 1, "LeeReady": 1, "Emo": 1, "Clnv": 1}),
    ],
)
def test_rules_sign_trades(m: ModuleType, price: float, signs: dict[str, int]) -> None:
    """After a trade at 99.5: the tick rule says 1, below it -1."""
    for name, sign in signs.items():
        rule = getattr(m, name)()
        rule.update(99.5, 100.0, 102.0)
        assert rule.update(price, 100.0, 102.0) == sign, name
    tick = m.TickRule()
    assert [tick.update(p) for p in (1.0, 1.0, 2.0, 2.0, 1.5)] == [0.0, 0.0, 1.0, 1.0, -1.0]


def test_without_a_quote_the_tick_rule_decides(m: ModuleType) -> None:
    for name in ("LeeReady", "Emo", "Clnv"):
        rule = getattr(m, name)()
        rule.update(1.0, NAN, NAN)
        assert rule.update(2.0, NAN, 3.0) == 1.0
    assert m.QuoteRule().update(2.0, NAN, 3.0) == 0.0


@pytest.mark.parametrize(
    ("name", "quote", "value"),
    [
        ("Mid", QUOTE, 100.5),
        ("Spread", QUOTE, 1.0),
        ("SpreadBps", QUOTE, 1e4 / 100.5),
        ("WeightedMid", QUOTE, (100 * 7 + 101 * 5) / 12),
        ("QueueImbalance", QUOTE, -2 / 12),
        ("QuoteSlope", QUOTE, math.log(1.01) / math.log(35)),
        ("QuoteSlope", (100.0, 0.5, 101.0, 2.0), NAN),
        ("SpreadBps", (-2.0, 1.0, 1.0, 1.0), NAN),
        ("Mid", (100.0, 0.0, 101.0, 1.0), NAN),
    ],
)
def test_readings(m: ModuleType, name: str, quote: tuple[float, ...], value: float) -> None:
    assert getattr(m, name)().update(*quote) == pytest.approx(value, rel=1e-14, nan_ok=True)


BOOK = [100.0, 5.0, 101.0, 7.0, 99.0, 1.0, 103.0, 2.0]


@pytest.mark.parametrize(
    ("name", "extra", "value"),
    [
        ("DepthImbalance", (), (6 - 9) / 15),
        ("Vamp", (), (100 * 7 + 101 * 5 + 99 * 2 + 103 * 1) / 15),
        ("WeightedDepthPrice", (), (100 * 5 + 101 * 7 + 99 * 1 + 103 * 2) / 15),
        ("BookSlope", ("bid",), 6 / 1.5),
        ("BookSlope", ("ask",), 9 / 2.5),
        ("BookSlope", (), (6 / 1.5 + 9 / 2.5) / 2),
    ],
)
def test_book_readings(m: ModuleType, name: str, extra: tuple[str, ...], value: float) -> None:
    assert getattr(m, name)(2, *extra).update(BOOK) == pytest.approx(value, rel=1e-14)
    assert math.isnan(getattr(m, name)(2, *extra).update([0.0] * 8))


def test_microprice_looks_up_by_imbalance_and_spread(m: ModuleType) -> None:
    micro = m.Microprice([[-0.2, 0.2], [-0.4, 0.4]], 1.0)
    assert micro.update(100.0, 1.0, 101.0, 3.0) == 100.5 - 0.2
    assert micro.update(100.0, 3.0, 102.0, 1.0) == 101.0 + 0.4
    assert micro.update(100.0, 3.0, 107.0, 1.0) == 103.5 + 0.4, "the widest known spread"
    assert math.isnan(micro.update(101.0, 1.0, 100.0, 1.0))
    assert micro.n_crossed == 1
