"""A clock that stands still until a test moves it.

It implements `tickd.ports.Clock`. Sleepers wake in the order of their deadlines, each at exactly
its own time. It never lets real time pass.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Final, final

__all__ = ["ManualClock"]

# 2026-01-01T00:00:00Z: a fixed, recognisable beginning.
EPOCH_NS: Final = 1_767_225_600_000_000_000
# Turns of the loop given to the woken tasks before the next sleeper's time is shown.
SETTLE_TURNS: Final = 16


@final
class ManualClock:
    """`advance` moves both times together.

    `step_wall` moves only the wall clock, as an NTP step does.
    """

    def __init__(self, wall_ns: int = EPOCH_NS, mono_ns: int = 1_000_000_000) -> None:
        self._wall_ns = wall_ns
        self._mono_ns = mono_ns
        self._count = 0
        # (deadline in monotonic ns, order of arrival, what to wake)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def wall_ns(self) -> int:
        return self._wall_ns

    def mono_ns(self) -> int:
        return self._mono_ns

    @property
    def sleepers_count(self) -> int:
        """How many tasks wait; cancelled ones do not count."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        deadline_ns = self._mono_ns + round(seconds * 1e9)
        heapq.heappush(self._sleepers, (deadline_ns, self._count, future))
        await future

    def step_wall(self, delta_ns: int) -> None:
        """Move the wall clock alone, forwards or backwards."""
        self._wall_ns += delta_ns

    def move(self, delta_ns: int) -> None:
        """Move both clocks without waking anybody before the end; for code that never awaits."""
        self._wall_ns += delta_ns
        self._mono_ns += delta_ns
        while self._sleepers and self._sleepers[0][0] <= self._mono_ns:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass.

        Every sleeper due wakes at its own time and runs before the next one does.
        """
        await _settle()
        end_ns = self._mono_ns + round(seconds * 1e9)
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            self.move(max(0, self._sleepers[0][0] - self._mono_ns))
            await _settle()
        self.move(end_ns - self._mono_ns)
        await _settle()


async def _settle() -> None:
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)
