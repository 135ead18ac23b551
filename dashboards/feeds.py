"""Feeds: which venue, which connection, what is missing, which limit is near."""

from __future__ import annotations

from dashboards import feed_details
from dashboards.board import VENUE, Board, Row, labels_variable
from dashboards.queries import by_venue, prom, rate, total
from dashboards.vocabulary import (
    GOOD,
    UNWANTED,
    PanelBuilder,
    count,
    graph,
    heat_graph,
    latency,
    number,
    timeline,
)

# As TickdBookOutOfSync has it: a book given up for lack of room (shed) is no fault of sync.
_OUT_OF_SYNC = 'state=~"buffering|gap"'


def board() -> Board:
    return Board(
        name="feeds",
        title="tickd / Feeds",
        description="Per venue: rate, silence, gaps, connections, limits, the plan.",
        rows=[
            Row("At a glance", _glance()),
            Row("States", _states()),
            Row("Rate and silence", _rates()),
            Row("Socket to bus", _latency()),
            Row("What is missing", _missing()),
            Row("Connections", _connections()),
            Row("Limits and plan", feed_details.limits(), collapsed=True),
            Row("Each connection", feed_details.lines(), collapsed=True),
            Row("Venues behind a broker's SDK", feed_details.sdk(), collapsed=True),
        ],
        variables=[labels_variable(*VENUE)],
    )


def _glance() -> list[PanelBuilder]:
    return [
        count(
            "Streams",
            "Subscriptions that the plan wants.",
            total('tickd_gateway_streams{venue,state="planned"}', "planned"),
        ),
        count(
            "Streams paused",
            "Left out now: low priorities for lack of room or time, or shed as the disk was full.",
            total('tickd_gateway_streams{venue,state!="planned"}', "paused"),
            UNWANTED,
        ),
        count(
            "Connections that do not stream",
            "Waiting or connecting; one that is being replaced still streams.",
            prom(
                "sum(tickd_gateway_lines{venue})"
                ' - sum(tickd_gateway_lines{venue,state=~"streaming|replacing"})',
                "not streaming",
            ),
            UNWANTED,
        ),
        count(
            "Books out of sync",
            "Order books that wait for a snapshot or have a gap; their levels are not to be "
            "trusted. Those given up for lack of room are none of them.",
            total(f"tickd_gateway_books{{venue,{_OUT_OF_SYNC}}}", "books"),
            UNWANTED,
        ),
        number(
            "Longest silence",
            "Since the last trade, quote or depth message of the quietest channel. A quiet market "
            "is no outage: compare with the venue.",
            prom(
                "time() - min(tickd_gateway_last_event_timestamp_seconds"
                '{venue,channel=~"trade|aggtrade|quote|depth"})',
                "silence",
            ),
            "s",
            ((None, GOOD), (30, "orange"), (300, "red")),
        ),
        count(
            "Ids missing",
            "Ids inside gaps that are not filled yet.",
            total("tickd_gateway_gaps_missing_ids{venue}", "missing"),
            ((None, GOOD), (1, "orange"), (10_000, "red")),
        ),
    ]


def _states() -> list[PanelBuilder]:
    return [
        feed_details.venues("Connections by venue", width=12, height=6),
        timeline(
            "Books by venue",
            "Whether every order book of a venue is synchronised.",
            {0: ("in sync", GOOD), 1: ("some out of sync", "orange")},
            prom(
                f"sum by (venue) (tickd_gateway_books{{venue,{_OUT_OF_SYNC}}}) > bool 0",
                "{{venue}}",
            ),
            width=12,
        ),
    ]


def _rates() -> list[PanelBuilder]:
    return [
        graph(
            "Events by channel",
            "Received and published, by venue and channel.",
            "eps",
            rate("tickd_gateway_events_total{venue}", "{{venue}} {{channel}}", by="venue, channel"),
            width=24,
            height=9,
        ),
        graph(
            "Bytes off the sockets",
            "Over the first 24 connections of a venue.",
            "Bps",
            by_venue("tickd_gateway_line_received_bytes_total", "received"),
            width=8,
        ),
        graph(
            "Silence by channel",
            "Since the last event. Each channel has its own usual: what matters is a line that "
            "leaves it.",
            "s",
            prom(
                "time() - max by (venue, channel) (tickd_gateway_last_event_timestamp_seconds"
                "{venue})",
                "{{venue}} {{channel}}",
            ),
            width=8,
            is_log=True,
        ),
        graph(
            "Frames and duplicates",
            "Frames decoded, events of them, and events that another connection had brought first.",
            "eps",
            rate("tickd_gateway_decoded_frames_total", "frames"),
            rate("tickd_gateway_decoded_events_total", "events"),
            rate("tickd_gateway_decoded_duplicates_total", "duplicates"),
            width=8,
        ),
    ]


def _latency() -> list[PanelBuilder]:
    metric = "tickd_gateway_publish_latency_seconds"
    return [
        heat_graph(
            "Socket to bus",
            "How long an event took from the socket to its consumers. A second band above the "
            "first: something holds the loop now and then (Runtime).",
            metric,
        ),
        latency(
            "Socket to bus, quantiles",
            "p50, p99 and p99.9. Dashed: the objectives, 1 ms and 5 ms.",
            metric,
            lines=((0.001, "orange"), (0.005, "red")),
        ),
        graph(
            "Offset of the clock",
            "What the clock's discipline saw last, and the kernel's bound of the error. Venue "
            "times and ours are compared by it.",
            "s",
            prom("tickd_clock_offset_seconds", "{{instance}} offset"),
            prom("tickd_clock_error_max_seconds", "{{instance}} error at most"),
            prom("tickd_clock_error_estimated_seconds", "{{instance}} error estimated"),
            floor=None,
        ),
        timeline(
            "Clock synchronised",
            "What the kernel says of its clock. Not synchronised: times of receipt drift.",
            {1: ("synchronised", GOOD), 0: ("NOT", "red")},
            prom("tickd_clock_synchronised_state", "{{instance}}"),
            width=12,
            height=8,
        ),
    ]


def _missing() -> list[PanelBuilder]:
    return [
        graph(
            "Gaps and lost books",
            "Gaps found, and books that lost their thread and are made anew.",
            "cps",
            rate("tickd_gateway_decoded_gaps_total", "gaps"),
            rate("tickd_gateway_decoded_resyncs_total", "books"),
            width=8,
        ),
        graph(
            "Gaps open",
            "Gaps that the venue is asked for and that are not filled, and the ids missing in "
            "them; beside them the gaps that nobody is asked for, for want of `fill.api_key` or "
            "of such a service.",
            "short",
            total("tickd_gateway_gaps_open{venue}", "{{venue}} gaps", by="venue"),
            total("tickd_gateway_gaps_missing_ids{venue}", "{{venue}} ids", by="venue"),
            total("tickd_gateway_gaps_unaskable{venue}", "{{venue}} not asked for", by="venue"),
            width=8,
        ),
        graph(
            "Oldest gap",
            "Age of the oldest gap that is open and asked for.",
            "s",
            prom("max by (venue) (tickd_gateway_gap_oldest_seconds{venue})", "{{venue}}"),
            width=8,
        ),
        graph(
            "How gaps ended",
            "By outcome: filled, late (came by itself), given up; and those open for longer than "
            "their objective.",
            "cps",
            rate(
                "tickd_gateway_gaps_closed_total{venue}",
                "{{venue}} {{outcome}}",
                by="venue, outcome",
            ),
            by_venue("tickd_gateway_gaps_over_slo_total", "over the objective"),
            width=8,
        ),
        graph(
            "Requests for what is missing",
            "To the venue's REST interface; refused and failed ones among them.",
            "reqps",
            by_venue("tickd_gateway_fill_requests_total", "requests"),
            by_venue("tickd_gateway_fill_refusals_total", "refused"),
            by_venue("tickd_gateway_fill_failures_total", "failed"),
            width=8,
        ),
        latency(
            "From a gap to its end",
            "How long gaps stayed open.",
            "tickd_gateway_gap_fill_seconds",
            width=8,
        ),
        graph(
            "Frames that gave no event",
            "By reason. They are in the raw log; many of one reason: the venue changed its format.",
            "cps",
            rate("tickd_gateway_refused_frames_total", "{{reason}}", by="reason"),
            width=12,
        ),
        graph(
            "Snapshots of books",
            "Wanted, fetched, failed; and symbols that wait for one.",
            "cps",
            by_venue("tickd_gateway_snapshots_wanted_total", "wanted"),
            by_venue("tickd_gateway_snapshots_fetched_total", "fetched"),
            by_venue("tickd_gateway_snapshot_failures_total", "failed"),
            total("tickd_gateway_snapshots_pending{venue}", "{{venue}} wait", by="venue"),
            width=12,
        ),
    ]


def _connections() -> list[PanelBuilder]:
    return [
        graph(
            "Connections by state",
            "Planned connections: streaming, or on their way there.",
            "short",
            total("tickd_gateway_lines{venue}", "{{venue}} {{state}}", by="venue, state"),
            width=8,
            is_stacked=True,
        ),
        graph(
            "Ends by cause",
            "Why connections ended. `rotation` is planned; the rest is the venue or the network.",
            "cps",
            rate("tickd_gateway_ends_total{venue}", "{{venue}} {{cause}}", by="venue, cause"),
            width=8,
        ),
        graph(
            "Attempts",
            "Connections made, lost, failed, replaced.",
            "cps",
            by_venue("tickd_gateway_connects_total", "made"),
            by_venue("tickd_gateway_disconnects_total", "lost"),
            by_venue("tickd_gateway_connect_failures_total", "failed"),
            by_venue("tickd_gateway_replacements_total", "replaced"),
            by_venue("tickd_gateway_handovers_incomplete_total", "replaced with a gap"),
            width=8,
        ),
        graph(
            "What venues refuse",
            "Subscriptions refused or unanswered, throttling, notices of shutdown, silences.",
            "cps",
            by_venue("tickd_gateway_subscribe_refusals_total", "refused"),
            by_venue("tickd_gateway_subscribe_timeouts_total", "unanswered"),
            by_venue("tickd_gateway_throttles_total", "throttled"),
            by_venue("tickd_gateway_rest_throttled_total", "REST throttled"),
            by_venue("tickd_gateway_shutdown_notices_total", "shutdown notices"),
            by_venue("tickd_gateway_silences_total", "silences"),
            width=12,
        ),
        graph(
            "Sockets not read",
            "Share of the time in which a full disk or a slow one kept the sockets from being "
            "read. The venue may cut such a connection.",
            "percentunit",
            by_venue("tickd_gateway_paused_seconds_total", "not read"),
            width=12,
        ),
        graph(
            "Messages out of the ordinary",
            "Sent in fragments, binary ones, pauses of the sockets.",
            "cps",
            by_venue("tickd_gateway_fragments_total", "fragments"),
            by_venue("tickd_gateway_binary_messages_total", "binary"),
            by_venue("tickd_gateway_pauses_total", "pauses"),
            width=12,
        ),
        graph(
            "What else the decoder counts",
            "Control records of tickd and rare messages, by kind.",
            "cps",
            rate("tickd_gateway_decoder_notes_total", "{{kind}}", by="kind"),
            width=12,
        ),
    ]


__all__ = ["board"]
