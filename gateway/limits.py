"""A venue's limits as things that can be asked how long until something may be sent.

Pure: time comes in as monotonic nanoseconds. Reads nothing, sends nothing, waits for nothing.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from gateway.venue import Rate

NS_PER_SECOND = 1_000_000_000
# What tardis-node waits when a venue gives no Retry-After (its 18.2.0): 16 s x strikes, 120 s.
THROTTLED_SECONDS = 16.0
BANNED_SECONDS = 120.0
# RFC 9110, IMF-fixdate. (`email.utils` would read more, and raises IndexError on odd text.)
HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
# No Retry-After is believed beyond Binance's longest ban (3 days).
RETRY_AFTER_SECONDS_MAX = 3 * 86_400.0


class RollingLimit:
    """At most `rate.events_max` units in any `rate.window_seconds`: exact for every window.

    (A classic token bucket of the same rate and burst lets twice as much through in one window.)
    Memory: at most `events_max` entries plus the forced ones of one window.
    """

    def __init__(self, rate: Rate) -> None:
        self._max = rate.events_max
        self._window_ns = round(rate.window_seconds * NS_PER_SECOND)
        self._taken: deque[tuple[int, int]] = deque()  # (mono ns, units), oldest first
        self._used = 0
        self._blocked_until_ns = 0

    def used(self, now_ns: int) -> int:
        """Units taken in the window that ends now."""
        horizon = now_ns - self._window_ns
        while self._taken and self._taken[0][0] <= horizon:
            self._used -= self._taken.popleft()[1]
        return self._used

    def wait_ns(self, now_ns: int, units: int = 1) -> int:
        """Nanoseconds until `units` may be taken; 0: now.

        A request above the whole limit waits for an empty window.
        """
        if now_ns < self._blocked_until_ns:
            return self._blocked_until_ns - now_ns
        excess = self.used(now_ns) + units - self._max
        if excess <= 0:
            return 0
        for taken_ns, taken in self._taken:
            excess -= taken
            if excess <= 0:
                return taken_ns + self._window_ns - now_ns
        return self._taken[-1][0] + self._window_ns - now_ns if self._taken else 0

    def take(self, now_ns: int, units: int = 1) -> None:
        """Count `units` as sent now; also for what cannot wait (a pong)."""
        self._taken.append((now_ns, units))
        self._used += units

    def adopt(self, now_ns: int, used: int) -> None:
        """The venue says `used` units are gone (others share the address): never below ours."""
        missing = used - self.used(now_ns)
        if missing > 0:
            self.take(now_ns, missing)

    def block(self, now_ns: int, seconds: float) -> None:
        """Nothing at all for `seconds`; a longer block stays."""
        until = now_ns + round(seconds * NS_PER_SECOND)
        self._blocked_until_ns = max(self._blocked_until_ns, until)


def retry_after_seconds(status: int, header: str | None, strikes: int, wall_ns: int) -> float:
    """What a 429 or 418 asks for.

    Args: `header`: Retry-After as sent, seconds or an HTTP date; `strikes`: refusals in a row
    before this one; `wall_ns`: to read a date against.
    """
    asked = _header_seconds(header, wall_ns)
    if asked is None:
        asked = BANNED_SECONDS if status == 418 else THROTTLED_SECONDS * (strikes + 1)
    return min(max(asked, 0.0), RETRY_AFTER_SECONDS_MAX)


def _header_seconds(header: str | None, wall_ns: int) -> float | None:
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = datetime.strptime(text, HTTP_DATE).replace(tzinfo=UTC)
    except ValueError:
        return None
    return date.timestamp() - wall_ns / NS_PER_SECOND
