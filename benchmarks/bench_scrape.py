"""A scrape of /metrics, against prometheus_client writing the same families.

The daemon is wired with four venues of 1,000 symbols each, an account, a strategy, an indicator; on
its bus lie 1,000 symbols of 20 venues with five channels each, in queues by topic that nobody
drains. Nothing runs: what is measured is the time that a scrape holds the loop and the GIL. The
ratio compares writing alone: both have the same families ready-made.

Run: python benchmarks/bench_scrape.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import harness
import numpy as np
import orjson
from harness import Cost, Figure, least
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.config import VenueConfig
from recorder.config import ClickHouseConfig
from risk.brokers.paper.config import PaperConfig
from strategy_runner.config import StrategyConfig
from strategy_runner.indicator_config import IndicatorConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.daemon import Daemon
from tickd.app.wiring import wire
from tickd.bus_queue import Limits, WhenFull
from tickd.events import EVENT, Flag, Kind
from tickd.native import EventBatch
from tickd.ports import Notice
from tickd.telemetry.exposition import Family, Summary

SYMBOLS = [f"S{number:04d}USDT" for number in range(1_000)]
VENUES = ("binance-usdm", "binance-coinm", "binance-spot", "okx")
CHANNELS = ("trade", "quote", "depth", "mark", "funding")
BUS_VENUES = 20
BUDGET_MS = 10.0


class Leg:
    """The far end of a connection that nobody reads."""

    def on_notice(self, notice: Notice) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Ready(Collector):
    """Families as prometheus_client has them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def whole(value: float) -> float:
    """Most numbers of a daemon are whole."""
    return int(value) if float(value).is_integer() else value


def series_in(text: bytes) -> int:
    return sum(line[:1] != b"#" for line in text.splitlines())


def ours_of(family: Metric) -> Family:
    """The same family as ours, its numbers ready-made."""
    if family.type == "histogram":
        cumulative = [sample.value for sample in family.samples if "le" in sample.labels]
        counts = [int(after - before) for before, after in pairwise([0, *cumulative])]
        marks = [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
        bounds = [float(mark) for mark in marks[:-1]]
        return Family.of_histogram(family.name, family.documentation, bounds, lambda: counts, float)
    if family.type == "summary":
        labelled = family.samples[0].labels if family.samples else {}
        names = tuple(name for name in labelled if name != "quantile")
        summaries: dict[tuple[str, ...], Summary] = {}
        for sample in family.samples:
            key = tuple(sample.labels[name] for name in names)
            known = summaries.setdefault(key, Summary(7, 9, {}))
            if "quantile" in sample.labels:
                known.quantiles_ns[sample.labels["quantile"]] = sample.value  # type: ignore[index]
        return Family.of_summaries(family.name, family.documentation, names, lambda: summaries)
    labels = tuple(family.samples[0].labels) if family.samples else ()
    values = {tuple(sample.labels.values()): whole(sample.value) for sample in family.samples}
    is_counter = family.type == "counter"
    name = f"{family.name}_total" if is_counter else family.name
    kind: Literal["counter", "gauge"] = "counter" if is_counter else "gauge"
    return Family.of_values(name, kind, family.documentation, labels, lambda: values)


def write(families: list[Family]) -> bytes:
    out = []
    for family in families:
        out.append(family.head)
        out += family.lines()
    return "".join(out).encode()


def config(state_dir: Path) -> Config:
    topics = ("trade.binance-usdm.S0001USDT",)
    return Config(
        node=NodeConfig(state_dir=str(state_dir)),
        clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
        venues=tuple(VenueConfig(name=name, symbols=tuple(SYMBOLS)) for name in VENUES),
        accounts=(PaperConfig(name="paper", balance="1000"),),
        strategies=(
            StrategyConfig(name="one", class_="one.py:One", account="paper", topics=topics),
        ),
        indicators=(IndicatorConfig(name="cvd", kind="cvd", topics=topics),),
    )


def feed(daemon: Daemon) -> None:
    """Trades of every symbol of one venue through tap and decoder."""
    tap = daemon.parts.tap
    line = tap.open(venue="binance-usdm", url="ws://x", streams=[], leg=Leg())
    for symbol in SYMBOLS:
        definition = {
            "kind": "instrument",
            "venue": "binance-usdm",
            "symbol": symbol,
            "asset_class": "perpetual",
            "price_scale": 2,
            "size_scale": 3,
            "tick": 1,
            "lot": 1,
            "multiplier": "1",
        }
        tap.record(0, "C", orjson.dumps(definition))
        data = {"e": "trade", "E": 1, "T": 1, "s": symbol, "t": 1, "p": "100.25", "q": "1.5"}
        data |= {"X": "MARKET", "m": True}
        tap.frame(line, orjson.dumps({"stream": f"{symbol.lower()}@trade", "data": data}))
    tap.finish()


def publish(daemon: Daemon) -> int:
    """A record of each topic of 20 venues into queues by topic; returns how many topics exist."""
    decoder, bus = daemon.parts.decoder, daemon.parts.bus
    for name in ("strategies", "operator"):
        bus.subscribe("*", name=name, when_full=WhenFull.DROP_OLDEST, limits=Limits(records_max=8))
    seq = bus.seq
    for venue in range(BUS_VENUES):
        symbols = SYMBOLS[venue::BUS_VENUES]
        events = np.zeros(len(symbols) * len(CHANNELS), EVENT)
        events["kind"], events["flags"] = Kind.TRADE, Flag.LAST
        events["seq"] = np.arange(seq + 1, seq + 1 + len(events))
        names = [f"{channel}.venue{venue:02d}.{each}" for channel in CHANNELS for each in symbols]
        topics = [(decoder.intern_topic(name), at, at + 1) for at, name in enumerate(names)]
        bus.publish(EventBatch.from_events(events.tobytes(), topics, time.monotonic_ns()))
        seq += len(events)
    return decoder.topic_count


def figures(daemon: Daemon, rounds: int) -> list[Figure]:
    metrics = daemon.http.metrics
    text = metrics.text().decode()
    families = list(text_string_to_metric_families(text))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ready(families))
    ready = [ours_of(family) for family in families]
    series = series_in(write(ready))
    assert series == series_in(text.encode()), "the two do not write the same"

    def scrape() -> Cost:
        began = time.thread_time_ns()
        metrics.text()
        return Cost(time.thread_time_ns() - began, 1)

    def ours() -> Cost:
        began = time.thread_time_ns()
        write(ready)
        return Cost(time.thread_time_ns() - began, 1)

    def theirs() -> Cost:
        began = time.thread_time_ns()
        generate_latest(registry)
        return Cost(time.thread_time_ns() - began, 1)

    best = least({"scrape": scrape, "ours": ours, "theirs": theirs}, max(rounds, 30))
    return [
        Figure(
            "scrape.ratio",
            best["theirs"] / best["ours"],
            "x",
            f"writing {series} series, against prometheus_client",
            least=3.0,
            checked=True,
        ),
        Figure(
            "scrape.ms",
            best["scrape"] / 1e6,
            "ms",
            f"the loop's time in a scrape, read and written: {series} series,"
            f" {daemon.parts.decoder.topic_count:,} topics",
            most=BUDGET_MS,
        ),
        Figure("scrape.ours_ms", best["ours"] / 1e6, "ms", "of it, writing"),
        Figure("scrape.client_ms", best["theirs"] / 1e6, "ms", "prometheus_client, writing only"),
    ]


async def measure(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as scratch:
        daemon = Daemon(wire(config(Path(scratch))))
        try:
            feed(daemon)
            publish(daemon)
            return figures(daemon, rounds)
        finally:
            await daemon.parts.put_away()


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    shown = asyncio.run(measure(options.rounds))
    if options.checked:
        shown = [figure for figure in shown if figure.checked]
    harness.show(shown, as_json=options.json)


if __name__ == "__main__":
    main()
