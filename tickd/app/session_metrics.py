"""The sessions' metrics: connections, their causes of ending, limits used up, the plan.

Read on scrape from what the sessions say of themselves; nothing is counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Final, get_args

from gateway.status import Counters, LineState, LineStatus, SdkStatus, SessionStatus
from tickd.app.parts import Parts
from tickd.telemetry.metrics import Metrics, Values

# Connections with series of their own; `tickd status` shows all. Bounds the number of series.
LINES_SHOWN: Final = 24
LINES_SHOWN_MAX: Final = 48
_LINE_STATES: Final[tuple[LineState, ...]] = get_args(LineState)

Statuses = Callable[[], Sequence[SessionStatus]]


def declare_sessions(metrics: Metrics, parts: Parts) -> None:
    """Per venue: totals, limits used up, states; per connection: what the venue counts, too."""
    # A status of a thousand symbols takes its time: all families share one.
    statuses = metrics.once_per_scrape(lambda: [session.status() for session in parts.sessions])
    _declare_totals(metrics, parts)
    _declare_limits(metrics, statuses)
    _declare_lines(metrics, parts, statuses)
    _declare_plan(metrics, parts, statuses)
    _declare_symbols(metrics, statuses)
    _declare_sdks(metrics, statuses)
    _declare_universes(metrics, parts)


def _declare_totals(metrics: Metrics, parts: Parts) -> None:
    sessions = parts.sessions
    by = ("venue",)

    def read(field: str) -> Callable[[], Values]:
        return lambda: {(s.venue.name,): getattr(s.counters, field) for s in sessions}

    for field in fields(Counters):
        if field.name in ("paused_ns", "ends"):
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


def _declare_limits(metrics: Metrics, statuses: Statuses) -> None:
    """How much of what a venue allows is used up in the window that ends now."""
    labels = ("venue", "kind")

    def read(part: int) -> Callable[[], Values]:
        return lambda: {
            (venue, limit): values[part]
            for status in statuses()
            for (venue, limit), values in _limits(status).items()
        }

    metrics.read_gauge(
        "tickd_gateway_limit_used",
        "Attempts to connect, REST weight and client messages (of the busiest connection) in the"
        " venue's window that ends now.",
        read(0),
        labels,
    )
    metrics.read_gauge(
        "tickd_gateway_limit_remaining",
        "What is left of it in this window.",
        read(1),
        labels,
    )


def _limits(status: SessionStatus) -> dict[tuple[str, str], tuple[int, int]]:
    messages = max((line.messages_used for line in status.lines), default=0)
    allowed = max((line.messages_max for line in status.lines), default=0)
    used = {
        "connects": (status.connects_used, status.connects_max),
        "rest_weight": (status.rest_weight_used, status.rest_weight_max),
        "client_messages": (messages, allowed),
    }
    return {
        (status.venue, name): (count, max(0, most - count))
        for name, (count, most) in used.items()
        if most  # else there is no such limit
    }


def _declare_lines(metrics: Metrics, parts: Parts, statuses: Statuses) -> None:
    def states() -> Values:
        found: dict[tuple[str, ...], float] = {}
        for status in statuses():
            counts = Counter(line.state for line in status.lines)
            found |= {(status.venue, state): counts[state] for state in _LINE_STATES}
        return found

    metrics.read_gauge(
        "tickd_gateway_lines", "Planned connections by state.", states, ("venue", "state")
    )
    labels = ("venue", "line")
    shown = metrics.once_per_scrape(lambda: _shown(statuses()))

    def per_line(field: str) -> Callable[[], Values]:
        return lambda: {
            (venue, str(line.number)): getattr(line, field)
            # A line that is leaving stands behind the one that has its number now.
            for venue, line in reversed(shown())
        }

    for name, field, text in (
        ("line_streams", "streams_count", "Streams planned on a connection."),
        ("line_messages", "messages_used", "Messages of ours in the venue's window."),
        ("line_messages_max", "messages_max", "Messages that the window may have."),
        ("line_attempts", "attempts", "Failures since the last stable connection."),
    ):
        metrics.read_gauge(f"tickd_gateway_{name}", text, per_line(field), labels)
    for name, field, text in (
        ("line_tries_total", "tries", "Attempts to connect or log in."),
        (
            "line_received_bytes_total",
            "bytes_received",
            "Bytes off the sockets of a connection and its predecessors; of a login, as recorded.",
        ),
    ):
        metrics.read_counter(f"tickd_gateway_{name}", text, per_line(field), labels)
    _declare_ends(metrics, parts, shown)


def _declare_ends(
    metrics: Metrics, parts: Parts, shown: Callable[[], list[tuple[str, LineStatus]]]
) -> None:
    metrics.read_counter(
        "tickd_gateway_line_ends_total",
        "Ends of a connection and its predecessors, by cause.",
        lambda: {
            (venue, str(line.number), cause): count
            for venue, line in reversed(shown())
            for cause, count in line.ends.items()
        },
        ("venue", "line", "cause"),
    )
    metrics.read_counter(
        "tickd_gateway_ends_total",
        "Connections that ended, by cause.",
        lambda: {
            (session.venue.name, cause): count
            for session in parts.sessions
            for cause, count in session.counters.ends.items()
        },
        ("venue", "cause"),
    )


def _shown(statuses: Sequence[SessionStatus]) -> list[tuple[str, LineStatus]]:
    """The first connections of each venue, and of all, so that the number of series is bounded."""
    shown = [(status.venue, line) for status in statuses for line in status.lines[:LINES_SHOWN]]
    return shown[:LINES_SHOWN_MAX]


def _declare_symbols(metrics: Metrics, statuses: Statuses) -> None:
    metrics.read_gauge(
        "tickd_gateway_symbols",
        "Symbols planned, and of those configured the ones that the venue does not list.",
        lambda: {
            (status.venue, state): count
            for status in statuses()
            for state, count in (
                ("planned", status.symbols_count),
                ("missing", len(status.symbols_missing)),
            )
        },
        ("venue", "state"),
    )
    metrics.read_gauge(
        "tickd_gateway_snapshots_pending",
        "Order books that wait for a snapshot.",
        lambda: {(status.venue,): len(status.snapshots_pending) for status in statuses()},
        ("venue",),
    )


def _declare_plan(metrics: Metrics, parts: Parts, statuses: Statuses) -> None:
    labels = ("venue", "state")

    def streams() -> Values:
        found: dict[tuple[str, ...], float] = {}
        for status in statuses():
            found[status.venue, "planned"] = status.streams_count
            found[status.venue, "paused"] = status.streams_paused
            found[status.venue, "left_out"] = status.streams_left_out
        return found

    metrics.read_gauge(
        "tickd_gateway_streams",
        "Streams: planned, paused among them, left out for lack of room.",
        streams,
        labels,
    )
    metrics.read_gauge(
        "tickd_gateway_plan_lag_seconds",
        "The lag that pauses low priorities when it exceeds plan.lag_pause_ms.",
        lambda: parts.planning.lag_s,
    )
    metrics.read_counter(
        "tickd_gateway_reloads_total",
        "Readings of the config file by a running daemon, by outcome (state).",
        lambda: {
            ("done",): parts.planning.reloads,
            ("refused",): parts.planning.reloads_refused,
        },
        ("state",),
    )


def _declare_universes(metrics: Metrics, parts: Parts) -> None:
    def read(field: str) -> Callable[[], Values]:
        return lambda: {
            (each["name"],): each[field]
            for each in parts.universes.draw()
            if each[field] is not None
        }

    by = ("universe",)
    metrics.read_gauge(
        "tickd_gateway_universe_members",
        "Symbols that are in a universe.",
        lambda: {(each["name"],): len(each["members"]) for each in parts.universes.draw()},
        by,
    )
    metrics.read_gauge(
        "tickd_gateway_universe_age_seconds", "Since its last snapshot.", read("age_s"), by
    )
    for field, text in (
        ("changes", "Snapshots with other members."),
        ("failures", "Sources that failed or had nothing."),
        ("refusals", "Snapshots whose members broke a limit."),
    ):
        metrics.read_counter(f"tickd_gateway_universe_{field}_total", text, read(field), by)


def _declare_sdks(metrics: Metrics, statuses: Statuses) -> None:
    """Of venues behind a broker's SDK only."""

    def known() -> dict[str, SdkStatus]:
        return {each.venue: each.sdk for each in statuses() if each.sdk is not None}

    def read(field: str, scale: float = 1.0) -> Callable[[], Values]:
        def values() -> Values:
            figures = {venue: getattr(sdk, field) for venue, sdk in known().items()}
            return {
                (venue,): value * scale for venue, value in figures.items() if value is not None
            }

        return values

    for name, text, values in (
        ("callback_queue_records", "Callbacks that wait for the loop.", read("queue_depth")),
        (
            "callback_queue_age_seconds",
            "Age of the callback that waits longest.",
            read("queue_age_ns", 1e-9),
        ),
        ("logins_left", "Logins left today.", read("logins_left")),
        ("streams_confirmed", "Confirmed subscriptions.", read("streams_confirmed")),
        ("usage_bytes", "Traffic used, as the venue counts it.", read("usage_bytes")),
        ("usage_left_bytes", "Traffic left until the reset.", read("usage_bytes_left")),
        ("usage_cap_bytes", "Traffic that may be used at most.", read("usage_cap_bytes")),
        (
            "usage_remaining_bytes",
            "Traffic left below the cap, with what was not seen since the last answer.",
            read("usage_remaining_bytes"),
        ),
        (
            "usage_forecast_bytes",
            "Traffic used at the reset if it goes on like this.",
            read("usage_forecast_bytes"),
        ),
        (
            "usage_batch_bytes",
            "What the queries between two readings may cost.",
            read("usage_batch_bytes"),
        ),
        ("usage_queries_left", "Of those before the next.", read("usage_queries_left")),
        ("usage_connections", "Connections of the person.", read("usage_connections")),
    ):
        metrics.read_gauge(f"tickd_gateway_{name}", text, values, ("venue",))
