"""Which core the event loop has for itself, and that nothing else of the daemon gets it.

Linux alone decides where threads and processes run; a new one may run where its maker may, so once
a second whatever came is moved: the daemon's threads, its children and theirs. It sets no priority.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import structlog

from tickd.errors import Action, TickdError
from tickd.ports import Clock

__all__ = ["LoopCore"]

log = structlog.get_logger(__name__)

SWEEP_S: Final = 1.0


@final
class LoopCore:
    """Keeps one core for the thread that runs the loop."""

    def __init__(self, core: int | None, clock: Clock) -> None:
        """Args.

        `core`: its number; None leaves everything to the system. Raises TickdError(FATAL): this
        process may not use that core, or no other.
        """
        self._core = core
        self._clock = clock
        # Threads that were looked at.
        self._known: set[int] = set()
        self._others: set[int] = set()
        if core is None:
            return
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        if core not in usable or len(usable) < 2:
            raise TickdError(
                f"node.loop_core is {core}, this process may use {sorted(usable)}",
                action=Action.FATAL,
                hint="name one of at least two cores, or take loop_core out",
            )
        self._others = usable - {core}

    async def run(self) -> None:
        """Take the core and keep everything else off it; raises CancelledError only.

        A core that was taken from the process since it started is not worth a recorder's life.
        """
        if self._core is None:
            return
        loop_thread = threading.get_native_id()
        try:
            os.sched_setaffinity(loop_thread, {self._core})
        except OSError as error:
            log.warning("loop_core_refused", core=self._core, words=str(error))
            return
        log.info("loop_core_taken", core=self._core, others=sorted(self._others))
        try:
            while True:
                await asyncio.to_thread(self.sweep, loop_thread)
                await self._clock.sleep(SWEEP_S)
        finally:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(loop_thread, {self._core} | self._others)

    def sweep(self, loop_thread: int) -> None:
        """Move what came since the last time; what the operator has moved already stays there."""
        here = set(_threads(os.getpid()))
        for thread in here - self._known - {loop_thread}:
            try:
                cores = os.sched_getaffinity(thread)
                if self._core in cores:
                    os.sched_setaffinity(thread, cores - {self._core} or self._others)
            except OSError:  # it has ended
                continue
        self._known = here


def _threads(pid: int) -> Iterator[int]:
    """Threads of a process, and those of its children and theirs."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it has ended
        return
    for task in tasks:
        yield int(task.name)
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _threads(int(child))
