"""Runtime: CPU, memory, descriptors, the event loop, garbage collection, the scrape itself."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.queries import prom, rate, total
from dashboards.vocabulary import (
    GOOD,
    UNWANTED,
    PanelBuilder,
    count,
    graph,
    heat_graph,
    latency,
    number,
    state,
    timeline,
)


def board() -> Board:
    return Board(
        name="runtime",
        title="tickd / Runtime",
        description="The process: what it uses, what it is short of, what holds its loop.",
        rows=[
            Row("At a glance", _glance()),
            Row("CPU: used, and waited for", _cpu()),
            Row("Memory, descriptors, threads", _memory(), collapsed=True),
            Row("Garbage collection", _collection(), collapsed=True),
            Row("Configuration and version", _configuration(), collapsed=True),
            Row("Watchdog, tracing, probes", _watching(), collapsed=True),
            Row("Doors and certificates", _doors(), collapsed=True),
            Row("Metrics", _scrape(), collapsed=True),
        ],
    )


def _glance() -> list[PanelBuilder]:
    return [
        number(
            "Up for",
            "Since the process began.",
            prom("time() - max(process_start_time_seconds)", "up"),
            "dtdurations",
            ((None, "orange"), (600, GOOD)),
        ),
        number(
            "CPU",
            "Cores that the process uses; its children are not in it.",
            rate("process_cpu_seconds_total", "cores"),
            "short",
            decimals=2,
        ),
        number(
            "Event loop",
            "Share of a core that the loop's thread uses. Near 100 % it is saturated.",
            prom("max(rate(tickd_app_loop_cpu_seconds_total[$__rate_interval]))", "loop"),
            "percentunit",
            ((None, GOOD), (0.7, "orange"), (0.9, "red")),
        ),
        number(
            "Loop lag, p99",
            "How late the loop's timers are.",
            prom('max(tickd_app_loop_lag_quantile_seconds{quantile="0.99"})', "p99"),
            "s",
            ((None, GOOD), (0.01, "orange"), (0.1, "red")),
        ),
        number(
            "Memory",
            "Resident memory of the daemon; ClickHouse and strategies have their own.",
            total("process_resident_memory_bytes", "resident"),
            "bytes",
        ),
        number(
            "Descriptors",
            "Share of the allowed file descriptors that is open.",
            prom("max(process_open_fds / process_max_fds)", "used"),
            "percentunit",
            ((None, GOOD), (0.7, "orange"), (0.9, "red")),
        ),
    ]


def _cpu() -> list[PanelBuilder]:
    return [
        graph(
            "CPU",
            "Cores: the whole process, its loop, the writer of the raw log, the embedded "
            "ClickHouse.",
            "short",
            rate("process_cpu_seconds_total", "process"),
            rate("tickd_app_loop_cpu_seconds_total", "event loop"),
            rate("tickd_recorder_raw_writer_cpu_seconds_total", "writer"),
            rate("tickd_recorder_embedded_cpu_seconds_total", "embedded ClickHouse"),
        ),
        graph(
            "Loop lag of the last minute",
            "p50, p99, p99.9 of the lateness of the loop's timers.",
            "s",
            prom("max by (quantile) (tickd_app_loop_lag_quantile_seconds)", "p{{quantile}}"),
            is_log=True,
            lines=((0.01, "orange"), (0.1, "red")),
        ),
        heat_graph(
            "Loop lag",
            "How late the loop's timers were. A band above 10 ms: something in Python holds the "
            "loop, or the machine is short of cores.",
            "tickd_app_loop_lag_seconds",
        ),
        latency(
            "Loop lag, quantiles",
            "The same over the window of the graph.",
            "tickd_app_loop_lag_seconds",
            lines=((0.01, "orange"), (0.1, "red")),
        ),
    ]


def _memory() -> list[PanelBuilder]:
    return [
        graph(
            "Memory",
            "Resident memory and address space. Resident memory stays flat: a slope is a leak.",
            "bytes",
            prom("process_resident_memory_bytes", "{{instance}} resident"),
            prom("process_virtual_memory_bytes", "{{instance}} virtual"),
            width=8,
        ),
        graph(
            "Descriptors",
            "Open, and the limit.",
            "short",
            prom("process_open_fds", "{{instance}} open"),
            prom("process_max_fds", "{{instance}} limit"),
            is_log=True,
            width=8,
        ),
        graph(
            "Threads",
            "Of the process.",
            "short",
            prom("process_threads", "{{instance}}"),
            width=8,
        ),
    ]


def _collection() -> list[PanelBuilder]:
    return [
        heat_graph(
            "Pauses",
            "How long Python's garbage collector stopped the daemon.",
            "tickd_app_gc_pause_seconds",
        ),
        graph(
            "Collections",
            "By generation; 2 is a full one.",
            "cps",
            rate("tickd_app_gc_collections_total", "generation {{generation}}", by="generation"),
        ),
    ]


def _configuration() -> list[PanelBuilder]:
    return [
        state(
            "Last reading of the file",
            "Refused: the daemon runs on the configuration before; the log says why.",
            prom("min(tickd_config_reload_success_state)", "reload"),
            {1: ("taken", GOOD), 0: ("REFUSED", "red")},
            width=6,
        ),
        count(
            "Keys that wait",
            "Differ in the file from what runs, and take effect with the next start.",
            total("tickd_config_reload_waiting", "keys"),
            UNWANTED,
            width=6,
        ),
        number(
            "Read last",
            "Since the file was read last, taken or not.",
            prom("time() - max(tickd_config_reload_timestamp_seconds)", "since"),
            "dtdurations",
            width=6,
        ),
        number(
            "Taken last",
            "Since a file was taken last.",
            prom("time() - max(tickd_config_reload_success_timestamp_seconds)", "since"),
            "dtdurations",
            width=6,
        ),
        timeline(
            "Version",
            "Which version and build of tickd ran when, on which Python.",
            {1: ("ran", "blue")},
            prom(
                "max by (instance, version, build, python) (tickd_build_info)",
                "{{instance}} {{version}} {{build}} Python {{python}}",
            ),
            width=12,
        ),
        timeline(
            "Configuration",
            "Which configuration was in force when, by its hash; `tickd check` prints it.",
            {1: ("in force", "blue")},
            prom("max by (instance, hash) (tickd_config_info)", "{{instance}} {{hash}}"),
            width=12,
        ),
    ]


def _watching() -> list[PanelBuilder]:
    return [
        graph(
            "Watchdog",
            "Looks at the pipeline that found it moving; withheld: a part stood still, and after "
            "`WatchdogSec` systemd ends the process.",
            "cps",
            rate("tickd_app_watchdog_pings_total", "moving"),
            rate("tickd_app_watchdog_withheld_total", "WITHHELD: {{reason}}", by="reason"),
            width=8,
        ),
        graph(
            "Dumps of the flight recorder",
            "Asked for by a signal, or made at an error; `state_dir/dumps` has them by its name.",
            "cps",
            rate("tickd_app_flight_dumps_total", "{{cause}}", by="cause"),
            width=8,
        ),
        graph(
            "Traces",
            "Batches traced and left out by reason; spans that the collector took and did not.",
            "cps",
            rate("tickd_app_trace_batches_total", "traced: {{reason}}", by="reason"),
            rate("tickd_app_trace_dropped_total", "left out: {{reason}}", by="reason"),
            rate("tickd_app_trace_exported_spans_total", "spans taken"),
            rate("tickd_app_trace_failed_spans_total", "spans not taken"),
            rate("tickd_app_trace_export_failures_total", "failed requests"),
            width=8,
        ),
        graph(
            "Rows of latency probes",
            "That PostgreSQL took, that found no room while it was away, attempts that failed.",
            "rowsps",
            rate("tickd_recorder_probe_rows_total", "rows"),
            rate("tickd_recorder_probe_dropped_rows_total", "dropped"),
            rate("tickd_recorder_probe_failures_total", "failures"),
            rate("tickd_recorder_probe_connects_total", "connections"),
            width=8,
        ),
        graph(
            "What waits there",
            "Traced batches, spans for the collector, rows for PostgreSQL.",
            "short",
            total("tickd_app_trace_pending_batches", "batches"),
            total("tickd_app_trace_queued_spans", "spans"),
            total("tickd_recorder_probe_waiting_rows", "rows"),
            width=8,
        ),
        timeline(
            "PostgreSQL",
            "Whether the probes' database is connected.",
            {1: ("connected", GOOD), 0: ("AWAY", "orange")},
            prom("min by (instance) (tickd_recorder_probe_up_state)", "{{instance}}"),
            width=8,
            height=8,
        ),
    ]


def _doors() -> list[PanelBuilder]:
    return [
        graph(
            "Connections to the daemon",
            "Open at the HTTP port and the control socket.",
            "short",
            total("tickd_app_door_connections", "open"),
            width=8,
        ),
        graph(
            "Turned away",
            "Connections without a place, requests without the right to ask, control commands that "
            "failed for a bug.",
            "cps",
            rate("tickd_app_door_turned_away_total", "no place"),
            rate("tickd_app_door_refused_total", "refused"),
            rate("tickd_app_command_failures_total", "BUGS"),
            width=8,
        ),
        state(
            "Left open",
            "Whether the configuration leaves something open: HTTP without token or TLS on a "
            "reachable host, ClickHouse unverified.",
            prom("max(tickd_app_insecure_state)", "open"),
            {0: ("nothing", GOOD), 1: ("SOMETHING", "orange")},
        ),
        number(
            "Certificates end in",
            "The first of those that the configuration names.",
            prom("min(tickd_app_credential_expiry_timestamp_seconds) - time()", "ends in"),
            "dtdurations",
            ((None, "red"), (604_800, "orange"), (2_592_000, GOOD)),
        ),
        count(
            "Certificates not read",
            "Whose end could not be read.",
            total("tickd_app_credential_unreadable_state", "certificates"),
            UNWANTED,
        ),
    ]


def _scrape() -> list[PanelBuilder]:
    return [
        latency(
            "Duration of a scrape",
            "What an answer to Prometheus costs the loop.",
            "tickd_telemetry_scrape_seconds",
            width=8,
        ),
        graph(
            "Series",
            "Of a scrape, and those left out because of the limit of 2,000.",
            "short",
            prom("tickd_telemetry_series", "{{instance}} shown"),
            prom("tickd_telemetry_series_dropped", "{{instance}} left out"),
            width=8,
        ),
        timeline(
            "Prometheus reaches it",
            "Whether the last scrape was answered.",
            {1: ("yes", GOOD), 0: ("NO", "red")},
            prom("up", "{{instance}}"),
            width=8,
            height=8,
        ),
    ]
