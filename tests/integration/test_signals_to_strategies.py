"""A strategy that listens to signals decides in a replay what it decided live, in any cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.run import replay
from backtest.sources import source_of
from strategy_runner.config import StrategyConfig
from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.runner import StrategyHost
from tests.harness.market_lines import SYMBOL, lines
from tickd.app.signals import Signals
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, RawLog

INDICATORS = (
    IndicatorConfig(name="flow", kind="ofi", topics=("quote.*.*",), params={"window": 20}),
    IndicatorConfig(name="mid", kind="mid", topics=("quote.*.*",), publish="every"),
)
SOURCE = """
from strategy_runner.strategy import Strategy


class Listening(Strategy):
    def on_trade(self, trade):
        self.context.decide("trade", price=trade.price)

    def on_quote(self, quote):
        self.context.decide("quote", bid=quote.bid_price)

    def on_signal(self, signal):
        self.context.decide("signal", value=signal.value, indicator=signal.indicator)
"""


def live(directory: Path, config: StrategyConfig, frames: int) -> list[bytes]:
    """A daemon's way: raw log, decoder, bus, indicators, strategies behind them."""
    log, decoder = RawLog(str(directory), node=1), Decoder()
    log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, SystemClock())
    signals = Signals(INDICATORS, decoder=decoder, bus=bus)
    decisions: list[bytes] = []
    host = StrategyHost(
        [config],
        record=lambda _line: None,
        clock=SystemClock(),
        state_dir=None,
        on_stopped=lambda _name, _reason: None,
        on_decision=decisions.append,
    )
    host.start()
    bus.handle_bursts(signals.behind(host.feed), name="strategies")
    others: list[EventBatch] = []
    bus.handle_bursts(others.append, name="another consumer")
    definition = {"kind": "instrument", "venue": "binance-usdm", "symbol": SYMBOL, "lot": 1}
    definition |= {"asset_class": "perpetual", "price_scale": 1, "size_scale": 3, "tick": 1}
    log.record(0, "C", json.dumps({**definition, "multiplier": "1"}).encode())
    connect = {"kind": "connect", "connection": 1, "venue": "binance-usdm", "url": ""}
    log.record(1, "C", json.dumps({**connect, "streams": []}).encode())
    for number, (recv_ns, payload) in enumerate(lines(3, 1_500)):
        if not payload.startswith(b'{"stream"'):
            continue
        log.frame_at(1, payload, recv_ns, recv_ns)
        if number % frames == 0:
            batch = log.end_burst(decoder)
            for instrument, text in decoder.instruments():
                host.define(instrument, text)
                signals.define(instrument, text)
            if batch is not None:
                bus.publish(batch)
    host.stop("the daemon stops")
    log.end_burst(decoder)
    log.close()
    assert sum(len(batch) for batch in others) > len(decisions)
    return decisions


@pytest.mark.parametrize("frames", [1, 7, 64])
def test_signals_come_behind_their_causes_live_and_in_replays(frames: int, tmp_path: Path) -> None:
    (tmp_path / "listening.py").write_text(SOURCE)
    config = StrategyConfig(name="listening", class_=f"{tmp_path}/listening.py:Listening")
    decided = live(tmp_path / "raw", config, frames)
    said = [json.loads(line) for line in decided]
    signals = [at for at, line in enumerate(said) if line["what"] == "signal"]
    assert len(signals) > 500
    assert all(said[at]["seq"] == said[at - 1]["seq"] for at in signals)
    again: list[bytes] = []
    source = source_of(tmp_path, 13, (), INDICATORS)
    replay(source, [config], clock=SystemClock(), on_decision=again.append)
    assert again[: len(decided)] == decided
