"""A forecast from the venue's own counter, and a stop that comes before the cap."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.subscriptions.usage import Allowance, UsageGuard, UsageReading

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


# Queries ----------------------------------------------------------------------------------------

RESET = 24 * HOUR


def allowance() -> Allowance:
    return Allowance(UsageGuard(cap_share=1.0), reset=lambda _: RESET, pauses_streams=True)


def test_before_a_cost_is_known_one_query_is_asked_between_two_readings() -> None:
    made = allowance()
    assert made.outlook(wall_ns=0, mono_ns=0).queries_left == 1
    made.asked()
    assert made.outlook(wall_ns=0, mono_ns=0).queries_left == 0
    made.observe(UsageReading(0, LIMIT), wall_ns=0, mono_ns=0)
    assert made.outlook(wall_ns=0, mono_ns=0).queries_left == 1


def test_the_batch_follows_the_cost_of_a_query_and_what_is_left() -> None:
    made = allowance()
    made.observe(UsageReading(0, LIMIT), wall_ns=0, mono_ns=0)
    made.asked()
    made.observe(UsageReading(10_000, LIMIT), wall_ns=MINUTE, mono_ns=MINUTE)
    cheap = made.outlook(wall_ns=MINUTE, mono_ns=MINUTE)
    assert cheap.queries_left == cheap.batch_bytes // 10_000 == (LIMIT - 10_000) // 1_439 // 10_000
    for _ in range(2):
        made.asked()
    assert made.outlook(wall_ns=MINUTE, mono_ns=MINUTE).queries_left == cheap.queries_left - 2
    # Two of them cost 50 MB each: from now on one at a time.
    made.observe(UsageReading(100_010_000, LIMIT), wall_ns=2 * MINUTE, mono_ns=2 * MINUTE)
    assert made.outlook(wall_ns=2 * MINUTE, mono_ns=2 * MINUTE).queries_left == 1
    # One that costs as much again comes near the cap: none.
    made.asked()
    made.observe(UsageReading(300_000_000, LIMIT), wall_ns=3 * MINUTE, mono_ns=3 * MINUTE)
    stopped = made.outlook(wall_ns=3 * MINUTE, mono_ns=3 * MINUTE)
    assert (stopped.must_stop, stopped.queries_left) == (True, 0)


@settings(max_examples=40, deadline=None)
@example(query_bytes=1_550_516, pushed_bytes=100_000, hungry=4)
@given(st.integers(0, LIMIT // 8), st.integers(0, 100_000), st.integers(1, 4))
def test_queries_alone_never_use_the_allowance_up(
    query_bytes: int, pushed_bytes: int, hungry: int
) -> None:
    """Whoever wants more than there is gets as many a minute as last to the reset, or is stopped.

    `hungry`: queries wanted a minute; a cost that stays the same is learnt by the first one.
    """
    made = allowance()
    used, start_ns = 0, RESET - 6 * HOUR
    made.observe(UsageReading(0, LIMIT), wall_ns=start_ns, mono_ns=start_ns)
    for minute in range(6 * 60 - 1):
        now_ns = start_ns + minute * MINUTE
        for _ in range(hungry):
            if made.outlook(wall_ns=now_ns, mono_ns=now_ns).queries_left:
                made.asked()
                used += query_bytes
        if not made.outlook(wall_ns=now_ns, mono_ns=now_ns).must_stop:
            used += pushed_bytes  # a stop ends the streams, too
        assert used <= LIMIT
        now_ns += MINUTE
        made.observe(UsageReading(used, LIMIT), wall_ns=now_ns, mono_ns=now_ns)
