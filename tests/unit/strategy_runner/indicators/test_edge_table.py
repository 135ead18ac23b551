"""The rest of the table of edge cases: levels, unknown sides, times that repeat or run backward."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest

from strategy_runner.indicators.backend import load

NAN, INF = math.nan, math.inf
BOOK = [100.0, 5.0, 101.0, 7.0, 99.0, 3.0, 102.0, 2.0]


@pytest.fixture(params=["native", "numpy"])
def m(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)


def changed(place: int, *values: float) -> list[float]:
    return [*BOOK[:place], *values, *BOOK[place + len(values) :]]


@pytest.mark.parametrize(
    ("book", "events"),
    [
        (changed(4, 0.0, 0.0), [0.0, -3.0]),  # a level of the bids is gone
        (changed(4, -INF, 0.0), [0.0, -3.0]),
        (changed(6, 0.0, 0.0), [0.0, 2.0]),
        (changed(6, INF, 0.0), [0.0, 2.0]),
        (changed(0, 0.0, 0.0), [-5.0, 0.0]),
    ],
)
def test_a_missing_level_is_an_empty_one(
    m: ModuleType, book: list[float], events: list[float]
) -> None:
    mlofi = m.Mlofi(2)
    assert math.isnan(mlofi.update(BOOK))
    assert not mlofi.is_ready
    mlofi.update(book)
    assert mlofi.events == events
    mlofi.update(BOOK)
    assert mlofi.events == [-each for each in events]
    assert mlofi.sums == [0.0, 0.0]


def test_an_unknown_level_contributes_nothing_and_is_no_reference(m: ModuleType) -> None:
    mlofi = m.Mlofi(2, missing="unknown")
    mlofi.update(BOOK)
    mlofi.update(changed(4, 99.0, 0.0))
    mlofi.update(changed(4, 99.0, 4.0))
    assert mlofi.sums == [0.0, 1.0], "against 3, the last known size"


@pytest.mark.parametrize("bad", [(NAN, 5.0), (100.0, NAN), (100.0, -1.0), (INF, 5.0), (1.0, INF)])
@pytest.mark.parametrize("place", [0, 4])
def test_a_bad_level_skips_the_book_without_a_trace(
    m: ModuleType, place: int, bad: tuple[float, float]
) -> None:
    mlofi, untouched = m.Mlofi(2), m.Mlofi(2)
    for each in (mlofi, untouched):
        each.update(BOOK)
    assert math.isnan(mlofi.update(changed(place, *bad)))
    assert (mlofi.n_skipped, mlofi.count) == (1, 1)
    assert mlofi.update(changed(1, 9.0)) == untouched.update(changed(1, 9.0))
    strict = m.Mlofi(2, strict=True)
    with pytest.raises(ValueError, match="refused"):
        strict.update(changed(place, *bad))


@pytest.mark.parametrize("ask", [100.0, 99.5])
def test_locked_and_crossed_books_are_counted(m: ModuleType, ask: float) -> None:
    mlofi, skipping = m.Mlofi(2), m.Mlofi(2, skip_crossed=True)
    for each in (mlofi, skipping):
        each.update(BOOK)
        each.update(changed(2, ask))
    assert (mlofi.n_crossed, mlofi.n_skipped, mlofi.count) == (1, 0, 2)
    assert (skipping.n_crossed, skipping.n_skipped, skipping.count) == (1, 1, 1)


def test_the_first_bar_is_bought_by_half(m: ModuleType) -> None:
    assert m.BvcShare(sigma=1.0).update(100.0) == 0.5
    assert m.VpinBvc(1.0, 1, sigma=1.0).update(100.0, 1.0) == 0.0


def test_the_first_trade_fills_the_bucket(m: ModuleType) -> None:
    vpin = m.Vpin(2.0, 1)
    assert math.isnan(vpin.update(1.0, 1.5, 1))
    assert (vpin.filled, vpin.is_ready) == (1.5, False)
    assert vpin.update(1.0, 0.5, 1) == 1.0
    assert vpin.is_ready


@pytest.mark.parametrize("side", [0, NAN])
def test_an_event_without_a_side_is_skipped(m: ModuleType, side: float) -> None:
    made = (0.5, 0.6), ((0.4, 0.1), (0.2, 0.3)), 2.0
    pair, untouched, strict = (
        m.HawkesBivariate(*made),
        m.HawkesBivariate(*made),
        m.HawkesBivariate(*made, strict=True),
    )
    for each in (pair, untouched, strict):
        each.update(10, 1)
    assert all(math.isnan(x) for x in pair.update(20, side))
    assert (pair.n_skipped, pair.count) == (1, 1)
    with pytest.raises(ValueError, match="refused"):
        strict.update(20, side)
    assert pair.update(30, -1) == untouched.update(30, -1) == strict.update(30, -1)


def test_equal_and_backward_times_are_taken_in_order(m: ModuleType) -> None:
    """The window's clock stands still; nothing is raised and nothing leaves early."""
    ofi = m.Ofi(horizon_ns=10)
    for size, ts in ((5.0, 100), (6.0, 100), (8.0, 90), (11.0, 100), (12.0, 105)):
        ofi.update(1.0, size, 2.0, 5.0, ts)
    assert ofi.n_early == 0
    assert ofi.update(1.0, 12.0, 2.0, 5.0, 110) == 1.0, "of 105, not of 100 and 90"
    vpin = m.Vpin(2.0, 1)
    vpin.update(1.0, 1.0, 1, 100)
    assert vpin.update(1.0, 1.0, 1, 5) == 1.0


def test_a_repeated_book_adds_nothing(m: ModuleType) -> None:
    mlofi = m.Mlofi(2)
    mlofi.update(BOOK)
    mlofi.update(BOOK)
    assert mlofi.events == [0.0, 0.0]


def test_after_a_reset_the_next_quote_is_a_first_one(m: ModuleType) -> None:
    ofi = m.Ofi(window=1)
    ofi.update(1.0, 5.0, 2.0, 5.0)
    ofi.update(1.0, 9.0, 2.0, 5.0)
    ofi.reset()
    assert math.isnan(ofi.update(1.0, 7.0, 2.0, 5.0))
    assert math.isnan(ofi.event)
    assert ofi.update(1.0, 8.0, 2.0, 5.0) == 1.0
    assert ofi.params["window"] == 1


def test_a_bad_row_in_the_middle_of_a_block_is_the_only_one_skipped(m: ModuleType) -> None:
    """Columns go by blocks; one hostile row must not change its neighbours."""
    rows = 700
    sizes = 1.0 + np.arange(rows) % 7
    ones = np.ones(rows)
    for place in (0, 255, 256, 300, rows - 1):
        broken = sizes.copy()
        broken[place] = NAN
        many, single = m.Ofi(window=3), m.Ofi(window=3)
        found = many.update_many(ones, broken, ones * 2.0, ones)
        wanted = [single.update(1.0, size, 2.0, 1.0) for size in broken.tolist()]
        assert np.array_equal(found, wanted, equal_nan=True)
        assert many == single
        vpins = m.VpinBvc(9.0, 2, sigma=1.0), m.VpinBvc(9.0, 2, sigma=1.0)
        found = vpins[0].update_many(sizes, broken, ones)
        wanted = [vpins[1].update(*row) for row in zip(sizes, broken.tolist(), strict=True)]
        assert np.array_equal(found, wanted, equal_nan=True)
        assert vpins[0] == vpins[1]
    times = np.arange(rows, dtype=np.int64) * 10**7
    times[300] = 5
    sides = np.where(np.arange(rows) % 3 == 0, 1, -1).astype(np.int8)
    sides[600] = 0
    hawkes = m.Hawkes(0.5, 1.0, 2.0), m.Hawkes(0.5, 1.0, 2.0)
    assert np.array_equal(hawkes[0].update_many(times), [hawkes[1].update(int(t)) for t in times])
    assert hawkes[0] == hawkes[1]
    pairs = [m.HawkesBivariate((0.5, 0.6), ((0.4, 0.1), (0.2, 0.3)), 2.0) for _ in range(2)]
    found = pairs[0].update_many(times, sides)
    wanted = [pairs[1].update(int(t), int(s)) for t, s in zip(times, sides, strict=True)]
    assert np.array_equal(found, wanted, equal_nan=True)
    assert pairs[0] == pairs[1]
