"""Recorder & storage: raw log, queues, ClickHouse, spool, repair, disk, shipping."""

from __future__ import annotations

from dashboards import storage
from dashboards.board import Board, Row
from dashboards.queries import prom, rate, total
from dashboards.vocabulary import (
    GOOD,
    PanelBuilder,
    graph,
    heat_graph,
    latency,
    number,
    state,
    timeline,
)


def board() -> Board:
    return Board(
        name="recorder",
        title="tickd / Recorder & storage",
        description="From the socket to the disk, to ClickHouse, to object storage.",
        rows=[
            Row("At a glance", _glance()),
            Row("Raw log: the truth", _raw_log()),
            Row("Queues: what waits", _queues()),
            Row("ClickHouse", storage.clickhouse()),
            Row("Disk", storage.disk()),
            Row("Spool, spilled ranges, repair", storage.repair(), collapsed=True),
            Row("Object storage", storage.shipping(), collapsed=True),
            Row("What the last start found", storage.recovery(), collapsed=True),
        ],
    )


def _glance() -> list[PanelBuilder]:
    return [
        number(
            "Written",
            "Bytes per second written to segments, compressed.",
            rate("tickd_recorder_raw_written_bytes_total", "written"),
            "Bps",
        ),
        number(
            "A power cut loses",
            "Bytes that are written and not yet synced to the disk.",
            total("tickd_recorder_raw_unsynced_bytes", "unsynced"),
            "bytes",
            ((None, GOOD), (64_000_000, "orange")),
        ),
        state(
            "Sockets",
            "Not read while the disk does not keep up: nothing is dropped, the venue waits.",
            prom("max(tickd_recorder_sockets_paused)", "paused"),
            {0: ("read", GOOD), 1: ("NOT READ", "red")},
        ),
        number(
            "Rows stored",
            "Rows per second that ClickHouse acknowledged.",
            rate("tickd_recorder_sink_committed_rows_total", "rows"),
            "rowsps",
        ),
        state(
            "ClickHouse",
            "Whether the server is known, its tables are migrated and inserts go through.",
            prom("min(tickd_recorder_clickhouse_up_state)", "up"),
            {1: ("up", GOOD), 0: ("DOWN", "red")},
        ),
        number(
            "Full in",
            "Until the first place is full at the present consumption; a year stands for never.",
            prom("clamp_max(min(tickd_recorder_disk_full_in_seconds), 31536000)", "full in"),
            "dtdurations",
            ((None, "red"), (14_400, "orange"), (86_400, GOOD)),
        ),
    ]


def _raw_log() -> list[PanelBuilder]:
    prefix = "tickd_recorder_raw"
    return [
        heat_graph(
            "Socket to file",
            "How long frames took to be written. The band at `raw_log.group_ms` is the grouping; "
            "what is above it is the disk.",
            f"{prefix}_write_latency_seconds",
            width=8,
        ),
        latency(
            "Socket to file, quantiles",
            "What kill -9 may cost. Dashed: the objective, 500 ms.",
            f"{prefix}_write_latency_seconds",
            lines=((0.5, "red"),),
            width=8,
        ),
        graph(
            "Frames",
            "Frames appended; the distance between appended and synced is on its way to the disk.",
            "cps",
            rate(f"{prefix}_frames_total", "appended"),
            rate(f"{prefix}_written_frame", "written"),
            rate(f"{prefix}_synced_frame", "synced"),
            width=8,
        ),
        heat_graph(
            "Sync of the disk",
            "Duration of an fsync. It is the disk's own health.",
            f"{prefix}_fsync_seconds",
            width=8,
        ),
        latency(
            "Sync of the disk, quantiles",
            "Above a second the disk is overloaded or dying.",
            f"{prefix}_fsync_seconds",
            lines=((1, "red"),),
            width=8,
        ),
        graph(
            "Bytes",
            "Received, and written to segments (compressed).",
            "Bps",
            rate(f"{prefix}_record_bytes_total", "received"),
            rate(f"{prefix}_written_bytes_total", "written"),
            width=8,
        ),
        graph(
            "Bytes on their way",
            "Not yet written, and not yet synced. At half of `raw_log.pending_bytes_max` the "
            "sockets are not read.",
            "bytes",
            total(f"{prefix}_pending_bytes", "not written"),
            total(f"{prefix}_unsynced_bytes", "not synced"),
            width=8,
        ),
        graph(
            "Work of the writer",
            "Chunks, segments, syncs, faults, pauses of the sockets.",
            "cps",
            rate(f"{prefix}_chunks_total", "chunks"),
            rate(f"{prefix}_segments_total", "segments"),
            rate(f"{prefix}_fsyncs_total", "syncs"),
            rate(f"{prefix}_faults_total", "FAULTS"),
            rate("tickd_recorder_socket_pauses_total", "pauses"),
            width=8,
        ),
        graph(
            "CPU of the writer",
            "Share of a core that the native writer thread takes. Near 100 % it is the limit.",
            "percentunit",
            rate(f"{prefix}_writer_cpu_seconds_total", "writer"),
            lines=((0.8, "orange"),),
            width=8,
        ),
        graph(
            "Age of the live segment",
            "A segment is sealed after `raw_log.segment_seconds`; an older one was not.",
            "s",
            prom(f"time() - min({prefix}_segment_timestamp_seconds > 0)", "age"),
            width=8,
        ),
        timeline(
            "State of the raw log",
            "A fault: it cannot be written. Paused: the sockets are not read until it can.",
            {0: ("no", GOOD), 1: ("YES", "red")},
            prom(f"max by (instance) ({prefix}_fault_state)", "{{instance}} fault"),
            prom("max by (instance) (tickd_recorder_sockets_paused)", "{{instance}} paused"),
            height=5,
        ),
    ]


def _queues() -> list[PanelBuilder]:
    prefix = "tickd_recorder_queue"
    return [
        graph(
            "Age of the oldest",
            "How long the oldest has waited: frames for the file, batches for the encoder, blocks "
            "for an insert, inserts for their answer.",
            "s",
            prom(f"max by (queue) ({prefix}_oldest_age_seconds)", "{{queue}}"),
            width=12,
        ),
        graph(
            "Depth",
            "What waits now, and the most that waited since the scrape before.",
            "short",
            total(f"{prefix}_depth", "{{queue}}", by="queue"),
            prom(f"max by (queue) ({prefix}_high_water)", "{{queue}} high water"),
            width=12,
        ),
        graph(
            "Lost or late entries",
            "What could not enter at once, and what left a queue undelivered. The latter is 0, "
            "always: anything else is data loss.",
            "cps",
            rate(f"{prefix}_dropped_total", "{{queue}} DROPPED", by="queue"),
            rate(f"{prefix}_enqueue_timeouts_total", "{{queue}} late", by="queue"),
            width=8,
        ),
        graph(
            "Bus: records waiting",
            "Per subscription; and the most of one topic since the scrape before.",
            "short",
            prom("max by (subscription) (tickd_bus_queue_records)", "{{subscription}}"),
            prom(
                "max by (subscription) (tickd_bus_queue_high_water_records)",
                "{{subscription}} high water",
            ),
            width=8,
        ),
        graph(
            "Bus: dropped and failed",
            "Events dropped from queues of slow consumers, and exceptions of handlers.",
            "cps",
            rate("tickd_bus_dropped_events_total", "{{subscription}} dropped", by="subscription"),
            rate("tickd_bus_handler_failures_total", "{{handler}} failed", by="handler"),
            width=8,
        ),
        graph(
            "Bus: worst topics",
            "Age of the oldest waiting record of the topics that are furthest behind.",
            "s",
            prom(
                "topk(10, max by (subscription, topic) (tickd_bus_worst_topic_age_seconds))",
                "{{subscription}} {{topic}}",
            ),
            width=12,
        ),
        graph(
            "Bus: flow",
            "Events and batches published. Their ratio is the size of a batch.",
            "cps",
            rate("tickd_bus_published_events_total", "events"),
            rate("tickd_bus_published_batches_total", "batches"),
            rate("tickd_gateway_bursts_total", "bursts off the sockets"),
            width=12,
        ),
    ]


__all__ = ["board"]
