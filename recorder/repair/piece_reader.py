"""Pieces of the raw log, read and summed up in a thread, one ahead of whoever compares them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from recorder.raw.stretches import Hole, LogStretches, Stretch
from recorder.repair.mend import Wanted, prepare
from recorder.repair.parts import Part

__all__ = ["PieceReader"]


class PieceReader:
    """One reader's thread; one iteration at a time."""

    def __init__(self, stretches: LogStretches) -> None:
        self._stretches = stretches
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tickd-repair-log")

    async def read(self, part: Part, *, whole: bool = False) -> AsyncGenerator[Wanted | Hole, None]:
        """Give a part's pieces in order; `whole`: in as few as possible.

        Raises TickdError(FATAL) when the log cannot be read. Two pieces are in memory at most.
        """
        loop = asyncio.get_running_loop()
        pieces = self._stretches.read(part.seq_from, part.seq_to, part.tables, whole=whole)

        def step() -> Wanted | Hole | None:
            piece = next(pieces, None)
            return prepare(piece, part.tables) if isinstance(piece, Stretch) else piece

        ahead = loop.run_in_executor(self._thread, step)
        try:
            while (piece := await ahead) is not None:
                ahead = loop.run_in_executor(self._thread, step)
                yield piece
        finally:
            if not ahead.cancel():
                await asyncio.wait([ahead])
                ahead.exception()  # it was raised already, or nobody is left to be told

    def forget(self) -> None:
        """Give the memory of the last read back."""
        self._stretches.close()

    def close(self) -> None:
        """End the thread. Blocks for as long as one read takes."""
        self._thread.shutdown(cancel_futures=True)
