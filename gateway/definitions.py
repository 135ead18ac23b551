"""Keeps the instrument definitions of the planned symbols current in the raw log.

Asks the venue's list at the start, daily, and when somebody met an unknown instrument or wants
others. Records only definitions that changed; what an instrument's id is, the native registry says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from gateway.backoff import Backoff
from gateway.config import VenueConfig
from gateway.errors import MalformedReplyError, RestFailedError, RestRefusedError
from gateway.instruments import InstrumentDefinition, control_record
from gateway.limits import NS_PER_SECOND
from gateway.rest import RestClient, record_of
from gateway.status import Counters
from gateway.subscriptions.wishes import Listing, Wanted
from gateway.venue import RestRequest, Stream, Venue
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)

# Above this a list is not worth its place in the raw log: the control records say what counts.
REPLY_RECORD_BYTES_MAX: Final = 256 << 10
# Parsing more than this takes longer than a turn of the loop may.
LOOP_PARSE_BYTES_MAX: Final = 64 << 10
# Refusals of unknown instruments come per message; the list is asked for at most this often.
REQUESTED_SECONDS_MIN: Final = 60.0
RETRY_FIRST_SECONDS: Final = 1.0
RETRY_CAP_SECONDS: Final = 300.0


class Definitions:
    """The definitions of one venue's symbols."""

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        *,
        rest: RestClient,
        tap: RawTap,
        clock: Clock,
        jitter: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._venue = venue
        self._config = config
        self._wanted = Wanted(config)
        self._known: dict[str, InstrumentDefinition] = {}  # of the last list
        self._planned: frozenset[str] = frozenset()  # symbols of instruments, index pairs included
        self._rest = rest
        self._tap = tap
        self._clock = clock
        self._jitter = jitter
        self._counters = counters
        self._recorded: dict[str, bytes] = {}  # symbol -> its record
        self._requested = False
        self._pressing = False  # somebody waits for the list
        self._asked = asyncio.Event()  # either
        self._backoff = Backoff(
            first_seconds=RETRY_FIRST_SECONDS, cap_seconds=RETRY_CAP_SECONDS, stable_seconds=0.0
        )
        self.loaded = asyncio.Event()  # at least one list has been read

    @property
    def listing(self) -> Listing | None:
        """What the venue lists, as far as it was asked for; None until a list has been read."""
        if not self.loaded.is_set():
            return None
        trading = (each.symbol for each in self._known.values() if each.trading)
        return Listing(frozenset(self._known), frozenset(trading))

    @property
    def missing(self) -> tuple[str, ...]:
        """Symbols named in full that the venue does not list; empty until a list has been read."""
        if not self.loaded.is_set():
            return ()
        return tuple(symbol for symbol in self._wanted.named if symbol not in self._known)

    @property
    def count(self) -> int:
        """Definitions recorded and current."""
        return len(self._recorded)

    def ask_for(self, wanted: Wanted) -> None:
        """The list has to cover `wanted` from now on; read soon if it does not yet."""
        whole_before = self._wanted.needs_listing
        self._wanted = wanted
        if self.loaded.is_set() and (self.missing or wanted.needs_listing > whole_before):
            self._pressing = True
            self._asked.set()

    def record_for(self, streams: Iterable[Stream]) -> None:
        """These streams are planned: their instruments' definitions go into the raw log."""
        topics = {topic for stream in streams for topic in stream.topics}
        self._planned = frozenset(topic.split(".", 2)[2] for topic in topics)
        self._record()

    def request(self) -> None:
        """Somebody met an unknown instrument: read the list again soon."""
        self._requested = True
        self._asked.set()

    async def run(self, on_change: Callable[[], None]) -> None:
        """For ever; `on_change` after every list that was read."""
        while True:
            try:
                await self._refresh()
            except (RestFailedError, RestRefusedError, MalformedReplyError) as error:
                self._counters.instrument_failures += 1
                delay = self._backoff.failed(self._jitter())
                log.warning(
                    "instruments_failed", venue=self._venue.name, words=str(error), retry_s=delay
                )
                await self._clock.sleep(delay)
                continue
            self._backoff.ended(0.0)
            self.loaded.set()
            if self.missing:
                log.error(
                    "symbols_not_listed", venue=self._venue.name, symbols=list(self.missing[:20])
                )
            on_change()
            await self._wait()

    async def _wait(self) -> None:
        """Until tomorrow or until asked, but not at once unless it presses."""
        began_ns = self._clock.mono_ns()
        refresh = self._config.instruments_refresh_seconds
        await self._until(lambda: self._pressing, min(REQUESTED_SECONDS_MIN, refresh))
        left = refresh - (self._clock.mono_ns() - began_ns) / NS_PER_SECOND
        await self._until(lambda: self._pressing or self._requested, left)
        self._requested = self._pressing = False

    async def _until(self, is_time: Callable[[], bool], seconds: float) -> None:
        """Until `is_time`, `seconds` at most."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                while not is_time():
                    self._asked.clear()
                    await self._asked.wait()
        except TimeoutError:
            return

    async def _refresh(self) -> None:
        self._known = {definition.symbol: definition for definition in await self._fetch()}
        self._record()

    def _record(self) -> None:
        for symbol in sorted(self._planned & self._known.keys()):
            record = control_record(self._known[symbol])
            if self._recorded.get(symbol) != record:
                self._tap.record(0, "C", record)
                self._recorded[symbol] = record
                self._counters.instruments_recorded += 1

    async def _fetch(self) -> list[InstrumentDefinition]:
        wire, named = self._venue.wire, self._wanted.named
        found: list[InstrumentDefinition] = []
        asked: tuple[RestRequest, ...] = ()
        if self._wanted.needs_listing:
            asked = wire.listing_requests()
            for request in asked:
                found += await self._ask(request)
        # Options and the like are in no whole list: what is named and was not in it is asked for.
        known = {definition.symbol for definition in found}
        missing = [symbol for symbol in named if symbol not in known]
        requests = [each for each in wire.instrument_requests(missing) if each not in asked]
        return found + await self._ask_all(requests, missing)

    async def _ask_all(
        self, requests: Sequence[RestRequest], symbols: Sequence[str]
    ) -> list[InstrumentDefinition]:
        try:
            return [found for request in requests for found in await self._ask(request)]
        except RestRefusedError:
            if len(symbols) == 1:
                return []
        # One unknown symbol spoils a whole request (Binance spot: -1121): ask one by one.
        found: list[InstrumentDefinition] = []
        for symbol in symbols:
            for request in self._venue.wire.instrument_requests((symbol,)):
                try:
                    found += await self._ask(request)
                except RestRefusedError as error:
                    log.warning("instrument_refused", venue=self._venue.name, words=str(error))
        return found

    async def _ask(self, request: RestRequest) -> tuple[InstrumentDefinition, ...]:
        body = await self._rest.get(request)
        if len(body) < REPLY_RECORD_BYTES_MAX:
            self._tap.record(0, "R", record_of(request, body))
        if len(body) <= LOOP_PARSE_BYTES_MAX:
            return self._venue.wire.instruments(body)
        return await asyncio.to_thread(self._venue.wire.instruments, body)
