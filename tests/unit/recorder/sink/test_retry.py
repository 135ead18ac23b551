"""Pauses and breakers, by property: hypothesis chooses attempts, dice, failures and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.sink.retry import CircuitBreaker, CircuitState, RetryPolicy

POLICY = RetryPolicy(delay_ms_min=100, delay_ms_max=10_000)
S = 10**9
dice = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10_000), dice, st.none() | st.floats(0, 120))
def test_a_pause_lies_between_nothing_and_the_cap_unless_the_server_asked_for_more(
    attempt, draw, retry_after_s
):
    pause_ms = POLICY.delay_ms(attempt, lambda: draw, retry_after_s)
    asked_ms = (retry_after_s or 0) * 1000
    cap_ms = min(10_000, 100 * 2 ** min(attempt, 30))
    assert asked_ms <= pause_ms <= max(cap_ms, asked_ms)
    if asked_ms == 0:
        assert pause_ms == cap_ms * draw


@given(st.integers(0, 29))
def test_the_cap_doubles_until_its_maximum(attempt):
    assert RetryPolicy(delay_ms_min=1, delay_ms_max=1 << 29).delay_ms(attempt, lambda: 1.0) == min(
        1 << attempt, 1 << 29
    )


def test_a_budget_ends_and_none_never_does():
    assert not RetryPolicy().exhausted(1e12)
    limited = RetryPolicy(budget_ms=1_000)
    assert not limited.exhausted(999)
    assert limited.exhausted(1_000)


@pytest.mark.parametrize(
    "fields",
    [{"delay_ms_min": 0}, {"delay_ms_min": 11, "delay_ms_max": 10}, {"budget_ms": -1}],
)
def test_a_policy_without_sense_is_refused(fields):
    with pytest.raises(ValueError, match=r"delay_ms|budget_ms"):
        RetryPolicy(**fields)


def opened(now_ns=0, **options):
    breaker = CircuitBreaker(POLICY, lambda: 1.0, failures_max=1, **options)
    breaker.failed(now_ns)
    return breaker


def test_it_opens_after_failures_in_a_row_only():
    breaker = CircuitBreaker(POLICY, lambda: 1.0, failures_max=3)
    for outcome in "ffsff":
        breaker.failed(0) if outcome == "f" else breaker.succeeded()
    assert breaker.state is CircuitState.CLOSED
    breaker.failed(0)
    assert (breaker.state, breaker.opened_total) == (CircuitState.OPEN, 1)


def test_half_open_lets_exactly_one_probe_through():
    breaker = opened()
    assert not breaker.allow(breaker.next_probe_ns - 1)
    assert [breaker.allow(breaker.next_probe_ns) for _ in range(5)] == [True, *[False] * 4]
    breaker.succeeded()
    assert all(breaker.allow(0) for _ in range(5))


def test_a_probe_that_had_nothing_to_send_leaves_its_place_to_another():
    breaker = opened()
    assert breaker.allow(breaker.next_probe_ns)
    breaker.withdrawn()
    assert breaker.allow(breaker.next_probe_ns)


def test_each_failed_probe_waits_longer_up_to_the_cap():
    breaker, now_ns, pauses = opened(), 0, []
    for _ in range(9):
        pauses.append((breaker.next_probe_ns - now_ns) // 10**6)
        now_ns = breaker.next_probe_ns
        assert breaker.allow(now_ns)
        breaker.failed(now_ns)
    assert pauses == [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
    assert breaker.opened_total == 1


def test_what_was_out_when_it_opened_only_confirms_it():
    breaker = opened()
    probe_ns = breaker.next_probe_ns
    for _ in range(10):
        breaker.failed(probe_ns - 1)
    assert breaker.next_probe_ns == probe_ns


def test_a_server_that_says_when_to_come_back_is_believed_at_once():
    breaker = CircuitBreaker(POLICY, lambda: 0.0, failures_max=3)
    breaker.failed(0, retry_after_s=7)
    assert not breaker.allow(7 * S - 1)
    breaker.failed(S, retry_after_s=9)  # another one's answer, later and longer
    assert not breaker.allow(10 * S - 1)
    assert breaker.allow(10 * S)


steps = st.lists(
    st.tuples(st.sampled_from(["allow", "succeeded", "failed", "withdrawn"]), st.integers(0, S)),
    max_size=60,
)


@given(steps, dice)
def test_never_more_than_one_is_out_while_it_is_not_closed(script, draw):
    """Model: the probes let through since it last opened minus those that came back is 0 or 1."""
    breaker = CircuitBreaker(POLICY, lambda: draw, failures_max=2)
    now_ns, out = 0, 0
    for step, passed_ns in script:
        now_ns += passed_ns
        was = breaker.state
        if step == "allow":
            allowed = breaker.allow(now_ns)
            if was is not CircuitState.CLOSED:
                out += allowed
                assert not allowed or now_ns >= breaker.next_probe_ns
        elif step == "failed":
            breaker.failed(now_ns)
            out = 0
        else:
            getattr(breaker, step)()
            out = 0
        assert out <= 1
        assert (breaker.state is CircuitState.HALF_OPEN) == (out == 1)
