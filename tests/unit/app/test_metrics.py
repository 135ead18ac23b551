"""The metrics of a real daemon: parseable, well named, bounded whatever the number of symbols."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import orjson
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import VenueConfig
from recorder.config import ClickHouseConfig
from recorder.sink.delivery import DeliveryCounters
from recorder.sink.sink import SinkCounters
from risk.brokers.paper.config import PaperConfig
from strategy_runner.config import StrategyConfig
from strategy_runner.indicator_config import IndicatorConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.daemon import Daemon
from tickd.app.metrics import metrics_of
from tickd.app.recorder_metrics import _DELIVERY, _SINK
from tickd.app.wiring import wire
from tickd.bus_queue import Limits, WhenFull
from tickd.ports import Notice
from tickd.telemetry.metrics import SERIES_MAX, STANDARD
from tickd.testing.batches import counted_batch

SYMBOLS = 1_000
VENUE = "binance-usdm"


class Leg:
    """The far end of a connection that nobody reads."""

    def on_notice(self, notice: Notice) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def definition(symbol: str) -> bytes:
    return orjson.dumps(
        {
            "kind": "instrument",
            "venue": VENUE,
            "symbol": symbol,
            "asset_class": "perpetual",
            "price_scale": 2,
            "size_scale": 3,
            "tick": 1,
            "lot": 1,
            "multiplier": "1",
        }
    )


def trade(symbol: str, number: int) -> bytes:
    data = {
        "e": "trade",
        "E": 1_795_219_200_000,
        "T": 1_795_219_200_000,
        "s": symbol,
        "t": number,
        "p": "100.25",
        "q": "1.5",
        "X": "MARKET",
        "m": True,
    }
    return orjson.dumps({"stream": f"{symbol.lower()}@trade", "data": data})


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """A daemon whose parts work and whose tasks do not run."""
    config = Config(
        node=NodeConfig(state_dir=str(tmp_path)),
        clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
    )
    daemon = Daemon(wire(config))
    yield daemon
    daemon.parts.tap.finish()
    daemon.parts.tap.detach()
    daemon.parts.raw_log.close()


def feed(daemon: Daemon, symbols: int, trades: int) -> None:
    connection = daemon.parts.tap.open(venue=VENUE, url="ws://x", streams=[], leg=Leg())
    names = [f"S{number:04}USDT" for number in range(symbols)]
    for name in names:
        daemon.parts.tap.record(0, "C", definition(name))
    for number in range(trades):
        for name in names:
            daemon.parts.tap.frame(connection, trade(name, number))
    daemon.parts.tap._end_burst()


def scrape(daemon: Daemon) -> dict[str, Metric]:
    text = daemon.http.metrics.text().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


async def test_a_thousand_symbols_stay_below_the_limit_with_the_worst_twenty(
    daemon: Daemon,
) -> None:
    daemon.parts.bus.subscribe(
        "*", name="slow", when_full=WhenFull.DROP_OLDEST, limits=Limits(records_max=2)
    )
    feed(daemon, SYMBOLS, trades=3)
    assert daemon.parts.decoder.topic_count >= SYMBOLS
    families = scrape(daemon)
    series = sum(len(family.samples) for family in families.values())
    assert series <= SERIES_MAX
    worst = families["tickd_bus_worst_topic_age_seconds"].samples
    assert len(worst) == 20
    symbols = [s for f in families.values() for s in f.samples if "S0" in str(s.labels)]
    assert set(map(id, symbols)) <= set(map(id, worst)), "a symbol is a label elsewhere"
    (dropped,) = (
        s
        for s in families["tickd_bus_dropped_events"].samples
        if s.labels["subscription"] == "slow"
    )
    assert dropped.value == SYMBOLS
    assert families["tickd_telemetry_series_dropped"].samples[0].value == 0


async def test_names_follow_the_rules_of_prometheus(daemon: Daemon) -> None:
    feed(daemon, 3, trades=2)
    families = scrape(daemon)
    for name, family in families.items():
        if any(sample.name in STANDARD for sample in family.samples):
            continue
        assert re.fullmatch(r"tickd(_[a-z][a-z0-9]*){2,}", name), name
        assert family.documentation.endswith("."), name
        assert not re.search(r"_(ms|us|ns|kb|mb)(_|$)", name), name
        assert name.count("_total") == 0, "the parser takes the one suffix off"
        samples = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert samples <= {f"{name}_total"}
        elif family.type == "histogram":
            assert name.endswith("_seconds")
            assert {f"{name}_bucket", f"{name}_sum", f"{name}_count"} == samples
        elif family.type == "summary":
            assert name.endswith("_seconds")
            assert {name, f"{name}_sum", f"{name}_count"} == samples
        else:
            assert not name.endswith(("_count", "_sum", "_bucket", "_total")), name


async def test_the_three_latencies_and_the_loop_are_histograms(daemon: Daemon) -> None:
    feed(daemon, 2, trades=5)
    scrape(daemon)
    families = scrape(daemon)
    for name in (
        "tickd_recorder_raw_write_latency_seconds",
        "tickd_gateway_publish_latency_seconds",
        "tickd_recorder_sink_ack_latency_seconds",
        "tickd_app_loop_lag_seconds",
        "tickd_telemetry_scrape_seconds",
    ):
        assert families[name].type == "histogram"

    def value(name: str, sample: str) -> float:
        return next(s.value for s in families[name].samples if s.name == sample)

    publish = "tickd_gateway_publish_latency_seconds"
    assert value(publish, f"{publish}_count") == 10
    bounds = {s.labels.get("le") for s in families[publish].samples}
    assert {"0.001", "0.005"} <= bounds, "an objective is a bound"
    scrapes = "tickd_telemetry_scrape_seconds"
    assert value(scrapes, f"{scrapes}_count") == 1
    assert value("tickd_gateway_decoded_events", "tickd_gateway_decoded_events_total") == 10
    (last,) = families["tickd_gateway_last_event_timestamp_seconds"].samples
    assert last.labels == {"channel": "trade", "venue": VENUE}
    assert abs(last.value - time.time()) < 60


async def test_pause_is_one_gauge_and_one_counter(daemon: Daemon) -> None:
    daemon.parts.tap._pause()
    families = scrape(daemon)
    assert [n for n in families if "sockets_paused" in n] == ["tickd_recorder_sockets_paused"]
    assert families["tickd_recorder_sockets_paused"].samples[0].value == 1
    assert families["tickd_recorder_socket_pauses"].samples[0].value == 1


def test_every_counter_of_the_sink_is_shown() -> None:
    assert {field.name for field in fields(SinkCounters)} == set(_SINK)
    assert {field.name for field in fields(DeliveryCounters)} == set(_DELIVERY)


async def test_a_scrape_begins_a_new_high_water(daemon: Daemon) -> None:
    feed(daemon, 1, trades=7)

    def high() -> float:
        samples = scrape(daemon)["tickd_bus_queue_high_water_records"].samples
        return next(s.value for s in samples if s.labels["subscription"] == "clickhouse")

    assert high() == 7
    daemon.parts.storage._subscription.take_bursts_now()
    high()
    assert high() == 0
    assert metrics_of(daemon.parts).names == metrics_of(daemon.parts).names


async def test_a_daemon_with_everything_stays_below_the_limit_at_a_thousand_symbols(
    tmp_path: Path,
) -> None:
    """Four venues of 1,000 symbols, accounts, strategies, indicators; 6,000 topics on the bus."""
    symbols = tuple(f"S{number:04}USDT" for number in range(SYMBOLS))
    venues = ("binance-usdm", "binance-coinm", "binance-spot", "okx")
    topics = (f"trade.{VENUE}.S0001USDT",)
    config = Config(
        node=NodeConfig(state_dir=str(tmp_path)),
        clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
        venues=tuple(VenueConfig(name=name, symbols=symbols) for name in venues),
        accounts=tuple(PaperConfig(name=f"paper{n}", balance="1") for n in range(4)),
        strategies=tuple(
            StrategyConfig(name=f"s{n}", class_="s.py:S", account="paper0", topics=topics)
            for n in range(8)
        ),
        indicators=(IndicatorConfig(name="cvd", kind="cvd", topics=topics),),
    )
    daemon = Daemon(wire(config))
    try:
        bus, decoder = daemon.parts.bus, daemon.parts.decoder
        limits = Limits(records_max=1)
        bus.subscribe("*", name="slow", when_full=WhenFull.DROP_OLDEST, limits=limits)
        feed(daemon, SYMBOLS, trades=2)
        names = [f"{channel}.v{n % 20}.{s}" for channel in "abcde" for n, s in enumerate(symbols)]
        numbers = {decoder.intern_topic(name): 2 for name in names}
        bus.publish(counted_batch(bus.seq + 1, numbers, mono_ns=1))
        families = scrape(daemon)
        series = sum(len(family.samples) for family in families.values())
        assert families["tickd_telemetry_series"].samples[0].value == series <= SERIES_MAX
        assert families["tickd_telemetry_series_dropped"].samples[0].value == 0
        worst = families["tickd_bus_worst_topic_age_seconds"].samples
        assert len(worst) == 20
    finally:
        await daemon.parts.put_away()
