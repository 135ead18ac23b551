"""Timers of one strategy: they fire on recorded clock records only, so a replay fires them too.

Pure: the time comes in as an argument.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, final

from strategy_runner.errors import StrategyError

__all__ = ["Timer", "Timers"]

TIMERS_MAX: Final = 10_000


@final
class Timer:
    """One timer: `due_ns` is when it should fire (None: as soon as there is a time)."""

    __slots__ = ("due_ns", "every_ns", "is_cancelled", "name")

    def __init__(self, name: str, due_ns: int | None, every_ns: int | None) -> None:
        self.name: Final = name
        self.due_ns = due_ns
        self.every_ns: Final = every_ns
        self.is_cancelled = False

    def cancel(self) -> None:
        """Fire no more. Idempotent."""
        self.is_cancelled = True

    def __repr__(self) -> str:
        return f"Timer({self.name!r}, due_ns={self.due_ns}, every_ns={self.every_ns})"


@final
class Timers:
    """The timers of a strategy, by the time they are due, then in the order they were made."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        # Made before the first record said what time it is.
        self._waiting: list[Timer] = []
        self._made = 0

    def at(self, ts_ns: int, name: str) -> Timer:
        return self._add(Timer(name, ts_ns, None), ts_ns)

    def every(self, every_ns: int, name: str, now_ns: int) -> Timer:
        """Fire at every multiple of `every_ns` since 1970 (UTC)."""
        if every_ns < 1:
            raise StrategyError(f"timer {name!r}: every {every_ns} ns")
        timer = Timer(name, None, every_ns)
        if now_ns:
            return self._add(timer, _next(now_ns, every_ns))
        self._check()
        self._waiting.append(timer)
        return timer

    def due(self, now_ns: int) -> Iterator[Timer]:
        """Yield the timers that are due, each once; a late periodic one skips what it missed."""
        for timer in self._waiting:
            self._add(timer, _next(now_ns - 1, timer.every_ns or 1))
        self._waiting.clear()
        while self._heap and self._heap[0][0] <= now_ns:
            _, _, timer = heapq.heappop(self._heap)
            if timer.is_cancelled:
                continue
            yield timer
            if timer.every_ns is not None and not timer.is_cancelled:
                self._add(timer, _next(now_ns, timer.every_ns))

    def __len__(self) -> int:
        return len(self._heap) + len(self._waiting)

    def _add(self, timer: Timer, due_ns: int) -> Timer:
        self._check()
        timer.due_ns = due_ns
        self._made += 1
        heapq.heappush(self._heap, (due_ns, self._made, timer))
        return timer

    def _check(self) -> None:
        if len(self) >= TIMERS_MAX:
            raise StrategyError(f"{TIMERS_MAX} timers, which is the limit")


def _next(after_ns: int, every_ns: int) -> int:
    """The first multiple behind a moment."""
    return (after_ns // every_ns + 1) * every_ns
