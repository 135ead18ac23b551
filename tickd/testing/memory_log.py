"""A raw log in memory for tests of its readers: what was appended can be waited for and read again.

It has the shape of the recorder's two ports (`reached`, `read`) and none of the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

from tickd.native import EventBatch

__all__ = ["MemoryLog", "MemoryPart"]


class MemoryPart(NamedTuple):
    """What was appended in one step."""

    definitions: Sequence[bytes]
    batch: EventBatch | None


@final
class MemoryLog:
    """Batches in frame order; `written` moves at once unless `hold` is set.

    A read must begin and end at batch borders, as the sink's ranges do.
    """

    def __init__(self, *, hold: bool = False) -> None:
        self.hold = hold
        self.written = 0
        self.reads: list[tuple[int, int]] = []
        self._parts: list[MemoryPart] = []
        self._moved = asyncio.Event()

    def define(self, definition: bytes) -> None:
        self._parts.append(MemoryPart([definition], None))

    def append(self, batch: EventBatch) -> EventBatch:
        self._parts.append(MemoryPart([], batch))
        if not self.hold:
            self.release(batch.frame_last)
        return batch

    def release(self, frame_no: int) -> None:
        """Move the watermark."""
        self.written = max(self.written, frame_no)
        self._moved.set()

    @property
    def frame_last(self) -> int:
        return max((part.batch.frame_last for part in self._parts if part.batch), default=0)

    async def reached(self, frame_no: int) -> None:
        while self.written < frame_no:
            self._moved.clear()
            await self._moved.wait()

    def read(self, frame_from: int, frame_to: int) -> Iterator[MemoryPart]:
        self.reads.append((frame_from, frame_to))
        for part in self._parts:
            if part.batch is None or frame_from <= part.batch.frame_last <= frame_to:
                yield part
