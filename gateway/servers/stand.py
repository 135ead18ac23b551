"""What a loopback venue consists of: a protocol server per market, a REST site, a sent-log.

Opens them together, keeps them while something plays, closes them together. What is played is the
server's own.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, final

from aiohttp import web

from gateway.servers.binance_protocol import Feed, ProtocolServer
from gateway.servers.binance_rest import RestSource, rest_routes
from gateway.servers.config import Market, ProtocolConfig
from gateway.servers.http_site import HttpSite
from gateway.servers.process import Addresses
from gateway.servers.rules import RULES
from gateway.servers.sent_log import SentLog
from tickd.ports import Clock

DRAIN_TIMEOUT_S: Final = 5.0


class MarketSource(Feed, RestSource, Protocol):
    """One market: what its connections get, and what its REST side answers from."""


@final
class Stand:
    """The sockets of all markets of one server."""

    def __init__(
        self,
        config: ProtocolConfig,
        clock: Clock,
        feeds: Mapping[Market, MarketSource],
        *,
        log: SentLog,
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        self._clock = clock
        self._log = log
        numbers = itertools.count(1)
        self.servers: Final[dict[Market, ProtocolServer]] = {
            market: ProtocolServer(market, config, clock, feed, numbers)
            for market, feed in feeds.items()
        }
        every = [*rest_routes(feeds, config, clock), *routes]
        self._site = HttpSite(config.host, config.rest_port, every)

    async def start(self, symbols: Mapping[Market, Sequence[str]]) -> Addresses:
        """Listen; where, and what is listed."""
        urls = {RULES[market].venue: await each.start() for market, each in self.servers.items()}
        rest = await self._site.start()
        listed = {RULES[market].venue: names for market, names in symbols.items()}
        return Addresses(ws=urls, rest=dict.fromkeys(urls, rest), symbols=listed)

    async def run(self, play: Callable[[], Awaitable[None]], *, exit_when_done: bool) -> None:
        """Play once; then wait to be stopped, or return when all clients have read."""
        async with asyncio.TaskGroup() as tasks:
            keepers = [
                tasks.create_task(server.keep(), name=f"keep {market}")
                for market, server in self.servers.items()
            ]
            await play()
            if not exit_when_done:
                await asyncio.Event().wait()  # ends by cancellation
            for server in self.servers.values():
                await server.drained(DRAIN_TIMEOUT_S)
            for keeper in keepers:
                keeper.cancel()

    async def clients_read(self) -> None:
        """Wait while a client is too far behind (`slow = "wait"`)."""
        for server in self.servers.values():
            while server.is_congested() and not await server.writable(1.0):
                self._log.append(b"", self._clock.mono_ns())

    async def stop(self) -> None:
        for server in self.servers.values():
            await server.stop()
        await self._site.stop()
        self._log.close()
