"""Limits hold in every window; Retry-After is believed within reason."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.limits import RollingLimit, retry_after_seconds
from gateway.venue import Rate

SECOND = 1_000_000_000


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 8)), max_size=60),
)
def test_no_window_holds_more_than_the_limit(most, asks):
    """Property: whoever waits as told never exceeds the limit in any window."""
    limit = RollingLimit(Rate(most, 1.0))
    now = 0
    sent = []
    for pause, asked in asks:
        units = min(asked, most)
        now += pause
        waited = 0
        while wait := limit.wait_ns(now, units):
            now += wait
            waited += 1
            assert waited < 3, "one wait suffices while nobody else takes"
        limit.take(now, units)
        sent.append((now, units))
    for end, _ in sent:
        assert sum(units for at, units in sent if end - SECOND < at <= end) <= most


def test_forced_units_count_and_are_paid_back_by_waiting():
    limit = RollingLimit(Rate(2, 1.0))
    for _ in range(4):  # four pongs that could not wait
        limit.take(0)
    assert limit.wait_ns(0) == SECOND
    assert limit.wait_ns(SECOND) == 0


def test_request_above_the_limit_waits_for_an_empty_window_and_then_goes():
    limit = RollingLimit(Rate(10, 1.0))
    assert limit.wait_ns(0, 50) == 0
    limit.take(5, 1)
    assert limit.wait_ns(10, 50) == SECOND - 5
    assert limit.wait_ns(5 + SECOND, 50) == 0


def test_block_holds_everything_back_and_a_shorter_block_does_not_shorten_it():
    limit = RollingLimit(Rate(10, 1.0))
    limit.block(0, 30.0)
    limit.block(0, 1.0)
    assert limit.wait_ns(0) == 30 * SECOND
    assert limit.wait_ns(30 * SECOND) == 0


def test_venue_count_is_adopted_only_upwards():
    limit = RollingLimit(Rate(100, 60.0))
    limit.take(0, 20)
    limit.adopt(1, 90)
    assert limit.used(1) == 90
    limit.adopt(2, 10)
    assert limit.used(2) == 90
    assert limit.wait_ns(2, 11) > 0


@pytest.mark.parametrize(
    ("status", "header", "strikes", "seconds"),
    [
        (429, "7", 0, 7.0),
        (429, None, 0, 16.0),
        (429, None, 2, 48.0),
        (418, None, 5, 120.0),
        (429, "0", 0, 0.0),
        (429, "soon", 1, 32.0),
        (429, "-5", 0, 16.0),
        (429, "99999999999", 0, 3 * 86_400.0),
        (429, "Thu, 01 Jan 1970 00:01:40 GMT", 0, 40.0),
        (429, "Thu, 01 Jan 1970 00:00:01 GMT", 0, 0.0),
    ],
)
def test_retry_after(status, header, strikes, seconds):
    assert retry_after_seconds(status, header, strikes, 60 * SECOND) == seconds


@given(st.text(max_size=40), st.integers(0, 100))
@example("0:", 0)  # IndexError in email.utils
def test_any_retry_after_text_gives_a_bounded_wait(header, strikes):
    assert 0.0 <= retry_after_seconds(429, header, strikes, 0) <= 3 * 86_400.0
