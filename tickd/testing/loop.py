"""An event loop whose time is virtual: it jumps to the next timer when nothing is ready.

Two thousand virtual seconds take milliseconds, and a test that would hang says so at once. For code
without real sockets, files or threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from selectors import SelectorKey
from typing import Any, Final, TypeVar, final

__all__ = ["Deadlock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

# A test that needs more virtual time than this is in an endless retry.
VIRTUAL_SECONDS_MAX: Final = 30 * 86_400.0


class Deadlock(RuntimeError):  # noqa: N818 - the word for it
    """Nothing is ready, nothing is scheduled: every task waits for ever."""


@final
class VirtualLoop(asyncio.SelectorEventLoop):
    """Never sleeps; `time()` is the virtual time in seconds, from 0."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]  # the one seam asyncio has
        self._real_select = selector.select
        selector.select = self._select

    def time(self) -> float:
        return self._virtual_s

    def _select(self, timeout: float | None) -> list[tuple[SelectorKey, int]]:
        ready: list[tuple[SelectorKey, int]] = self._real_select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock("nothing is ready and nothing is scheduled")
        self._virtual_s += max(timeout, 0.0)
        if self._virtual_s > VIRTUAL_SECONDS_MAX:
            raise Deadlock(f"more than {VIRTUAL_SECONDS_MAX:.0f} virtual seconds")
        return ready


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a new virtual loop and return its result.

    Raises Deadlock, and what it raises.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
