"""What a bounded queue shows: depth, high water, age of the oldest, how often it was full, losses.

Only figures; the queues are elsewhere. Times are monotonic nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QueueGauge", "QueueReading"]


@dataclass(frozen=True, slots=True)
class QueueReading:
    """One look at a queue.

    enqueue_timeouts: times that something could not enter at once; dropped: records that left
    without having been delivered and that nothing will bring again.
    """

    depth: int
    high_water: int
    oldest_age_s: float
    enqueue_timeouts: int
    dropped: int


@dataclass(slots=True)
class QueueGauge:
    """Figures of a queue whose owner says what comes and goes."""

    depth: int = 0
    high_water: int = 0
    enqueue_timeouts: int = 0
    dropped: int = 0
    peak: int = 0

    def entered(self, count: int = 1) -> None:
        self.depth += count
        self.high_water = max(self.high_water, self.depth)
        self.peak = max(self.peak, self.depth)

    def left(self, count: int = 1) -> None:
        self.depth -= count

    def take_peak(self) -> int:
        """Return the most that waited since the last call."""
        peak, self.peak = self.peak, self.depth
        return peak

    def reading(self, oldest_ns: int | None, now_ns: int) -> QueueReading:
        """The figures now; `oldest_ns`: when the oldest entered, None when it is empty."""
        return QueueReading(
            depth=self.depth,
            high_water=self.high_water,
            oldest_age_s=0.0 if oldest_ns is None else max(0, now_ns - oldest_ns) / 1e9,
            enqueue_timeouts=self.enqueue_timeouts,
            dropped=self.dropped,
        )
