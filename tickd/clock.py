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

    # The functions themselves: a method around each would cost as much again, for every callback
    # of a broker's SDK.

    # Nanoseconds since the Unix epoch, UTC. May step when the machine's clock is set.
    wall_ns = staticmethod(time.time_ns)
    # Monotonic nanoseconds (CLOCK_MONOTONIC, the clock of the native stamps).
    mono_ns = staticmethod(time.monotonic_ns)

    async def sleep(self, seconds: float) -> None:
        """Wait; raises CancelledError only."""
        await asyncio.sleep(seconds)
