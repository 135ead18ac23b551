"""Timers fire over every raw log: also over one that was recorded without strategies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backtest.records import CLOCK_NS
from backtest.run import replay
from backtest.sources import source_of
from backtest.ticks import RECORDED_NS
from strategy_runner.config import StrategyConfig
from tests.harness.market_lines import START_NS, lines
from tickd.clock import SystemClock
from tickd.events import Kind, as_array
from tickd.native import Decoder, EventBatch, RawLog, RawLogReader

MESSAGES = 2_000
SYMBOLS = ["AUSDT", "BUSDT", "BTCUSDT", "CUSDT"]
SOURCE = """
from strategy_runner.strategy import Strategy


class Ticking(Strategy):
    def on_start(self):
        known = self.context.instruments.values()
        self.context.decide("start", all=[each.symbol for each in known])
        self.context.call_every(300_000_000)

    def on_timer(self, timer):
        known = self.context.instruments.values()
        tops = [[each.symbol, self.context.last.top(each.id)] for each in known]
        self.context.decide("timer", now=self.context.now_ns, tops=tops)
"""


@pytest.fixture
def ticking(tmp_path: Path) -> StrategyConfig:
    (tmp_path / "ticking.py").write_text(SOURCE)
    return StrategyConfig(name="ticking", class_=f"{tmp_path}/ticking.py:Ticking")


def record(directory: Path) -> None:
    """A log of several instruments and a market, without a clock."""
    log, decoder = RawLog(str(directory), node=1, segment_bytes_max=150_000), Decoder()
    log.restore_decoder(decoder)
    for symbol in SYMBOLS:
        definition = {"kind": "instrument", "venue": "binance-usdm", "symbol": symbol, "lot": 1}
        definition |= {"asset_class": "perpetual", "price_scale": 1, "size_scale": 3, "tick": 1}
        log.record(0, "C", json.dumps({**definition, "multiplier": "1"}).encode())
    connect = {"kind": "connect", "connection": 1, "venue": "binance-usdm", "url": ""}
    log.record(1, "C", json.dumps({**connect, "streams": []}).encode())
    # The log itself stamps what stands above: the market begins behind it, whatever the day.
    later_ns = SystemClock().wall_ns() - START_NS
    for number, (recv_ns, payload) in enumerate(lines(5, MESSAGES)):
        if payload.startswith(b'{"stream"'):
            log.frame_at(1, payload, recv_ns + later_ns, recv_ns)
        if number % 7 == 0:
            log.end_burst(decoder)
    log.end_burst(decoder)
    log.close()


def ran(
    path: Path, config: StrategyConfig, burst_frames: int | None
) -> tuple[list[bytes], np.ndarray]:
    decisions: list[bytes] = []
    ticks: list[np.ndarray] = []

    def note(batch: EventBatch) -> None:
        events = as_array(batch)
        ticks.append(events[events["kind"] == Kind.CLOCK].copy())

    replay(
        source_of(path, burst_frames, ticks=True),
        [config],
        clock=SystemClock(),
        on_decision=decisions.append,
        on_batch=note,
    )
    return decisions, np.concatenate(ticks)


def test_a_log_without_a_clock_gets_one_on_the_grid(
    ticking: StrategyConfig, tmp_path: Path
) -> None:
    record(tmp_path / "raw")
    first, ticks = ran(tmp_path, ticking, None)
    stamps = sorted(recv_ns for recv_ns, payload in lines(5, MESSAGES) if payload[:2] == b'{"')
    assert (ticks["ts_recv"] % CLOCK_NS == 0).all()
    assert (np.diff(ticks["ts_recv"]) >= CLOCK_NS).all()
    assert len(ticks) >= (stamps[-1] - stamps[0]) // CLOCK_NS - 1
    said = [json.loads(line) for line in first]
    assert said[0]["fields"]["all"] == symbols_by_number(tmp_path)
    assert len(symbols_by_number(tmp_path)) == len(SYMBOLS)
    assert len(said) > 10
    for burst_frames in (1, 3, 64, 4096):
        again, its_ticks = ran(tmp_path, ticking, burst_frames)
        assert again == first
        assert its_ticks.tolist() == ticks.tolist()


def symbols_by_number(path: Path) -> list[str]:
    decoder = Decoder()
    for _, chunk in RawLogReader(str(path / "raw")):
        decoder.decode(chunk)
    return [json.loads(each)["symbol"] for _, each in sorted(decoder.instruments())]


def test_none_is_made_beside_a_recorded_one(ticking: StrategyConfig, tmp_path: Path) -> None:
    log, decoder = RawLog(str(tmp_path / "raw"), node=1), Decoder()
    log.restore_decoder(decoder)
    now_ns = SystemClock().wall_ns()
    log.record(0, "C", b'{"kind":"clock"}')
    for number in range(30):
        log.frame_at(1, b"{}", now_ns + number * CLOCK_NS, 0)
    log.end_burst(decoder)
    log.close()
    for burst_frames in (None, 1, 7):
        _, ticks = ran(tmp_path, ticking, burst_frames)
        ticks.sort(order="seq")
        (recorded,) = np.flatnonzero(ticks["seq"] & 0xFFFF == 0)
        behind = ticks["ts_recv"][recorded + 1 :]
        assert 15 <= len(behind) <= 21
        assert behind[0] >= ticks["ts_recv"][recorded] + RECORDED_NS - CLOCK_NS
