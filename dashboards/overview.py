"""Overview: is it recording, is anything lost, how late is it, may orders leave."""

from __future__ import annotations

from dashboards.board import VENUE, Board, Row, labels_variable
from dashboards.feed_details import venues
from dashboards.queries import by_venue, prom, quantile, rate, total
from dashboards.vocabulary import (
    FORBIDDEN,
    GOOD,
    NO_HALT,
    UNWANTED,
    PanelBuilder,
    count,
    graph,
    number,
    state,
    timeline,
)


def board() -> Board:
    return Board(
        name="overview",
        title="tickd / Overview",
        description="One page for whoever is on call: what comes in, what is lost, how late it is.",
        rows=[
            Row("At a glance", [*_health(), *_loss()]),
            Row("What comes in", _incoming()),
            Row("What is kept", _kept()),
            Row("States and alerts", _states()),
        ],
        variables=[labels_variable(*VENUE)],
    )


def _health() -> list[PanelBuilder]:
    return [
        number(
            "Events",
            "Events per second of the chosen venues. 0 while a market is open: look at Feeds.",
            rate("tickd_gateway_events_total{venue}", "events"),
            "eps",
            ((None, "orange"), (0.01, GOOD)),
        ),
        number(
            "Connections up",
            "Share of the planned connections that stream; one that is being replaced does. "
            "Below 100 % one is being made again.",
            prom(
                'sum(tickd_gateway_lines{venue,state=~"streaming|replacing"})'
                " / sum(tickd_gateway_lines{venue})",
                "streaming",
            ),
            "percentunit",
            ((None, "red"), (0.5, "orange"), (1, GOOD)),
        ),
        state(
            "Orders",
            "The kill switch. After every start it is halted until a person arms it.",
            prom("1 - min(tickd_risk_armed_state)", "halted"),
            NO_HALT,
        ),
        number(
            "Latency to the bus, p99",
            "From the socket to strategies and sinks, 99th percentile. Objective: 5 ms.",
            quantile("0.99", "tickd_gateway_publish_latency_seconds", "p99"),
            "s",
            ((None, GOOD), (0.005, "orange"), (0.05, "red")),
        ),
        number(
            "Latency to the file, p99",
            "From the socket to the raw log, 99th percentile; what a kill -9 may cost. "
            "Objective: 500 ms.",
            quantile("0.99", "tickd_recorder_raw_write_latency_seconds", "p99"),
            "s",
            ((None, GOOD), (0.5, "orange"), (2, "red")),
        ),
        number(
            "Latency to ClickHouse, p99",
            "From the socket to the acknowledgement of the insert, 99th percentile. "
            "High while ClickHouse is away: nothing is lost, rows come later.",
            quantile("0.99", "tickd_recorder_sink_ack_latency_seconds", "p99"),
            "s",
            ((None, GOOD), (5, "orange"), (60, "red")),
        ),
    ]


def _loss() -> list[PanelBuilder]:
    return [
        count(
            "Gaps",
            "Gaps found in the chosen time: each is on record with its ids and its cause.",
            prom("sum(increase(tickd_gateway_decoded_gaps_total[$__range]))", "gaps"),
            UNWANTED,
        ),
        count(
            "Gaps open",
            "Gaps that a venue is asked for and that are not filled yet. They close by themselves "
            "or are given up on record.",
            total("tickd_gateway_gaps_open{venue}", "open"),
            ((None, GOOD), (1, "orange"), (20, "red")),
        ),
        count(
            "Events dropped",
            "Dropped by a queue of a slow consumer in the chosen time; `tickd tail` does not "
            "count. They are in the raw log.",
            prom(
                'sum(increase(tickd_bus_dropped_events_total{subscription!~"tail .*"}[$__range]))',
                "dropped",
            ),
            FORBIDDEN,
        ),
        state(
            "ClickHouse",
            "Caught up: everything received is in ClickHouse but for the last second.",
            prom("min(tickd_recorder_sink_caught_up_state)", "caught up"),
            {1: ("caught up", GOOD), 0: ("BEHIND", "orange")},
        ),
        number(
            "Disk free",
            "Of the fullest place that tickd writes to.",
            prom("min(tickd_recorder_disk_free_bytes / tickd_recorder_disk_size_bytes)", "free"),
            "percentunit",
            ((None, "red"), (0.1, "orange"), (0.2, GOOD)),
        ),
        count(
            "Restarts",
            "Starts of the daemon in the chosen time, by changes of its process.",
            prom("sum(changes(process_start_time_seconds[$__range]))", "restarts"),
            ((None, GOOD), (1, "orange"), (3, "red")),
        ),
    ]


def _incoming() -> list[PanelBuilder]:
    return [
        graph(
            "Events by venue",
            "What is received, decoded and published. A step down to 0 with the market open is an "
            "outage: Feeds says of which connection.",
            "eps",
            by_venue("tickd_gateway_events_total"),
            width=24,
            height=9,
        ),
        graph(
            "Trouble by venue",
            "Connections that ended, failed attempts, silences, refused subscriptions, per second.",
            "cps",
            by_venue("tickd_gateway_disconnects_total", "disconnects"),
            by_venue("tickd_gateway_connect_failures_total", "failed attempts"),
            by_venue("tickd_gateway_silences_total", "silences"),
            by_venue("tickd_gateway_subscribe_refusals_total", "refusals"),
            width=8,
        ),
        graph(
            "Frames without an event, gaps, lost books",
            "Frames that gave no event (kept raw all the same), gaps, and books to be made anew.",
            "cps",
            rate("tickd_gateway_decoded_gaps_total", "gaps"),
            rate("tickd_gateway_decoded_resyncs_total", "books"),
            rate("tickd_gateway_refused_frames_total", "{{reason}}", by="reason"),
            width=8,
        ),
        graph(
            "Latencies, p99",
            "From the socket to the bus, to the file, to ClickHouse. They rise in this order when "
            "the machine is short of CPU; alone, when its own stage is.",
            "s",
            quantile("0.99", "tickd_gateway_publish_latency_seconds", "bus"),
            quantile("0.99", "tickd_recorder_raw_write_latency_seconds", "file"),
            quantile("0.99", "tickd_recorder_sink_ack_latency_seconds", "ClickHouse"),
            width=8,
            is_log=True,
        ),
    ]


def _kept() -> list[PanelBuilder]:
    return [
        graph(
            "Raw log",
            "Bytes of frames in, and bytes written to segments (compressed).",
            "Bps",
            rate("tickd_recorder_raw_record_bytes_total", "received"),
            rate("tickd_recorder_raw_written_bytes_total", "written"),
            width=8,
        ),
        graph(
            "ClickHouse",
            "Rows that ClickHouse acknowledged.",
            "rowsps",
            rate("tickd_recorder_sink_committed_rows_total", "rows"),
            width=8,
        ),
        graph(
            "What waits",
            "Age of the oldest thing in each queue: frames for the file, batches, blocks, inserts. "
            "A line that climbs without end is a stage that does not keep up.",
            "s",
            prom("max by (queue) (tickd_recorder_queue_oldest_age_seconds)", "{{queue}}"),
            prom(
                "max by (subscription) (tickd_bus_queue_oldest_age_seconds)", "bus {{subscription}}"
            ),
            width=8,
        ),
    ]


def _states() -> list[PanelBuilder]:
    return [
        venues("Venues", width=24, height=5),
        timeline(
            "Daemon",
            "Whether the daemon records, whether orders may leave, and whether ClickHouse is "
            "reached and has everything.",
            {1: ("yes", GOOD), 0: ("no", "orange")},
            prom('max by (instance) (tickd_app_state{state="recording"})', "{{instance}} records"),
            prom("min by (instance) (tickd_risk_armed_state)", "{{instance}} armed"),
            prom(
                "min by (instance) (tickd_recorder_clickhouse_up_state)", "{{instance}} ClickHouse"
            ),
            prom(
                "min by (instance) (tickd_recorder_sink_caught_up_state)", "{{instance}} caught up"
            ),
            height=7,
        ),
        timeline(
            "Alerts that fire",
            "Of the chosen daemons; each has a runbook in docs/runbooks. Empty is as it should be.",
            {1: ("fires", "red")},
            prom(
                'max by (alertname, severity) (ALERTS{alertstate="firing"})',
                "{{severity}}: {{alertname}}",
            ),
            height=7,
        ),
    ]
