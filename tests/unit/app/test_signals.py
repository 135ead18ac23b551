"""Indicators of a daemon whose tasks do not run: what is wired, shown and refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder.config import ClickHouseConfig
from strategy_runner.indicator_config import IndicatorConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.daemon import Daemon
from tickd.app.metrics import metrics_of
from tickd.app.signals import require_native
from tickd.app.wiring import wire
from tickd.backend import Choice
from tickd.bus_queue import WhenFull
from tickd.errors import TickdError
from tickd.events import as_array, signal_values
from tickd.ports import Notice

CVD = IndicatorConfig(name="cvd", kind="cvd", topics=("trade.binance-usdm.*",))


class Leg:
    """The far end of a connection that nobody reads."""

    def on_notice(self, notice: Notice) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@pytest.fixture
async def daemon(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Daemon]:
    config = Config(
        node=NodeConfig(state_dir=str(tmp_path)),
        clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
        indicators=getattr(request, "param", (CVD,)),
    )
    daemon = Daemon(wire(config))
    yield daemon
    daemon.parts.tap.finish()
    daemon.parts.tap.detach()
    daemon.parts.raw_log.close()


def feed(daemon: Daemon, sizes: list[str]) -> None:
    tap = daemon.parts.tap
    definition = {
        "kind": "instrument",
        "venue": "binance-usdm",
        "symbol": "BTCUSDT",
        "asset_class": "perpetual",
        "price_scale": 2,
        "size_scale": 3,
        "tick": 1,
        "lot": 1,
        "multiplier": "1",
    }
    tap.record(0, "C", orjson.dumps(definition))
    line = tap.open(venue="binance-usdm", url="ws://x", streams=(), leg=Leg())
    for number, size in enumerate(sizes, 1):
        data = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": number, "p": "10.00"}
        data |= {"q": size, "X": "MARKET", "m": False}
        tap.frame(line, orjson.dumps({"stream": "btcusdt@trade", "data": data}))
    tap.finish()


def shown(daemon: Daemon) -> dict[str, float]:
    text = metrics_of(daemon.parts).text().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "signals_" in sample.name or "strategy_runner" in sample.name
    }


async def test_signals_are_published_counted_and_queued_for_clickhouse(daemon: Daemon) -> None:
    bus = daemon.parts.bus
    taken = bus.subscribe("signal.*.BTCUSDT", name="reader", when_full=WhenFull.DROP_OLDEST)
    feed(daemon, ["0.250", "0.500", "0.000"])
    ((topic, batch),) = taken.take_now()
    assert topic == "signal.binance-usdm.BTCUSDT"
    assert list(signal_values(as_array(batch))) == [0.25, 0.75]  # the third changed nothing
    picture = daemon.picture.draw(topics=False)["signals"]
    assert (picture["indicators"], picture["values"], picture["signals"]) == (["cvd"], 3, 2)
    assert {row.topic: row.depth for row in bus.topic_lag() if row.subscription == "signals"} == {
        topic: 2
    }
    assert shown(daemon) == {
        "tickd_strategy_runner_values_total": 3,
        "tickd_strategy_runner_signals_total": 2,
        "tickd_strategy_runner_undefined_events_total": 0,
        "tickd_recorder_signals_rows_total": 0,
        "tickd_recorder_signals_lost_rows_total": 0,
    }


@pytest.mark.parametrize("daemon", [()], indirect=True)
async def test_without_indicators_nobody_takes_bursts_for_them(daemon: Daemon) -> None:
    feed(daemon, ["0.250"])
    assert {queue.subscription for queue in daemon.parts.bus.stats().queues} == {"clickhouse"}
    assert shown(daemon) == {}
    await daemon.parts.signals.run()  # ends at once
    await daemon.parts.signals.finish()


def test_indicators_in_the_flow_need_the_native_backend() -> None:
    refused = Choice("indicators", "numpy", "differs from the twin: Ofi")
    require_native((), [refused])
    require_native([CVD], [Choice("indicators", "native", "equal")])
    with pytest.raises(TickdError, match=r"need the native backend.*differs from the twin"):
        require_native([CVD], [refused])
