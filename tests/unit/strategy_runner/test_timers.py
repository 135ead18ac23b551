"""Timers: on the grid, in order, bounded."""

from __future__ import annotations

import pytest

from strategy_runner.errors import StrategyError
from strategy_runner.timers import TIMERS_MAX, Timers


def names(timers: Timers, now_ns: int) -> list[str]:
    return [timer.name for timer in timers.due(now_ns)]


def test_they_fire_in_the_order_in_which_they_are_due() -> None:
    timers = Timers()
    timers.at(30, "c")
    timers.at(10, "a")
    timers.at(10, "b")
    assert names(timers, 9) == []
    assert names(timers, 30) == ["a", "b", "c"]
    assert (names(timers, 99), len(timers)) == ([], 0)


def test_a_periodic_one_keeps_to_multiples_of_its_period() -> None:
    timers = Timers()
    timer = timers.every(10, "ten", now_ns=13)
    fired = [(now, timer.due_ns) for now in range(13, 60) for _ in timers.due(now)]
    assert fired == [(20, 20), (30, 30), (40, 40), (50, 50)]


def test_one_made_before_there_is_a_time_starts_with_the_time() -> None:
    timers = Timers()
    timers.every(10, "ten", now_ns=0)
    assert names(timers, 1_005) == []
    assert names(timers, 1_010) == ["ten"]
    exact = Timers()
    exact.every(10, "ten", now_ns=0)
    assert names(exact, 1_010) == ["ten"]


def test_a_cancelled_one_is_silent_also_from_inside_its_own_turn() -> None:
    timers = Timers()
    one, two = timers.every(10, "one", now_ns=1), timers.at(10, "two")
    for timer in timers.due(10):
        assert timer is one
        one.cancel()
        two.cancel()
    assert (names(timers, 1_000), len(timers)) == ([], 0)


def test_there_is_a_bound_and_no_period_of_nothing() -> None:
    timers = Timers()
    with pytest.raises(StrategyError, match="every 0 ns"):
        timers.every(0, "never", now_ns=1)
    for _ in range(TIMERS_MAX):
        timers.at(1, "")
    for add in (lambda: timers.at(1, ""), lambda: timers.every(5, "", now_ns=0)):
        with pytest.raises(StrategyError, match="which is the limit"):
            add()
