"""One strategy: coroutines in order under a limit, what it leaves behind, why it ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from strategy_runner.garbage import THRESHOLDS
from strategy_runner.strategy import Strategy
from strategy_runner.timers import Timer
from tests.unit.strategy_runner.kit import MS, START_NS, Tape, World
from tickd.native import Trade
from tickd.testing.loop import run_virtual


class Awaiting(Strategy):
    async def on_start(self) -> None:
        await asyncio.sleep(0)
        self.context.call_every(MS)

    async def on_trade(self, trade: Trade) -> None:
        for step in range(3):
            self.context.decide("trade", price=trade.price, step=step, seq=self.context.seq)
            await asyncio.sleep(0)

    async def on_timer(self, timer: Timer) -> None:
        await asyncio.sleep(0)
        self.context.decide("timer", due=(timer.due_ns or 0) - START_NS)

    async def on_stop(self) -> None:
        await asyncio.sleep(0)
        self.context.decide("stop")


def test_coroutines_end_before_the_next_event_comes() -> None:
    events = Tape().trade(1, 1).trade(2, 1).clock()
    world = World(Awaiting).run(events.take())
    steps = [(each["price"], each["step"], each["seq"] >> 16) for each in world.said("trade")]
    assert steps == [(1, 0, 2), (1, 1, 2), (1, 2, 2), (2, 0, 3), (2, 1, 3), (2, 2, 3)]
    assert (world.said("timer"), len(world.said("stop"))) == ([{"due": 3 * MS}], 1)


class Hanging(Strategy):
    async def on_trade(self, _trade: Trade) -> None:
        await asyncio.Event().wait()


def test_a_coroutine_that_awaits_too_long_ends_its_strategy() -> None:
    world = World(Hanging, Awaiting, callback_timeout_ms=20).run(Tape().trade(1, 1).take())
    assert dict(world.stopped)["hanging"] == "on_trade awaited longer than 20 ms"
    assert len(world.said("trade")) == 3


class Refused(Strategy):
    async def on_trade(self, _trade: Trade) -> None:
        raise TimeoutError("its own")


def test_a_timeout_of_its_own_is_its_own() -> None:
    world = World(Refused).run(Tape().trade(1, 1).take())
    assert dict(world.stopped)["refused"].startswith("TimeoutError: its own (test_host.py:")


class Leaving(Strategy):
    ended = False

    async def on_trade(self, _trade: Trade) -> None:
        self.task = asyncio.ensure_future(self.work())

    async def work(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        Leaving.ended = True


def test_what_a_strategy_leaves_in_its_loop_is_cancelled() -> None:
    World(Leaving).run(Tape().trade(1, 1).take())
    assert Leaving.ended


def test_coroutines_are_refused_inside_a_running_loop() -> None:
    async def inside() -> World:
        return World(Awaiting).run(Tape().trade(1, 1).take())

    world = run_virtual(inside())
    assert "shares the daemon's event loop" in world.stopped[0][1]


class BadStart(Strategy):
    def on_start(self) -> None:
        raise ValueError("not today")

    def on_trade(self, _trade: Trade) -> None:
        raise AssertionError("it never started")


class BadStop(Strategy):
    def on_stop(self) -> None:
        raise ValueError("not like this")


def test_failures_at_start_and_stop_are_told() -> None:
    world = World(BadStart, BadStop).run(Tape().trade(1, 1).take())
    ended = dict(world.stopped)
    assert ended["badstart"].startswith("ValueError: not today (test_host.py:")
    assert ended["badstop"].startswith("ValueError: not like this (test_host.py:")
    assert world.report(BadStart)["failures"] == world.report(BadStop)["failures"] == 1
    assert world.host.running == 0


class BadTimer(Strategy):
    def on_start(self) -> None:
        self.context.call_every(MS)

    def on_timer(self, _timer: Timer) -> None:
        raise ValueError("late")


def test_a_failing_timer_ends_its_strategy() -> None:
    world = World(BadTimer, Awaiting).run(Tape().clock().clock().take())
    assert dict(world.stopped)["badtimer"].startswith("ValueError: late")
    assert len(world.said("timer")) == 2


class Cyclic(Strategy):
    def on_trade(self, _trade: Trade) -> None:
        cycle: list[object] = []
        cycle.append(cycle)
        gc.collect(0)


def test_pauses_of_the_collector_are_measured_while_strategies_run() -> None:
    world = World(Cyclic)
    callbacks = len(gc.callbacks)
    world.run(Tape().trade(1, 1).trade(2, 1).take())
    pauses = world.host.report()["gc"]
    assert isinstance(pauses, dict)
    assert pauses["pauses"] >= 2
    assert len(gc.callbacks) == callbacks
    assert gc.get_threshold() != THRESHOLDS


@pytest.mark.parametrize("times", [1, 2])
def test_stopping_again_changes_nothing(times: int) -> None:
    world = World(Awaiting).run(Tape().trade(1, 1).take())
    records = len(world.records)
    for _ in range(times):
        world.host.stop("again")
    assert (len(world.records), world.stopped) == (records, [("awaiting", "done")])
