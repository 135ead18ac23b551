"""Universes over time: when a source is asked, what is kept, what a failure changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.config import UniverseConfig, VenueConfig
from gateway.errors import QueryFailedError
from gateway.venue import Figures
from tickd.app.config import Config, NodeConfig
from tickd.app.universes import RETRY_S, SourceNotReadyError, Universes
from tickd.app.wiring import wire
from tickd.testing.clock import ManualClock

S = 1_000_000_000


def config(**fields: object) -> UniverseConfig:
    return msgspec.convert(
        {"name": "best", "venue": "okx", "count": 2, "refresh_seconds": 600.0, **fields},
        UniverseConfig,
    )


class World:
    """Universes with a source whose answer the test sets, and a plan that may refuse."""

    def __init__(self, directory: Path, *configs: UniverseConfig, clock: ManualClock) -> None:
        self.clock = clock
        self.answer: dict[str, float] | None = {"A": 3.0, "B": 2.0, "C": 1.0}
        self.asked = 0
        self.records: list[dict[str, Any]] = []
        self.swaps: list[tuple[str, tuple[str, ...]]] = []
        self.takes = True
        self.ready = True
        self.universes = Universes(
            configs,
            directory=directory,
            record=self.records.append,
            clock=clock,
        )
        self.universes.ask_with("venue", self.ask)
        self.universes.on_change(self.swap)

    async def ask(self, _: UniverseConfig) -> Sequence[Figures]:
        self.asked += 1
        if not self.ready:
            raise SourceNotReadyError("starting")
        if self.answer is None:
            raise QueryFailedError("no answer", venue="okx")
        return [Figures(symbol, turnover_f=value) for symbol, value in self.answer.items()]

    def swap(self, name: str, symbols: tuple[str, ...]) -> bool:
        if self.takes:
            self.swaps.append((name, symbols))
        return self.takes

    async def look(self, seconds: float = 0.0) -> None:
        """What the daemon's task does once a second, after `seconds`."""
        self.clock.move(round(seconds * S))
        for each in list(self.universes._configs.values()):
            if self.universes._is_due(each):
                await self.universes.take(each)


async def test_a_snapshot_is_taken_recorded_and_good_for_its_time(tmp_path: Path) -> None:
    world = World(tmp_path, config(), clock=ManualClock())
    assert world.universes.members == {}
    await world.look()
    assert world.universes.members == {"best": ("A", "B")}
    assert world.swaps == [("best", ("A", "B"))]
    assert (world.records[0]["kind"], world.records[0]["added"]) == ("universe", ["A", "B"])
    await world.look(599.0)
    assert world.asked == 1
    world.answer = {"A": 3.0, "C": 9.0}
    await world.look(1.0)
    assert world.universes.members == {"best": ("C", "A")}
    assert world.records[1]["removed"] == ["B"]


async def test_members_that_stay_the_same_are_no_change(tmp_path: Path) -> None:
    world = World(tmp_path, config(), clock=ManualClock())
    await world.look()
    await world.look(600.0)
    assert (world.asked, len(world.swaps), len(world.records)) == (2, 1, 1)


async def test_a_restart_begins_with_the_last_snapshot(tmp_path: Path) -> None:
    clock = ManualClock()
    await World(tmp_path, config(), clock=clock).look()
    second = World(tmp_path, config(), clock=clock)
    assert second.universes.members == {"best": ("A", "B")}
    await second.look(300.0)
    assert second.asked == 0
    clock.move(400 * S)
    old = World(tmp_path, config(), clock=clock)
    assert old.universes.members == {"best": ("A", "B")}, "it stands in"
    await old.look()
    assert old.asked == 1
    clock.move(86_400 * S)
    assert World(tmp_path, config(), clock=clock).universes.members == {}


async def test_a_file_that_is_broken_or_of_another_question_is_not_believed(tmp_path: Path) -> None:
    clock = ManualClock()
    await World(tmp_path, config(), clock=clock).look()
    assert World(tmp_path, config(rank="volume"), clock=clock).universes.members == {}
    (tmp_path / "best.json").write_bytes(b'{"name":')
    assert World(tmp_path, config(), clock=clock).universes.members == {}


async def test_a_source_that_fails_or_finds_nothing_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, config(), clock=ManualClock())
    await world.look()
    for answer in (None, {}, {"A": 0.0}):
        world.answer = answer
        await world.look(700.0)
        assert world.universes.members == {"best": ("A", "B")}
    assert world.universes.failures == {"best": 3}
    asked = world.asked
    await world.look(RETRY_S - 1.0)
    assert world.asked == asked, "not hammered"
    world.answer = {"Z": 1.0}
    await world.look(1.0)
    assert world.universes.members == {"best": ("Z",)}


async def test_a_source_that_is_starting_is_asked_again_at_once_and_has_not_failed(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, config(), clock=ManualClock())
    world.ready = False
    await world.look()
    await world.look(1.0)
    assert (world.asked, world.universes.failures) == (2, {})
    world.ready = True
    await world.look(1.0)
    assert world.universes.members == {"best": ("A", "B")}


async def test_a_venue_that_is_not_up_is_no_failure(tmp_path: Path) -> None:
    parts = wire(
        Config(
            node=NodeConfig(state_dir=str(tmp_path)),
            venues=(VenueConfig(name="okx", symbols=("BTC-USDT",)),),
            universes=(config(),),
        )
    )
    try:
        await parts.universes.take(config())
        await parts.universes.take(config(source="clickhouse"))
        assert parts.universes.failures == {}
    finally:
        parts.tap.finish()
        parts.tap.detach()
        parts.raw_log.close()


async def test_members_that_the_plan_refuses_are_not_taken(tmp_path: Path) -> None:
    world = World(tmp_path, config(), clock=ManualClock())
    await world.look()
    world.takes, world.answer = False, {"C": 1.0}
    await world.look(600.0)
    assert world.universes.members == {"best": ("A", "B")}
    assert world.universes.refusals == {"best": 1}
    assert len(world.records) == 1
    world.takes = True
    await world.look(600.0)
    assert world.universes.members == {"best": ("C",)}


async def test_a_reload_takes_anew_what_is_asked_differently_and_forgets_what_is_gone(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, config(), clock=ManualClock())
    await world.look()
    world.universes.follow([config(count=1)])
    assert world.universes.members == {"best": ("A", "B")}, "it stands in"
    await world.look()
    assert world.universes.members == {"best": ("A",)}
    world.universes.follow([])
    assert world.universes.members == {}
    assert world.universes.draw() == []


async def test_the_picture_says_how_old_a_snapshot_is(tmp_path: Path) -> None:
    world = World(tmp_path, config(), clock=ManualClock())
    assert world.universes.draw()[0]["age_s"] is None
    await world.look()
    world.clock.move(5 * S)
    (drawn,) = world.universes.draw()
    assert (drawn["members"], drawn["age_s"], drawn["changes"]) == (["A", "B"], 5.0, 1)
