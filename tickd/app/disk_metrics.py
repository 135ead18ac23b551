"""The metrics of the disk guard: room, level and forecast per place, the ballast.

Everything is read on scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tickd.app.disk import Disk, DiskWatch
from tickd.telemetry.metrics import Metrics, Values

_PREFIX: Final = "tickd_recorder_disk"


def declare_disk(metrics: Metrics, watch: DiskWatch) -> None:
    """Declare everything that the guard shows; `place` is what lies on the filesystem."""

    def per_place(read: Callable[[Disk], float]) -> Callable[[], Values]:
        return lambda: {(place,): read(disk) for disk in watch.disks for place in disk.places}

    gauges: dict[str, tuple[str, Callable[[Disk], float]]] = {
        "free_bytes": ("Room for this user.", lambda disk: disk.guard.space.free_bytes),
        "size_bytes": ("Size of the filesystem.", lambda disk: disk.guard.space.total_bytes),
        "level_state": (
            "0 ok, 1 low, 2 tight, 3 critical, 4 full.",
            lambda disk: int(disk.guard.level),
        ),
        "full_in_seconds": (
            "Time until it is full at the present consumption; +Inf: it is not filling.",
            lambda disk: disk.guard.full_in_seconds,
        ),
    }
    for name, (text, read) in gauges.items():
        metrics.read_gauge(f"{_PREFIX}_{name}", text, per_place(read), ("place",))
    metrics.read_gauge(
        f"{_PREFIX}_ballast_bytes",
        "Room that is kept for the last writes of the raw log.",
        lambda: watch.ballast_held_bytes,
    )
    metrics.read_counter(
        f"{_PREFIX}_ballast_freed_total",
        "Times that it was given up.",
        lambda: watch.ballast_freed_total,
    )
    metrics.read_counter(
        f"{_PREFIX}_level_changes_total", "Changes of a level.", lambda: watch.changes_total
    )
