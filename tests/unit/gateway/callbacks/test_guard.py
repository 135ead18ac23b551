"""Login budget and flap guard, on a hand-moved time."""

from gateway.callbacks.guard import FlapGuard, LoginBudget
from gateway.limits import NS_PER_SECOND
from gateway.venue import Rate

S = NS_PER_SECOND


def test_logins_keep_their_distance():
    budget = LoginBudget(100, Rate(1000, 86_400.0), 5.0)
    assert budget.wait_ns(0) == 0
    budget.take(0)
    assert budget.wait_ns(0) == 5 * S
    assert budget.wait_ns(5 * S) == 0


def test_a_day_has_so_many_logins_and_no_more():
    budget = LoginBudget(3, Rate(1000, 86_400.0), 1.0)
    for number in range(3):
        assert budget.left(number * 10 * S) == 3 - number
        budget.take(number * 10 * S)
    assert budget.left(30 * S) == 0
    assert budget.wait_ns(30 * S) == (86_400 - 30) * S
    assert budget.wait_ns(86_400 * S) == 0


def test_the_stricter_of_ours_and_the_venues_counts():
    assert LoginBudget(100, Rate(7, 86_400.0), 1.0).left(0) == 7
    assert LoginBudget(7, Rate(100, 86_400.0), 1.0).left(0) == 7


def test_ends_far_apart_are_no_flapping():
    guard = FlapGuard(flaps_max=3, window_seconds=60, pause_seconds=120)
    for number in range(20):
        assert not guard.ended(number * 31 * S)
    assert guard.pause_seconds() == 0


def test_too_many_ends_ask_for_a_pause_and_the_count_begins_anew():
    guard = FlapGuard(flaps_max=3, window_seconds=60, pause_seconds=120)
    assert [guard.ended(at * S) for at in (0, 10, 20)] == [False, False, True]
    assert guard.pause_seconds() == 120
    assert not guard.ended(30 * S)
