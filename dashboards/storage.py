"""The storage half of Recorder & storage: ClickHouse, disk, spool and repair, object storage."""

from __future__ import annotations

from dashboards.queries import prom, rate, total
from dashboards.vocabulary import (
    FORBIDDEN,
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


def clickhouse() -> list[PanelBuilder]:
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
            rate("tickd_risk_rows_total", "rows of {{table}}", by="table"),
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
            prom(
                "min by (instance) (tickd_recorder_embedded_up_state)", "{{instance}} embedded up"
            ),
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
            "server, restarts of the embedded one, and how many of them because it hung.",
            "cps",
            rate(f"{prefix}_failed_attempts_total", "insert: {{kind}}", by="kind"),
            rate("tickd_recorder_circuit_opened_total", "circuits opened"),
            rate("tickd_recorder_bookkeeping_failures_total", "slow tables"),
            rate("tickd_recorder_server_moves_total", "server moves"),
            rate("tickd_recorder_embedded_restarts_total", "embedded restarts"),
            rate("tickd_recorder_embedded_hangs_total", "embedded hung"),
            rate("tickd_recorder_plan_faults_total", "plan file refused"),
            rate(
                "tickd_recorder_other_sink_failures_total",
                "sink {{subscription}}",
                by="subscription",
            ),
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
            "Work of the sink",
            "Cuts through all tables, batches taken, batches read again from the raw log, times "
            "that it left the live order.",
            "cps",
            rate(f"{prefix}_cuts_total", "cuts"),
            rate(f"{prefix}_batches_total", "batches"),
            rate(f"{prefix}_reread_batches_total", "read again"),
            rate(f"{prefix}_falls_behind_total", "left the live order"),
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


def disk() -> list[PanelBuilder]:
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


def repair() -> list[PanelBuilder]:
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
            total("tickd_recorder_spilled_frames", "{{table}}", by="table"),
            total(f"{spool}_blocks", "blocks in the spool"),
            total(f"{repair}_left_frames", "frames to compare"),
            total(f"{repair}_waiting", "ranges that wait"),
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
            rate(f"{repair}_compared_bar_spans_total", "hours of bars compared"),
            rate(f"{repair}_made_bar_spans_total", "hours of bars made again"),
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


def shipping() -> list[PanelBuilder]:
    prefix = "tickd_recorder_ship"
    return [
        number(
            "Only here, late by",
            "How much older than `ship.every_s` the oldest sealed segment is that object storage "
            "does not have; 0: it has all that a run may have brought.",
            prom(
                f"clamp_min(max({prefix}_oldest_unshipped_age_seconds"
                f" - {prefix}_interval_seconds), 0)",
                "late by",
            ),
            "dtdurations",
            ((None, GOOD), (10_800, "orange"), (82_800, "red")),
            width=6,
        ),
        number(
            "Good run late by",
            "How much longer than `ship.every_s` ago a run ended without a failure.",
            prom(
                f"clamp_min(time() - min(({prefix}_success_timestamp_seconds > 0)"
                f" + {prefix}_interval_seconds), 0)",
                "late by",
            ),
            "dtdurations",
            ((None, GOOD), (10_800, "orange"), (82_800, "red")),
            width=6,
            empty="none yet",
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
            rate(f"{prefix}_failures_total", "FAILED: {{kind}}", by="kind"),
            width=24,
        ),
    ]


def recovery() -> list[PanelBuilder]:
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
            total(f"{prefix}_quarantined", "stretches"),
            "short",
            FORBIDDEN,
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


__all__ = ["clickhouse", "disk", "recovery", "repair", "shipping"]
