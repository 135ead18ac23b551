"""Signals in a replay: behind their causes, the same in every cut, empty at a daemon's start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.run import replay
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from strategy_runner.indicator_config import IndicatorConfig
from tests.harness.market_lines import write_capture
from tickd.clock import SystemClock
from tickd.testing.wire_log import WireLog

SOURCE = """
from strategy_runner.strategy import Strategy


class Listening(Strategy):
    def on_quote(self, quote):
        self.context.decide("quote", bid=quote.bid_price)

    def on_signal(self, signal):
        self.context.decide("signal", value=signal.value, indicator=signal.indicator)
"""
INDICATOR = IndicatorConfig(
    name="flow", kind="ofi", topics=("quote.*.*",), params={"window": 20}, publish="every"
)


@pytest.fixture
def listening(tmp_path: Path) -> StrategyConfig:
    (tmp_path / "listening.py").write_text(SOURCE)
    return StrategyConfig(name="listening", class_=f"{tmp_path}/listening.py:Listening")


@pytest.mark.parametrize("burst_frames", [1, 7, 4096])
def test_a_signal_stands_behind_its_quote_in_every_cut(
    burst_frames: int, listening: StrategyConfig, tmp_path: Path
) -> None:
    capture = write_capture(tmp_path / "capture", 2, 400)
    found: list[list[bytes]] = []
    for frames in (64, burst_frames):
        found.append([])
        source = source_of(capture, frames, (), [INDICATOR])
        replay(source, [listening], clock=SystemClock(), on_decision=found[-1].append)
    assert found[0] == found[1]
    lines = [json.loads(line) for line in found[0]]
    signals = [at for at, line in enumerate(lines) if line["what"] == "signal"]
    assert len(signals) > 100
    assert all(lines[at - 1]["what"] == "quote" for at in signals)
    assert all(lines[at - 1]["seq"] == lines[at]["seq"] for at in signals)
    assert {lines[at]["fields"]["indicator"] for at in signals} == {INDICATOR.number}


def test_indicators_begin_empty_where_the_daemon_did(
    listening: StrategyConfig, tmp_path: Path
) -> None:
    log = WireLog(tmp_path / "raw", 7)
    for _ in range(4):
        log.burst(100)
    border = log.raw_log.next_frame_no - 1
    for _ in range(4):
        log.burst(100)
    log.close()
    counts = []
    for computed_from in (0, border):
        signals: list[dict[str, object]] = []
        source = source_of(tmp_path, None, {border}, [INDICATOR], computed_from)
        replay(
            source,
            [listening],
            clock=SystemClock(),
            on_decision=lambda line, into=signals: into.append(json.loads(line)),
        )
        seqs = [line["seq"] for line in signals if line["what"] == "signal"]
        assert all(int(str(seq)) >> 16 > computed_from for seq in seqs)
        counts.append(len(seqs))
    assert 0 < counts[1] < counts[0] / 2
