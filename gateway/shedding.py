"""What a session does without for now, why, and how that is recorded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from gateway.venue import Stream


class Difference(NamedTuple):
    """What a connection carries too much and too little."""

    surplus: tuple[Stream, ...]
    lacking: tuple[Stream, ...]


class Shedding:
    """The channels that were given up; none, most of the time."""

    def __init__(self) -> None:
        self.channels: frozenset[str] = frozenset()
        self.cause = ""

    def give_up(self, channels: Iterable[str], cause: str) -> bool:
        """Do without exactly `channels` from now on; whether that is something new."""
        wanted = frozenset(channels)
        if wanted == self.channels:
            return False
        self.channels, self.cause = wanted, cause
        return True

    def covers(self, channels: frozenset[str]) -> bool:
        """Whether a stream that brings `channels` is given up: all of them are."""
        return bool(channels) and channels <= self.channels


def difference(wanted: Sequence[Stream], carried: Sequence[Stream]) -> Difference:
    """What must be unsubscribed and subscribed on a connection that carries `carried`."""
    want, have = frozenset(wanted), frozenset(carried)
    return Difference(
        tuple(stream for stream in carried if stream not in want),
        tuple(stream for stream in wanted if stream not in have),
    )


def shed_record(kind: str, connection: int, streams: Sequence[Stream], cause: str) -> bytes:
    """The control record `shed` or `restore`: the decoder marks what follows as a gap with cause.

    Both say that `connection` does not carry the topics at this moment: the second closes what
    late messages may have opened again, before the stream really comes back.
    """
    return orjson.dumps({"connection": connection} | shed_fields(kind, streams, cause))


def shed_fields(kind: str, streams: Sequence[Stream], cause: str) -> dict[str, object]:
    """What such a record says beside the connection."""
    topics = sorted({topic for stream in streams for topic in stream.topics})
    return {
        "kind": kind,
        "channels": sorted({topic.split(".", 1)[0] for topic in topics}),
        "topics": topics,
        "cause": cause,
    }
