"""When a connection is replaced, and when its successor has taken over: decisions only.

Make before break: the successor is open and has delivered every stream that is known to be alive
before the old connection may go. Pure: opens and closes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.config import VenueConfig
from gateway.limits import NS_PER_SECOND
from gateway.venue import Stream
from gateway.watchdog import last_activity

# Up to a tenth earlier, so that connections opened together are not replaced together.
JITTER_SHARE = 0.1


def rotation_seconds(
    lifetime_seconds: float | None, margin_seconds: float, override_seconds: float | None
) -> float | None:
    """How long a connection is kept at most; None: as long as it lives."""
    if override_seconds is not None:
        return override_seconds
    if lifetime_seconds is None:
        return None
    return max(lifetime_seconds - margin_seconds, lifetime_seconds / 2)


def rotate_at_ns(opened_ns: int, seconds: float | None, fraction: float) -> int | None:
    """When to replace a connection opened at `opened_ns`; `fraction` in [0, 1) is the jitter."""
    if seconds is None:
        return None
    return opened_ns + round(seconds * (1 - JITTER_SHARE * fraction) * NS_PER_SECOND)


class Handover:
    """One replacement: which streams the new connection still owes, and when the old may close."""

    def __init__(
        self,
        streams: Iterable[Stream],
        activity: Mapping[str, int],
        now_ns: int,
        *,
        recent_seconds: float,
        overlap_seconds: float,
        max_seconds: float,
    ) -> None:
        horizon = now_ns - round(recent_seconds * NS_PER_SECOND)
        self._owed = {
            stream.name for stream in streams if last_activity(stream, activity) > horizon
        }
        self._overlap_ns = round(overlap_seconds * NS_PER_SECOND)
        self._max_ns = round(max_seconds * NS_PER_SECOND)
        self._bound_ns = now_ns + self._max_ns
        self._complete_ns = None if self._owed else now_ns

    @classmethod
    def within(
        cls,
        config: VenueConfig,
        streams: Iterable[Stream],
        activity: Mapping[str, int],
        now_ns: int,
    ) -> Handover:
        """A replacement within the bounds of `config`."""
        return cls(
            streams,
            activity,
            now_ns,
            recent_seconds=config.handover_recent_seconds,
            overlap_seconds=config.handover_overlap_seconds,
            max_seconds=config.handover_max_seconds,
        )

    @property
    def owed(self) -> frozenset[str]:
        """Streams that were alive and have not been seen on the new connection."""
        return frozenset(self._owed)

    def begin(self, now_ns: int) -> None:
        """The new connection is subscribed: the bound counts from here."""
        self._bound_ns = now_ns + self._max_ns
        if not self._owed:
            self._complete_ns = now_ns

    def delivered(self, name: str | None, now_ns: int) -> bool:
        """The new connection delivered stream `name`; returns whether it owes nothing any more."""
        if name in self._owed:
            self._owed.discard(name)
            if not self._owed:
                self._complete_ns = now_ns
        return not self._owed

    def close_at_ns(self) -> int:
        """When the old connection may be closed, as far as known now.

        After the last owed stream was seen both run on for the overlap: the old server may lag
        behind the new one, and what lies between exists on the old connection only.
        """
        if self._complete_ns is None:
            return self._bound_ns
        return min(self._complete_ns + self._overlap_ns, self._bound_ns)
