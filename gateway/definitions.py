"""Keeps the instrument definitions of the configured symbols current in the raw log.

Asks the venue's list at the start, daily, and when somebody met an unknown instrument. Records only
definitions that changed; what an instrument's id is, the native registry says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from gateway.backoff import Backoff
from gateway.config import VenueConfig
from gateway.errors import MalformedReplyError, RestFailedError, RestRefusedError
from gateway.instruments import InstrumentDefinition, control_record
from gateway.limits import NS_PER_SECOND
from gateway.rest import RestClient, record_of
from gateway.status import Counters
from gateway.venue import RestRequest, Venue
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
        symbols: Sequence[str],
        rest: RestClient,
        tap: RawTap,
        clock: Clock,
        jitter: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._venue = venue
        self._config = config
        self._symbols = tuple(symbols)  # of instruments, index pairs included
        self._rest = rest
        self._tap = tap
        self._clock = clock
        self._jitter = jitter
        self._counters = counters
        self._recorded: dict[str, InstrumentDefinition] = {}
        self._requested = asyncio.Event()
        self._backoff = Backoff(
            first_seconds=RETRY_FIRST_SECONDS, cap_seconds=RETRY_CAP_SECONDS, stable_seconds=0.0
        )
        self.loaded = asyncio.Event()  # at least one list has been read

    @property
    def missing(self) -> tuple[str, ...]:
        """Configured symbols that the venue does not list; empty until a list has been read."""
        if not self.loaded.is_set():
            return ()
        return tuple(symbol for symbol in self._config.symbols if symbol not in self._recorded)

    @property
    def count(self) -> int:
        """Definitions recorded and current."""
        return len(self._recorded)

    def request(self) -> None:
        """Somebody met an unknown instrument: read the list again soon."""
        self._requested.set()

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
        """Until tomorrow or until asked, but not at once."""
        began_ns = self._clock.mono_ns()
        refresh = self._config.instruments_refresh_seconds
        await self._clock.sleep(min(REQUESTED_SECONDS_MIN, refresh))
        left = refresh - (self._clock.mono_ns() - began_ns) / NS_PER_SECOND
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._requested.wait()
        except TimeoutError:
            pass
        self._requested.clear()

    async def _refresh(self) -> None:
        wanted = set(self._symbols)
        for definition in await self._fetch():
            if definition.symbol not in wanted:
                continue
            if self._recorded.get(definition.symbol) == definition:
                continue
            self._tap.record(0, "C", control_record(definition))
            self._recorded[definition.symbol] = definition
            self._counters.instruments_recorded += 1

    async def _fetch(self) -> list[InstrumentDefinition]:
        requests = self._venue.wire.instrument_requests(self._config.symbols)
        try:
            return [found for request in requests for found in await self._ask(request)]
        except RestRefusedError:
            if len(self._config.symbols) == 1:
                return []
        # One unknown symbol spoils a whole request (Binance spot: -1121): ask one by one.
        found: list[InstrumentDefinition] = []
        for symbol in self._config.symbols:
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
