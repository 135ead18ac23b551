"""How often a session may log in: pure decisions, time comes in.

A broker counts logins and suspends whoever hammers it; a suspended client that logs in again only
prolongs the suspension.
"""

from __future__ import annotations

from collections import deque

from gateway.limits import NS_PER_SECOND, RollingLimit
from gateway.venue import Rate

DAY_SECONDS = 86_400.0


class LoginBudget:
    """At most so many logins a day, never two at once.

    `per_day` is ours, `venue` what the venue allows: the stricter one counts.
    """

    def __init__(self, per_day: int, venue: Rate, seconds_min: float) -> None:
        allowed = min(per_day, venue.events_max)
        self._limits = (
            RollingLimit(Rate(allowed, max(DAY_SECONDS, venue.window_seconds))),
            RollingLimit(Rate(1, seconds_min)),
        )
        self._allowed = allowed

    def wait_ns(self, now_ns: int) -> int:
        """Nanoseconds until a login may be tried; 0: now."""
        return max(limit.wait_ns(now_ns) for limit in self._limits)

    def take(self, now_ns: int) -> None:
        """Count a login, whatever comes of it."""
        for limit in self._limits:
            limit.take(now_ns)

    def rest(self, now_ns: int, seconds: float) -> None:
        """No login of any connection for so long: the venue has asked for it."""
        self._limits[0].block(now_ns, seconds)

    def left(self, now_ns: int) -> int:
        """Logins left in the day that ends now."""
        return max(0, self._allowed - self._limits[0].used(now_ns))


class FlapGuard:
    """Sees a session that comes and goes: after `flaps_max` ends in a window it must rest."""

    def __init__(self, *, flaps_max: int, window_seconds: float, pause_seconds: float) -> None:
        self._max = flaps_max
        self._window_ns = round(window_seconds * NS_PER_SECOND)
        self._pause = pause_seconds
        self._ends: deque[int] = deque()

    def ended(self, now_ns: int) -> bool:
        """The session went down at `now_ns`; whether it flaps."""
        self._ends.append(now_ns)
        while self._ends[0] <= now_ns - self._window_ns:
            self._ends.popleft()
        return self.flapping

    @property
    def flapping(self) -> bool:
        """Whether there were too many ends within the window."""
        return len(self._ends) >= self._max

    def pause_seconds(self) -> float:
        """How long to stay away now; a pause begins the count anew."""
        if not self.flapping:
            return 0.0
        self._ends.clear()
        return self._pause
