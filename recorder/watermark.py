"""How far the raw log has come: lets the sink wait for "these frames are in the file".

Watches the raw log's descriptor on the event loop. It reads no file and writes none.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

from tickd.errors import Action, TickdError

__all__ = ["LogProgress", "Watermark"]


class LogProgress(Protocol):
    """What the sink needs to know of the raw log."""

    async def reached(self, frame_no: int) -> None:
        """Wait until every frame up to `frame_no` is in the raw log as durably as configured.

        Raises TickdError(FATAL) when the log has failed for good.
        """


class _RawLog(Protocol):
    @property
    def written(self) -> int: ...
    @property
    def synced(self) -> int: ...
    @property
    def failure(self) -> str | None: ...
    @property
    def wake_fd(self) -> int: ...
    def write_now(self, *, sync: bool = False) -> None: ...


class Watermark:
    """`reached` for a native raw log. `durable` waits for the fsync instead of the write.

    Whoever owns the raw log calls `moved` when its descriptor was readable; several may listen that
    way to the one descriptor.
    """

    def __init__(self, log: _RawLog, *, durable: bool) -> None:
        self._log = log
        self._durable = durable
        self._order = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @property
    def frame_no(self) -> int:
        return self._log.synced if self._durable else self._log.written

    async def reached(self, frame_no: int) -> None:
        if frame_no <= self.frame_no:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._waiting, (frame_no, self._order, waiter))
        # A quiet venue fills no group; the block need not wait for the timer.
        self._log.write_now(sync=self._durable)
        self.moved()
        await waiter

    def moved(self) -> None:
        """Wake those whose frame is reached, all of them when the log has failed for good.

        A full disk is no failure: the writer tries again until there is space, and so they wait.
        """
        failure = self._log.failure
        frame_no = self.frame_no
        while self._waiting and (failure is not None or self._waiting[0][0] <= frame_no):
            wanted, _, waiter = heapq.heappop(self._waiting)
            if waiter.done():
                continue
            if wanted <= frame_no:
                waiter.set_result(None)
            else:
                waiter.set_exception(
                    TickdError(f"the raw log failed: {failure}", action=Action.FATAL)
                )

    def watch(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Listen to the raw log's descriptor where nobody else does; returns what ends it."""
        loop.add_reader(self._log.wake_fd, self.moved)
        return lambda: _ignore(loop.remove_reader(self._log.wake_fd))


def _ignore(_removed: bool) -> None:  # noqa: FBT001 - the loop's own answer, not an option
    return None
