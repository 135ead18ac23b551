"""When to try again, and when not to try at all.

Two pure objects: `RetryPolicy` says how long to pause after a failed attempt, `CircuitBreaker`
keeps everybody from hammering what is known to be broken and lets one probe through at a time. Time
and dice are arguments; nothing here waits, sends or knows ClickHouse.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

__all__ = ["CircuitBreaker", "CircuitState", "RetryPolicy"]

_NS_PER_MS: Final = 1_000_000
# 2^30 ms are twelve days: beyond any sensible cap, and far from any overflow.
_DOUBLINGS_MAX: Final = 30
# A single cut connection is an accident, several in a row are an incident.
_FAILURES_MAX: Final = 3


class RetryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Capped exponential pauses with full jitter; `budget_ms` 0: for ever."""

    delay_ms_min: int = 100
    delay_ms_max: int = 30_000
    budget_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.delay_ms_min <= self.delay_ms_max:
            raise ValueError("delay_ms_min must be above 0 and not above delay_ms_max")
        if self.budget_ms < 0:
            raise ValueError("budget_ms must be 0 (for ever) or more")

    def delay_ms(
        self, attempt: int, random: Callable[[], float], retry_after_s: float | None = None
    ) -> float:
        """Return the pause after failed attempt number `attempt` (0 = the first), in ms.

        Anything from nothing to the doubled delay: of all jitters the full one spreads those that
        failed together best. Never less than what the server asked for, whatever the cap.
        """
        cap = min(self.delay_ms_max, self.delay_ms_min << min(attempt, _DOUBLINGS_MAX))
        return max(cap * random(), (retry_after_s or 0.0) * 1000)

    def exhausted(self, spent_ms: float) -> bool:
        """Whether `spent_ms` of attempts and pauses are all that this is worth."""
        return 0 < self.budget_ms <= spent_ms


class CircuitState(Enum):
    """What a breaker lets through."""

    CLOSED = "closed"  # everything
    OPEN = "open"  # nothing
    HALF_OPEN = "half_open"  # the one probe that is out


class CircuitBreaker:
    """Opens after `failures_max` failures in a row, then lets one probe through per pause.

    Whoever was allowed while the breaker was not closed is the probe, and has to say `succeeded`,
    `failed` or `withdrawn`. Times are monotonic nanoseconds.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        random: Callable[[], float],
        *,
        failures_max: int = _FAILURES_MAX,
    ) -> None:
        self._policy = policy
        self._random = random
        self._failures_max = failures_max
        self._failures = 0  # in a row, while closed
        self._attempt = 0  # failed probes in a row
        self.state = CircuitState.CLOSED
        self.opened_total = 0
        self.opened_ns = 0
        self.next_probe_ns = 0

    def allow(self, now_ns: int) -> bool:
        """Whether to send now; True while not closed makes the caller the one probe."""
        if self.state is CircuitState.OPEN and now_ns >= self.next_probe_ns:
            self.state = CircuitState.HALF_OPEN
            return True
        return self.state is CircuitState.CLOSED

    def succeeded(self) -> None:
        """An answer came, be it to the probe or to what was sent before the breaker opened."""
        self.state = CircuitState.CLOSED
        self._failures = self._attempt = 0

    def failed(self, now_ns: int, retry_after_s: float | None = None) -> None:
        """An attempt failed. Those that were out when the breaker opened only confirm it."""
        if self.state is CircuitState.OPEN:
            if retry_after_s is not None:
                asked_ns = now_ns + round(retry_after_s * 1000 * _NS_PER_MS)
                self.next_probe_ns = max(self.next_probe_ns, asked_ns)
            return
        if self.state is CircuitState.CLOSED:
            self._failures += 1
            # A server that says when to come back is believed at once.
            if self._failures < self._failures_max and retry_after_s is None:
                return
            self.opened_total += 1
            self.opened_ns = now_ns
        self.state = CircuitState.OPEN
        pause_ms = self._policy.delay_ms(self._attempt, self._random, retry_after_s)
        self._attempt += 1
        self.next_probe_ns = now_ns + round(pause_ms * _NS_PER_MS)

    def withdrawn(self) -> None:
        """The probe had nothing to send after all: somebody else may be it."""
        if self.state is CircuitState.HALF_OPEN:
            self.state = CircuitState.OPEN
