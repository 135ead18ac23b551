"""The venue's limit of calls: exact for every window, a share of it for cancels alone."""

from hypothesis import given
from hypothesis import strategies as st

from risk.brokers.shioaji.rate import NS_PER_SECOND, CallRate

WINDOW_NS = 10 * NS_PER_SECOND


@given(st.lists(st.tuples(st.integers(0, NS_PER_SECOND), st.booleans()), max_size=300))
def test_no_window_holds_more_than_the_limit_nor_new_orders_more_than_their_share(steps):
    rate = CallRate(20, 10.0, reserved=4)
    now, taken = 0, []
    for step, urgent in steps:
        now += step
        if not rate.take(now, urgent=urgent):
            taken.append((now, urgent))
    for end, _ in taken:
        within = [each for each in taken if end - WINDOW_NS < each[0] <= end]
        assert len(within) <= 20
        last_new = max((n for n, each in enumerate(within) if not each[1]), default=-1)
        assert last_new < 16


def test_the_wait_that_is_told_is_enough_and_not_too_long():
    rate = CallRate(3, 10.0, reserved=1)
    assert [rate.take(each) for each in (0, 5)] == [0, 0]
    wait_ns = rate.take(10)
    assert wait_ns == 11 * NS_PER_SECOND - 10
    assert rate.take(10, urgent=True) == 0
    # The urgent call counts as well: of the three, two have to be over.
    assert rate.take(10 + wait_ns - 1) == 6
    assert rate.take(10 + wait_ns + 4) == 1
    assert rate.take(10 + wait_ns + 5) == 0


def test_after_a_silence_everything_may_be_taken_again():
    rate = CallRate(5, 1.0)
    for start in (0, 10 * NS_PER_SECOND):
        assert [rate.take(start) for _ in range(6)][:5] == [0] * 5
        assert rate.take(start) > 0
