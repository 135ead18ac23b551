"""When to cut: block size and flush interval that follow the measured rate. Pure.

At low rates latency is what matters, and that parts stay few; at high rates blocks grow until one
cut would cost too much CPU at once. What is cut is planned before it is sent, so nothing here has
to be remembered over a restart.
"""

from __future__ import annotations

from collections import deque
from math import exp
from typing import Final

import msgspec

__all__ = ["CutLimits", "CutPolicy"]

_NS_PER_MS: Final = 1_000_000
# Averages follow the last second or so: quick when a market opens, calm over a burst.
_MEMORY_NS: Final = 1_000_000_000
# A cut has costs that no event causes: fewer events than this would be blamed for them.
_EVENTS_MIN: Final = 2_000
_UNLIMITED: Final = 1 << 62
# Of the budget; the burst that fills it comes on top.
_SHARE_USED: Final = 0.9


class CutLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What no cut exceeds, and between what the interval moves."""

    rows_max: int
    bytes_max: int
    age_ms_min: int
    age_ms_max: int
    # Rows that make an insert worth its part: above them more often is better than bigger.
    rows_efficient: int
    cut_cpu_us_max: int


class CutPolicy:
    """Told what is pushed and what cuts turned out to be; says why to cut now.

    Times are monotonic nanoseconds; rows are those of the largest block of a cut.
    """

    def __init__(self, limits: CutLimits) -> None:
        self._limits = limits
        self._since_ns = 0  # of the first event that is not cut
        self._asked: deque[tuple[int, int]] = deque()  # (events, duration) of cuts not finished
        self._cpu_ns = 0.0  # decayed sums, so that large cuts count for more
        self._cpu_events = 0.0
        self.events_open = 0
        self.rows_per_s = 0.0
        # While nothing can be sent anyway, only full blocks are worth their place.
        self.full_blocks_only = False

    @property
    def age_ms(self) -> int:
        """Age at which an open block is cut, however small."""
        limits = self._limits
        if self.rows_per_s <= 0:
            return limits.age_ms_max
        filled_ms = int(limits.rows_efficient / self.rows_per_s * 1_000)
        return min(limits.age_ms_max, max(limits.age_ms_min, filled_ms))

    @property
    def events_max(self) -> int:
        """Events of a cut whose CPU time stays within its budget, as far as is known."""
        if self._cpu_ns <= 0:
            return _UNLIMITED
        budget_ns = self._limits.cut_cpu_us_max * 1_000 * _SHARE_USED
        fitting = budget_ns * self._cpu_events / self._cpu_ns
        return max(_EVENTS_MIN, int(fitting))

    def pushed(self, events: int, now_ns: int) -> None:
        if not self.events_open:
            self._since_ns = now_ns
        self.events_open += events

    def reason(self, rows_open: int, bytes_open: int, now_ns: int) -> str | None:
        """Why to cut now: `rows`, `bytes`, `cpu` or `age`; None: not yet."""
        limits = self._limits
        if not self.events_open:
            return None
        if rows_open >= limits.rows_max:
            return "rows"
        if bytes_open >= limits.bytes_max:
            return "bytes"
        if self.events_open >= self.events_max:
            return "cpu"
        old = now_ns - self._since_ns >= self.age_ms * _NS_PER_MS
        return "age" if old and not self.full_blocks_only else None

    def cut(self, now_ns: int) -> None:
        """What is open is being cut."""
        self._asked.append((self.events_open, max(_NS_PER_MS, now_ns - self._since_ns)))
        self.events_open = 0

    def finished(self, rows: list[int], cpu_ns: int) -> None:
        """The oldest cuts asked for are finished; `cpu_ns`: what all of them cost together."""
        events = 0
        for count in rows:
            own, took_ns = self._asked.popleft()
            events += own
            fresh = 1 - exp(-took_ns / _MEMORY_NS)
            self.rows_per_s += fresh * (count * 1e9 / took_ns - self.rows_per_s)
            self._cpu_ns *= 1 - fresh
            self._cpu_events *= 1 - fresh
        self._cpu_ns += cpu_ns
        self._cpu_events += events
