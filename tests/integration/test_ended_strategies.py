"""What is told of strategies whose process has ended. A real child, a real raw log."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from recorder.raw.records import heads_of
from strategy_runner.config import StrategyConfig
from tests.unit.strategy_runner.kit import BTC, Tape, definition
from tickd.app.strategies import Strategies
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, RawLog, RawLogReader

CODE = """
from strategy_runner.strategy import Strategy


class Third(Strategy):
    class Config(Strategy.Config):
        word: str = ""

    def on_trade(self, trade):
        self.context.decide(self.config.word, price=trade.price)
        if trade.price == 103:
            raise RuntimeError("three is enough")
"""
TOPIC = "trade.binance-usdm.BTCUSDT"


async def ended(directory: Path) -> dict[str, Any]:
    """Run a strategy until it raises, and return what the status says of it then."""
    (directory / "third.py").write_text(CODE)
    clock, decoder = SystemClock(), Decoder()
    raw_log = RawLog(str(directory / "raw"), node=1)
    raw_log.restore_decoder(decoder)
    bus = Bus(lambda _: TOPIC, clock)
    tap = Tap(raw_log, decoder, bus, clock=clock)
    config = StrategyConfig(
        name="third",
        class_=f"{directory}/third.py:Third",
        topics=("trade.*.*",),
        params={"word": "seen"},
        warmup_seconds=0,
    )
    strategies = Strategies(
        [config],
        bus=bus,
        behind=lambda handler: handler,
        tap=tap,
        topic_name=lambda _: TOPIC,
        clock=clock,
        state_dir=directory / "strategies",
        raw_log=directory / "raw",
        write_now=raw_log.write_now,
        trade=lambda _fields: None,
    )
    strategies.define(BTC, definition("BTCUSDT"))
    (group,) = strategies.groups
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(strategies.run(lambda: True), name="strategies")
        while group.process is None or not group.process.is_started:
            await clock.sleep(0.01)  # the timeout of the test is the judge
        tape = Tape()
        tape.frame = 1_000  # behind the clock's records
        for price in range(101, 106):
            tape.trade(price, 5)
        bus.publish(tape.take())
    tap.finish()
    tap.detach()
    raw_log.close()
    (drawn,) = strategies.draw()
    return drawn


async def test_what_a_strategy_did_is_told_when_its_process_is_gone(tmp_path: Path) -> None:
    drawn = await ended(tmp_path)
    assert (drawn["state"], drawn["pid"]) == ("stopped", None)
    assert drawn["reason"].startswith("RuntimeError: three is enough")
    assert (drawn["events"], drawn["decisions"]) == (3, 3)
    assert drawn["p99_us"] > 0


async def test_a_start_is_on_record_with_what_it_was_given(tmp_path: Path) -> None:
    await ended(tmp_path)
    controls: list[dict[str, Any]] = []
    for _, chunk in RawLogReader(str(tmp_path / "raw")):
        for head in heads_of(chunk):
            at = int(head["payload_at"])
            if head["type"] == ord("C"):
                controls.append(json.loads(chunk[at : at + int(head["payload_bytes"])]))
    started = [each for each in controls if each.get("state") == "started"]
    assert len(started) == 1
    assert started[0]["class"] == f"{tmp_path}/third.py:Third"
    assert (started[0]["topics"], started[0]["params"]) == (["trade.*.*"], {"word": "seen"})
