"""The bus's metrics: sums per subscription and the worst 20 topics, read on scrape."""

from __future__ import annotations

from tickd.bus import Bus
from tickd.telemetry.metrics import Metrics

__all__ = ["declare_bus_metrics"]


def declare_bus_metrics(metrics: Metrics, bus: Bus) -> None:
    """Declare what `bus.stats()` tells. Each scrape begins a new high-water period.

    All topics are in `tickd status --topics` and in the table topic_lag; labels stay bounded here.
    """
    stats = metrics.once_per_scrape(lambda: bus.stats(reset=True, reader="metrics"))

    def queues(field: str) -> dict[tuple[str, ...], float]:
        rows: dict[tuple[str, ...], float] = {}
        for row in stats().queues:
            # Two subscriptions may have one name; the worse one shows.
            rows[row.subscription,] = max(rows.get((row.subscription,), 0), getattr(row, field))
        return rows

    by = ("subscription",)
    metrics.read_counter(
        "tickd_bus_published_events_total", "Events published.", lambda: stats().events
    )
    metrics.read_counter(
        "tickd_bus_published_batches_total", "Batches published.", lambda: stats().batches
    )
    metrics.read_gauge("tickd_bus_queue_records", "Records waiting.", lambda: queues("depth"), by)
    metrics.read_gauge(
        "tickd_bus_queue_high_water_records",
        "Most records of one topic that waited since the last scrape.",
        lambda: queues("high_water"),
        by,
    )
    metrics.read_gauge(
        "tickd_bus_queue_oldest_age_seconds",
        "Age of the oldest waiting record.",
        lambda: queues("oldest_age_s"),
        by,
    )
    metrics.read_counter(
        "tickd_bus_dropped_events_total", "Events dropped.", lambda: queues("dropped"), by
    )
    metrics.read_counter(
        "tickd_bus_handler_failures_total",
        "Exceptions raised by handlers and endpoints.",
        lambda: {(name,): count for name, count in stats().failures.items()},
        ("handler",),
    )
    metrics.read_gauge(
        "tickd_bus_worst_topic_age_seconds",
        "Age of the oldest waiting record of the 20 topics furthest behind.",
        lambda: {(row.subscription, row.topic): row.oldest_age_s for row in stats().worst},
        ("subscription", "topic"),
    )
