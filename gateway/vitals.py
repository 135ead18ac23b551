"""Whether an open connection still lives: silent streams, lost heartbeats, pings of ours.

Judges and pings; replacing a connection is its line's (`gateway/line.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from gateway.config import VenueConfig
from gateway.leg import Leg
from gateway.limits import NS_PER_SECOND
from gateway.status import Counters
from gateway.venue import Stream, Venue
from gateway.watchdog import SilenceWatch, heartbeat_lost, last_activity

log = structlog.get_logger(__name__)

Activity = Callable[[], Mapping[str, int]]  # topic -> monotonic ns of its last event


class Vitals:
    """The signs of life on the connections of one line, over successive legs."""

    def __init__(
        self, venue: Venue, config: VenueConfig, activity: Activity, counters: Counters
    ) -> None:
        self._venue = venue.name
        self._counters = counters
        self._limits = venue.limits
        self._ping = venue.wire.ping
        self._activity = activity
        budgets = {**venue.limits.silence_seconds, **config.silence_seconds}
        self._watch = SilenceWatch((), budgets)

    def follow(self, streams: Iterable[Stream]) -> None:
        """Watch these streams from now on."""
        self._watch.follow(streams)

    def fault(self, leg: Leg, now_ns: int) -> str | None:
        """Why the connection must be held for dead, if so."""
        cause = self._fault(leg, now_ns)
        if cause is not None:
            self._counters.silences += 1
            log.warning(
                "connection_silent", venue=self._venue, connection=leg.connection, cause=cause
            )
        return cause

    def _fault(self, leg: Leg, now_ns: int) -> str | None:
        activity = self._activity()
        silent = self._watch.silent(activity, leg.reading_since_ns, now_ns, leg.joined_ns)
        if silent:  # what is given up may be
            carried = {stream.name for stream in leg.streams}
            silent = tuple(name for name in silent if name in carried)
        if silent:
            self._watch.strike(silent, activity)
            more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
            return f"silent: {', '.join(silent[:3])}{more}"
        last_ns = _last_sign_ns(leg, activity)
        if heartbeat_lost(last_ns, now_ns, self._limits.heartbeat_seconds):
            return "heartbeat lost"
        return None

    def ping_if_due(self, leg: Leg, now_ns: int) -> None:
        """The client's ping, where the venue wants one after so much quiet."""
        seconds = self._limits.client_ping_seconds
        if seconds is None or self._ping is None:
            return
        last_ns = max(_last_sign_ns(leg, self._activity()), leg.pinged_ns)
        if now_ns - last_ns >= seconds * NS_PER_SECOND:
            leg.ping(self._ping)


def _last_sign_ns(leg: Leg, activity: Mapping[str, int]) -> int:
    return max(
        leg.control_ns,
        leg.reading_since_ns,
        max((last_activity(stream, activity) for stream in leg.streams), default=0),
    )
