"""The spool on a thread of its own: its files block, the loop must not.

Calls are done in order, one at a time; figures are answered at once. It decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from recorder.clickhouse.blocks import BlockBytes
from recorder.sink.plan import PlannedBlock
from recorder.spool.spool import Spool, SpooledBlock

__all__ = ["SpoolThread"]

_T = TypeVar("_T")


class SpoolThread:
    """One spool's only user."""

    def __init__(self, spool: Spool) -> None:
        self.figures = spool
        """For reading its properties and counters only: those may be read from any thread."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tickd-spool")

    @property
    def blocks(self) -> int:
        return self.figures.blocks

    def waits(self, table: str) -> bool:
        """Whether a block of `table` is in the spool."""
        return self.figures.table(table).blocks > 0

    async def call(self, work: Callable[[], _T]) -> _T:
        """Do something that blocks, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def open(self) -> None:
        await self.call(self.figures.open)

    async def put(self, planned: PlannedBlock, block: BlockBytes, *, unknown: bool) -> bool:
        return await self.call(partial(self.figures.put, planned, block, unknown=unknown))

    async def peek(self, table: str) -> tuple[PlannedBlock, bool] | None:
        return await self.call(partial(self.figures.peek, table))

    async def read(self, planned: PlannedBlock) -> SpooledBlock:
        """Raises SpoolDamagedError."""
        return await self.call(partial(self.figures.read, planned))

    async def mark_unknown(self, planned: PlannedBlock) -> None:
        await self.call(partial(self.figures.mark_unknown, planned))

    async def done(self, planned: PlannedBlock) -> None:
        await self.call(partial(self.figures.done, planned))

    async def planned(self) -> list[PlannedBlock]:
        return await self.call(self.figures.planned)

    def close(self) -> None:
        """Do what is queued, then close the files. Blocks."""
        self._thread.submit(self.figures.close)
        self._thread.shutdown()
