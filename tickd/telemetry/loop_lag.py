"""The event loop's own lateness: how much later than asked a timer fires."""

from __future__ import annotations

from typing import Final, Protocol

from tickd.ports import Clock

__all__ = ["PROBE_MS", "Recorder", "probe_loop_lag"]

# Ten probes a second cost less than 0.1 % of a core and see every stall that matters.
PROBE_MS: Final = 100


class Recorder(Protocol):
    """Where lateness goes; the native `Histogram` is one."""

    def record(self, ns: int, /) -> None:
        """Add one value, ns."""


async def probe_loop_lag(clock: Clock, recorder: Recorder, *, interval_ms: int = PROBE_MS) -> None:
    """Record, for ever, how late each interval ended; raises CancelledError only."""
    while True:
        due_ns = clock.mono_ns() + interval_ms * 1_000_000
        await clock.sleep(interval_ms / 1e3)
        recorder.record(max(0, clock.mono_ns() - due_ns))
