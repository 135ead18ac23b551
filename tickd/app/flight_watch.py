"""What the flight recorder is told beside the log: marks and changes that no line speaks of.

Once a second it compares a few numbers with those of before: state, what is waited for, queues at
new heights, raw log behind, gaps, refused frames, failed inserts, drops of the loop's punctuality.
"""

from __future__ import annotations

from typing import Any, Final

from tickd.app.parts import Parts
from tickd.app.picture import Picture
from tickd.telemetry.flight import FlightRing
from tickd.telemetry.loop_lag import Recorder

__all__ = ["FlightWatch", "LagNotes"]

INTERVAL_S: Final = 1.0
STALL_NS: Final = 50_000_000
# Marks below these say nothing: queues breathe.
DEPTH_MIN: Final = 1_024
PENDING_BYTES_MIN: Final = 1 << 20


class LagNotes:
    """Hands the loop's lateness on, and notes what is out of the ordinary."""

    def __init__(self, recorder: Recorder, ring: FlightRing) -> None:
        self._recorder = recorder
        self._ring = ring

    def record(self, ns: int, /) -> None:
        self._recorder.record(ns)
        if ns >= STALL_NS:
            self._ring.note("loop_stalled", "warning", late_ms=round(ns / 1e6, 1))


class FlightWatch:
    """Looks at a daemon once a second; loop thread only."""

    def __init__(self, ring: FlightRing, parts: Parts, picture: Picture) -> None:
        self._ring = ring
        self._parts = parts
        self._picture = picture
        self._states: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._marks: dict[str, int] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._parts.clock.sleep(INTERVAL_S)
            self.look()

    def look(self) -> None:
        parts = self._parts
        self._changed("state", self._picture.state())
        self._changed("waiting_for", self._picture.waiting_for())
        self._changed("raw_log_fault", parts.raw_log.fault)
        self._changed("sockets_paused", parts.tap.paused)
        sink = parts.storage.sink
        self._changed("sink_state", sink.state.value)
        self._changed("circuit", sink.delivery.circuits.server.state.value)
        self._changed("priorities_paused_below", parts.planning.floor)
        for disk in parts.disk.disks:
            self._changed(f"disk_{disk.name}", disk.guard.level.name.lower())
        decoder = parts.decoder.counters()
        self._counted("gaps", decoder.get("gaps", 0))
        self._counted("resyncs", decoder.get("resyncs", 0))
        self._counted("frames_refused", decoder.get("refused", 0))
        self._counted("inserts_failed", sum(sink.delivery.circuits.attempts_failed.values()))
        self._counted("reloads", parts.planning.reloads)
        self._counted("reloads_refused", parts.planning.reloads_refused)
        self._counted("socket_pauses", parts.tap.pauses_total)
        self._marked("raw_log_pending_bytes", parts.raw_log.pending_bytes, PENDING_BYTES_MIN)
        self._marked("sink_pending_bytes", sink.held_bytes, PENDING_BYTES_MIN)
        for subscription in parts.bus.subscriptions:
            self._marked(f"queue {subscription.name}", subscription.depth, DEPTH_MIN)

    def _changed(self, name: str, value: Any) -> None:
        before = self._states.get(name)
        if value != before:
            self._states[name] = value
            self._ring.note("state_changed", what=name, now=value, before=before)

    def _counted(self, name: str, count: int) -> None:
        before = self._counts.get(name, 0)
        if count != before:
            self._counts[name] = count
            self._ring.note("count_rose", what=name, by=count - before, now=count)

    def _marked(self, name: str, value: int, least: int) -> None:
        """A new height, twice the last one that was told."""
        if value >= max(least, 2 * self._marks.get(name, 0)):
            self._marks[name] = value
            self._ring.note("high_water", what=name, now=value)
