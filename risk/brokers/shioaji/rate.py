"""How many calls the venue still takes: exact for every window, with a share for cancels alone.

Pure: time comes in as monotonic nanoseconds; any thread may ask. It sends and waits for nothing.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Final, final

__all__ = ["CallRate"]

NS_PER_SECOND: Final = 1_000_000_000
# The venue counts at its end of the line, where calls may lie closer together than here.
WINDOW_STRETCH: Final = 1.1


@final
class CallRate:
    """At most `calls_max` in any window; of them `reserved` only for what may not be stopped."""

    def __init__(self, calls_max: int, window_seconds: float, *, reserved: int = 0) -> None:
        self._max = calls_max
        self._reserved = reserved
        self._window_ns = round(window_seconds * WINDOW_STRETCH * NS_PER_SECOND)
        self._taken: deque[int] = deque()  # mono ns, oldest first
        self._lock = Lock()  # the order thread and those of the queries

    def take(self, now_ns: int, *, urgent: bool = False) -> int:
        """Count a call, if there is room; else the nanoseconds until there will be (0: counted)."""
        with self._lock:
            taken = self._taken
            while taken and taken[0] <= now_ns - self._window_ns:
                taken.popleft()
            most = self._max if urgent else self._max - self._reserved
            if len(taken) < most:
                taken.append(now_ns)
                return 0
            return taken[len(taken) - most] + self._window_ns - now_ns
