"""Everybody's turn comes in time, for a whole slice, whoever joins or leaves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.subscriptions.turns import Turns

SLICE_NS = 1_000
NAMES = st.sets(st.sampled_from([f"S{number}" for number in range(30)]))


def test_a_group_that_fits_has_no_turns() -> None:
    turns = Turns(SLICE_NS, 3)
    turns.change(["A", "B", "C"])
    assert not turns.advance(0)
    assert (turns.active, turns.ends_ns) == (("A", "B", "C"), None)


def test_turns_follow_each_other_in_the_order_of_the_queue() -> None:
    turns = Turns(SLICE_NS, 2)
    turns.change("ABCDE")
    seen = []
    for number in range(5):
        turns.advance(number * SLICE_NS)
        seen.append("".join(turns.active))
    assert seen == ["AB", "CD", "EA", "BC", "DE"]


def test_nothing_happens_within_a_slice() -> None:
    turns = Turns(SLICE_NS, 2)
    turns.change("ABC")
    turns.advance(0)
    assert not turns.advance(SLICE_NS - 1)
    turns.change("BCD")
    assert turns.active == ("B",), "a turn is a whole slice"
    assert turns.advance(SLICE_NS)
    assert turns.active == ("C", "D")


def test_a_loop_that_stood_still_shortens_nobody_s_turn() -> None:
    turns = Turns(SLICE_NS, 1)
    turns.change("AB")
    turns.advance(0)
    turns.advance(10 * SLICE_NS + 7)
    assert (turns.active, turns.ends_ns) == (("B",), 11 * SLICE_NS + 7)


def test_a_smaller_width_counts_at_once() -> None:
    turns = Turns(SLICE_NS, 3)
    turns.change("ABCD")
    turns.advance(0)
    turns.resize(2 * SLICE_NS, 1)
    assert turns.active == ("A",)


@settings(max_examples=200)
@given(st.lists(NAMES, min_size=1, max_size=40), st.integers(1, 8))
def test_everybody_is_seen_in_time_whoever_joins_and_leaves(
    memberships: list[set[str]], width: int
) -> None:
    """Method: the bound of each member counts from when it joined, with the most members since."""
    turns = Turns(SLICE_NS, width)
    waiting: dict[str, tuple[int, int]] = {}  # name -> slices waited, most members meanwhile
    for number, members in enumerate(memberships + [memberships[-1]] * 31):
        turns.change(sorted(members))
        turns.advance(number * SLICE_NS)
        active = set(turns.active)
        assert active <= members
        assert len(active) == min(width, len(members))
        for name in list(waiting):
            if name not in members or name in active:
                del waiting[name]
        for name in members - active:
            slices, most = waiting.get(name, (0, 0))
            most = max(most, len(members))
            waiting[name] = (slices + 1, most)
            assert slices + 1 <= -(-most // width), f"{name} waits too long"
