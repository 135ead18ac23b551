"""A strategy process beside a bus: what it is given, what it says, how it ends. A real child."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from strategy_runner.config import StrategyConfig
from strategy_runner.wants import Wants
from tests.unit.strategy_runner.kit import BTC, Tape, definition
from tickd.app.strategy_answers import Answers
from tickd.app.strategy_process import StrategyProcess
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import EventBatch

CODE = """
import time

from strategy_runner.strategy import Strategy


class Buyer(Strategy):
    def on_trade(self, trade):
        self.context.submit(trade.instrument, side="B", size=5)


class Raising(Strategy):
    def on_trade(self, trade):
        raise RuntimeError("no")


class Prices(Strategy):
    def on_trade(self, trade):
        if trade.price == 200:
            time.sleep(0.01)
        while trade.price == 300:
            pass


class Unstartable(Strategy):
    def on_start(self):
        raise RuntimeError("not today")
"""
TOPIC = "trade.binance-usdm.BTCUSDT"


class World:
    """One process, and everything that was said of it."""

    def __init__(
        self,
        directory: Path,
        *kinds: str,
        over: Sequence[str] = (),
        trade: Callable[[dict[str, Any]], None] | None = None,
        started: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> None:
        code = directory / "strategies.py"
        code.write_text(CODE)
        self.recorded: list[dict[str, object]] = []
        self.stopped: dict[str, str] = {}
        self.starts = 0
        self._on_start = started
        configs = [
            StrategyConfig(name=kind.lower(), class_=f"{code}:{kind}", **settings) for kind in kinds
        ]
        self.bus = Bus(lambda _: TOPIC, SystemClock())
        self.process = StrategyProcess(
            "group",
            configs,
            resolve=Wants(configs, lambda _: TOPIC).resolve,
            answers=Answers(configs, self.recorded.append, trade=trade),
            on_start=self._started,
            on_stopped=self.stopped.__setitem__,
            bus=self.bus,
            clock=SystemClock(),
            state_dir=directory / "state",
            over=over,
        )
        self.process.define(BTC, definition("BTCUSDT"))

    def _started(self) -> None:
        self.starts += 1
        self._on_start()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await SystemClock().sleep(0.01)  # the timeout of the test is the judge

    def kinds(self) -> list[object]:
        return [fields["kind"] for fields in self.recorded]


def trades(count: int) -> EventBatch:
    tape = Tape()
    for _ in range(count):
        tape.trade(100, 5)
    return tape.take()


async def test_intents_come_back_and_a_stop_takes_everything_before(tmp_path: Path) -> None:
    world = World(tmp_path, "Buyer")
    await world.process.spawn()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(world.process.watch(), name="watch")
        await world.until(lambda: world.process.is_started)
        world.bus.publish(trades(3))
        await world.process.stop("that is all")
        assert await watching == "it ended by itself"
    assert world.starts == 1
    assert world.kinds() == ["state", *["intent", "order"] * 3, "decisions"]
    assert world.stopped == {"buyer": "that is all"}
    (report,) = world.process.report.strategies.values()
    assert (report.events, report.decisions) == (3, 3)
    assert world.process.feed.progress()[1] == 3
    assert world.recorded[-1]["hash"] == report.hash


async def test_a_bug_below_an_order_does_not_make_its_strategy_deaf(tmp_path: Path) -> None:
    asked: list[object] = []

    def trade(fields: dict[str, Any]) -> None:
        asked.append(fields["client_id"])
        raise ZeroDivisionError

    world = World(tmp_path, "Buyer", trade=trade)
    await world.process.spawn()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(world.process.watch(), name="watch")
        await world.until(lambda: world.process.is_started)
        world.bus.publish(trades(2))
        await world.until(lambda: len(asked) == 2)
        await world.process.stop("that is all")
        assert await watching == "it ended by itself"
    assert len(set(asked)) == 2


async def test_a_bug_in_the_daemon_ends_the_process_with_a_reason(tmp_path: Path) -> None:
    def started() -> None:
        raise ZeroDivisionError("a bug")

    world = World(tmp_path, "Buyer", started=started)
    await world.process.spawn()
    ended = await world.process.watch()
    assert ended == "the daemon failed at what it said: ZeroDivisionError: a bug"


async def test_one_that_raises_ends_and_its_neighbour_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, "Raising", "Buyer")
    await world.process.spawn()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.process.watch(), name="watch")
        await world.until(lambda: world.process.is_started)
        world.bus.publish(trades(4))
        await world.until(lambda: world.kinds().count("intent") == 4)
        assert "RuntimeError: no" in world.stopped["raising"]
        assert "buyer" not in world.stopped
        await world.process.stop("enough")


async def test_one_that_comes_back_does_so_beside_its_neighbour(tmp_path: Path) -> None:
    world = World(tmp_path, "Raising", "Buyer", restart="on_failure")
    tape = Tape()
    await world.process.spawn()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.process.watch(), name="watch")
        await world.until(lambda: world.process.is_started)
        pid = world.process.pid
        world.bus.publish(tape.trade(100, 5).clock().take())
        await world.until(lambda: "failure" in world.kinds())
        world.bus.publish(tape.clock(tape.now_ns + 1_000_000_000).trade(100, 5).take())
        await world.until(lambda: world.kinds().count("failure") == 2)
        await world.until(lambda: world.process.report.strategies["raising"].waits)
        assert (world.process.pid, world.stopped) == (pid, {})
        await world.process.stop("enough")
    assert [kind for kind in world.kinds() if kind in ("failure", "restart")] == [
        "failure",
        "restart",
        "failure",
    ]
    assert world.kinds().count("intent") == 2
    assert "RuntimeError: no" in world.stopped["raising"]
    assert world.process.report.strategies["raising"].restarts == 1


async def test_one_that_is_over_is_not_made_again_with_its_group(tmp_path: Path) -> None:
    world = World(tmp_path, "Raising", "Buyer", over=["raising"])
    await world.process.spawn()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.process.watch(), name="watch")
        await world.until(lambda: world.process.is_started)
        world.bus.publish(trades(4))
        await world.process.stop("enough")
    assert world.kinds().count("intent") == 4
    assert world.stopped == {"buyer": "enough"}
    assert {fields["strategy"] for fields in world.recorded} == {"buyer"}
    assert not world.process.report.strategies["raising"].running


async def test_only_a_callback_that_does_not_end_hangs(tmp_path: Path) -> None:
    """Many slow ones in one portion do not, however long they take together."""
    hang_ms = 1_000
    world = World(tmp_path, "Prices", hang_ms_max=hang_ms)
    tape = Tape()
    await world.process.spawn()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(world.process.watch(), name="watch")
        await world.until(lambda: world.process.is_started)
        # While it is quick its portions grow to 4,096 events.
        for _ in range(16):
            world.bus.publish(tape.trade(100, 5).take())
        for _ in range(250):
            tape.trade(200, 5)
        world.bus.publish(tape.take())
        await world.until(lambda: world.process.feed.progress()[1] == 266)
        assert world.process.ended == ""
        # All 250 of them were one portion, of 2.5 seconds: entries are portions here.
        assert world.process.feed.progress()[2] == 17
        world.bus.publish(tape.trade(300, 5).take())
        assert await watching == f"it hangs: {hang_ms} ms and more over what it has in hand"


@pytest.mark.parametrize(
    ("kind", "reason"), [("Unstartable", "not today"), ("Missing", "has no Missing")]
)
async def test_without_a_strategy_the_process_ends(tmp_path: Path, kind: str, reason: str) -> None:
    world = World(tmp_path, kind)
    await world.process.spawn()
    assert await world.process.watch() == "it ended by itself"
    assert reason in world.stopped[kind.lower()]


async def test_a_process_that_cannot_even_begin_says_why(tmp_path: Path) -> None:
    world = World(tmp_path, "Buyer")
    log = tmp_path / "state" / "group.log"
    await world.process.spawn()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(world.process.watch(), name="watch")
        await world.until(lambda: world.process.is_started)
        assert world.process.pid is not None
        world.process.feed.text(2, b"\xff")  # no reason of ours: what it raises ends it
        ended = await watching
    assert ended.startswith("it ended with exit code 1: UnicodeDecodeError")
    assert "Traceback" in log.read_text()
