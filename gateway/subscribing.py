"""Subscribes and unsubscribes on an open connection, and waits for the venue's answers.

What is to be carried decides the plan (`gateway/subscriptions/`); what happens when a connection
does not answer decides its line (`gateway/session.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby

from gateway.errors import ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError
from gateway.leg import Leg
from gateway.limits import NS_PER_SECOND
from gateway.shedding import difference, shed_record
from gateway.status import Counters
from gateway.venue import ClientMessage, Stream, Venue
from tickd.ports import Clock

Build = Callable[[Sequence[Stream], int], tuple[ClientMessage, ...]]
Numbered = Callable[[Callable[[int], tuple[ClientMessage, ...]]], tuple[ClientMessage, ...]]


class Subscriber:
    """The subscriptions of one line, over successive legs.

    Args: `numbered`: gives messages ids of their own; `wait_until`: until news of a leg or a
    monotonic time.
    """

    def __init__(
        self,
        venue: Venue,
        url: str,
        *,
        timeout_seconds: float,
        clock: Clock,
        counters: Counters,
        numbered: Numbered,
        wait_until: Callable[[int], Awaitable[None]],
    ) -> None:
        self._venue = venue
        self._url = url
        self._timeout_ns = round(timeout_seconds * NS_PER_SECOND)
        self._clock = clock
        self._counters = counters
        self._numbered = numbered
        self._wait_until = wait_until

    async def begin(self, leg: Leg, streams: Sequence[Stream]) -> None:
        """Subscribe `streams` on a new connection.

        Raises ConnectFailedError, SubscribeRefusedError (nothing at all), SubscribeTimeoutError.
        """
        leg.streams = tuple(streams)
        expected = await self._ask(leg, self._venue.wire.subscribe, leg.streams)
        await self._acknowledged(leg, expected)
        if leg.refused and not leg.acks:
            raise SubscribeRefusedError(
                f"{self._url}: subscription refused: {leg.refused[0]}",
                venue=self._venue.name,
                hint="check symbols and channels of this venue",
            )
        leg.reading_since_ns = max(leg.reading_since_ns, self._clock.mono_ns())

    async def change(
        self, leg: Leg, wanted: Sequence[Stream], cause_of: Callable[[Stream], str]
    ) -> tuple[Stream, ...]:
        """Carry `wanted` and nothing else on a live connection; what was added.

        On record around the very moments: `shed` once the venue has stopped sending, `restore`
        before it begins again. Raises ConnectFailedError, SubscribeTimeoutError.
        """
        surplus, lacking = difference(wanted, leg.streams)
        if surplus:
            await self._drop(leg, surplus, cause_of)
        # What is still held for another line keeps its place; the rest follows when it has gone.
        added = lacking[: max(0, self._venue.limits.streams_max - len(leg.streams))]
        if added:
            await self._add(leg, added, cause_of)
        return added

    async def _drop(
        self, leg: Leg, streams: Sequence[Stream], cause_of: Callable[[Stream], str]
    ) -> None:
        expected = await self._ask(leg, self._venue.wire.unsubscribe, streams)
        await self._acknowledged(leg, expected)
        gone = frozenset(streams)
        leg.streams = tuple(each for each in leg.streams if each not in gone)
        for cause, some in _by_cause(streams, cause_of).items():
            leg.record(shed_record("shed", leg.connection, some, cause))

    async def _add(
        self, leg: Leg, streams: Sequence[Stream], cause_of: Callable[[Stream], str]
    ) -> None:
        for cause, some in _by_cause(streams, cause_of).items():
            leg.record(shed_record("restore", leg.connection, some, cause))
        leg.streams = (*leg.streams, *streams)
        expected = await self._ask(leg, self._venue.wire.subscribe, streams)
        await self._acknowledged(leg, expected)
        now_ns = self._clock.mono_ns()
        leg.joined_ns.update((stream.name, now_ns) for stream in streams)

    async def _ask(self, leg: Leg, build: Build, streams: Sequence[Stream]) -> int:
        """Send what `build` makes of `streams`; how many answers there are when all have come."""
        messages = self._numbered(partial(build, streams)) if streams else ()
        expected = leg.answers + sum(message.acks for message in messages)
        for message in messages:
            await leg.send(message.text)
        return expected

    async def _acknowledged(self, leg: Leg, expected: int) -> None:
        """Wait for answers. Raises ConnectFailedError, SubscribeTimeoutError."""
        deadline_ns = self._clock.mono_ns() + self._timeout_ns
        while leg.answers < expected:
            if leg.ended is not None:
                raise ConnectFailedError(
                    f"{self._url}: ended while subscribing: {leg.ended}", venue=self._venue.name
                )
            if leg.paused:  # acknowledgements cannot be read
                deadline_ns = self._clock.mono_ns() + self._timeout_ns
            if self._clock.mono_ns() >= deadline_ns:
                self._counters.subscribe_timeouts += 1
                raise SubscribeTimeoutError(
                    f"{self._url}: {expected - leg.answers} of {expected} subscriptions not"
                    f" acknowledged within {self._timeout_ns / NS_PER_SECOND} s",
                    venue=self._venue.name,
                )
            await self._wait_until(deadline_ns)


def _by_cause(
    streams: Iterable[Stream], cause_of: Callable[[Stream], str]
) -> Mapping[str, list[Stream]]:
    """Streams by the reason of their change, in the order of the reasons."""
    ordered = sorted(streams, key=cause_of)
    return {cause: list(some) for cause, some in groupby(ordered, key=cause_of)}
