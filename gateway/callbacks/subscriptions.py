"""The subscriptions of one login: carries what is wanted, at the venue's pace, renews the silent.

Knows which streams were asked for and which were confirmed; decides nothing about the login.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import structlog

from gateway.callbacks.venue import CallbackVenue, Contract, SdkClient
from gateway.config import VenueConfig
from gateway.errors import LoginFullError, QueryFailedError
from gateway.limits import NS_PER_SECOND, RollingLimit
from gateway.shedding import shed_fields
from gateway.venue import Stream
from gateway.watchdog import SilenceWatch, last_activity
from tickd.ports import Clock

log = structlog.get_logger(__name__)

Record = Callable[[dict[str, object]], None]

# A stream that was refused is asked for again after so long: a limit may have been raised.
REFUSED_SECONDS = 300.0
# One whose call failed: the connection may have been away.
FAILED_SECONDS = 30.0
# So many failed calls in a row say something about the session, not about the streams.
FAILURES_MAX = 3
# Streams with a message so recently before a loss are awaited after it.
RECENT_SECONDS = 60.0
REFUSALS_MAX = 16


class Target(NamedTuple):
    """What a subscription is for: the stream of the plan, and the contract behind it today."""

    planned: Stream
    contract: Contract


class Subscriptions:
    """See the module. Loop only."""

    def __init__(
        self,
        venue: CallbackVenue,
        config: VenueConfig,
        client: SdkClient,
        clock: Clock,
        *,
        shed: set[str],
    ) -> None:
        self._venue = venue
        self._config = config
        self._client = client
        self._clock = clock
        self._pace = RollingLimit(venue.limits.client_messages)
        self._carried: dict[Stream, Target] = {}
        self._since_ns: dict[Stream, int] = {}  # when silence can have begun
        self._not_before_ns: dict[str, int] = {}  # stream name -> when it may be asked for again
        self._failures = 0  # of calls, in a row
        # Names of planned streams that were given up, here or on another login.
        self._shed = shed
        self._watch: SilenceWatch | None = None
        self._watched: frozenset[Stream] = frozenset()
        self._active: Mapping[str, int] = {}  # topic -> last event, when the session went down
        self._verify_ns: int | None = None  # the reconnect whose streams are still to be seen
        self.confirmed: set[str] = set()
        self.refusals: list[str] = []
        self.fault: str | None = None
        self.full_at: int | None = None  # the broker took so many and no more

    @property
    def carried(self) -> tuple[Stream, ...]:
        """Streams that were asked for and not refused."""
        return tuple(self._carried)

    @property
    def planned(self) -> tuple[Stream, ...]:
        """The same, as the plan knows them."""
        return tuple(target.planned for target in self._carried.values())

    @property
    def calls_used(self) -> int:
        """Of the venue's window that ends now."""
        return self._pace.used(self._clock.mono_ns())

    async def carry(
        self,
        wanted: Mapping[Stream, Target],
        cause_of: Callable[[Stream], str],
        record: Record,
        *,
        room: int,
    ) -> None:
        """Ask for what is lacking, as far as there is `room`; end what is not wanted any more."""
        self.fault = None
        surplus = [stream for stream in self._carried if stream not in wanted]
        now_ns = self._clock.mono_ns()
        lacking = [
            stream
            for stream in wanted
            if stream not in self._carried and self._not_before_ns.get(stream.name, 0) <= now_ns
        ]
        if surplus:
            await self._drop(surplus, wanted, cause_of, record)
        # What late messages may have opened again is closed before the streams come back.
        back = [stream for stream in lacking if wanted[stream].planned.name in self._shed]
        self._shed.difference_update(wanted[stream].planned.name for stream in back)
        for cause, some in _by_cause(back, wanted, cause_of).items():
            record(shed_fields("restore", some, cause))
        for stream in lacking:
            if len(self._carried) >= room:
                return  # what is still held for another login makes room soon
            await self._begin(stream, wanted[stream])
            if self._failures >= FAILURES_MAX:
                self._failures = 0
                return  # the next turn goes on, if the session does

    async def _drop(
        self,
        surplus: Iterable[Stream],
        wanted: Mapping[Stream, Target],
        cause_of: Callable[[Stream], str],
        record: Record,
    ) -> None:
        """End streams; on record what nobody carries any more, and why."""
        # A month that has rolled is wanted as before, under another name: nothing was given up.
        staying = {target.planned for target in wanted.values()}
        ended = {stream: self._carried[stream] for stream in surplus}
        for stream in ended:
            await self._end(stream)
        given_up = [stream for stream, target in ended.items() if target.planned not in staying]
        for cause, some in _by_cause(given_up, ended, cause_of).items():
            record(shed_fields("shed", some, cause))
        self._shed.update(ended[stream].planned.name for stream in given_up)

    async def _begin(self, stream: Stream, target: Target) -> None:
        await self._slot()
        # Before the call: the confirmation may come before it returns.
        self._carried[stream] = target
        self._since_ns[stream] = self._clock.mono_ns()
        try:
            await self._client.subscribe(stream, target.contract)
        except QueryFailedError as error:
            self._carried.pop(stream, None)
            if isinstance(error, LoginFullError):
                self.full_at = len(self._carried)
            self._failures += 1
            self._wait_for(stream.name, FAILED_SECONDS)
            self.fault = str(error)
            log.warning(
                "subscribe_failed", venue=self._venue.name, stream=stream.name, words=str(error)
            )
        else:
            self._failures = 0

    async def _end(self, stream: Stream) -> None:
        target = self._carried.pop(stream, None)
        if target is None:
            return  # refused meanwhile
        self._since_ns.pop(stream, None)
        self.confirmed.discard(stream.name)
        await self._slot()
        try:
            await self._client.unsubscribe(stream, target.contract)
        except QueryFailedError as error:
            log.warning(
                "unsubscribe_failed", venue=self._venue.name, stream=stream.name, words=str(error)
            )

    async def _slot(self) -> None:
        while wait_ns := self._pace.wait_ns(self._clock.mono_ns()):
            await self._clock.sleep(wait_ns / NS_PER_SECOND)
        self._pace.take(self._clock.mono_ns())

    def _wait_for(self, name: str, seconds: float) -> None:
        until_ns = self._clock.mono_ns() + round(seconds * NS_PER_SECOND)
        self._not_before_ns[name] = max(until_ns, self._not_before_ns.get(name, 0))

    def refused(self, name: str) -> None:
        """The venue declined the stream called `name`."""
        self._wait_for(name, REFUSED_SECONDS)
        self.confirmed.discard(name)
        for stream in [each for each in self._carried if each.name == name]:
            del self._carried[stream]
        if name not in self.refusals and len(self.refusals) < REFUSALS_MAX:
            self.refusals.append(name)

    # After a reconnect, and in silence ----------------------------------------------------------

    def note_activity(self, activity: Mapping[str, int]) -> None:
        """The session goes down: these are the streams that were alive."""
        self._active = dict(activity)

    def verify(self, now_ns: int) -> None:
        """The session is up again; whether the subscriptions are, their data must show."""
        self._verify_ns = now_ns
        for stream in self._since_ns:
            self._since_ns[stream] = now_ns

    def forget(self) -> None:
        """The subscriptions are gone: `carry` asks for all of them again."""
        self._carried.clear()
        self._since_ns.clear()
        self._not_before_ns.clear()
        self.confirmed.clear()

    async def renew_silent(self, activity: Mapping[str, int], now_ns: int) -> int:
        """Subscribe again what fell silent; how many streams that were."""
        silent = self._unverified(activity, now_ns) or self._silent(activity, now_ns)
        for stream in silent:
            target = self._carried.get(stream)
            if target is None:
                continue
            log.warning("stream_silent", venue=self._venue.name, stream=stream.name)
            await self._end(stream)
            await self._begin(stream, target)
        return len(silent)

    def _unverified(self, activity: Mapping[str, int], now_ns: int) -> list[Stream]:
        """Streams that were alive before the loss and have said nothing since the reconnect."""
        since_ns = self._verify_ns
        if since_ns is None:
            return []
        if now_ns - since_ns < self._config.sdk.verify_seconds * NS_PER_SECOND:
            return []
        self._verify_ns = None
        horizon_ns = since_ns - round(RECENT_SECONDS * NS_PER_SECOND)
        return [
            stream
            for stream in self._carried
            if last_activity(stream, self._active) > horizon_ns
            and last_activity(stream, activity) < since_ns
            and self._open_since_ns(stream, now_ns) is not None
        ]

    def _silent(self, activity: Mapping[str, int], now_ns: int) -> list[Stream]:
        """Streams beyond their budget of silence while their market trades."""
        carried = frozenset(self._carried)
        if self._watch is None or carried != self._watched:
            self._watched = carried
            self._watch = SilenceWatch(
                carried, {**self._venue.limits.silence_seconds, **self._config.silence_seconds}
            )
        found: list[Stream] = []
        by_name = {stream.name: stream for stream in carried}
        # One clock for all streams of a market; each by itself would only differ at the start.
        for market in {stream.endpoint for stream in carried}:
            open_ns = self._market_open_ns(market, now_ns)
            if open_ns is None:
                continue
            for name in self._watch.silent(activity, open_ns, now_ns):
                stream = by_name[name]
                if stream.endpoint == market and self._silent_since_asked(stream, now_ns):
                    found.append(stream)
        if found:
            self._watch.strike([stream.name for stream in found], activity)
        return found

    def _silent_since_asked(self, stream: Stream, now_ns: int) -> bool:
        budget = {**self._venue.limits.silence_seconds, **self._config.silence_seconds}
        seconds = budget.get(stream.channel, 0.0)
        return now_ns - self._since_ns.get(stream, now_ns) > seconds * NS_PER_SECOND

    def _open_since_ns(self, stream: Stream, now_ns: int) -> int | None:
        return self._market_open_ns(stream.endpoint, now_ns)

    def _market_open_ns(self, market: str, now_ns: int) -> int | None:
        """Since when the market trades, on the monotonic clock; None: it is closed."""
        wall_ns = self._clock.wall_ns()
        opened_ns = self._venue.open_since(market, wall_ns)
        return None if opened_ns is None else now_ns - (wall_ns - opened_ns)


def _by_cause(
    streams: Iterable[Stream], targets: Mapping[Stream, Target], cause_of: Callable[[Stream], str]
) -> Mapping[str, list[Stream]]:
    """Streams by the reason of their change."""
    found: dict[str, list[Stream]] = defaultdict(list)
    for stream in streams:
        found[cause_of(targets[stream].planned)].append(stream)
    return found
