"""An instrument that is listed on the way is seen from its definition on, in every cut."""

from __future__ import annotations

import json
from pathlib import Path

from backtest.run import replay
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from tests.unit.backtest.test_run import record
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, RawLog

SOURCE = """
from strategy_runner.strategy import Strategy


class Counting(Strategy):
    def on_quote(self, quote):
        known = self.context.instruments.values()
        self.context.decide("known", symbols=[each.symbol for each in known])
"""
LISTED = ("AAUSDT", "ZZUSDT", "MMUSDT")


def test_a_definition_is_seen_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(SOURCE)
    config = StrategyConfig(name="counting", class_=f"{tmp_path}/counting.py:Counting")
    batches = 0

    def feed(log: RawLog, _decoder: Decoder, _batch: EventBatch) -> None:
        nonlocal batches
        batches += 1
        if batches % 100 == 0 and batches // 100 <= len(LISTED):
            definition = {"kind": "instrument", "venue": "binance-usdm", "lot": 1, "tick": 1}
            definition |= {"asset_class": "perpetual", "price_scale": 1, "size_scale": 3}
            definition |= {"symbol": LISTED[batches // 100 - 1], "multiplier": "1"}
            log.record(0, "C", json.dumps(definition).encode())

    record(tmp_path / "raw", feed)
    found = []
    for burst_frames in (None, 1, 13, 64, 4096):
        decisions: list[bytes] = []
        source = source_of(tmp_path, burst_frames)
        replay(source, [config], clock=SystemClock(), on_decision=decisions.append)
        found.append(decisions)
    seen = [len(json.loads(line)["fields"]["symbols"]) for line in found[0]]
    assert [seen.count(number) > 50 for number in (1, 2, 3, 4)] == [True] * 4
    assert seen == sorted(seen)
    assert all(each == found[0] for each in found)
