"""The system's clock: the one place of the program that asks the machine for the time.

It implements `tickd.ports.Clock`; tests move `tickd.testing.clock.ManualClock` instead. It
schedules nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import final

__all__ = ["SystemClock"]


@final
class SystemClock:
    """Wall time for stamps, monotonic time for durations; the loop's own timers for waiting."""

    __slots__ = ()

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC. May step when the machine's clock is set."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """Monotonic nanoseconds (CLOCK_MONOTONIC, the clock of the native stamps)."""
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait; raises CancelledError only."""
        await asyncio.sleep(seconds)
