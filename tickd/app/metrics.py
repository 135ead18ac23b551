"""The daemon's metrics: which of its native counters and histograms are shown, by which names.

Everything is read on scrape. How metrics are declared, checked, bounded and rendered is in
`tickd/telemetry`; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tickd.app.daemon_metrics import declare_daemon
from tickd.app.disk_metrics import declare_disk
from tickd.app.fill_metrics import declare_fill
from tickd.app.order_metrics import declare_orders
from tickd.app.parts import Parts
from tickd.app.picture import Picture
from tickd.app.probes import declare_probes
from tickd.app.process_metrics import declare_process
from tickd.app.recorder_metrics import declare_recorder
from tickd.app.repair_metrics import declare_repair
from tickd.app.risk_metrics import declare_risk
from tickd.app.session_metrics import declare_sessions
from tickd.app.ship_metrics import declare_ship
from tickd.app.signal_metrics import declare_signals
from tickd.app.strategy_metrics import declare_strategies
from tickd.app.tracing_parts import declare_traces
from tickd.app.watchdog import declare_watchdog
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
# `Decoder.book_counts` tells those that there are.
_BOOK_STATES: Final = ("synced", "buffering", "gap", "shed")


def metrics_of(parts: Parts, picture: Picture | None = None) -> Metrics:
    """Declare everything that a daemon shows; `picture`: its own, which knows that it stops."""
    metrics = Metrics(parts.clock.mono_ns)
    declare_daemon(metrics, parts, picture or Picture(parts))
    declare_process(metrics, parts)
    declare_recorder(metrics, parts)
    _declare_decoder(metrics, parts)
    _declare_channels(metrics, parts)
    declare_bus_metrics(metrics, parts.bus)
    declare_sessions(metrics, parts)
    declare_fill(metrics, parts)
    declare_disk(metrics, parts.disk)
    declare_ship(metrics, parts.shipping, parts.clock)
    declare_strategies(metrics, parts.strategies)
    declare_signals(metrics, parts.signals)
    if parts.config.accounts:
        declare_risk(metrics, parts.trading.risk_picture)
        declare_orders(metrics, parts.trading.router)
    declare_traces(metrics, parts.traces)
    declare_watchdog(metrics, parts.watchdog)
    declare_probes(metrics, parts.probes)
    declare_repair(metrics, parts.storage.rebuilding.repair)
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

    metrics.read_gauge("tickd_gateway_topics", "Topics seen.", lambda: decoder.topic_count)
    metrics.read_gauge(
        "tickd_gateway_books",
        "Order books by state; gap and buffering wait for a snapshot, shed ones are not recorded.",
        lambda: _books(parts),
        ("venue", "state"),
    )
    metrics.read_counter(
        "tickd_gateway_bursts_total", "Bursts handed on.", lambda: parts.tap.bursts_total
    )
    metrics.read_counter(
        "tickd_gateway_definition_failures_total",
        "Definitions of instruments that a consumer did not take.",
        lambda: parts.tap.definition_failures_total,
    )
    metrics.read_histogram(
        "tickd_gateway_publish_latency_seconds",
        "Socket to bus.",
        parts.tap.publish_latency,
        slo_s=_SLO_BUS,
    )


def _books(parts: Parts) -> Values:
    """Every state of each venue that has books, so that none vanishes when it empties."""
    found = parts.decoder.book_counts()
    books: dict[tuple[str, ...], float] = {
        (venue, state): 0 for venue, _, _ in found for state in _BOOK_STATES
    }
    return books | {(venue, state): count for venue, state, count in found}


def _declare_channels(metrics: Metrics, parts: Parts) -> None:
    decoder, clock = parts.decoder, parts.clock

    channels = metrics.once_per_scrape(decoder.stream_stats)
    labels = ("channel", "venue")
    metrics.read_counter(
        "tickd_gateway_events_total",
        "Events by channel.",
        lambda: {(channel, venue): events for channel, venue, events, _ in channels()},
        labels,
    )
    metrics.read_gauge(
        "tickd_gateway_last_event_timestamp_seconds",
        "When the last event of a channel was received.",
        lambda: {
            (channel, venue): (clock.wall_ns() - clock.mono_ns() + mono_ns) / 1e9
            for channel, venue, _, mono_ns in channels()
            if mono_ns
        },
        labels,
    )
