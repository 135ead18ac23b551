"""Snapshots of books, brought in the background while frames keep flowing.

One request per symbol at a time, few at once, never more often than the venue allows. A reply
goes into the raw log as an R record; whether it fits is the native synchroniser's to say, who asks
again through the decoder's notices. Where snapshots come in the stream, messages take REST's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from gateway.backoff import Backoff
from gateway.config import VenueConfig
from gateway.errors import RateLimitedError, RestFailedError, RestRefusedError
from gateway.limits import NS_PER_SECOND
from gateway.rest import RestClient, record_of
from gateway.status import Counters
from gateway.venue import ClientMessage, RestRequest
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)

FETCHES_AT_ONCE_MAX: Final = 4
RETRY_CAP_SECONDS: Final = 60.0
# A refused request (unknown symbol, changed parameter) may become right: asked rarely, for ever.
REFUSED_SECONDS: Final = 60.0


Resync = RestRequest | tuple[ClientMessage, ...]


class Carrier(Protocol):
    """The line whose connections carry a symbol's changes."""

    def connection_for(self, asked: int) -> int | None:
        """`asked` while it is open, else the newest open connection, else None."""

    async def send_all(self, connection: int, messages: Sequence[ClientMessage]) -> None:
        """Send on `connection`; a connection that ended needs them no more."""


class Snapshots:
    """The snapshots of one venue that are wanted and on their way."""

    def __init__(
        self,
        venue: str,
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
        self._rest = rest
        self._tap = tap
        self._clock = clock
        self._jitter = jitter
        self._counters = counters
        self._slots = asyncio.Semaphore(FETCHES_AT_ONCE_MAX)
        self._pending: set[str] = set()
        self._backoffs: dict[str, Backoff] = {}
        self._brought_ns: dict[str, int] = {}

    @property
    def pending(self) -> tuple[str, ...]:
        """Symbols wanted or on their way."""
        return tuple(sorted(self._pending))

    def want(
        self,
        tasks: asyncio.TaskGroup,
        symbol: str,
        resync: Resync,
        carrier: Carrier,
        connection: int,
    ) -> None:
        """Bring a snapshot of `symbol`, asked for on `connection`, unless one is on its way."""
        self._counters.snapshots_wanted += 1
        if symbol not in self._pending:
            self._pending.add(symbol)
            tasks.create_task(
                self._bring(symbol, resync, carrier, connection), name=f"snapshot {symbol}"
            )

    async def _bring(self, symbol: str, resync: Resync, carrier: Carrier, connection: int) -> None:
        try:
            await self._clock.sleep(self._first_delay(symbol))
            if isinstance(resync, RestRequest):
                await self._fetch(symbol, resync, carrier, connection)
            else:
                self._brought_ns[symbol] = self._clock.mono_ns()
                self._counters.resubscribes += 1
                await carrier.send_all(connection, resync)
        finally:
            self._pending.discard(symbol)

    async def _fetch(self, symbol: str, request: RestRequest, carrier: Carrier, asked: int) -> None:
        # Without any connection the reply is of no use: the next connection asks by itself.
        while carrier.connection_for(asked) is not None:
            try:
                async with self._slots:
                    body = await self._rest.get(request)
            except (RestFailedError, RestRefusedError) as error:
                await self._clock.sleep(self._failed(symbol, error))
                continue
            self._brought_ns[symbol] = self._clock.mono_ns()
            self._counters.snapshots_fetched += 1
            # Out of the set before the record: the decoder may find it too old and ask again.
            self._pending.discard(symbol)
            connection = carrier.connection_for(asked)
            if connection is not None:
                self._tap.record(connection, "R", record_of(request, body))
            return

    def _first_delay(self, symbol: str) -> float:
        """0 for a first snapshot; longer and longer while one symbol asks again and again."""
        brought_ns = self._brought_ns.get(symbol)
        if brought_ns is None:
            return 0.0
        backoff = self._backoff(symbol)
        since_seconds = (self._clock.mono_ns() - brought_ns) / NS_PER_SECOND
        backoff.ended(since_seconds)
        due = backoff.failed(self._jitter(), at_least_seconds=self._config.snapshot_retry_seconds)
        return max(0.0, due - since_seconds)

    def _failed(self, symbol: str, error: RestFailedError | RestRefusedError) -> float:
        self._counters.snapshot_failures += 1
        at_least = 0.0
        if isinstance(error, RestRefusedError):
            at_least = REFUSED_SECONDS
            log.error("snapshot_refused", venue=self._venue, symbol=symbol, words=str(error))
        else:
            if isinstance(error, RateLimitedError):
                at_least = error.retry_after_seconds
            log.warning("snapshot_failed", venue=self._venue, symbol=symbol, words=str(error))
        return self._backoff(symbol).failed(self._jitter(), at_least_seconds=at_least)

    def _backoff(self, symbol: str) -> Backoff:
        if symbol not in self._backoffs:
            self._backoffs[symbol] = Backoff(
                first_seconds=self._config.snapshot_retry_seconds,
                cap_seconds=max(RETRY_CAP_SECONDS, self._config.snapshot_retry_seconds),
                stable_seconds=RETRY_CAP_SECONDS,
            )
        return self._backoffs[symbol]
