"""How far the raw log has come: lets the sink wait for "these frames are in the file".

Watches the raw log's descriptor on the event loop. It reads no file and writes none.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

from recorder.sink.queue_gauge import QueueReading
from tickd.errors import Action, TickdError
from tickd.ports import Clock

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
    def next_frame_no(self) -> int: ...
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

    def __init__(self, log: _RawLog, *, durable: bool, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._high_water = 0
        self._peak = 0
        # Numbers leap when a log is opened: what is below has no frames of this life.
        self._begun = log.next_frame_no - 1
        self._written = self._begun
        self._waits_since_ns: int | None = None
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
        self._look()
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

    def queue(self, enqueue_timeouts: int) -> QueueReading:
        """The frames that are appended and not yet in the file.

        Their age is that since somebody first looked; a log that failed for good has lost them.
        """
        self._look()
        depth = self._depth
        since_ns = self._waits_since_ns
        age_ns = 0 if since_ns is None else self._clock.mono_ns() - since_ns
        return QueueReading(
            depth=depth,
            high_water=self._high_water,
            oldest_age_s=age_ns / 1e9,
            enqueue_timeouts=enqueue_timeouts,
            dropped=depth if self._log.failure is not None else 0,
        )

    def take_peak(self) -> int:
        """Return the most frames that waited since the last call."""
        self._look()
        peak, self._peak = self._peak, self._depth
        return peak

    @property
    def _depth(self) -> int:
        return max(0, self._log.next_frame_no - 1 - max(self._begun, self._log.written))

    def _look(self) -> None:
        written = max(self._begun, self._log.written)
        # Just before the last write all of these waited.
        waited = self._log.next_frame_no - 1 - self._written
        self._high_water = max(self._high_water, waited)
        self._peak = max(self._peak, waited)
        if written != self._written or not self._depth:
            self._waits_since_ns = None
        if self._waits_since_ns is None and self._depth:
            self._waits_since_ns = self._clock.mono_ns()
        self._written = written

    def watch(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Listen to the raw log's descriptor where nobody else does; returns what ends it."""
        loop.add_reader(self._log.wake_fd, self.moved)
        return lambda: _ignore(loop.remove_reader(self._log.wake_fd))


def _ignore(_removed: bool) -> None:  # noqa: FBT001 - the loop's own answer, not an option
    return None
