"""Who comes back when the process of a group is killed, and that a replay repeats everybody's run.

Method: a raw log, a tap and a bus as a daemon has them, and real processes. Timers on the recorded
clock make the strategies decide; one of the two raises, then their process is killed with -9.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backtest.live_runs import live_runs
from backtest.run import replay
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from tests.harness.strategy_log import controls, records
from tickd.app.strategies import Strategies
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, RawLog

CODE = """
from strategy_runner.strategy import Strategy


class Steady(Strategy):
    def on_start(self):
        self.context.call_every(200_000_000)

    def on_timer(self, timer):
        self.context.decide("timer", now=self.context.now_ns)


class Brief(Steady):
    def on_timer(self, timer):
        super().on_timer(timer)
        raise RuntimeError("that was it")
"""


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await SystemClock().sleep(0.02)  # the timeout of the test is the judge


def configs(directory: Path) -> list[StrategyConfig]:
    code = directory / "groups.py"
    code.write_text(CODE)
    return [
        StrategyConfig(name="brief", class_=f"{code}:Brief", group="pair"),
        StrategyConfig(name="steady", class_=f"{code}:Steady", group="pair", restart="on_failure"),
        StrategyConfig(name="inside", class_=f"{code}:Steady", isolation="inproc"),
    ]


async def test_who_ended_by_himself_does_not_come_back_with_his_group(tmp_path: Path) -> None:
    log, decoder, clock = RawLog(str(tmp_path / "raw"), node=1), Decoder(), SystemClock()
    log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, clock)
    tap = Tap(log, decoder, bus, clock=clock)
    strategies = Strategies(
        configs(tmp_path),
        bus=bus,
        behind=lambda handler: handler,
        tap=tap,
        topic_name=decoder.topic_name,
        clock=clock,
        state_dir=tmp_path / "strategies",
        raw_log=tmp_path / "raw",
        write_now=log.write_now,
        trade=lambda _fields: None,
    )

    def drawn(name: str) -> dict[str, Any]:
        (found,) = (each for each in strategies.draw() if each["name"] == name)
        return found

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(strategies.run(lambda: True), name="strategies")
        await until(lambda: drawn("brief")["state"] == "stopped")
        await until(lambda: drawn("steady")["decisions"] and drawn("inside")["decisions"])
        os.kill(drawn("steady")["pid"], signal.SIGKILL)
        await until(lambda: drawn("steady")["restarts"] and drawn("steady")["decisions"])
        assert "RuntimeError: that was it" in drawn("brief")["reason"]
        assert (drawn("brief")["state"], drawn("steady")["state"]) == ("stopped", "running")
        await strategies.stop("enough")
    tap.finish()
    tap.detach()
    log.close()
    states = [(each["name"], each["state"]) for each in controls(records(tmp_path), "strategy")]
    assert states.count(("steady", "started")) == 2
    assert states.count(("brief", "started")) == states.count(("brief", "stopped")) == 1
    runs = live_runs(tmp_path)
    for burst_frames in (None, 1):
        cuts = {cut for run in runs.values() for cut in run.cuts}
        source = source_of(tmp_path, burst_frames, cuts)
        result = replay(source, configs(tmp_path), clock=clock, runs=runs)
        for name in ("steady", "inside"):
            again, run = result.strategies[name], runs[name]
            assert (again["decisions"], again["hash"]) == (run.decisions, run.hash), name
        assert result.strategies["brief"]["decisions"] == 1
