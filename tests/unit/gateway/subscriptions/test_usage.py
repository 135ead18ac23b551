"""A forecast from the venue's own counter, and a stop that comes before the cap."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.subscriptions.usage import UsageGuard, UsageReading

S = 1_000_000_000
MINUTE = 60 * S
HOUR = 60 * MINUTE
LIMIT = 500 << 20


def test_before_a_reading_nothing_is_known_and_nothing_stopped() -> None:
    guard = UsageGuard()
    assert guard.last is None
    assert (guard.load(0, HOUR), guard.must_stop(0), guard.batch_bytes(0, HOUR, 60)) == (
        0,
        False,
        0,
    )


def test_the_forecast_goes_on_at_the_rate_of_the_window() -> None:
    guard = UsageGuard(window_seconds=600)
    for minute in range(11):
        guard.observe(UsageReading(minute * 1_000_000, LIMIT), minute * MINUTE)
    assert round(guard.bytes_per_second) == 16_667
    now_ns = 10 * MINUTE
    assert guard.forecast_bytes(now_ns, now_ns + HOUR) == 70_000_000
    assert 0.14 < guard.load(now_ns, now_ns + HOUR) < 0.15


def test_an_old_burst_leaves_the_window() -> None:
    guard = UsageGuard(window_seconds=300)
    guard.observe(UsageReading(0, LIMIT), 0)
    guard.observe(UsageReading(100 << 20, LIMIT), MINUTE)
    assert guard.load(MINUTE, 10 * HOUR) > 1
    for minute in range(2, 20):
        guard.observe(UsageReading(100 << 20, LIMIT), minute * MINUTE)
    assert guard.load(20 * MINUTE, 10 * HOUR) < 0.5


def test_a_silent_venue_is_held_for_as_busy_as_it_ever_was() -> None:
    guard = UsageGuard()
    guard.observe(UsageReading(0, LIMIT), 0)
    guard.observe(UsageReading(LIMIT // 8, LIMIT), MINUTE)
    assert not guard.must_stop(3 * MINUTE)
    assert guard.must_stop(5 * MINUTE)


def test_the_reset_begins_everything_anew() -> None:
    guard = UsageGuard()
    guard.observe(UsageReading(0, LIMIT), 0)
    guard.observe(UsageReading(LIMIT, LIMIT), MINUTE)
    assert guard.must_stop(MINUTE)
    guard.observe(UsageReading(1_000, LIMIT), 2 * MINUTE)
    assert not guard.must_stop(2 * MINUTE)
    assert guard.bytes_per_second == 0.0


def test_batches_share_what_is_left_until_the_reset() -> None:
    guard = UsageGuard(cap_share=1.0)
    guard.observe(UsageReading(LIMIT // 2, LIMIT), 0)
    assert guard.batch_bytes(0, HOUR, 60.0) == LIMIT // 2 // 60


@settings(max_examples=300)
@given(
    st.lists(st.floats(0.0, 1.0), min_size=5, max_size=120),
    st.integers(LIMIT // 1_000, LIMIT // 8),
    st.floats(1.0, 3.0),
)
def test_the_stop_comes_before_the_cap(shares: list[float], most_bytes: int, surge: float) -> None:
    """Traffic of up to `surge` times its highest minute so far never gets beyond the cap."""
    guard = UsageGuard(surge=surge)
    guard.observe(UsageReading(0, LIMIT), 0)
    used, highest = 0, 0.0
    for minute, share in enumerate(shares, start=1):
        if guard.must_stop((minute - 1) * MINUTE):
            break
        bound = most_bytes if highest == 0.0 else min(highest * surge, LIMIT)
        step = int(bound * share)
        used += step
        highest = max(highest, step)
        guard.observe(UsageReading(used, LIMIT), minute * MINUTE)
        assert used <= guard.cap_bytes
