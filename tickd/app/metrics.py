"""The daemon's metrics: which of its native counters and histograms are shown, by which names.

Everything is read on scrape. How metrics are declared, checked, bounded and rendered is in
`tickd/telemetry`; nothing is counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Final

from gateway.status import Counters, SdkStatus
from tickd.app.disk_metrics import declare_disk
from tickd.app.parts import Parts
from tickd.app.recorder_metrics import declare_recorder
from tickd.app.repair_metrics import declare_repair
from tickd.app.ship_metrics import declare_ship
from tickd.native import BUILD_PROFILE, VERSION
from tickd.telemetry.bus_metrics import declare_bus_metrics
from tickd.telemetry.metrics import Metrics, Values

# Objectives, s: a bucket bound each, so that the share within is exact.
_SLO_BUS: Final = (0.001, 0.005)

# Counters of the decoder with a name of their own; the rest, rarer, shares one by kind.
_DECODER: Final = {
    "frames": "Frames decoded.",
    "events": "Events made of them.",
    "duplicates": "Events dropped because another leg had brought them.",
    "gaps": "Gap events.",
    "resyncs": "Books that lost their thread.",
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
    declare_recorder(metrics, parts)
    _declare_decoder(metrics, parts)
    _declare_channels(metrics, parts)
    declare_bus_metrics(metrics, parts.bus)
    _declare_sessions(metrics, parts)
    _declare_sdks(metrics, parts)
    declare_disk(metrics, parts.disk)
    declare_ship(metrics, parts.shipping, parts.clock)
    declare_repair(metrics, parts.storage.rebuilding.repair)
    metrics.read_histogram(
        "tickd_app_loop_lag_seconds", "Lateness of the event loop's timers.", parts.loop_lag
    )
    return metrics


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


def _declare_sdks(metrics: Metrics, parts: Parts) -> None:
    """Of venues behind a broker's SDK only."""

    def statuses() -> dict[str, SdkStatus]:
        pictures = (session.status() for session in parts.sessions)
        return {each.venue: each.sdk for each in pictures if each.sdk is not None}

    known = metrics.once_per_scrape(statuses)

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
        ("logins_left_count", "Logins left today.", read("logins_left")),
        ("streams_confirmed_count", "Confirmed subscriptions.", read("streams_confirmed")),
        ("usage_bytes", "Traffic used, as the venue counts it.", read("usage_bytes")),
        ("usage_left_bytes", "Traffic left until the reset.", read("usage_bytes_left")),
        ("usage_connections_count", "Connections of the person.", read("usage_connections")),
    ):
        metrics.read_gauge(f"tickd_gateway_{name}", text, values, ("venue",))
