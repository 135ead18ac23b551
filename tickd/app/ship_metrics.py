"""The metrics of shipping: what went to the store, what waits, what failed, when all was well.

Everything is read on scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tickd.app.shipping import Shipping
from tickd.ports import Clock
from tickd.telemetry.metrics import Metrics, Values

_PREFIX: Final = "tickd_recorder_ship"
# Field of ShipCounters -> name and meaning.
_COUNTED: Final = {
    "segments": ("segments", "Segments sent to the store."),
    "asides": ("asides", "Files of spool and quarantine sent to the store."),
    "bytes": ("sent_bytes", "Bytes of objects that came to be."),
    "verified": ("verified_objects", "Objects read back and found right."),
    "verified_bytes": ("verified_bytes", "Bytes of them."),
    "snapshots": ("snapshots", "Copies of the manifest stored."),
    "runs": ("runs", "Runs begun."),
}


def declare_ship(metrics: Metrics, shipping: Shipping, clock: Clock) -> None:
    """Declare everything that shipping shows; nothing where no store is configured."""
    if shipping.parts is None:
        return
    counters = shipping.parts.shipper.counters

    def counted(field: str) -> Callable[[], Values]:
        return lambda: getattr(counters, field)

    for field, (name, text) in _COUNTED.items():
        metrics.read_counter(f"{_PREFIX}_{name}_total", text, counted(field))
    metrics.read_counter(
        f"{_PREFIX}_failures_total",
        "Files that were not shipped, verified or removed, by kind.",
        lambda: {(kind,): count for kind, count in counters.failures.items()},
        ("kind",),
    )
    metrics.read_counter(
        f"{_PREFIX}_removed_segments_total",
        "Segments removed here because the store has them.",
        lambda: shipping.removed[0],
    )
    metrics.read_counter(
        f"{_PREFIX}_removed_bytes_total", "Bytes of them.", lambda: shipping.removed[1]
    )
    metrics.read_gauge(
        f"{_PREFIX}_success_timestamp_seconds",
        "When a run ended without a failure; 0: none yet.",
        lambda: counters.success_ns / 1e9,
    )
    metrics.read_gauge(
        f"{_PREFIX}_interval_seconds",
        "The longest that a sealed segment waits for its run: ship.every_s.",
        lambda: float(shipping.every_s),
    )
    metrics.read_gauge(
        f"{_PREFIX}_oldest_unshipped_age_seconds",
        "Age of the last record of the oldest sealed segment that only this machine has.",
        lambda: (
            max(0, clock.wall_ns() - counters.oldest_unshipped_ns) / 1e9
            if counters.oldest_unshipped_ns
            else 0.0
        ),
    )
