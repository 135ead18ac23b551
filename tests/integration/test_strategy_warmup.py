"""A strategy process that is killed comes back knowing what one that never died knows. Real ones.

Method: a raw log, its decoder and a bus as a daemon has them, and two processes of the same
strategy beside it. One is killed with -9 and started again; then both say all they know, over and
over, and say the same. A replay of the log decides what the restarted one decided.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backtest.live_runs import live_runs
from backtest.run import replay
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from strategy_runner.runner import owner_of
from strategy_runner.wants import Wants
from tests.harness.market_lines import SYMBOL, lines
from tickd.app import strategy_inproc
from tickd.app.strategy_answers import Answers
from tickd.app.strategy_inproc import InprocLife
from tickd.app.strategy_process import StrategyProcess
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, RawLog

CODE = """
from strategy_runner.strategy import Strategy


class Telling(Strategy):
    def on_start(self):
        self.context.decide("start", now=self.context.now_ns, **self.known())

    def on_trade(self, trade):
        self.context.decide("trade", **self.known())

    def known(self):
        said = {"seq": self.context.seq, "from": self.context.known_from}
        for each in self.context.instruments.values():
            last, book = self.context.last, self.context.book(each.id)
            trade, quote = last.trade(each.id), last.quote(each.id)
            said[each.symbol] = {
                "trade": trade and [trade.seq, trade.price, trade.size],
                "quote": quote and [quote.seq, quote.bid_price, quote.ask_price],
                "top": last.top(each.id),
                "book": book and [book.levels("B"), book.levels("A"), book.state, book.last_id],
                "position": list(self.context.position(each.id)),
                "orders": [order.client_id for order in self.context.open_orders()],
            }
        return said
"""
MESSAGES = 3_000


class World:
    """The raw log, the decoder and the bus of a daemon; processes beside them."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        (directory / "telling.py").write_text(CODE)
        self.directory = directory
        self.settings = settings
        self.log = RawLog(str(directory / "raw"), node=1, segment_bytes_max=150_000)
        self.decoder = Decoder()
        self.log.restore_decoder(self.decoder)
        self.bus = Bus(
            self.decoder.topic_name,
            SystemClock(),
            seq=self.log.recovery["frame_last"] << 16 | 0xFFFF,
        )
        self.lines: Iterator[tuple[int, bytes]] = lines(7, MESSAGES)
        self.processes: list[StrategyProcess] = []
        self.known: dict[int, bytes] = {}

    def begin(self) -> None:
        definition = {"kind": "instrument", "venue": "binance-usdm", "symbol": SYMBOL, "lot": 1}
        definition |= {"asset_class": "perpetual", "price_scale": 1, "size_scale": 3, "tick": 1}
        self.record({**definition, "multiplier": "1"})
        connect = {"kind": "connect", "connection": 1, "venue": "binance-usdm", "url": ""}
        self.log.record(1, "C", json.dumps({**connect, "streams": []}).encode())
        self.publish()

    def record(self, fields: dict[str, Any]) -> None:
        self.log.record(0, "C", json.dumps(fields).encode())

    def config(self, name: str) -> StrategyConfig:
        return StrategyConfig(
            name=name, class_=f"{self.directory}/telling.py:Telling", **self.settings
        )

    def process(self, name: str, heard: list[dict[str, Any]]) -> StrategyProcess:
        configs = [self.config(name)]

        def note(fields: dict[str, object]) -> None:
            heard.append(dict(fields))
            self.record(dict(fields))

        def started() -> None:
            about = {"name": name, "feed": name, "state": "started", "reason": ""}
            note({"kind": "strategy", **about, "seq": self.bus.seq})

        def stopped(_: str, reason: str) -> None:
            seq = made.feed.progress()[3]
            about = {"name": name, "feed": name, "state": "stopped", "reason": reason}
            note({"kind": "strategy", **about, "seq": seq})

        made = StrategyProcess(
            name,
            configs,
            resolve=Wants(configs, self.decoder.topic_name).resolve,
            answers=Answers(configs, note),
            on_start=started,
            on_stopped=stopped,
            bus=self.bus,
            clock=SystemClock(),
            state_dir=self.directory / "state",
            raw_log=self.directory / "raw" if configs[0].warmup_seconds else None,
            write_now=self.log.write_now,
        )
        for number, definition in self.decoder.instruments():
            made.define(number, definition)
        self.processes.append(made)
        return made

    def inproc(self, name: str) -> InprocLife:
        """The same strategy inside of this process."""
        config = self.config(name)
        answers = Answers([config], self.record, keeps_image=True)

        def note(state: str, reason: str = "") -> None:
            about = {"name": name, "feed": name, "state": state, "reason": reason}
            self.record({"kind": "strategy", **about, "seq": self.bus.seq})

        def warming(opened: Callable[[], None]) -> StrategyProcess:
            made = StrategyProcess(
                name,
                [config],
                resolve=Wants([config], self.decoder.topic_name).resolve,
                answers=answers,
                on_start=opened,
                on_stopped=lambda _name, _reason: None,
                bus=self.bus,
                clock=SystemClock(),
                state_dir=self.directory / "state",
                raw_log=self.directory / "raw",
                write_now=self.log.write_now,
                warms_only=True,
            )
            self.processes.append(made)
            return made

        life = InprocLife(
            [config],
            answers=answers,
            warming=warming,
            started=lambda: note("started"),
            on_stopped=lambda _name, reason: note("stopped", reason),
            bus=self.bus,
            behind=lambda handler: handler,
            clock=SystemClock(),
            state_dir=self.directory / "state",
            image=self.directory / "state" / f"{name}.image",
        )
        for number, definition in self.decoder.instruments():
            life.define(number, definition)
        return life

    @asynccontextmanager
    async def inside(self, name: str) -> AsyncIterator[InprocLife]:
        life = self.inproc(name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(life.run(), name=name)
            await until(lambda: life.report.strategies)
            yield life
            await life.stop("that is all")

    @asynccontextmanager
    async def running(self, name: str) -> AsyncIterator[tuple[StrategyProcess, list[Any]]]:
        heard: list[dict[str, Any]] = []
        process = self.process(name, heard)
        await process.spawn()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.watch(), name=name)
            await until(lambda: process.is_started)
            yield process, heard
            await process.stop("that is all")

    def feed(self, messages: int) -> None:
        """Record and publish messages as a busy socket brings them, with a fill now and then."""
        for number in range(messages):
            recv_ns, payload = next(self.lines)
            if payload.startswith(b'{"stream"'):
                self.log.frame_at(1, payload, recv_ns, recv_ns)
            else:
                head = f"GET /fapi/v1/depth?symbol={SYMBOL}&limit=1000 200\n".encode()
                self.log.record(1, "R", head + payload)
            if number % 20 == 0:
                self.record({"kind": "clock"})
            if number % 40 == 0:
                for name in ("steady", "killed"):
                    self.fill(name, number)
            if number % 7 == 0:
                self.publish()
        self.publish()

    def fill(self, name: str, number: int) -> None:
        order = {"kind": "order", "strategy": name, "reason": "", "venue": "binance-usdm"}
        order |= {"client_id": owner_of(name) << 32 | number + 1, "symbol": SYMBOL}
        order |= {"instrument": self.decoder.instruments()[0][0], "side": "AB"[number % 80 == 0]}
        state = "filled" if number % 120 else "accepted"
        fill = {"price": 600_000 + number, "size": 5 + number} if state == "filled" else {}
        self.record({**order, "state": state, **fill})

    def publish(self) -> None:
        batch: EventBatch | None = self.log.end_burst(self.decoder)
        if batch is not None:
            self.bus.publish(batch)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await SystemClock().sleep(0.01)  # the timeout of the test is the judge


def taken(process: StrategyProcess) -> Callable[[], bool]:
    """Whether a process has had everything."""

    def look() -> bool:
        assert not process.ended
        return process.feed.progress()[3] >= process.feed.seq and not process.feed.waiting

    return look


def started(world: World, name: str) -> dict[str, Any]:
    """What it said when it started: the first decision of its last run, as a replay has it."""
    return decided(world, name)[0]["fields"]


def decided(world: World, name: str, burst_frames: int | None = None) -> list[dict[str, Any]]:
    """The decisions of its last run again; checks that they are those of then."""
    runs = {name: live_runs(world.directory)[name]}
    said: list[bytes] = []
    result = replay(
        source_of(world.directory, burst_frames, runs[name].cuts),
        [world.config(name)],
        clock=SystemClock(),
        runs=runs,
        on_decision=said.append,
    )
    run = runs[name]
    again = result.strategies[name]
    assert (again["decisions"], again["hash"]) == (run.decisions, run.hash)
    return [json.loads(line) for line in said]


def close(world: World) -> None:
    world.publish()
    world.log.close()


def same_from(steady: list[dict[str, Any]], other: list[dict[str, Any]]) -> int:
    """How many decisions at the same events say the same; the owner's own numbers aside."""
    by_seq = {each["seq"]: each["fields"] for each in steady}
    at = [each for each in other if each["seq"] in by_seq and each["fields"].get("seq")]
    for each in at:
        mine, his = each["fields"], by_seq[each["seq"]]
        for key in ("trade", "quote", "top", "book", "position"):
            assert mine[SYMBOL][key] == his[SYMBOL][key], (each["seq"], key)
        assert [number & 0xFFFF_FFFF for number in mine[SYMBOL]["orders"]] == [
            number & 0xFFFF_FFFF for number in his[SYMBOL]["orders"]
        ]
    return len(at)


@pytest.mark.proof
async def test_one_that_was_killed_knows_what_one_that_never_died_knows(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    async with world.running("steady") as (steady, _):
        async with world.running("killed") as (process, _):
            world.feed(600)
            await until(taken(process))
            image = tmp_path / "state" / "killed.image"
            process.keep()
            await until(image.exists)
            world.feed(300)
            await until(taken(process))
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            await until(lambda: process.ended)
            world.feed(400)  # nobody listens
        async with world.running("killed") as (process, heard):
            kinds = [fields["kind"] for fields in heard]
            assert kinds[0] == "strategy"
            assert "warm" in kinds
            world.feed(500)
            for each in (steady, process):
                await until(taken(each))
    warmth = process.report.warmth
    assert warmth.from_image
    assert warmth.notes == ()
    close(world)
    for burst_frames in (None, 13):
        mine = decided(world, "killed", burst_frames)
        assert same_from(decided(world, "steady"), mine) > 100
    begun = mine[0]["fields"]
    assert begun["now"] > 0
    assert begun[SYMBOL]["book"][2] == 2  # live, before its first event
    assert begun[SYMBOL]["position"] != [0, 0]
    assert begun[SYMBOL]["orders"]


async def test_a_new_daemon_on_the_log_begins_where_the_old_one_ended(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    async with world.running("killed") as (process, _):
        world.feed(600)
        await until(taken(process))
    later = world.lines
    close(world)
    last = decided(world, "killed")[-1]["fields"][SYMBOL]
    world = World(tmp_path)
    world.lines = later
    async with world.running("killed") as (process, _):
        world.feed(200)
        await until(taken(process))
    close(world)
    assert process.report.warmth.from_image
    begun = decided(world, "killed")[0]["fields"][SYMBOL]
    assert (begun["position"], begun["orders"]) == (last["position"], last["orders"])
    assert begun["book"][2] == 2


async def test_without_an_image_the_log_alone_warms(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    world.feed(200)
    async with world.running("steady") as (process, _):
        world.feed(50)
        await until(taken(process))
    close(world)
    assert process.report.warmth.events > 200
    assert "no image was kept: the raw log alone" in process.report.warmth.notes
    assert started(world, "steady")[SYMBOL]["book"][2] == 2


@pytest.mark.parametrize("log", [True, False])
async def test_warm_up_can_be_off_and_needs_no_log(tmp_path: Path, *, log: bool) -> None:
    world = World(tmp_path, warmup_seconds=300 if log else 0)
    if log:
        for path in (tmp_path / "raw" / "segments").iterdir():
            path.unlink()
    else:
        world.begin()
        world.feed(100)
    heard: list[dict[str, Any]] = []
    process = world.process("steady", heard)
    await process.spawn()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.watch(), name="watch")
        await until(lambda: process.is_started)
        await process.stop("enough")
    assert "decisions" in [fields["kind"] for fields in heard]
    assert process.report.warmth.events == 0
    assert process.report.warmth.notes == (("there is no raw log",) if log else ())
    world.log.close()


async def test_one_that_is_stopped_while_it_warms_up_just_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    world.feed(500)
    heard: list[dict[str, Any]] = []
    process = world.process("steady", heard)
    await process.spawn()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(process.watch(), name="watch")
        await process.stop("not now")
        assert await watching == "it ended by itself"
    assert heard == []
    assert not process.is_started
    assert not (tmp_path / "state" / "steady.image").exists()
    close(world)


async def test_one_inside_of_the_daemon_comes_back_as_one_in_a_process_does(tmp_path: Path) -> None:
    """While it warms up the market goes on: what comes then is neither lost nor given twice."""
    world = World(tmp_path)
    world.begin()
    async with world.running("steady") as (steady, _):
        async with world.inside("killed"):
            world.feed(600)
        assert (tmp_path / "state" / "killed.image").exists()
        world.feed(400)  # nobody listens
        life = world.inproc("killed")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(life.run(), name="life")
            while not life.report.strategies:
                world.feed(1)
                await SystemClock().sleep(0.005)
            world.feed(300)
            await life.stop("that is all")
        await until(taken(steady))
    warmth = life.report.warmth
    assert (warmth.from_image, warmth.notes) == (True, ())
    close(world)
    for burst_frames in (None, 13):
        mine = decided(world, "killed", burst_frames)
        assert same_from(decided(world, "steady"), mine) > 50
    begun = mine[0]["fields"]
    assert begun[SYMBOL]["book"][2] == 2
    assert begun[SYMBOL]["position"] != [0, 0]
    assert begun[SYMBOL]["orders"]


async def test_inside_of_the_daemon_a_warm_up_that_fails_leaves_it_cold(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    world.feed(300)
    life = world.inproc("killed")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(life.run(), name="life")
        await until(lambda: world.processes and world.processes[0].pid)
        assert world.processes[0].pid is not None
        os.kill(world.processes[0].pid, signal.SIGKILL)
        await until(lambda: life.report.strategies)
        world.feed(300)
        await life.stop("that is all")
    close(world)
    assert life.report.warmth.notes == ("the warm-up ended: it was ended by SIGKILL",)
    assert live_runs(tmp_path)["killed"].image is None
    assert decided(world, "killed")[0]["fields"]["from"] == 0


async def test_inside_of_the_daemon_a_stop_ends_the_warm_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    world.feed(300)
    life = world.inproc("killed")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(life.run(), name="life")
        await until(lambda: world.processes and world.processes[0].pid)
        await life.stop("no time")
    close(world)
    assert life.report.strategies == {}


async def test_more_than_may_wait_leaves_it_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy_inproc, "WAITING_EVENTS_MAX", 10)
    world = World(tmp_path)
    world.begin()
    world.feed(300)
    life = world.inproc("killed")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(life.run(), name="life")
        while not life.report.strategies:
            world.feed(3)
            await SystemClock().sleep(0.005)
        world.feed(200)
        await life.stop("that is all")
    close(world)
    assert life.report.warmth.notes == ("more than 10 events came in the warm-up",)
    assert decided(world, "killed")[0]["fields"]["from"] == 0
