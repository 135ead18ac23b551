"""The raw log read again without stopping the loop: one step at a time, on a thread of its own.

What the steps mean is in `recover.py`. Several readings may be under way; their steps take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from recorder.raw.recover import Rebuilt, Replay, Replayed, rebuild
from recorder.sink.plan import PlannedBlock

__all__ = ["Reading"]

_T = TypeVar("_T")
_END: Final = object()


class Reading:
    """Reads one node's raw log."""

    def __init__(self, replay: Replay, *, node: int) -> None:
        self._replay = replay
        self._node = node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tickd-replay")

    async def count(self, frame_from: int, frame_to: int) -> int:
        """About how many frames lie in [frame_from, frame_to]."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._replay.count, frame_from, frame_to)

    def replayed(self, frame_from: int, frame_to: int) -> AsyncIterator[Replayed]:
        """The events of frames [frame_from, frame_to]. Raises TickdError(FATAL)."""
        return self._stepwise(self._replay.read(frame_from, frame_to))

    def rebuilt(self, planned: Sequence[PlannedBlock]) -> AsyncIterator[Rebuilt]:
        """Planned blocks again, in the order of the stream. Raises TickdError(FATAL)."""
        return self._stepwise(rebuild(planned, self._replay, self._node))

    def close(self) -> None:
        """End; what has not begun does not. Blocks for one step."""
        self._thread.shutdown(cancel_futures=True)

    async def _stepwise(self, items: Iterator[_T]) -> AsyncIterator[_T]:
        loop = asyncio.get_running_loop()
        while True:
            item = await loop.run_in_executor(self._thread, lambda: next(items, _END))
            if item is _END:
                return
            yield item  # type: ignore[misc]
