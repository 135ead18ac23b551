"""How much of a daily allowance of bytes will be gone at its reset, and when to stop before.

Pure: readings of the venue's own counter and the time come in. Polls nothing, stops nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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


class Outlook(NamedTuple):
    """What the allowance looks like at one moment."""

    load: float  # the forecast over the cap
    must_stop: bool
    cap_bytes: int
    remaining_bytes: int  # below the cap
    forecast_bytes: int  # used at the reset if it goes on like this
    reset_seconds: float  # until then
    batch_bytes: int  # what the queries between two readings may cost
    queries_left: int  # of those before the next reading


class Allowance:
    """One account's allowance: readings come in, an outlook comes out.

    Args: `reset`: wall ns -> wall ns of the next reset; `pauses_streams`: whether streams give way
    when it runs short, or queries only; `interval_seconds`: between two readings.
    """

    def __init__(
        self,
        guard: UsageGuard,
        *,
        reset: Callable[[int], int],
        pauses_streams: bool,
        interval_seconds: float = 60.0,
    ) -> None:
        self._guard = guard
        self._reset = reset
        self._interval_seconds = interval_seconds
        self._reset_ns: int | None = None  # wall, of the readings that are known
        self._asked = 0  # queries since the last reading
        self._query_bytes: int | None = None  # what one came to, the last time any was asked
        self.pauses_streams = pauses_streams

    @property
    def is_known(self) -> bool:
        """Whether the venue has ever said anything."""
        return self._guard.last is not None

    def observe(self, reading: UsageReading, *, wall_ns: int, mono_ns: int) -> None:
        """Take a reading."""
        before = self._guard.last
        if self._asked and before is not None and reading.bytes_used >= before.bytes_used:
            # With all that came in beside them: queries give way before streams do.
            self._query_bytes = (reading.bytes_used - before.bytes_used) // self._asked
        self._asked = 0
        self._reset_ns = self._reset(wall_ns)
        self._guard.observe(reading, mono_ns)

    def asked(self) -> None:
        """Count a query of past or ranked data, whose cost the next reading tells."""
        self._asked += 1

    def _queries_left(self, batch_bytes: int) -> int:
        """Of a batch of so many bytes: one may be asked at any time, so that its cost is known."""
        batch = 1 if self._query_bytes is None else batch_bytes // max(1, self._query_bytes)
        return max(0, max(1, batch) - self._asked)

    def outlook(self, *, wall_ns: int, mono_ns: int) -> Outlook:
        """The picture of this moment; after the reset and before its first reading all is open."""
        guard = self._guard
        if self._reset_ns is None or wall_ns >= self._reset_ns:
            left_s = max(0, self._reset(wall_ns) - wall_ns) / NS_PER_SECOND
            queries = self._queries_left(0)
            return Outlook(0.0, False, guard.cap_bytes, guard.cap_bytes, 0, left_s, 0, queries)
        reset_ns = mono_ns + self._reset_ns - wall_ns
        batch_bytes = guard.batch_bytes(mono_ns, reset_ns, self._interval_seconds)
        must_stop = guard.must_stop(mono_ns)
        return Outlook(
            load=guard.load(mono_ns, reset_ns),
            must_stop=must_stop,
            cap_bytes=guard.cap_bytes,
            remaining_bytes=guard.remaining_bytes(mono_ns),
            forecast_bytes=guard.forecast_bytes(mono_ns, reset_ns),
            reset_seconds=(reset_ns - mono_ns) / NS_PER_SECOND,
            batch_bytes=batch_bytes,
            queries_left=0 if must_stop else self._queries_left(batch_bytes),
        )
