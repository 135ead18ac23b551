"""The ledger of open gaps as operators see it, and their orders to the fillers."""

from __future__ import annotations

import pytest

from gateway.config import FillConfig
from gateway.filling.day_filler import DayFiller
from gateway.venue import OpenGap
from gateway.venues.shioaji.past import HISTORY
from tickd.app.filling import Filling
from tickd.errors import TickdError
from tickd.testing.clock import ManualClock

GAPS = (
    OpenGap(9, "shioaji", "2330", "trade", 1, 5, 7, 41_296, 101, 120, ((101, 120),)),
    OpenGap(7, "binance-usdm", "BTCUSDT", "aggtrade", 3, 1, 2, 0, 11, 19, ((11, 12), (19, 19))),
)


class NoTap:
    """Nothing is recorded here."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} is not to be called")


def filling() -> Filling:
    filler = DayFiller(
        "shioaji",
        HISTORY,
        FillConfig(),
        tap=NoTap(),  # type: ignore[arg-type]  # never used
        clock=ManualClock(),
        login=lambda: None,
        usage=lambda: None,
        gaps=lambda: GAPS,
        jitter=lambda: 0.5,
        observe=lambda _: None,
    )
    return Filling(lambda: GAPS, {}, {"shioaji": filler})


async def test_every_gap_is_shown_the_oldest_first_and_whether_it_is_asked_for() -> None:
    answer = await filling().show({})
    assert (answer["open"], answer["missing"]) == (2, 23)
    assert [row["gap"] for row in answer["gaps"]] == [7, 9]
    assert answer["gaps"][0] == {
        "gap": 7,
        "topic": "aggtrade.binance-usdm.BTCUSDT",
        "cause": "sequence",
        "since_ns": 1,
        "until_ns": 2,
        "first": 11,
        "last": 19,
        "missing": 3,
        "pieces": 2,
        "filled": False,
    }
    assert answer["gaps"][1]["filled"]


async def test_orders_name_open_gaps() -> None:
    made = filling()
    with pytest.raises(TickdError, match="no open gap 8"):
        await made.fill({"gaps": [9, 8]})
    for wrong in (None, "9", ["9"]):
        with pytest.raises(TickdError, match="list of numbers"):
            await made.fill({"gaps": wrong})
    # The filler has not looked at the ledger yet: it knows of nothing to hurry.
    assert await made.fill({"gaps": [9]}) == {"hurried": {"shioaji": 0}, "not_asked_for": 0}
    made.fillers["shioaji"]._look()
    assert await made.fill({"gaps": [9]}) == {"hurried": {"shioaji": 1}, "not_asked_for": 0}
    # Nobody fills the other one: no venue of this daemon asks for it.
    assert await made.fill({"gaps": []}) == {"hurried": {"shioaji": 1}, "not_asked_for": 1}
