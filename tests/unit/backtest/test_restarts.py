"""What failed and came back live fails and comes back in a replay of the raw log, in every cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from backtest.live_runs import live_runs
from backtest.run import replay
from backtest.sources import source_of
from strategy_runner import restarts
from strategy_runner.config import StrategyConfig
from strategy_runner.runner import StrategyHost
from tests.unit.backtest.test_run import record
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, RawLog
from tickd.testing.clock import ManualClock

SOURCE = """
from pathlib import Path

from strategy_runner.strategy import Strategy


class Moody(Strategy):
    def on_start(self):
        self.seen = 0
        self.context.state["lives"] = self.context.state.get("lives", 0) + 1
        self.context.call_every(1_000_000_000)

    def on_quote(self, quote):
        self.seen += 1
        self.context.decide("quote", bid=quote.bid_price, lives=self.context.state["lives"])
        if self.seen == 100:
            raise ValueError("too many")
        if Path(__file__).with_name("storm").exists():
            raise OSError("what the events do not say")

    def on_timer(self, timer):
        self.context.decide("timer", seen=self.seen)


class Calm(Moody):
    def on_quote(self, quote):
        self.seen += 1
        self.context.decide("calm", bid=quote.bid_price)
"""


def now(_recv_ns: int) -> int:
    """Clock records have the machine's time, so the market has it, too."""
    return SystemClock().wall_ns()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded market lasts seconds, by the clock of the machine that records it."""
    monkeypatch.setattr(restarts, "BACKOFF_NS_MIN", 1)
    monkeypatch.setattr(restarts, "BACKOFF_NS_MAX", 1)


@pytest.mark.parametrize(("restart", "failures_min"), [("on_failure", 4), ("never", 1)])
def test_a_replay_fails_and_comes_back_where_it_did_live(
    tmp_path: Path, restart: Literal["on_failure", "never"], failures_min: int
) -> None:
    (tmp_path / "moods.py").write_text(SOURCE)
    storm = tmp_path / "storm"
    configs = [
        StrategyConfig(
            name=kind.lower(),
            class_=f"{tmp_path}/moods.py:{kind}",
            group="both",
            restart=restart,
        )
        for kind in ("Moody", "Calm")
    ]
    live: list[bytes] = []
    hosts: list[StrategyHost] = []
    fed = 0

    def note(log: RawLog, state: str, seq: int) -> None:
        for config in configs:
            fields = {"kind": "strategy", "state": state, "name": config.name, "feed": "both"}
            log.record(0, "C", json.dumps({**fields, "seq": seq}).encode())

    def feed(log: RawLog, decoder: Decoder, batch: EventBatch) -> None:
        nonlocal fed
        if not hosts:
            note(log, "started", batch.seq_first - 1)
            host = StrategyHost(
                configs,
                record=lambda line: log.record(0, "C", line),
                clock=ManualClock(),
                state_dir=None,
                on_stopped=lambda _name, _reason: None,
                on_decision=live.append,
            )
            for number, definition in decoder.instruments():
                host.define(number, definition)
            host.start()
            hosts.append(host)
        fed += 1
        if fed % 150 == (0 if restart == "on_failure" else 7):
            storm.touch()
        hosts[0].feed(batch)
        storm.unlink(missing_ok=True)
        if fed == 400:
            hosts[0].stop("ordered")
            note(log, "stopped", batch.seq_last)

    record(tmp_path / "raw", feed, now)
    runs = live_runs(tmp_path)
    failures = runs["moody"].failures
    assert len(failures) >= failures_min
    assert all(each.again_seq is not None for each in failures[:-1])
    assert not runs["calm"].failures
    for burst_frames in (None, 1, 64, 4096):
        again: list[bytes] = []
        result = replay(
            source_of(tmp_path, burst_frames, {cut for run in runs.values() for cut in run.cuts}),
            configs,
            clock=SystemClock(),
            runs=runs,
            on_decision=again.append,
        )
        assert again == live
        for name, run in runs.items():
            strategy = result.strategies[name]
            assert (strategy["hash"], strategy["decisions"]) == (run.hash, run.decisions)
        came_back = sum(each.again_seq is not None for each in failures)
        assert result.strategies["moody"]["restarts"] == came_back


def test_what_a_policy_says_of_a_capture_does_not_depend_on_the_cut(tmp_path: Path) -> None:
    (tmp_path / "moods.py").write_text(SOURCE)
    record(tmp_path / "raw", lambda _log, _decoder, _batch: None, now)
    config = StrategyConfig(name="moody", class_=f"{tmp_path}/moods.py:Moody", restart="on_failure")
    found = set()
    for burst_frames in (None, 1, 64, 4096):
        result = replay(source_of(tmp_path, burst_frames), [config], clock=SystemClock())
        moody = result.strategies["moody"]
        assert moody["restarts"] > 2
        found.add((moody["hash"], moody["restarts"], moody["failures"]))
    assert len(found) == 1
