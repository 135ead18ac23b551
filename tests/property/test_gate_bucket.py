"""Rates through the whole gate: every window holds at most the limit, whatever arrives and when.

Method: hypothesis draws arrivals; approvals are collected and every window between two of them is
counted. The bucket alone has its laws in native/core/src/risk/bucket.rs.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.approval import ApprovedCancel
from risk.gate_terms import derive_lanes, derive_rate
from risk.gate_twin_parts import Bucket
from risk.limits import VenueLimitConfig
from tests.harness.gates import VENUE, Desk, row

WINDOW_MS = 100
MS = 1_000_000


def most_in_a_window(times: list[int], window: int) -> int:
    return max((sum(t <= each <= t + window for each in times) for t in times), default=0)


@settings(max_examples=30, deadline=None)
@given(
    limit=st.integers(1, 30),
    steps=st.lists(st.integers(0, 20 * MS), min_size=1, max_size=120),
)
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_every_window_holds_at_most_the_limit(backend: str, limit: int, steps: list[int]) -> None:
    desk = Desk(
        "native" if backend == "native" else "numpy",
        row(orders_max=limit, orders_window_ms=WINDOW_MS),
    )
    granted = []
    for step in steps:
        desk.now += step
        if desk.reason() == "-":
            granted.append(desk.now)
            desk.gate.released(desk.number)
    assert most_in_a_window(granted, WINDOW_MS * MS) <= limit


@settings(max_examples=30, deadline=None)
@given(
    limit=st.integers(2, 40),
    pct=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 20 * MS), st.booleans()), min_size=1, max_size=120),
)
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_orders_and_cancels_together_hold_the_venues_limit(
    backend: str, limit: int, pct: int, steps: list[tuple[int, bool]]
) -> None:
    """Orders alone hold their share, and whatever they take, a cancel has room behind them."""
    venue = VenueLimitConfig(venue=VENUE, messages_max=limit, window_ms=WINDOW_MS, cancel_pct=pct)
    desk = Desk("native" if backend == "native" else "numpy", venues=(venue,))
    assert desk.reason() == "-"
    granted, orders, first = [desk.now], [desk.now], desk.number
    for step, is_cancel in steps:
        desk.now += step
        if is_cancel:
            answer = desk.gate.check_cancel(first, mono_ns=desk.now)
            granted += [desk.now] * isinstance(answer, ApprovedCancel)
        elif desk.reason() == "-":
            orders.append(desk.now)
            answer = desk.gate.check_cancel(first, mono_ns=desk.now)
            assert isinstance(answer, ApprovedCancel), "an order took the last token"
            granted += [desk.now] * 2
    assert most_in_a_window(granted, WINDOW_MS * MS) <= limit
    assert most_in_a_window(orders, WINDOW_MS * MS) <= limit - venue.cancels_max


@given(orders=st.integers(0, 400), cancels=st.integers(1, 400), window=st.integers(1, 5_000))
def test_lanes_share_one_limit(orders: int, cancels: int, window: int) -> None:
    burst, whole, per = derive_lanes(orders, cancels, window)
    assert whole + window // per <= orders + cancels
    assert burst < whole or (burst, orders) == (0, 0)
    assert (burst > 0) is (orders > 0)


@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(0, 60),
    window=st.integers(1, 5_000),
    steps=st.lists(st.integers(0, 50), max_size=300),
)
def test_the_twins_bucket_obeys_the_same_law(limit: int, window: int, steps: list[int]) -> None:
    bucket, now, granted = Bucket(), 0, []
    for step in steps:
        now += step
        if bucket.has(now, limit, window):
            bucket.take(now, limit, window)
            granted.append(now)
    assert most_in_a_window(granted, window) <= limit
    burst, per = derive_rate(limit, window)
    assert burst + window // per <= max(limit, 0)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=200), st.integers(1, 20))
def test_a_clock_that_goes_back_grants_nothing(steps: list[int], limit: int) -> None:
    """Against a clock that stands still wherever this one goes back."""
    jumping, standing, now, highest, grants = Bucket(), Bucket(), 10_000, 0, [0, 0]
    for step in steps:
        now += step
        highest = max(highest, now)
        for at, (bucket, time) in enumerate(((jumping, now), (standing, highest))):
            if bucket.has(time, limit, 500):
                bucket.take(time, limit, 500)
                grants[at] += 1
    assert grants[0] <= grants[1]


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_the_clock_going_back_opens_nothing_in_the_gate(backend: str) -> None:
    desk = Desk(
        "native" if backend == "native" else "numpy",
        row(orders_max=5, orders_window_ms=1_000, reference_age_ms_max="unlimited"),
    )
    assert [desk.reason(), desk.reason()] == ["-", "RATE_SIDE"]
    for earlier, later in pairwise(range(20)):
        desk.now -= (later - earlier) * 100 * MS
        assert desk.reason() == "RATE_SIDE"
