"""`tickd replay` of the recorded captures: one hash over runs, hash seeds and cuts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.captures, pytest.mark.proof, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
CAPTURES = ["usdm_btcusdt_20240808", "spot_btcusdt_20240808", "cm_btcusd_perp_20240808"]
STRATEGY = """
from strategy_runner.strategy import Strategy


class Witness(Strategy):
    def on_start(self):
        self.context.call_every(1_000_000_000, "second")

    def on_trade(self, trade):
        quote = self.context.last.quote(trade.instrument)
        self.context.decide("trade", price=trade.price, bid=quote and quote.bid_price)

    def on_book(self, book):
        if book.last_id % 16 == 0:
            self.context.decide("book", top=book.top(5), total=book.total("B"))

    def on_timer(self, timer):
        self.context.decide(timer.name, now=self.context.now_ns)
"""
# (burst frames, hash seed): five runs that differ in both.
RUNS = [(1, "0"), (64, "1"), (64, "2"), (4096, "3"), (256, "4")]


@pytest.mark.parametrize("name", CAPTURES)
def test_five_runs_decide_the_same(name: str, captures: Path, tmp_path: Path) -> None:
    (tmp_path / "witness.py").write_text(STRATEGY)
    capture = captures / "wire/binance" / f"{name}.gz"
    words = ["-m", "tickd", "replay", str(capture), "--json"]
    words += ["--strategy", f"{tmp_path}/witness.py:Witness"]
    found = set()
    for burst_frames, seed in RUNS:
        done = subprocess.run(
            [sys.executable, *words, "--burst-frames", str(burst_frames)],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        witness = json.loads(done.stdout)["strategies"]["witness"]
        assert witness["decisions"] > 1_000
        found.add((witness["hash"], witness["events"]))
    assert len(found) == 1
