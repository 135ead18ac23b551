"""A volume jump at the stand-in opens a gap, the filler closes it with the ticks of the day.

Method: the broker remembers what was traded. Live and fetched trades together must be its tape.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import FillConfig
from gateway.filling.day_filler import DayFiller
from gateway.venues.shioaji.past import HISTORY
from tests.harness.broker_world import World, world
from tickd.app.filling import gaps_of
from tickd.clock import SystemClock
from tickd.events import Flag, Kind
from tickd.testing.shioaji_stand_in import Fault, UsageFigures

pytest.importorskip("shioaji")


@asynccontextmanager
async def filled(made: World, config: FillConfig) -> AsyncIterator[DayFiller]:
    """A filler beside the session; the stand-in's day of 2026-07-14 is over."""
    filler = DayFiller(
        "shioaji",
        HISTORY,
        config,
        tap=made.tap,
        clock=SystemClock(),
        login=lambda: made.session.client and (made.session.client, made.session.contract_of),
        usage=lambda: made.session.usage,
        gaps=lambda: gaps_of(made.decoder),
        jitter=lambda: 0.5,
        observe=lambda _: None,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(filler.run(), name="gaps shioaji")
        yield filler
        running.cancel()


async def test_a_volume_jump_opens_a_gap_which_the_filler_closes(tmp_path: Path) -> None:
    faults = (Fault(60, "jump", 25), Fault(120, "silence", 90))
    async with world(
        tmp_path,
        channels=("trade",),
        broker={"faults": faults, "remembers": True},
        sdk={"usage_interval_seconds": 0.05},
    ) as made:
        await made.confirmed(3)
        await made.feed(300)
        assert len(gaps_of(made.decoder)) == 6
        async with filled(made, FillConfig()) as filler:
            await made.until(lambda: not gaps_of(made.decoder), "every gap is closed")
            await made.until(lambda: filler.counters.outcomes == {"filled": 6}, "counted")
    assert len(made.broker.tick_queries) == 3  # one a code, whatever it misses
    trades = made.of(Kind.TRADE)
    fetched = trades[trades["flags"] & Flag.BACKFILLED != 0]
    assert sorted(fetched["size"].tolist()) == [1] * 90 + [25] * 3
    traded = sum(market.total_volume for market in made.broker.markets.values())
    assert int(trades["size"].sum()) == traded
    closings = [gap for gap in made.of(Kind.GAP) if gap["flags"] & Flag.BACKFILLED]
    assert [int(gap["size"]) for gap in closings] == [0] * 6
    assert made.replayed().tobytes() == made.events().tobytes()


async def test_beyond_the_traffic_limit_nothing_is_asked_and_nothing_given_up(
    tmp_path: Path,
) -> None:
    async with world(
        tmp_path,
        channels=("trade",),
        broker={"faults": (Fault(60, "jump", 25),), "remembers": True},
        sdk={"usage_interval_seconds": 0.05},
    ) as made:
        await made.confirmed(3)
        await made.feed(120)
        made.broker.usage = UsageFigures(1, 490 << 20, 500 << 20, 10 << 20)
        await made.until(
            lambda: made.session.usage and made.session.usage.bytes_left == 10 << 20, "usage"
        )
        async with filled(made, FillConfig(tries_max=1)):
            await asyncio.sleep(0.2)  # nothing is to happen: there is no condition to wait for
        assert made.broker.tick_queries == []
        assert len(gaps_of(made.decoder)) == 3
