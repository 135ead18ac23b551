"""The recorder's metrics: raw log, queues, sink, delivery, spool, circuits, ledger.

Everything is read on scrape; nothing is counted here. A figure that belongs to one part has a
function of its own below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.sink.retry import CircuitState
from recorder.sink.sink import SinkState
from tickd.app.parts import Parts
from tickd.app.verified import declare_verified
from tickd.ports import Clock
from tickd.telemetry.metrics import Metrics, Values
from tickd.telemetry.process import ProcessReader, ProcessState

__all__ = ["declare_recorder"]

# Objectives, s: a bucket bound each, so that the share within is exact.
_SLO_DISK: Final = (0.25, 0.5)
_SLO_ACK: Final = (1.0, 5.0)

# Field of SinkCounters -> name and meaning.
_SINK: Final = {
    "batches": ("batches", "Batches taken."),
    "events": ("events", "Events taken."),
    "cuts": ("cuts", "Cuts through all tables."),
    "blocks_planned": ("planned_blocks", "Blocks with a durable plan line."),
    "falls_behind": ("falls_behind", "Times that the sink left the live order."),
    "batches_reread": ("reread_batches", "Batches read again from the raw log."),
    "ranges_spilled": ("spilled_ranges", "Ranges left to repair so that live events do not wait."),
}
# Field of DeliveryCounters -> name and meaning.
_DELIVERY: Final = {
    "blocks_inserted": ("inserted_blocks", "Blocks that ClickHouse acknowledged."),
    "blocks_present": ("present_blocks", "Blocks found in ClickHouse when their outcome was open."),
    "blocks_quarantined": ("quarantined_blocks", "Blocks that ClickHouse refused for good."),
    "blocks_spooled": ("spooled_blocks", "Blocks moved from memory to the spool."),
    "blocks_redriven": ("redriven_blocks", "Blocks inserted from the spool."),
    "blocks_spilled": ("spilled_blocks", "Planned blocks left to repair."),
    "rows_committed": ("committed_rows", "Rows in ClickHouse."),
    "bytes_sent": ("sent_bytes", "Bytes of acknowledged blocks."),
    "rebuilt_differently": ("differing_blocks", "Blocks that the raw log gives differently now."),
}
# Attribute of SpoolCounters -> name and meaning.
_SPOOL: Final = {
    "full": ("full", "Blocks that the spool's limit kept out."),
    "faults": ("faults", "Blocks that the disk kept out, and other failures of it."),
    "damaged": ("damaged_blocks", "Spooled blocks whose bytes were not those written."),
}
# Names of segments end in the time of their beginning, UTC.
_SEGMENT: Final = re.compile(r"-(\d{8}T\d{6})")
_CIRCUIT_NUMBER: Final = {
    CircuitState.CLOSED: 0,
    CircuitState.HALF_OPEN: 1,
    CircuitState.OPEN: 2,
}


def declare_recorder(metrics: Metrics, parts: Parts) -> None:
    """Declare everything that the recorder shows."""
    _declare_raw_log(metrics, parts)
    _declare_recovery(metrics, parts)
    _declare_queues(metrics, parts)
    _declare_sink(metrics, parts)
    _declare_servers(metrics, parts)
    _declare_spool(metrics, parts)
    _declare_ledger(metrics, parts)
    declare_verified(metrics, parts.config.state_dir)
    metrics.read_counter(
        "tickd_recorder_other_sink_failures_total",
        "Exceptions raised by sinks beside ClickHouse.",
        lambda: {(sink.name,): sink.failures for sink in parts.sinks},
        ("subscription",),
    )


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
    metrics.read_gauge(
        f"{prefix}_fault_state", "1 while it cannot be written.", lambda: int(raw.fault is not None)
    )
    metrics.read_counter(
        f"{prefix}_writer_cpu_seconds_total",
        "CPU time of the writer's thread.",
        lambda: stats()["writer_cpu_ns"] / 1e9,
    )
    metrics.read_gauge(
        f"{prefix}_segment_timestamp_seconds",
        "When the live segment was begun; 0: there is none.",
        lambda: _began_s(stats()["segment"]),
    )
    metrics.read_histogram(
        f"{prefix}_write_latency_seconds", "Socket to file.", raw.write_latency, slo_s=_SLO_DISK
    )
    metrics.read_histogram(f"{prefix}_fsync_seconds", "Duration of a sync.", raw.fsync_latency)


def _began_s(segment: str | None) -> float:
    """The time in the name of a segment."""
    found = _SEGMENT.search(segment or "")
    if found is None:
        return 0.0
    return datetime.strptime(found[1] + "+0000", "%Y%m%dT%H%M%S%z").timestamp()


def _declare_recovery(metrics: Metrics, parts: Parts) -> None:
    """What the start found; it stays as it is in the life of a daemon."""
    found = parts.raw_log.recovery
    skipped = 0 if found["gap"] is None else found["gap"][1] - found["gap"][0] + 1
    figures = {
        "truncated_bytes": ("Torn bytes that the start cut off.", found["truncated_bytes"]),
        "quarantined": (
            "Damaged stretches that the start set aside.",
            len(found["quarantined"]),
        ),
        "skipped_frames": (
            "Frame numbers that the start left out: at most so many frames were lost in a crash.",
            skipped,
        ),
        "clean_state": ("1 if the life before ended in order.", int(found["clean"])),
    }
    for name, (text, value) in figures.items():
        metrics.read_gauge(f"tickd_recorder_recovery_{name}", text, partial(int, value))


def _declare_sink(metrics: Metrics, parts: Parts) -> None:
    storage = parts.storage
    sink = storage.sink
    prefix = "tickd_recorder_sink"

    def counted(field: str) -> Callable[[], Values]:
        return lambda: getattr(sink.counters, field)

    def delivered(field: str) -> Callable[[], Values]:
        return lambda: getattr(sink.delivery.counters, field)

    for field, (name, text) in _SINK.items():
        metrics.read_counter(f"{prefix}_{name}_total", text, counted(field))
    for field, (name, text) in _DELIVERY.items():
        metrics.read_counter(f"{prefix}_{name}_total", text, delivered(field))
    metrics.read_counter(
        f"{prefix}_failed_attempts_total",
        "Inserts that failed, by kind.",
        lambda: {(kind,): count for kind, count in sink.delivery.circuits.attempts_failed.items()},
        ("kind",),
    )
    metrics.read_gauge(
        f"{prefix}_state",
        "1 for the state that the sink is in.",
        lambda: {(state.value,): int(state is sink.state) for state in SinkState},
        ("state",),
    )
    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "pending_bytes": ("Bytes that wait for ClickHouse.", lambda: sink.held_bytes),
        "waiting_blocks": ("Planned blocks not acknowledged.", lambda: sink.blocks_waiting),
        "age_limit_seconds": ("Age at which a block is cut.", lambda: sink.policy.age_ms / 1000),
        "behind_frames": ("Frames to read again from the raw log.", lambda: sink.frames_behind),
        "caught_up_state": (
            "1 while rows go to ClickHouse live, and nothing older waits in spool or raw log.",
            lambda: int(
                sink.state is SinkState.LIVE
                and storage.migrated
                and not sink.plan.spilled()
                and not sink.delivery.spool.blocks
            ),
        ),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"{prefix}_{name}", text, read)
    metrics.read_counter(
        "tickd_recorder_plan_faults_total",
        "Writes of the plan file that the disk refused; repeated until it takes them.",
        lambda: sink.plan.faults,
    )
    metrics.read_counter(
        "tickd_recorder_bookkeeping_failures_total",
        "Rounds of the slow tables that ClickHouse did not take.",
        lambda: storage.books.rounds_failed,
    )
    metrics.read_histogram(
        f"{prefix}_ack_latency_seconds",
        "Socket to ClickHouse's acknowledgement.",
        sink.delivery.ack_latency,
        slo_s=_SLO_ACK,
    )


def _declare_servers(metrics: Metrics, parts: Parts) -> None:
    storage = parts.storage
    metrics.read_counter(
        "tickd_recorder_server_moves_total",
        "Times that another server of clickhouse.url took over.",
        lambda: storage.clickhouse.moves,
    )
    circuit = storage.sink.delivery.circuits.server
    metrics.read_gauge(
        "tickd_recorder_clickhouse_up_state",
        "1 while ClickHouse is known, has its tables and takes inserts.",
        lambda: int(
            storage.migrated
            and storage.endpoint() is not None
            and circuit.state is CircuitState.CLOSED
        ),
    )
    metrics.read_counter(
        "tickd_recorder_embedded_restarts_total",
        "Restarts of the embedded ClickHouse.",
        lambda: storage.embedded.restarts if storage.embedded is not None else 0,
    )
    metrics.read_counter(
        "tickd_recorder_embedded_hangs_total",
        "Times that the embedded ClickHouse lived, answered nothing for 60 s, and was killed.",
        lambda: storage.embedded.hangs if storage.embedded is not None else 0,
    )
    if storage.embedded is not None:
        _declare_embedded(metrics, storage.embedded, parts.clock)


def _declare_embedded(metrics: Metrics, embedded: EmbeddedClickHouse, clock: Clock) -> None:
    reader = ProcessReader(clock.wall_ns)
    child = metrics.once_per_scrape(
        lambda: None if embedded.pid is None else reader.read(embedded.pid)
    )

    def read(field: Callable[[ProcessState], float]) -> Callable[[], Values]:
        def values() -> Values:
            state = child()
            return {} if state is None else field(state)

        return values

    prefix = "tickd_recorder_embedded"
    metrics.read_gauge(
        f"{prefix}_up_state",
        "1 while the embedded ClickHouse answers.",
        lambda: int(embedded.endpoint is not None),
    )
    metrics.read_gauge(
        f"{prefix}_memory_bytes", "Memory of its process.", read(lambda state: state.resident_bytes)
    )
    metrics.read_counter(
        f"{prefix}_cpu_seconds_total",
        "CPU time of its process; a restart begins at 0.",
        read(lambda state: state.cpu_s),
    )


def _declare_queues(metrics: Metrics, parts: Parts) -> None:
    """One look at each bounded queue per scrape; what was dropped from any must stay 0."""
    queues = metrics.once_per_scrape(parts.queues.read)
    prefix, by = "tickd_recorder_queue", ("queue",)

    def read(field: str) -> Callable[[], Values]:
        return lambda: {(name,): getattr(queue, field) for name, queue in queues().items()}

    gauges = {
        "depth": "What waits: frames for the file, batches for the encoder, blocks, inserts.",
        "oldest_age_seconds": "How long the oldest has waited.",
    }
    fields = {"oldest_age_seconds": "oldest_age_s"}
    for name, text in gauges.items():
        metrics.read_gauge(f"{prefix}_{name}", text, read(fields.get(name, name)), by)
    metrics.read_gauge(
        f"{prefix}_high_water",
        "The most that waited since the last scrape.",
        lambda: {(name,): most for name, most in parts.queues.take_peaks().items()},
        by,
    )
    metrics.read_counter(
        f"{prefix}_enqueue_timeouts_total",
        "Times that something could not enter at once.",
        read("enqueue_timeouts"),
        by,
    )
    metrics.read_counter(
        f"{prefix}_dropped_total",
        "What left a queue undelivered and cannot be brought again.",
        read("dropped"),
        by,
    )


def _declare_spool(metrics: Metrics, parts: Parts) -> None:
    spool = parts.storage.sink.delivery.spool.figures
    prefix = "tickd_recorder_spool"
    gauges: dict[str, tuple[str, Callable[[], Values]]] = {
        "bytes": ("Bytes of the spool's files.", lambda: spool.bytes),
        "limit_bytes": (
            "Bytes that they may have: sink.spool_bytes_max.",
            lambda: parts.config.sink.spool_bytes_max,
        ),
        "blocks": ("Blocks that wait in the spool.", lambda: spool.blocks),
        "oldest_timestamp_seconds": (
            "When the oldest spooled block came; 0: none.",
            lambda: spool.oldest_ns / 1e9,
        ),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"{prefix}_{name}", text, read)

    def counted(field: str) -> Callable[[], Values]:
        return lambda: getattr(spool.counters, field)

    for field, (name, text) in _SPOOL.items():
        metrics.read_counter(f"{prefix}_{name}_total", text, counted(field))


def _declare_ledger(metrics: Metrics, parts: Parts) -> None:
    sink = parts.storage.sink
    circuits = sink.delivery.circuits
    breakers = {"server": circuits.server, **circuits.tables}
    by = ("scope",)
    metrics.read_gauge(
        "tickd_recorder_circuit_state",
        "0: inserts go through; 1: a probe is out; 2: nothing is sent.",
        lambda: {(scope,): _CIRCUIT_NUMBER[each.state] for scope, each in breakers.items()},
        by,
    )
    metrics.read_counter(
        "tickd_recorder_circuit_opened_total",
        "Times that failures in a row stopped the inserts.",
        lambda: {(scope,): each.opened_total for scope, each in breakers.items()},
        by,
    )

    def frames() -> Mapping[tuple[str, ...], float]:
        sums: dict[tuple[str, ...], float] = {(table,): 0 for table in circuits.tables}
        for spilled in sink.plan.spilled():
            sums[spilled.table,] += (spilled.seq_to >> 16) - (spilled.seq_from >> 16) + 1
        return sums

    metrics.read_gauge(
        "tickd_recorder_spilled_frames",
        "Frames whose rows of a table repair still has to bring.",
        frames,
        ("table",),
    )
