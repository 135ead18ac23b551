"""Recorder & storage: raw log, queues, ClickHouse, spool, repair, disk, shipping."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.queries import Query, prom
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

CIRCUIT = {0: ("closed", GOOD), 1: ("probing", "orange"), 2: ("OPEN", "red")}
LEVELS = {
    0: ("ok", GOOD),
    1: ("low", "yellow"),
    2: ("tight", "orange"),
    3: ("critical", "red"),
    4: ("FULL", "dark-red"),
}


def board() -> Board:
    return Board(
        name="recorder",
        title="tickd / Recorder & storage",
        description="From the socket to the disk, to ClickHouse, to object storage.",
        rows=[
            Row("At a glance", _glance()),
            Row("Raw log: the truth", _raw_log()),
            Row("Queues: what waits", _queues()),
            Row("ClickHouse", _clickhouse()),
            Row("Disk", _disk()),
            Row("Spool, spilled ranges, repair", _repair(), collapsed=True),
            Row("Object storage", _shipping(), collapsed=True),
            Row("What the last start found", _recovery(), collapsed=True),
        ],
    )


def rate(metric: str, legend: str) -> Query:
    """The rate of a counter over everything chosen."""
    return prom(f"sum(rate({metric}[$__rate_interval]))", legend)


def total(metric: str, legend: str) -> Query:
    """A gauge over everything chosen."""
    return prom(f"sum({metric})", legend)


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
            "Until the first place is full at the present consumption.",
            prom("min(tickd_recorder_disk_full_in_seconds)", "full in"),
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
            prom(f"sum(rate({prefix}_written_frame[$__rate_interval]))", "written"),
            prom(f"sum(rate({prefix}_synced_frame[$__rate_interval]))", "synced"),
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
            prom(f"sum by (queue) ({prefix}_depth)", "{{queue}}"),
            prom(f"max by (queue) ({prefix}_high_water)", "{{queue}} high water"),
            width=12,
        ),
        graph(
            "Lost or late entries",
            "What could not enter at once, and what left a queue undelivered. The latter is 0, "
            "always: anything else is data loss.",
            "cps",
            prom(
                f"sum by (queue) (rate({prefix}_dropped_total[$__rate_interval]))",
                "{{queue}} DROPPED",
            ),
            prom(
                f"sum by (queue) (rate({prefix}_enqueue_timeouts_total[$__rate_interval]))",
                "{{queue}} late",
            ),
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
            prom(
                "sum by (subscription) (rate(tickd_bus_dropped_events_total[$__rate_interval]))",
                "{{subscription}} dropped",
            ),
            prom(
                "sum by (handler) (rate(tickd_bus_handler_failures_total[$__rate_interval]))",
                "{{handler}} failed",
            ),
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


def _clickhouse() -> list[PanelBuilder]:
    prefix = "tickd_recorder_sink"
    return [
        heat_graph(
            "Socket to acknowledgement",
            "How long events took to be in ClickHouse. About `sink.age_ms_max` when all is well.",
            f"{prefix}_ack_latency_seconds",
            width=8,
        ),
        latency(
            "Socket to acknowledgement, quantiles",
            "Dashed: 5 s, the objective.",
            f"{prefix}_ack_latency_seconds",
            lines=((5, "red"),),
            width=8,
        ),
        graph(
            "Rows",
            "Rows acknowledged, events taken, rows of orders and decisions.",
            "rowsps",
            rate(f"{prefix}_committed_rows_total", "rows"),
            rate(f"{prefix}_events_total", "events"),
            prom(
                "sum by (table) (rate(tickd_risk_rows_total[$__rate_interval]))",
                "rows of {{table}}",
            ),
            width=8,
        ),
        timeline(
            "Circuits",
            "Open: failures in a row have stopped the inserts of a table, or of the server; a "
            "probe goes out until one succeeds.",
            CIRCUIT,
            prom("max by (scope) (tickd_recorder_circuit_state)", "{{scope}}"),
            width=12,
            height=9,
        ),
        timeline(
            "State of the sink",
            "Live: in step with the bus. Anything else: it reads the raw log again to catch up.",
            {1: ("yes", "blue"), 0: ("no", "text")},
            prom(f"max by (state) ({prefix}_state)", "{{state}}"),
            prom(f"min by (instance) ({prefix}_caught_up_state)", "{{instance}} caught up"),
            width=12,
            height=9,
        ),
        graph(
            "Inserts",
            "Blocks planned, acknowledged, found there after a doubt, refused for good.",
            "cps",
            rate(f"{prefix}_planned_blocks_total", "planned"),
            rate(f"{prefix}_inserted_blocks_total", "acknowledged"),
            rate(f"{prefix}_present_blocks_total", "found there"),
            rate(f"{prefix}_quarantined_blocks_total", "QUARANTINED"),
            width=8,
        ),
        graph(
            "Failures",
            "Failed inserts by kind, circuits opened, rounds of slow tables, moves to another "
            "server, restarts of the embedded one.",
            "cps",
            prom(
                f"sum by (kind) (rate({prefix}_failed_attempts_total[$__rate_interval]))",
                "insert: {{kind}}",
            ),
            rate("tickd_recorder_circuit_opened_total", "circuits opened"),
            rate("tickd_recorder_bookkeeping_failures_total", "slow tables"),
            rate("tickd_recorder_server_moves_total", "server moves"),
            rate("tickd_recorder_embedded_restarts_total", "embedded restarts"),
            width=8,
        ),
        graph(
            "Bytes that wait",
            "For ClickHouse, in memory. Beyond `sink.pending_bytes_max` the spool takes them.",
            "bytes",
            total(f"{prefix}_pending_bytes", "wait"),
            width=8,
        ),
        graph(
            "Blocks and frames behind",
            "Planned blocks not acknowledged, and frames to be read again from the raw log.",
            "short",
            total(f"{prefix}_waiting_blocks", "blocks"),
            total(f"{prefix}_behind_frames", "frames"),
            width=8,
        ),
        graph(
            "Bytes sent",
            "Bytes of acknowledged blocks, as they travelled.",
            "Bps",
            rate(f"{prefix}_sent_bytes_total", "sent"),
            width=8,
        ),
        graph(
            "Embedded server",
            "Memory of the embedded ClickHouse, where there is one.",
            "bytes",
            total("tickd_recorder_embedded_memory_bytes", "memory"),
            width=8,
        ),
    ]


def _disk() -> list[PanelBuilder]:
    prefix = "tickd_recorder_disk"
    return [
        timeline(
            "Level",
            "From low on tickd gives things up, one after the other, so that the raw log goes on "
            "(docs/how-to/full-disk.md).",
            LEVELS,
            prom(f"max by (instance, place) ({prefix}_level_state)", "{{instance}} {{place}}"),
            height=7,
        ),
        graph(
            "Free, and in four hours",
            "Room for the user of tickd; dashed below 0: what is left in four hours if the last "
            "hour goes on.",
            "bytes",
            prom(f"min by (place) ({prefix}_free_bytes)", "{{place}}"),
            prom(
                f"min by (place) (predict_linear({prefix}_free_bytes[1h], 4 * 3600))",
                "{{place}} in 4 h",
            ),
            floor=None,
            lines=((0, "red"),),
        ),
        graph(
            "Full in",
            "At the present consumption, as tickd itself measures it.",
            "s",
            prom(f"min by (place) ({prefix}_full_in_seconds < +Inf)", "{{place}}"),
            is_log=True,
        ),
        graph(
            "Ballast and levels",
            "Times that the ballast was given up, and changes of a level.",
            "cps",
            rate(f"{prefix}_ballast_freed_total", "ballast freed"),
            rate(f"{prefix}_level_changes_total", "changes"),
        ),
        graph(
            "Ballast",
            "Room that is kept for the last writes of the raw log.",
            "bytes",
            total(f"{prefix}_ballast_bytes", "ballast"),
        ),
    ]


def _repair() -> list[PanelBuilder]:
    spool, repair = "tickd_recorder_spool", "tickd_recorder_repair"
    return [
        graph(
            "Spool",
            "Bytes of ready blocks while ClickHouse is away, and the limit.",
            "bytes",
            total(f"{spool}_bytes", "spool"),
            total(f"{spool}_limit_bytes", "limit"),
            width=8,
        ),
        graph(
            "Age of the spool",
            "Since the oldest spooled block came.",
            "s",
            prom(f"max(time() - ({spool}_oldest_timestamp_seconds > 0))", "oldest"),
            width=8,
        ),
        graph(
            "Into the spool and out",
            "Blocks moved there, inserted from there, kept out by its limit or by the disk, "
            "damaged.",
            "cps",
            rate("tickd_recorder_sink_spooled_blocks_total", "in"),
            rate("tickd_recorder_sink_redriven_blocks_total", "out"),
            rate(f"{spool}_full_total", "kept out: full"),
            rate(f"{spool}_faults_total", "kept out: disk"),
            rate(f"{spool}_damaged_blocks_total", "DAMAGED"),
            width=8,
        ),
        graph(
            "Left to repair",
            "Frames whose rows a table lacks; blocks that wait in the spool; frames to compare.",
            "short",
            prom("sum by (table) (tickd_recorder_spilled_frames)", "{{table}}"),
            total(f"{spool}_blocks", "blocks in the spool"),
            total(f"{repair}_left_frames", "frames to compare"),
            total(f"{repair}_waiting_count", "ranges that wait"),
            width=8,
        ),
        graph(
            "Repair",
            "Rows compared with the raw log and inserted.",
            "rowsps",
            rate(f"{repair}_compared_rows_total", "compared"),
            rate(f"{repair}_inserted_rows_total", "inserted"),
            width=8,
        ),
        graph(
            "Findings of repair",
            "Stretches compared, those that differed, refused blocks, faults, blocks that the raw "
            "log gives differently now, ranges left to repair.",
            "cps",
            rate(f"{repair}_steps_total", "compared"),
            rate(f"{repair}_differing_steps_total", "differed"),
            rate(f"{repair}_refused_blocks_total", "refused"),
            rate(f"{repair}_faults_total", "faults"),
            rate("tickd_recorder_sink_differing_blocks_total", "DIFFERING BLOCKS"),
            rate("tickd_recorder_sink_spilled_blocks_total", "blocks left"),
            rate("tickd_recorder_sink_spilled_ranges_total", "ranges left"),
            width=8,
        ),
        timeline(
            "Repair works",
            "Whether it compares or inserts now.",
            {0: ("idle", "text"), 1: ("works", "blue")},
            prom(f"max by (instance) ({repair}_state)", "{{instance}}"),
            height=4,
        ),
    ]


def _shipping() -> list[PanelBuilder]:
    prefix = "tickd_recorder_ship"
    return [
        number(
            "Only here",
            "Age of the oldest sealed segment that object storage does not have.",
            prom(f"max({prefix}_oldest_unshipped_age_seconds)", "age"),
            "dtdurations",
            ((None, GOOD), (14_400, "orange"), (86_400, "red")),
            width=6,
        ),
        number(
            "Last good run",
            "Since a run ended without a failure.",
            prom(f"time() - min({prefix}_success_timestamp_seconds > 0)", "since"),
            "dtdurations",
            ((None, GOOD), (14_400, "orange"), (86_400, "red")),
            width=6,
        ),
        graph(
            "Shipped",
            "Bytes sent, read back, and removed here because the store has them.",
            "Bps",
            rate(f"{prefix}_sent_bytes_total", "sent"),
            rate(f"{prefix}_verified_bytes_total", "read back"),
            rate(f"{prefix}_removed_bytes_total", "removed here"),
        ),
        graph(
            "Files",
            "Segments, other files, copies of the manifest, runs, failures by kind.",
            "cps",
            rate(f"{prefix}_segments_total", "segments"),
            rate(f"{prefix}_asides_total", "other files"),
            rate(f"{prefix}_snapshots_total", "manifests"),
            rate(f"{prefix}_verified_objects_total", "read back"),
            rate(f"{prefix}_removed_segments_total", "removed here"),
            rate(f"{prefix}_runs_total", "runs"),
            prom(
                f"sum by (kind) (rate({prefix}_failures_total[$__rate_interval]))",
                "FAILED: {{kind}}",
            ),
            width=24,
        ),
    ]


def _recovery() -> list[PanelBuilder]:
    prefix = "tickd_recorder_recovery"
    return [
        state(
            "The life before",
            "Whether it ended cleanly.",
            prom(f"min({prefix}_clean_state)", "clean"),
            {1: ("ended cleanly", GOOD), 0: ("was killed", "orange")},
            width=6,
        ),
        number(
            "Torn bytes",
            "Cut off the end of the raw log by the start: a record that was being written.",
            total(f"{prefix}_truncated_bytes", "bytes"),
            "bytes",
            width=6,
        ),
        number(
            "Damaged stretches",
            "Set aside by the start; anything but 0 is a sick disk.",
            total(f"{prefix}_quarantined_count", "stretches"),
            "short",
            ((None, GOOD), (1, "red")),
            width=6,
        ),
        number(
            "Frame numbers skipped",
            "By the start after an unclean end: what a crash may have lost at most.",
            total(f"{prefix}_skipped_frames", "frames"),
            "short",
            width=6,
        ),
    ]


__all__ = ["board", "rate", "total"]
