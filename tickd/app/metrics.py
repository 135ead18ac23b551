"""The daemon's metrics: read from native counters and histograms on scrape, counted elsewhere.

Labels are bounded (venue, table, queue, reason); symbols appear only for the 20 topics furthest
behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tickd.native import BUILD_PROFILE, VERSION, Histogram

if TYPE_CHECKING:
    from tickd.app.wiring import Daemon

# 16 µs to 8.4 s in powers of two, with the objectives 5 ms, 100 ms and 1 s exactly on a boundary.
BOUNDS_NS = sorted({16_000 * 2**k for k in range(20)} | {5_000_000, 100_000_000, 1_000_000_000})


def registry_of(daemon: Daemon) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_DaemonCollector(daemon))
    return registry


class _DaemonCollector(Collector):
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def describe(self) -> Iterable[Metric]:
        return ()  # everything is read on scrape

    def collect(self) -> Iterator[Metric]:
        yield _info(
            "tickd_build",
            "Version and build of this daemon.",
            version=VERSION,
            profile=BUILD_PROFILE,
        )
        yield from self._raw_log()
        yield from self._decoder()
        yield from self._bus()
        yield from self._sink()
        yield from self._sessions()
        yield _histogram(
            "tickd_app_loop_lag_seconds", "Delay of the event loop.", self._daemon.loop_lag
        )

    def _raw_log(self) -> Iterator[Metric]:
        raw, tap = self._daemon.raw_log, self._daemon.tap
        stats = raw.stats()
        for name, text, value in (
            ("frames", "Frames appended.", stats["frames"]),
            ("record_bytes", "Bytes of records appended.", stats["raw_bytes"]),
            ("compressed_bytes", "Bytes written to segments.", stats["compressed_bytes"]),
            ("chunks", "Chunks written.", stats["chunks"]),
            ("segments", "Segments begun.", stats["segments"]),
            ("fsyncs", "Syncs of segments.", stats["fsyncs"]),
            ("faults", "Failed writes and syncs.", stats["faults"]),
            ("sockets_paused", "Times the sockets were paused for the disk.", tap.pauses_total),
        ):
            yield _counter(f"tickd_recorder_raw_{name}", text, value)
        yield _gauge(
            "tickd_recorder_raw_pending_bytes", "Bytes not yet written.", raw.pending_bytes
        )
        yield _gauge(
            "tickd_recorder_raw_unsynced_bytes",
            "Bytes a power cut would lose.",
            stats["unsynced_bytes"],
        )
        yield _gauge(
            "tickd_recorder_sockets_paused", "1 while the sockets are paused.", int(tap.paused)
        )
        yield _gauge(
            "tickd_recorder_raw_written_frame", "Highest frame number written.", raw.written
        )
        yield _gauge("tickd_recorder_raw_synced_frame", "Highest frame number synced.", raw.synced)
        yield _histogram(
            "tickd_recorder_raw_write_latency_seconds", "Socket to file.", raw.write_latency
        )
        yield _histogram(
            "tickd_recorder_raw_fsync_seconds", "Duration of a sync.", raw.fsync_latency
        )

    def _decoder(self) -> Iterator[Metric]:
        counters = dict(self._daemon.decoder.counters())
        refused = CounterMetricFamily(
            "tickd_gateway_frames_refused",
            "Frames that gave no event, by reason.",
            labels=["reason"],
        )
        for name, value in counters.items():
            if name.startswith("refused_"):
                refused.add_metric([name.removeprefix("refused_")], value)
            elif name != "refused":
                yield _counter(
                    f"tickd_gateway_decoder_{name}", f"Decoder: {name.replace('_', ' ')}.", value
                )
        yield refused
        yield _histogram(
            "tickd_gateway_publish_latency_seconds",
            "Socket to bus.",
            self._daemon.tap.publish_latency,
        )
        yield _gauge("tickd_gateway_topics", "Topics seen.", self._daemon.decoder.topic_count)

    def _bus(self) -> Iterator[Metric]:
        stats = self._daemon.bus.stats(reset=True, reader="metrics")
        yield _counter("tickd_bus_events", "Events published.", stats.events)
        yield _counter("tickd_bus_batches", "Batches published.", stats.batches)
        depth = GaugeMetricFamily("tickd_bus_queue_records", "Records waiting.", labels=["queue"])
        high = GaugeMetricFamily(
            "tickd_bus_queue_high_water_records",
            "Most records since the last scrape.",
            labels=["queue"],
        )
        age = GaugeMetricFamily(
            "tickd_bus_queue_oldest_age_seconds", "Age of the oldest.", labels=["queue"]
        )
        dropped = CounterMetricFamily(
            "tickd_bus_dropped_records", "Records dropped.", labels=["queue"]
        )
        for queue in stats.queues:
            depth.add_metric([queue.subscription], queue.depth)
            high.add_metric([queue.subscription], queue.high_water)
            age.add_metric([queue.subscription], queue.oldest_age_s)
            dropped.add_metric([queue.subscription], queue.dropped)
        worst = GaugeMetricFamily(
            "tickd_bus_worst_topic_age_seconds",
            "The 20 topics furthest behind.",
            labels=["queue", "topic"],
        )
        for row in stats.worst:
            worst.add_metric([row.subscription, row.topic], row.oldest_age_s)
        yield from (depth, high, age, dropped, worst)

    def _sink(self) -> Iterator[Metric]:
        sink = self._daemon.storage.sink
        for name in sink.counters.__slots__:
            value = getattr(sink.counters, name)
            if isinstance(value, int):
                yield _counter(
                    f"tickd_recorder_sink_{name}", f"Sink: {name.replace('_', ' ')}.", value
                )
        failed = CounterMetricFamily(
            "tickd_recorder_sink_attempts_failed", "Failed inserts, by kind.", labels=["kind"]
        )
        for kind, value in sink.counters.attempts_failed.items():
            failed.add_metric([kind], value)
        yield failed
        yield _gauge(
            "tickd_recorder_sink_pending_bytes", "Bytes that wait for ClickHouse.", sink.held_bytes
        )
        yield _gauge(
            "tickd_recorder_sink_blocks_waiting",
            "Planned, unacknowledged blocks.",
            sink.blocks_waiting,
        )
        yield _gauge(
            "tickd_recorder_sink_frames_behind",
            "Frames to be read from the raw log.",
            sink.frames_behind,
        )
        yield _histogram(
            "tickd_recorder_sink_ack_latency_seconds",
            "Socket to acknowledgement.",
            sink.ack_latency,
        )

    def _sessions(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        connected = GaugeMetricFamily(
            "tickd_gateway_lines_streaming", "Streaming connections.", labels=["venue"]
        )
        wanted = GaugeMetricFamily(
            "tickd_gateway_lines_wanted", "Planned connections.", labels=["venue"]
        )
        for session in self._daemon.sessions:
            name = session.venue.name
            lines = session.status().lines
            wanted.add_metric([name], len(lines))
            streaming = sum(line.state in ("streaming", "replacing") for line in lines)
            connected.add_metric([name], streaming)
            for counter in session.counters.__slots__:
                family = families.get(counter)
                if family is None:
                    title = f"tickd_gateway_session_{counter}"
                    text = f"Session: {counter.replace('_', ' ')}."
                    family = families[counter] = CounterMetricFamily(title, text, labels=["venue"])
                family.add_metric([name], getattr(session.counters, counter))
        yield from (connected, wanted, *families.values())


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _info(name: str, text: str, **labels: str) -> Metric:
    return InfoMetricFamily(name, text, value=labels)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    """Fine native buckets folded to `BOUNDS_NS`; nothing is lost, the last bucket is +Inf."""
    counts: list[int] = histogram.counts(BOUNDS_NS)
    buckets: list[tuple[str, Any]] = []
    total = 0
    for bound, count in zip(BOUNDS_NS, counts, strict=False):
        total += count
        buckets.append((repr(bound / 1e9), total))
    buckets.append(("+Inf", histogram.count))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum / 1e9)
