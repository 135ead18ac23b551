"""The allowance of questions: the venue's minutes, its own count, its bans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from risk.brokers.binance.rest import Allowance

S = 1_000_000_000
MINUTE = 60 * S


def test_questions_leave_a_fifth_to_orders() -> None:
    allowance = Allowance(100)
    allowance.take(60, server_ns=0)
    assert allowance.wait_s(20, server_ns=0, mono_ns=0) == 0
    assert allowance.wait_s(21, server_ns=15 * S, mono_ns=0) == 45
    assert allowance.wait_s(21, server_ns=MINUTE, mono_ns=0) == 0


def test_venues_own_count_holds_when_it_is_higher() -> None:
    allowance = Allowance(100)
    allowance.take(1, server_ns=0)
    allowance.adopt("70", server_ns=0)
    assert allowance.used == 70
    for nonsense in ("5", None, "", "x", "-1", "٣"):
        allowance.adopt(nonsense, server_ns=0)
        assert allowance.used == 70
    allowance.adopt("3", server_ns=MINUTE)
    assert allowance.used == 3


def test_ban_lasts_by_the_monotonic_clock() -> None:
    allowance = Allowance(100)
    allowance.block(2.0, mono_ns=S)
    assert allowance.wait_s(1, server_ns=0, mono_ns=2 * S) == 1
    assert allowance.wait_s(1, server_ns=0, mono_ns=3 * S) == 0


def test_question_heavier_than_the_share_is_asked_in_a_fresh_minute() -> None:
    allowance = Allowance(50)
    assert allowance.wait_s(80, server_ns=0, mono_ns=0) == 0
    allowance.take(80, server_ns=0)
    assert allowance.wait_s(80, server_ns=0, mono_ns=0) > 0


@given(
    st.lists(st.tuples(st.integers(0, 30 * S), st.integers(1, 40)), max_size=60),
)
def test_asked_weight_never_exceeds_the_share_of_a_minute(steps: list[tuple[int, int]]) -> None:
    """A single question that is heavier than the share alone excepted."""
    allowance = Allowance(100)
    now_ns = 0
    spent: dict[int, int] = {}
    for pause_ns, weight in steps:
        now_ns += pause_ns
        if allowance.wait_s(weight, server_ns=now_ns, mono_ns=now_ns) == 0:
            allowance.take(weight, server_ns=now_ns)
            minute = now_ns // MINUTE
            spent[minute] = spent.get(minute, 0) + weight
    assert all(used <= 80 for used in spent.values())


def test_clock_of_the_venue_backwards_grants_nothing() -> None:
    allowance = Allowance(100)
    allowance.take(80, server_ns=5 * MINUTE)
    assert allowance.wait_s(1, server_ns=4 * MINUTE, mono_ns=0) > 0
