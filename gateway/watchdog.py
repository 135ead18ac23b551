"""Which streams of a connection have been silent for too long, judged stream by stream.

A live book does not prove live trades; a quiet market is no dead one. Pure: activity and time come
in, names of suspects go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.limits import NS_PER_SECOND
from gateway.venue import Stream

# A stream that stays silent on a new connection is a quiet market: its budget doubles up to 2^6.
STRIKES_MAX = 6
NEVER: Final[Mapping[str, int]] = {}


class SilenceWatch:
    """The silence budgets of one connection plan; survives its connections."""

    def __init__(self, streams: Iterable[Stream], budget_seconds: Mapping[str, float]) -> None:
        self._budget_seconds = budget_seconds
        self._streams: tuple[tuple[Stream, int], ...] = ()
        self.follow(streams)
        self._strikes: dict[str, int] = {}
        self._seen: dict[str, int] = {}  # stream -> activity at its last strike

    def follow(self, streams: Iterable[Stream]) -> None:
        """Watch these from now on; what is known of streams that stay, stays."""
        self._streams = tuple(
            (stream, round(self._budget_seconds[stream.channel] * NS_PER_SECOND))
            for stream in streams
            if self._budget_seconds.get(stream.channel, 0.0) > 0.0
        )

    def silent(
        self,
        activity: Mapping[str, int],
        since_ns: int,
        now_ns: int,
        joined_ns: Mapping[str, int] = NEVER,
    ) -> tuple[str, ...]:
        """Names of the streams without a message for longer than their budgets.

        Args: `activity`: topic -> monotonic ns of its last event; `since_ns`: when the silence of
        this connection can have begun (subscribed, or reading resumed); `joined_ns`: the same of
        single streams that were subscribed later.
        """
        suspects = []
        for stream, budget_ns in self._streams:
            last = last_activity(stream, activity)
            strikes = self._strikes.get(stream.name, 0)
            if strikes and last > self._seen[stream.name]:
                del self._strikes[stream.name], self._seen[stream.name]
                strikes = 0
            since = max(last, since_ns, joined_ns.get(stream.name, 0))
            if now_ns - since > budget_ns << strikes:
                suspects.append(stream.name)
        return tuple(suspects)

    def strike(self, names: Iterable[str], activity: Mapping[str, int]) -> None:
        """The connection is being replaced for the silence of `names`: be twice as patient next."""
        wanted = set(names)
        for stream, _ in self._streams:
            if stream.name in wanted:
                strikes = self._strikes.get(stream.name, 0)
                self._strikes[stream.name] = min(STRIKES_MAX, strikes + 1)
                self._seen[stream.name] = last_activity(stream, activity)


def last_activity(stream: Stream, activity: Mapping[str, int]) -> int:
    """Monotonic ns of the stream's last event on any of its topics; 0: none yet."""
    return max((activity.get(topic, 0) for topic in stream.topics), default=0)


def heartbeat_lost(last_frame_ns: int, now_ns: int, heartbeat_seconds: float | None) -> bool:
    """Whether a whole connection was silent for longer than the venue's heartbeat allows."""
    if heartbeat_seconds is None:
        return False
    return now_ns - last_frame_ns > heartbeat_seconds * NS_PER_SECOND
