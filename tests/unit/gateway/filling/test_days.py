"""Which day is asked for next, on a hand-moved time."""

from __future__ import annotations

from gateway.config import FillConfig
from gateway.filling.days import AskDay, Days
from gateway.filling.schedule import GiveUp, Wait
from gateway.venue import OpenGap
from gateway.venues.shioaji.past import HISTORY

S = 1_000_000_000
DAY = 20_648  # 2026-07-14
TEN = (DAY * 86_400 + 2 * 3600) * S  # 10:00 in Taiwan
OVER = (DAY * 86_400 + 6 * 3600 + 45 * 60) * S  # 14:45
CONFIG = FillConfig(tries_max=2, retry_seconds=60)


def gap(seq: int = 7, symbol: str = "2330", night: bool = False) -> OpenGap:
    count = 2 * DAY + night
    return OpenGap(seq, "shioaji", symbol, "trade", 3, TEN, TEN, count, 101, 120, ((101, 120),))


def days(*gaps: OpenGap) -> Days:
    made = Days(CONFIG, date_of=HISTORY.date_of, over_ns=HISTORY.over_ns)
    made.see(gaps, TEN)
    return made


def test_a_day_is_asked_for_when_it_is_over_once_for_all_its_gaps() -> None:
    made = days(gap(7), gap(8))
    assert made.next(TEN, S) == Wait((OVER - TEN) / S)
    assert made.next(OVER, S) == AskDay("2330", "2026-07-14")
    made.sent(AskDay("2330", "2026-07-14"))
    closed = made.see([], OVER)
    assert [(each.gap.seq, each.asked) for each in closed] == [(7, True), (8, True)]
    made.answered(AskDay("2330", "2026-07-14"), 100, OVER, S)
    assert made.next(OVER, S) == Wait(None)


def test_a_night_is_over_on_the_next_morning() -> None:
    made = days(gap(night=True))
    step = made.next(OVER, S)
    assert isinstance(step, Wait)
    assert step.seconds == (30 * 3600) - (14 * 3600 + 45 * 60)


def test_a_full_answer_that_does_not_fit_is_the_end() -> None:
    made = days(gap())
    made.answered(AskDay("2330", "2026-07-14"), 100, OVER, S)
    assert made.next(OVER, S) == GiveUp(gap(), "misfit")


def test_an_empty_answer_is_asked_for_again_before_it_is_believed() -> None:
    made = days(gap())
    key = AskDay("2330", "2026-07-14")
    made.answered(key, 0, OVER, S)
    assert made.next(OVER, S) == Wait(60.0)
    assert made.next(OVER + 60 * S, 61 * S) == key
    made.answered(key, 0, OVER, 61 * S)
    assert made.next(OVER, 61 * S) == GiveUp(gap(), "gone")


def test_an_operator_may_ask_early_and_the_whole_day_still_comes_later() -> None:
    made = days(gap())
    assert made.hurry([8]) == 0
    assert made.hurry([7]) == 1
    key = made.next(TEN, S)
    assert key == AskDay("2330", "2026-07-14")
    made.answered(key, 50, TEN, S)
    assert isinstance(made.next(TEN, S), Wait)
    assert made.next(OVER, S) == key


def test_odd_lots_and_gaps_without_totals_are_not_promised() -> None:
    assert HISTORY.can_fill(gap())
    assert not HISTORY.can_fill(gap(symbol="2330-ODD"))
    assert not HISTORY.can_fill(gap()._replace(session=0))
