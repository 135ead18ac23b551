"""Which gap is asked for next: method: a ledger and a venue in a few lines, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import FillConfig
from gateway.filling.schedule import Ask, GiveUp, Schedule, Wait
from gateway.venue import OpenGap, Piece
from gateway.venues.binance_usdm.history import HISTORY

S = 1_000_000_000
WALL = 1_800_000_000 * S
CONFIG = FillConfig(settle_seconds=5, tries_max=3, retry_seconds=30)


def gap(
    seq: int = 7,
    left: tuple[Piece, ...] = ((11, 13),),
    channel: str = "trade",
    until_ns: int = WALL,
    symbol: str = "BTCUSDT",
) -> OpenGap:
    return OpenGap(seq, "binance-usdm", symbol, channel, 3, until_ns - S, until_ns, 0, 11, 13, left)


@dataclass
class World:
    """The schedule and its times."""

    schedule: Schedule
    wall_ns: int = WALL + 5 * S
    mono_ns: int = S

    def next(self) -> Ask | GiveUp | Wait:
        return self.schedule.next(self.wall_ns, self.mono_ns)

    def ask(self) -> Ask:
        step = self.next()
        assert isinstance(step, Ask), step
        self.schedule.sent(step)
        return step

    def wait(self, seconds: float) -> None:
        self.wall_ns += round(seconds * S)
        self.mono_ns += round(seconds * S)


def world(*gaps: OpenGap, keyed: bool = True, config: FillConfig = CONFIG) -> World:
    made = World(Schedule(HISTORY, config, keyed=keyed))
    made.schedule.see(gaps, made.wall_ns)
    return made


def test_a_gap_is_left_alone_until_late_messages_had_their_time() -> None:
    here = world(gap())
    here.wall_ns = WALL + 2 * S
    assert here.next() == Wait(3.0)
    here.wait(3)
    assert here.ask().request.target == "/fapi/v1/historicalTrades?symbol=BTCUSDT&fromId=11&limit=3"


def test_a_wall_clock_that_stepped_back_holds_a_gap_no_longer_than_usual() -> None:
    here = world(gap())
    here.wall_ns = WALL - 86_400 * S
    assert here.next() == Wait(5.0)


def test_without_gaps_there_is_nothing_to_do() -> None:
    assert world().next() == Wait(None)


def test_without_a_key_only_channels_that_need_none_are_asked_for() -> None:
    here = world(gap(1), gap(2, channel="aggtrade"), keyed=False)
    assert here.ask().gap.seq == 2
    assert world(gap(), keyed=False).next() == Wait(None)
    assert [here.schedule.asks_for(each) for each in (gap(1), gap(2, channel="aggtrade"))] == [
        False,
        True,
    ]
    assert here.schedule.hurry([]) == 1  # no order makes up for the key


def test_what_a_reply_leaves_is_asked_for_from_there() -> None:
    here = world(gap(left=((11, 2000),)))
    first = here.ask()
    assert first.request.target.endswith("fromId=11&limit=500")
    here.schedule.see([gap(left=((511, 2000),))], here.wall_ns)
    here.schedule.answered(first)
    assert here.ask().request.target.endswith("fromId=511&limit=500")


def test_ids_that_the_venue_leaves_out_do_not_hold_up_the_rest() -> None:
    here = world(gap(left=((11, 11), (600, 700))))
    first = here.ask()
    here.schedule.answered(first)  # nothing has changed
    assert here.ask().piece == (600, 700)


def test_what_cannot_be_had_is_given_up_after_rounds_that_grow_apart() -> None:
    here = world(gap())
    for pause in (30.0, 60.0):
        here.schedule.answered(here.ask())
        assert here.next() == Wait(pause)
        here.wait(pause)
    here.schedule.answered(here.ask())
    assert here.next() == GiveUp(gap(), "gone")


def test_a_refusal_is_the_outcome_only_when_it_was_the_last_word() -> None:
    here = world(gap(), config=FillConfig(settle_seconds=0, tries_max=1))
    here.schedule.refused(here.ask())
    assert here.next() == GiveUp(gap(), "refused")


def test_progress_begins_the_count_of_rounds_anew() -> None:
    here = world(gap(left=((11, 13),)))
    for _ in range(2):
        here.schedule.answered(here.ask())
        step = here.next()
        assert isinstance(step, Wait)
        assert step.seconds is not None
        here.wait(step.seconds)
    ask = here.ask()
    here.schedule.see([gap(left=((12, 13),))], here.wall_ns)
    here.schedule.answered(ask)
    here.schedule.answered(here.ask())  # in vain, but the round had progress
    assert here.next() == Wait(30.0)


def test_older_than_the_venue_keeps_is_given_up_without_asking() -> None:
    here = world(gap(until_ns=WALL - 91 * 86_400 * S))
    step = here.next()
    assert isinstance(step, GiveUp)
    assert step.outcome == "expired"


def test_the_least_served_gap_goes_first_so_that_a_huge_one_starves_nobody() -> None:
    huge, small = gap(1, left=((11, 10**6),)), gap(2, symbol="ETHUSDT")
    here = world(huge, small)
    first = here.ask()
    assert first.gap == huge
    here.schedule.see([gap(1, left=((511, 10**6),)), small], here.wall_ns)
    here.schedule.answered(first)
    assert here.ask().gap == small


def test_what_has_gone_from_the_ledger_is_closed_and_says_how_long_it_took() -> None:
    here = world(gap())
    ask = here.ask()
    here.wait(2)
    (closed,) = here.schedule.see([], here.wall_ns)
    here.schedule.answered(ask)
    assert (closed.gap.seq, closed.seconds, closed.asked) == (7, 7.0, True)
    assert here.next() == Wait(None)


def test_an_operator_may_cut_the_waiting_short() -> None:
    here = world(gap())
    here.schedule.answered(here.ask())
    assert isinstance(here.next(), Wait)
    assert here.schedule.hurry([8]) == 0
    assert here.schedule.hurry([]) == 1
    assert here.ask().gap.seq == 7


@settings(deadline=None)  # a busy machine
@given(
    missing=st.sets(st.integers(1, 3000), min_size=1, max_size=40),
    absent=st.floats(0, 1),
)
def test_every_id_that_the_venue_has_is_fetched_and_the_gap_ends(
    missing: set[int], absent: float
) -> None:
    """Whatever ids the venue lacks, all others are fetched, in bounded requests."""
    ids = sorted(missing)
    lacks = set(ids[: round(absent * len(ids))])
    left = list(ids)

    def ledger() -> list[OpenGap]:
        pieces: list[Piece] = []
        for each in left:
            if pieces and pieces[-1][1] == each - 1:
                pieces[-1] = (pieces[-1][0], each)
            else:
                pieces.append((each, each))
        return [gap(left=tuple(pieces))] if pieces else []

    here = world(*ledger())
    for _ in range(6 * len(ids) + 20):
        here.schedule.see(ledger(), here.wall_ns)
        step = here.next()
        if isinstance(step, GiveUp):
            assert step.outcome == "gone"
            break
        if isinstance(step, Wait):
            if step.seconds is None:
                break
            here.wait(step.seconds)
            continue
        words = dict(part.split("=") for part in step.request.target.split("?")[1].split("&"))
        first, limit = int(words["fromId"]), int(words["limit"])
        reply = [each for each in range(first, first + limit + len(lacks)) if each not in lacks]
        left = [each for each in left if each not in set(reply[:limit])]
        here.schedule.see(ledger(), here.wall_ns)
        here.schedule.answered(step)
    else:
        pytest.fail("it never ends")
    assert set(left) <= lacks
