"""A raw log and a subscription in memory, for tests of whoever reads them.

`MemoryLog` can be waited for and read again, as the recorder's ports ask; `MemoryBursts` gives
batches to one consumer and overflows on command. Neither touches a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

from tickd.errors import Action, TickdError
from tickd.native import EventBatch

__all__ = ["MemoryBursts", "MemoryLog", "MemoryPart", "OverflowedError"]


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

    def count(self, frame_from: int, frame_to: int) -> int:
        return frame_to - frame_from + 1

    def read(self, frame_from: int, frame_to: int) -> Iterator[MemoryPart]:
        self.reads.append((frame_from, frame_to))
        for part in self._parts:
            if part.batch is None or frame_from <= part.batch.frame_last <= frame_to:
                yield part


class OverflowedError(TickdError):
    """The consumer has missed batches."""

    action = Action.RESYNC


@final
class MemoryBursts:
    """Batches in the order of `put`; `drop` loses one, as a full subscription does."""

    def __init__(self) -> None:
        self._batches: list[EventBatch] = []
        self._dropped: tuple[int, int] | None = None
        self._closed = False
        self._moved = asyncio.Event()

    def put(self, batch: EventBatch) -> None:
        """Give a batch, or lose it when `drop` was called and nobody resumed since."""
        if self._dropped is not None:
            self.drop(batch)
        else:
            self._batches.append(batch)
            self._moved.set()

    def drop(self, batch: EventBatch) -> None:
        first = batch.seq_first if self._dropped is None else self._dropped[0]
        self._dropped = (first, batch.seq_last)
        self._moved.set()

    def close(self) -> None:
        self._closed = True
        self._moved.set()

    async def take_bursts(self) -> list[EventBatch]:
        while True:
            if self._batches:
                taken, self._batches = self._batches, []
                return taken
            if self._dropped is not None:
                raise OverflowedError(f"dropped {self._dropped}")
            if self._closed:
                return []
            self._moved.clear()
            await self._moved.wait()

    def resume(self) -> tuple[int, int] | None:
        dropped, self._dropped = self._dropped, None
        return dropped
