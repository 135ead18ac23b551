"""The details of Feeds: venues that stream, limits and plan, each connection, brokers' SDKs."""

from __future__ import annotations

from dashboards.queries import Query, by_venue, prom, rate, total
from dashboards.vocabulary import GOOD, PanelBuilder, graph, number, timeline


def venues(title: str, *, width: int, height: int) -> PanelBuilder:
    """Whether the connections of each venue stream, over time."""
    streaming = 'sum by (venue) (tickd_gateway_lines{venue,state=~"streaming|replacing"})'
    return timeline(
        title,
        "All connections of a venue stream, some do, or none does.",
        {0: ("streaming", GOOD), 1: ("partly", "orange"), 2: ("DOWN", "red")},
        prom(
            f"((sum by (venue) (tickd_gateway_lines{{venue}}) - {streaming}) > bool 0)"
            f" + ({streaming} == bool 0)",
            "{{venue}}",
        ),
        width=width,
        height=height,
    )


def limits() -> list[PanelBuilder]:
    return [
        graph(
            "Venue limits used",
            "Share of what a venue allows in its present window. At 100 % it bans.",
            "percentunit",
            prom(
                "max by (venue, kind) (tickd_gateway_limit_used{venue}"
                " / (tickd_gateway_limit_used{venue} + tickd_gateway_limit_remaining{venue}))",
                "{{venue}} {{kind}}",
            ),
            lines=((0.8, "orange"), (1, "red")),
            width=8,
        ),
        graph(
            "REST requests",
            "Snapshots, definitions, fills.",
            "reqps",
            by_venue("tickd_gateway_rest_requests_total", "requests"),
            width=8,
        ),
        graph(
            "Streams",
            "Planned, paused among them, left out for lack of room.",
            "short",
            total("tickd_gateway_streams{venue}", "{{venue}} {{state}}", by="venue, state"),
            width=8,
        ),
        graph(
            "Lag that pauses streams",
            "Above `plan.lag_pause_ms` low priorities are paused.",
            "s",
            prom("max by (instance) (tickd_gateway_plan_lag_seconds)", "{{instance}}"),
            width=8,
        ),
        graph(
            "Changes of the plan",
            "Changes, sheds, streams subscribed again, readings of the config.",
            "cps",
            by_venue("tickd_gateway_plan_changes_total", "changes"),
            by_venue("tickd_gateway_sheds_total", "sheds"),
            by_venue("tickd_gateway_resubscribes_total", "subscribed again"),
            rate("tickd_gateway_reloads_total", "reload {{state}}", by="state"),
            width=8,
        ),
        graph(
            "Symbols, topics, universes",
            "Symbols planned and missing at the venue, topics seen, members of universes.",
            "short",
            total("tickd_gateway_topics", "topics"),
            total("tickd_gateway_symbols{venue}", "{{venue}} {{state}}", by="venue, state"),
            prom("max by (universe) (tickd_gateway_universe_members)", "universe {{universe}}"),
            width=8,
        ),
        graph(
            "Definitions of instruments",
            "Recorded, and fetches that failed.",
            "cps",
            by_venue("tickd_gateway_instruments_recorded_total", "recorded"),
            by_venue("tickd_gateway_instrument_failures_total", "failed"),
            rate("tickd_gateway_definition_failures_total", "not taken"),
            width=8,
        ),
        graph(
            "Universes",
            "Snapshots with other members, sources that failed, members that broke a limit.",
            "cps",
            *(
                rate(
                    f"tickd_gateway_universe_{what}_total",
                    f"{{{{universe}}}} {what}",
                    by="universe",
                )
                for what in ("changes", "failures", "refusals")
            ),
            width=8,
        ),
        number(
            "Age of universes",
            "Since the last snapshot of the oldest.",
            prom("max(tickd_gateway_universe_age_seconds)", "age"),
            "s",
            width=8,
        ),
    ]


def lines() -> list[PanelBuilder]:
    labels = "{{venue}} {{line}}"
    return [
        graph(
            "Bytes",
            "Off the socket of each connection.",
            "Bps",
            prom("rate(tickd_gateway_line_received_bytes_total{venue}[$__rate_interval])", labels),
            width=8,
        ),
        graph(
            "Streams",
            "Planned on each connection.",
            "short",
            prom("tickd_gateway_line_streams{venue}", labels),
            width=8,
        ),
        graph(
            "Messages of ours",
            "Share of what the venue allows on a connection in its window.",
            "percentunit",
            prom(
                "tickd_gateway_line_messages{venue} / tickd_gateway_line_messages_max{venue}",
                labels,
            ),
            width=8,
        ),
        graph(
            "Attempts in a row",
            "Failures since the connection was last stable; the pauses grow with them.",
            "short",
            prom("tickd_gateway_line_attempts{venue}", labels),
            width=8,
        ),
        graph(
            "Tries",
            "Attempts to connect or log in.",
            "cps",
            prom("rate(tickd_gateway_line_tries_total{venue}[$__rate_interval])", labels),
            width=8,
        ),
        graph(
            "Ends",
            "By connection and cause.",
            "cps",
            prom(
                "rate(tickd_gateway_line_ends_total{venue}[$__rate_interval])",
                f"{labels} {{{{cause}}}}",
            ),
            width=8,
        ),
    ]


def sdk() -> list[PanelBuilder]:
    def gauge(metric: str, legend: str) -> Query:
        return total(f"{metric}{{venue}}", f"{{{{venue}}}} {legend}", by="venue")

    return [
        graph(
            "Callbacks",
            "From the SDK's thread, bursts of them, dropped as the queue was full, unreadable.",
            "cps",
            by_venue("tickd_gateway_callbacks_total", "callbacks"),
            by_venue("tickd_gateway_callback_bursts_total", "bursts"),
            by_venue("tickd_gateway_callbacks_dropped_total", "dropped"),
            by_venue("tickd_gateway_callbacks_unreadable_total", "unreadable"),
            width=8,
        ),
        graph(
            "Callbacks that wait",
            "For the event loop.",
            "short",
            gauge("tickd_gateway_callback_queue_records", "wait"),
            width=8,
        ),
        graph(
            "Oldest callback",
            "How long the oldest of them has waited.",
            "s",
            gauge("tickd_gateway_callback_queue_age_seconds", "oldest"),
            width=8,
        ),
        graph(
            "Traffic of the account",
            "Used, forecast to the reset, and the cap at which everything stops.",
            "bytes",
            gauge("tickd_gateway_usage_bytes", "used"),
            gauge("tickd_gateway_usage_forecast_bytes", "forecast"),
            gauge("tickd_gateway_usage_cap_bytes", "cap"),
            gauge("tickd_gateway_usage_left_bytes", "left"),
            gauge("tickd_gateway_usage_remaining_bytes", "left below the cap"),
            gauge("tickd_gateway_usage_batch_bytes", "for queries between readings"),
            width=12,
        ),
        graph(
            "Logins and subscriptions",
            "Logins left today, confirmed streams, connections of the person.",
            "short",
            gauge("tickd_gateway_logins_left", "logins left"),
            gauge("tickd_gateway_streams_confirmed", "streams confirmed"),
            gauge("tickd_gateway_usage_connections", "connections"),
            gauge("tickd_gateway_usage_queries_left", "queries left"),
            width=12,
        ),
        graph(
            "Logins, queries, flaps",
            "Logins and their failures, queries, sessions that ended soon, streams renewed.",
            "cps",
            by_venue("tickd_gateway_logins_total", "logins"),
            by_venue("tickd_gateway_login_failures_total", "failed"),
            by_venue("tickd_gateway_queries_total", "queries"),
            by_venue("tickd_gateway_flaps_total", "flaps"),
            by_venue("tickd_gateway_streams_renewed_total", "renewed"),
            width=24,
        ),
    ]


__all__ = ["limits", "lines", "sdk", "venues"]
