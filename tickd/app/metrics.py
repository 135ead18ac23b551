"""The daemon's metrics: which of its native counters and histograms are shown, by which names.

Everything is read on scrape. How metrics are declared, checked, bounded and rendered is in
`tickd/telemetry`; nothing is counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Final

from gateway.status import Counters
from tickd.app.disk_metrics import declare_disk
from tickd.app.parts import Parts
from tickd.app.ship_metrics import declare_ship
from tickd.native import BUILD_PROFILE, VERSION
from tickd.telemetry.bus_metrics import declare_bus_metrics
from tickd.telemetry.metrics import Metrics, Values

# Objectives, s: a bucket bound each, so that the share within is exact.
_SLO_BUS: Final = (0.001, 0.005)
_SLO_DISK: Final = (0.25, 0.5)
_SLO_ACK: Final = (1.0, 5.0)

# Counters of the decoder with a name of their own; the rest, rarer, shares one by kind.
_DECODER: Final = {
    "frames": "Frames decoded.",
    "events": "Events made of them.",
    "duplicates": "Events dropped because another leg had brought them.",
    "gaps": "Gap events.",
    "resyncs": "Books that lost their thread.",
}
# Field of SinkCounters -> name and meaning.
_SINK: Final = {
    "batches": ("batches", "Batches taken."),
    "events": ("events", "Events taken."),
    "cuts": ("cuts", "Cuts through all tables."),
    "blocks_planned": ("planned_blocks", "Blocks with a durable plan line."),
    "blocks_inserted": ("inserted_blocks", "Blocks that ClickHouse acknowledged."),
    "blocks_present": ("present_blocks", "Blocks found in ClickHouse after a restart."),
    "blocks_quarantined": ("quarantined_blocks", "Blocks that ClickHouse refused for good."),
    "rows_committed": ("committed_rows", "Rows in ClickHouse."),
    "bytes_sent": ("sent_bytes", "Bytes of acknowledged blocks."),
    "falls_behind": ("falls_behind", "Times that the sink left the live order."),
    "batches_reread": ("reread_batches", "Batches read again from the raw log."),
    "rebuilt_differently": ("differing_blocks", "Blocks that the raw log gives differently now."),
}


def metrics_of(parts: Parts) -> Metrics:
    """Declare everything that a daemon shows."""
    metrics = Metrics(parts.clock.mono_ns)
    metrics.read_gauge(
        "tickd_build_info",
        "Version and build of this daemon.",
        lambda: {(VERSION, BUILD_PROFILE): 1},
        ("version", "build"),
    )
    _declare_raw_log(metrics, parts)
    _declare_decoder(metrics, parts)
    _declare_channels(metrics, parts)
    declare_bus_metrics(metrics, parts.bus)
    _declare_sink(metrics, parts)
    _declare_sessions(metrics, parts)
    declare_disk(metrics, parts.disk)
    declare_ship(metrics, parts.shipping, parts.clock)
    metrics.read_counter(
        "tickd_recorder_other_sink_failures_total",
        "Exceptions raised by sinks beside ClickHouse.",
        lambda: {(sink.name,): sink.failures for sink in parts.sinks},
        ("subscription",),
    )
    metrics.read_histogram(
        "tickd_app_loop_lag_seconds", "Lateness of the event loop's timers.", parts.loop_lag
    )
    return metrics


def _declare_raw_log(metrics: Metrics, parts: Parts) -> None:
    raw, tap = parts.raw_log, parts.tap
    stats = metrics.once_per_scrape(raw.stats)
    prefix = "tickd_recorder_raw"
    counters: dict[str, tuple[str, Callable[[], Values]]] = {
        "frames": ("Frames appended.", lambda: stats()["frames"]),
        "record_bytes": ("Bytes of records appended.", lambda: stats()["raw_bytes"]),
        "written_bytes": ("Bytes written to segments.", lambda: stats()["compressed_bytes"]),
        "chunks": ("Chunks written.", lambda: stats()["chunks"]),
        "segments": ("Segments begun.", lambda: stats()["segments"]),
        "fsyncs": ("Syncs of segments.", lambda: stats()["fsyncs"]),
        "faults": ("Failed writes and syncs.", lambda: stats()["faults"]),
    }
    for name, (text, read) in counters.items():
        metrics.read_counter(f"{prefix}_{name}_total", text, read)
    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "pending_bytes": ("Bytes not yet written.", lambda: raw.pending_bytes),
        "unsynced_bytes": ("Bytes that a power cut loses.", lambda: stats()["unsynced_bytes"]),
        "written_frame": ("Highest frame number written.", lambda: raw.written),
        "synced_frame": ("Highest frame number synced.", lambda: raw.synced),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"{prefix}_{name}", text, read)
    metrics.read_gauge(
        "tickd_recorder_sockets_paused",
        "1 while the disk keeps the sockets from being read.",
        lambda: int(tap.paused),
    )
    metrics.read_counter(
        "tickd_recorder_socket_pauses_total",
        "Times that the disk paused the sockets.",
        lambda: tap.pauses_total,
    )
    metrics.read_histogram(
        f"{prefix}_write_latency_seconds", "Socket to file.", raw.write_latency, slo_s=_SLO_DISK
    )
    metrics.read_histogram(f"{prefix}_fsync_seconds", "Duration of a sync.", raw.fsync_latency)


def _declare_decoder(metrics: Metrics, parts: Parts) -> None:
    decoder = parts.decoder
    counters = metrics.once_per_scrape(lambda: dict(decoder.counters()))

    def decoded(name: str) -> Callable[[], Values]:
        return lambda: counters().get(name, 0)

    for name, text in _DECODER.items():
        metrics.read_counter(f"tickd_gateway_decoded_{name}_total", text, decoded(name))
    metrics.read_counter(
        "tickd_gateway_refused_frames_total",
        "Frames that gave no event, by reason.",
        lambda: {
            (name.removeprefix("refused_"),): value
            for name, value in counters().items()
            if name.startswith("refused_")
        },
        ("reason",),
    )
    metrics.read_counter(
        "tickd_gateway_decoder_notes_total",
        "What else the decoder counts.",
        lambda: {
            (name,): value
            for name, value in counters().items()
            if name not in _DECODER and not name.startswith("refused")
        },
        ("kind",),
    )

    metrics.read_gauge("tickd_gateway_topics_count", "Topics seen.", lambda: decoder.topic_count)
    metrics.read_histogram(
        "tickd_gateway_publish_latency_seconds",
        "Socket to bus.",
        parts.tap.publish_latency,
        slo_s=_SLO_BUS,
    )


def _declare_channels(metrics: Metrics, parts: Parts) -> None:
    decoder, clock = parts.decoder, parts.clock

    def by_channel() -> dict[tuple[str, ...], tuple[int, int]]:
        """(channel, venue) -> (events, monotonic time of the last one)."""
        sums: dict[tuple[str, ...], tuple[int, int]] = {}
        for topic, events, mono_ns in decoder.topic_stats():
            key = tuple(decoder.topic_name(topic).split(".", 2)[:2])
            before = sums.get(key, (0, 0))
            sums[key] = (before[0] + events, max(before[1], mono_ns))
        return sums

    channels = metrics.once_per_scrape(by_channel)
    labels = ("channel", "venue")
    metrics.read_counter(
        "tickd_gateway_events_total",
        "Events by channel.",
        lambda: {key: events for key, (events, _) in channels().items()},
        labels,
    )
    metrics.read_gauge(
        "tickd_gateway_last_event_timestamp_seconds",
        "When the last event of a channel was received.",
        lambda: {
            key: (clock.wall_ns() - clock.mono_ns() + mono_ns) / 1e9
            for key, (_, mono_ns) in channels().items()
            if mono_ns
        },
        labels,
    )


def _declare_sink(metrics: Metrics, parts: Parts) -> None:
    storage = parts.storage
    sink = storage.sink
    prefix = "tickd_recorder_sink"

    def counted(field: str) -> Callable[[], Values]:
        return lambda: getattr(sink.counters, field)

    for field, (name, text) in _SINK.items():
        metrics.read_counter(f"{prefix}_{name}_total", text, counted(field))
    metrics.read_counter(
        f"{prefix}_failed_attempts_total",
        "Inserts that failed, by kind.",
        lambda: {(kind,): count for kind, count in sink.counters.attempts_failed.items()},
        ("kind",),
    )
    metrics.read_gauge(
        f"{prefix}_state",
        "1 for the state that the sink is in.",
        lambda: {(sink.state.value,): 1},
        ("state",),
    )
    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "pending_bytes": ("Bytes that wait for ClickHouse.", lambda: sink.held_bytes),
        "waiting_blocks": ("Planned blocks not acknowledged.", lambda: sink.blocks_waiting),
        "behind_frames": ("Frames to read again from the raw log.", lambda: sink.frames_behind),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"{prefix}_{name}", text, read)
    metrics.read_counter(
        "tickd_recorder_embedded_restarts_total",
        "Restarts of the embedded ClickHouse.",
        lambda: storage.embedded.restarts if storage.embedded is not None else 0,
    )
    metrics.read_counter(
        "tickd_recorder_bookkeeping_failures_total",
        "Rounds of the slow tables that ClickHouse did not take.",
        lambda: storage.books.rounds_failed,
    )
    metrics.read_histogram(
        f"{prefix}_ack_latency_seconds",
        "Socket to ClickHouse's acknowledgement.",
        sink.ack_latency,
        slo_s=_SLO_ACK,
    )


def _declare_sessions(metrics: Metrics, parts: Parts) -> None:
    sessions = parts.sessions
    by = ("venue",)

    def read(field: str) -> Callable[[], Values]:
        return lambda: {(s.venue.name,): getattr(s.counters, field) for s in sessions}

    for field in fields(Counters):
        if field.name == "paused_ns":
            continue
        metrics.read_counter(
            f"tickd_gateway_{field.name}_total",
            f"Session: {field.name.replace('_', ' ')}.",
            read(field.name),
            by,
        )
    metrics.read_counter(
        "tickd_gateway_paused_seconds_total",
        "Time that sockets were not read.",
        lambda: {(s.venue.name,): s.counters.paused_ns / 1e9 for s in sessions},
        by,
    )

    def lines() -> dict[str, Counter[str]]:
        return {s.venue.name: Counter(line.state for line in s.status().lines) for s in sessions}

    states = metrics.once_per_scrape(lines)
    metrics.read_gauge(
        "tickd_gateway_lines_count",
        "Planned connections by state.",
        lambda: {
            (venue, state): count
            for venue, counts in states().items()
            for state, count in counts.items()
        },
        ("venue", "state"),
    )
