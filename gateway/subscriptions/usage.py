"""How much of a daily allowance of bytes will be gone at its reset, and when to stop before.

Pure: readings of the venue's own counter and the time come in. Polls nothing, stops nothing.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from gateway.limits import NS_PER_SECOND


class UsageReading(NamedTuple):
    """What the venue says: bytes used since the reset, bytes allowed, connections of the person."""

    bytes_used: int
    bytes_limit: int
    connections: int = 0


class UsageGuard:
    """The forecast for one account.

    cap_share: of the limit, never passed as long as what comes between two readings is at most
    `surge` times the most that ever came between two. window_seconds: what the rate is taken from.
    """

    def __init__(
        self, *, cap_share: float = 0.95, surge: float = 3.0, window_seconds: float = 900.0
    ) -> None:
        self._cap_share = cap_share
        self._surge = surge
        self._window_ns = round(window_seconds * NS_PER_SECOND)
        self._readings: deque[tuple[int, UsageReading]] = deque()  # (ns, reading), oldest first
        self._step_max = 0  # bytes between two readings, the most since the reset
        self._step_ns_max = NS_PER_SECOND  # the time that this took

    @property
    def last(self) -> UsageReading | None:
        """The newest reading."""
        return self._readings[-1][1] if self._readings else None

    def observe(self, reading: UsageReading, now_ns: int) -> None:
        """Take a reading; one with fewer bytes than before is the reset."""
        if self._readings:
            since_ns, before = self._readings[-1]
            if reading.bytes_used < before.bytes_used:
                self._readings.clear()
                self._step_max = 0
            elif reading.bytes_used - before.bytes_used > self._step_max:
                self._step_max = reading.bytes_used - before.bytes_used
                self._step_ns_max = max(1, now_ns - since_ns)
        self._readings.append((now_ns, reading))
        while self._readings[0][0] < now_ns - self._window_ns and len(self._readings) > 2:
            self._readings.popleft()

    @property
    def cap_bytes(self) -> int:
        """What may be used at most; 0 before the first reading."""
        return int(self.last.bytes_limit * self._cap_share) if self.last else 0

    @property
    def bytes_per_second(self) -> float:
        """The rate over the window."""
        if len(self._readings) < 2:
            return 0.0
        (first_ns, first), (last_ns, last) = self._readings[0], self._readings[-1]
        seconds = max(1, last_ns - first_ns) / NS_PER_SECOND
        return (last.bytes_used - first.bytes_used) / seconds

    def remaining_bytes(self, now_ns: int) -> int:
        """Bytes left below the cap, as far as known: since the last reading at the highest rate."""
        if self.last is None:
            return 0
        silent_ns = max(0, now_ns - self._readings[-1][0])
        unseen = self._step_max * silent_ns // self._step_ns_max
        return max(0, self.cap_bytes - self.last.bytes_used - unseen)

    def forecast_bytes(self, now_ns: int, reset_ns: int) -> int:
        """Bytes used at the reset if it goes on like this."""
        if self.last is None:
            return 0
        seconds = max(0, reset_ns - now_ns) / NS_PER_SECOND
        return self.last.bytes_used + int(self.bytes_per_second * seconds)

    def load(self, now_ns: int, reset_ns: int) -> float:
        """The forecast over the cap, for `Throttle`: 1 would just be spent at the reset."""
        if self.last is None:
            return 0.0
        if self.cap_bytes <= 0:
            return 1.0
        return self.forecast_bytes(now_ns, reset_ns) / self.cap_bytes

    def must_stop(self, now_ns: int) -> bool:
        """Whether everything that costs bytes has to end now, until the reset."""
        if self.last is None:
            return False
        return self.remaining_bytes(now_ns) <= self._surge * self._step_max

    def batch_bytes(self, now_ns: int, reset_ns: int, seconds: float) -> int:
        """Bytes that a batch every `seconds` may cost so that the allowance lasts to the reset."""
        if self.last is None or self.must_stop(now_ns):
            return 0
        batches = max(1.0, (reset_ns - now_ns) / NS_PER_SECOND / seconds)
        return int(self.remaining_bytes(now_ns) / batches)
