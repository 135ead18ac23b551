"""When a strategy that raised is made again: by its policy, or as it was live.

Time is that of recorded clock records, so that a policy says the same in a replay. What is on
record wins: a failure that only time or memory made comes back in a replay, too. It makes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, final

from strategy_runner.config import StrategyConfig
from tickd.events import SEQ_INDEX_BITS

__all__ = ["AsRecorded", "ByPolicy", "Failure", "Restarts"]

BACKOFF_NS_MIN: Final = 1_000_000_000
BACKOFF_NS_MAX: Final = 60_000_000_000
# Up this long, a failure counts as the first of a new row.
HEALTHY_AFTER_NS: Final = 60_000_000_000
BUDGET_NS: Final = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Failure:
    """On record: numbers of the event at which it failed and of the one at which it came back."""

    seq: int
    again_seq: int | None = None


class Restarts(Protocol):
    """Of one strategy."""

    def comes_back(self, *, seq: int, now_ns: int) -> bool:
        """It failed: whether it is made again."""
        ...

    def is_due(self, *, seq: int, now_ns: int) -> bool:
        """At a clock record behind a failure: whether it is made again now."""
        ...


@final
class ByPolicy:
    """After 1 s, 2 s, … 60 s, and so many times an hour."""

    def __init__(self, config: StrategyConfig) -> None:
        self._times_max = config.restarts_per_hour_max if config.restart == "on_failure" else 0
        self._times: deque[int] = deque()
        self._backoff_ns = BACKOFF_NS_MIN
        self._due_ns = 0
        self._began_ns = 0

    def comes_back(self, *, seq: int, now_ns: int) -> bool:
        del seq
        if self._began_ns and now_ns - self._began_ns > HEALTHY_AFTER_NS:
            self._backoff_ns = BACKOFF_NS_MIN
        while self._times and now_ns - self._times[0] > BUDGET_NS:
            self._times.popleft()
        # Before the first event there is no time: it begins with the first clock record.
        self._due_ns = now_ns + self._backoff_ns if now_ns else 0
        return len(self._times) < self._times_max

    def is_due(self, *, seq: int, now_ns: int) -> bool:
        del seq
        if not self._due_ns:
            self._due_ns = now_ns + self._backoff_ns
        if now_ns < self._due_ns:
            return False
        self._times.append(now_ns)
        self._began_ns = now_ns
        self._backoff_ns = min(2 * self._backoff_ns, BACKOFF_NS_MAX)
        return True


@final
class AsRecorded:
    """Where it failed and came back live; a failure that is not on record is its end."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self._left = deque(failures)

    @property
    def next_seq(self) -> int | None:
        """Where it fails next; None: nowhere."""
        return self._left[0].seq if self._left else None

    def comes_back(self, *, seq: int, now_ns: int) -> bool:
        del now_ns
        # In another cut a batch that raises does so at another event of the same run.
        if not self._left or seq >> SEQ_INDEX_BITS > self._left[0].seq >> SEQ_INDEX_BITS:
            return False
        if self._left[0].again_seq is None:
            self._left.popleft()
            return False
        return True

    def is_due(self, *, seq: int, now_ns: int) -> bool:
        del now_ns
        again_seq = self._left[0].again_seq
        if again_seq is None or seq < again_seq:
            return False
        self._left.popleft()
        return True
