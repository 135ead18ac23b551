"""The lowest priority goes first and comes back last; the highest never goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.subscriptions.throttle import Throttle

S = 1_000_000_000
PRIORITIES = frozenset({10, 50, 100})


def throttle() -> Throttle:
    return Throttle(resume_load=0.5, step_seconds=5.0, hold_seconds=30.0)


def test_a_high_load_pauses_one_priority_at_once_and_the_next_after_a_step() -> None:
    each = throttle()
    assert each.observe(1.0, PRIORITIES, 0)
    assert each.paused(PRIORITIES) == {10}
    assert not each.observe(9.0, PRIORITIES, 4 * S)
    assert each.observe(9.0, PRIORITIES, 5 * S)
    assert each.paused(PRIORITIES) == {10, 50}
    assert not each.observe(9.0, PRIORITIES, 50 * S), "the highest is never paused"


def test_between_the_thresholds_nothing_changes() -> None:
    each = throttle()
    each.observe(1.0, PRIORITIES, 0)
    for second in range(1, 200):
        assert not each.observe(0.75, PRIORITIES, second * S)


def test_calm_resumes_the_highest_paused_first_and_one_at_a_time() -> None:
    each = throttle()
    each.observe(1.0, PRIORITIES, 0)
    each.observe(1.0, PRIORITIES, 5 * S)
    assert not each.observe(0.5, PRIORITIES, 6 * S)
    assert not each.observe(0.1, PRIORITIES, 35 * S)
    assert each.observe(0.1, PRIORITIES, 36 * S)
    assert each.paused(PRIORITIES) == {10}
    assert not each.observe(0.1, PRIORITIES, 65 * S)
    assert each.observe(0.1, PRIORITIES, 66 * S)
    assert each.floor is None


def test_a_moment_of_load_begins_the_calm_anew() -> None:
    each = throttle()
    each.observe(1.0, PRIORITIES, 0)
    each.observe(0.1, PRIORITIES, 10 * S)
    each.observe(0.7, PRIORITIES, 39 * S)
    assert not each.observe(0.1, PRIORITIES, 41 * S)
    assert each.observe(0.1, PRIORITIES, 71 * S)


@pytest.mark.parametrize("priorities", [frozenset(), frozenset({100})])
def test_a_single_priority_is_never_paused(priorities: frozenset[int]) -> None:
    each = throttle()
    assert not each.observe(5.0, priorities, 0)
    assert each.paused(priorities) == frozenset()


def test_when_the_higher_ones_are_wanted_no_more_the_rest_comes_back() -> None:
    each = throttle()
    each.observe(1.0, PRIORITIES, 0)
    each.observe(1.0, PRIORITIES, 5 * S)
    each.observe(0.7, frozenset({10}), 6 * S)
    assert each.paused(frozenset({10})) == frozenset()


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 3.0), st.frozensets(st.integers(1, 6), max_size=6), st.integers(0, 40)
        ),
        max_size=60,
    )
)
def test_no_priority_is_ever_paused_while_a_lower_one_runs(
    moments: list[tuple[float, frozenset[int], int]],
) -> None:
    each = throttle()
    now_ns = 0
    for load, priorities, seconds in moments:
        now_ns += seconds * S
        each.observe(load, priorities, now_ns)
        paused = each.paused(priorities)
        running = priorities - paused
        assert not paused or not running or max(paused) < min(running)
        assert not priorities or max(priorities) in running
