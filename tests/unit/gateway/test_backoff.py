"""Reconnect delays stay in their bounds for ever."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.backoff import Backoff


def make() -> Backoff:
    return Backoff(first_seconds=0.5, cap_seconds=60.0, stable_seconds=30.0)


@given(st.lists(st.floats(0, 1, exclude_max=True), max_size=200))
def test_delays_stay_between_a_tenth_of_the_first_and_the_cap(fractions):
    backoff = make()
    for fraction in fractions:
        assert 0.05 <= backoff.failed(fraction) <= 60.0


def test_ceiling_doubles_up_to_the_cap():
    backoff = make()
    ceilings = []
    for _ in range(9):
        ceilings.append(backoff.ceiling_seconds())
        backoff.failed(0.0)
    assert ceilings == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_thousands_of_failures_do_not_overflow():
    backoff = make()
    backoff.attempts = 10_000
    assert backoff.failed(0.999_999) <= 60.0


def test_stable_connection_wipes_failures_and_a_short_one_does_not():
    backoff = make()
    for _ in range(5):
        backoff.failed(0.5)
    backoff.ended(29.9)
    assert backoff.attempts == 5
    backoff.ended(30.0)
    assert backoff.attempts == 0


def test_what_the_venue_asks_outranks_the_cap():
    assert make().failed(0.0, at_least_seconds=120.0) == 120.0
