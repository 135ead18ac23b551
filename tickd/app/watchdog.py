"""Whether the pipeline got on since the last look: what a ping of the watchdog stands for.

A venue that is silent, a disk that is full and a ClickHouse that is away are no reason to restart:
each is waited out, and says so elsewhere. Nothing is sent from here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tickd.app.storage import Storage
from tickd.app.tap import Tap
from tickd.native import RawLog
from tickd.ports import Clock
from tickd.telemetry.metrics import Metrics

__all__ = ["REASONS", "Progress", "Signs", "Watchdog", "declare_watchdog"]

# Where the pipeline can stand still while the event loop turns.
REASONS: Final[tuple[str, ...]] = ("tap", "raw_log", "sink")
# Beyond what the writer waits for on purpose; a disk that is slower than this is stuck.
WRITER_PATIENCE_S: Final = 1.0


class Signs(NamedTuple):
    """One look at the pipeline."""

    mono_ns: int
    frames: int
    """appended to the raw log"""
    bursts: int
    """that the tap has ended"""
    pending_bytes: int
    """not yet in the file"""
    written: tuple[int, ...]
    """everything that changes when the writer did something"""
    faulty: bool
    """the disk refuses, and the writer tries on: known, and no reason to lose what is pending"""
    paused: bool
    pause_due: bool
    """there is a reason to read no socket"""
    sink_taken: int
    """batches"""
    sink_waits_s: float
    """age of what has waited longest for the sink"""


class Progress:
    """Compares looks; pure."""

    def __init__(self, *, group_s: float) -> None:
        """Args: `group_s`: how long the writer may keep a group open."""
        self._writer_patience_ns = round((group_s + WRITER_PATIENCE_S) * 1e9)
        self._before: Signs | None = None
        self._idle_since_ns = 0  # the writer; with bytes pending
        self._frames_ended = 0  # when bursts were last seen to end

    def stuck(self, now: Signs) -> str:
        """Return where nothing happened since the last look, one of REASONS; empty: all got on."""
        before, self._before = self._before, now
        if before is None:
            self._idle_since_ns, self._frames_ended = now.mono_ns, now.frames
            return ""
        waits = before.pending_bytes and now.pending_bytes
        if now.faulty or not waits or now.written != before.written:
            self._idle_since_ns = now.mono_ns
        if now.bursts != before.bursts:
            self._frames_ended = now.frames
        elif before.frames != self._frames_ended:
            return "tap"  # those of this very turn end in the next one; these are older
        if before.paused and now.paused and not (before.pause_due or now.pause_due):
            return "tap"  # nothing will make the sockets be read again
        if now.mono_ns - self._idle_since_ns > self._writer_patience_ns:
            return "raw_log"
        looked_s = (now.mono_ns - before.mono_ns) / 1e9
        # Before its first batch it waits for the embedded server's start, and may.
        idle = 0 < now.sink_taken == before.sink_taken
        if idle and now.sink_waits_s > looked_s:
            return "sink"
        return ""


class Watchdog:
    """One daemon's pipeline, looked at by `tickd/app/supervision.py`."""

    def __init__(
        self, raw_log: RawLog, tap: Tap, storage: Storage, *, group_ms: int, clock: Clock
    ) -> None:
        self._raw = raw_log
        self._tap = tap
        self._storage = storage
        self._clock = clock
        self._progress = Progress(group_s=group_ms / 1000)
        self.started_wall_ns: Final = clock.wall_ns()
        self.pings_total = 0
        self.withheld_total: dict[str, int] = dict.fromkeys(REASONS, 0)
        self.stuck = ""

    def look(self) -> bool:
        """Whether everything got on since the last look; counted."""
        self.stuck = self._progress.stuck(self.signs())
        if self.stuck:
            self.withheld_total[self.stuck] += 1
        else:
            self.pings_total += 1
        return not self.stuck

    def signs(self) -> Signs:
        raw, sink = self._raw, self._storage.sink
        stats = raw.stats()
        waits = (row.oldest_age_s for row in self._storage.subscription_lag() if row.depth)
        return Signs(
            mono_ns=self._clock.mono_ns(),
            frames=stats["frames"],
            bursts=self._tap.bursts_total,
            pending_bytes=raw.pending_bytes,
            written=(raw.written, raw.synced, stats["chunks"], stats["fsyncs"]),
            faulty=raw.fault is not None,
            paused=self._tap.paused,
            pause_due=self._tap.pause_due,
            sink_taken=sink.counters.batches,
            sink_waits_s=max(waits, default=0.0),
        )


def declare_watchdog(metrics: Metrics, watchdog: Watchdog) -> None:
    """Declare what the supervisor is told, and when this life began."""
    metrics.read_counter(
        "tickd_app_watchdog_pings_total",
        "Looks at the pipeline that found it moving; under systemd each is a ping.",
        lambda: watchdog.pings_total,
    )
    metrics.read_counter(
        "tickd_app_watchdog_withheld_total",
        "Looks that found a part of the pipeline standing still, by part.",
        lambda: {(reason,): count for reason, count in watchdog.withheld_total.items()},
        ("reason",),
    )
    metrics.read_gauge(
        "tickd_app_start_timestamp_seconds",
        "When this daemon began.",
        lambda: watchdog.started_wall_ns / 1e9,
    )
