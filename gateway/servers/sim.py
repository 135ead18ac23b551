"""The simulated venue: native markets (`SimMarket`) behind Binance's protocol, in real time.

Advances the markets every few milliseconds, hands each connection its frames in one write, does
faults on order and tells exactly what it did. The market is native code; the protocol is
`binance_protocol.py`.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec
from aiohttp import web

from gateway.servers.binance_protocol import Client
from gateway.servers.config import Market, SimServerConfig
from gateway.servers.fault_orders import MESSAGE_FAULTS, SURGE, FaultOrder, parse_order
from gateway.servers.process import Addresses
from gateway.servers.sent_log import SentLog
from gateway.servers.stand import Stand
from gateway.servers.tickers import Tickers
from tickd.errors import ConfigError, TickdError
from tickd.native import SimMarket
from tickd.ports import Clock

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
# Lateness is caught up in steps of at most this much market time, so that no single write is huge.
STEP_MAX_NS: Final = 20 * NS_PER_MS
LEDGER_ENTRIES_MAX: Final = 10_000
# A stalled client that misses more than this is cut.
STALLED_BYTES_MAX: Final = 256 << 20


class _Bids(msgspec.Struct):
    bids: list[tuple[str, str]]


class _MarketFeed:
    """One market: the `Feed` of its protocol server and the `RestSource` of its REST side."""

    def __init__(self, market: Market, seed: int, config: SimServerConfig, start_ns: int) -> None:
        self.native = SimMarket(
            seed,
            config.symbols,
            config.rate,
            start_ns,
            market=market,
            mix=config.mix,
            depth_levels=config.depth_levels,
            log=config.protocol.sent_log is not None,
        )
        if config.remembered_trades:
            self.native.remember(config.remembered_trades)
        self.subscriptions = 0
        self.rest_down_until_ns = 0  # market time
        self.day = Tickers(market, self.native.symbols(), self._price)

    def subscribe(self, client: Client, stream: str) -> bool:
        known = self.native.subscribe(client.number, stream, client.combined)
        self.subscriptions += known
        return known

    def unsubscribe(self, client: Client, stream: str) -> None:
        self.native.unsubscribe(client.number, stream)

    def gone(self, client: Client) -> None:
        self.native.drop(client.number)

    async def depth(self, symbol: str, limit: int) -> bytes | None:
        if self.native.now_ns < self.rest_down_until_ns:
            raise TimeoutError
        return self.native.snapshot(symbol, limit)

    def exchange_info(self) -> bytes:
        return self.native.exchange_info()

    def past_trades(self, symbol: str, from_id: int | None, limit: int) -> bytes | None:
        if self.native.now_ns < self.rest_down_until_ns:
            raise TimeoutError
        return self.native.past_trades(symbol, from_id, limit)

    def tickers(self) -> bytes:
        if self.native.now_ns < self.rest_down_until_ns:
            raise TimeoutError
        return self.day.reply()

    def _price(self, symbol: str) -> Decimal:
        book = msgspec.json.decode(self.native.snapshot(symbol, 5) or b"", type=_Bids)
        return Decimal(book.bids[0][0])


class SimServer:
    """All markets of one configuration, on one clock."""

    def __init__(self, config: SimServerConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._log = SentLog(config.protocol.sent_log)
        start_ns = clock.wall_ns()
        self.feeds: dict[Market, _MarketFeed] = {
            market: _MarketFeed(market, config.seed + offset, config, start_ns)
            for offset, market in enumerate(config.markets)
        }
        self._stand = Stand(
            config.protocol, clock, self.feeds, log=self._log, routes=self._control_routes()
        )
        self.servers = self._stand.servers
        self._orders = sorted(map(parse_order, config.faults), key=lambda order: order.t)
        self._connection_ledger: list[dict[str, object]] = []
        self._started_ns = 0  # monotonic; 0 = the market stands still
        self._market_start_ns = start_ns
        self._late_max_ns = 0
        self._late_total_ns = 0
        self._ticks = 0
        self.done = False

    async def start(self) -> Addresses:
        """Listen; where."""
        return await self._stand.start(
            {market: feed.native.symbols() for market, feed in self.feeds.items()}
        )

    async def run(self) -> None:
        """Play until `seconds` of market time are over, then wait to be stopped (or return)."""
        await self._stand.run(self._play, exit_when_done=self._config.exit_when_done)

    async def stop(self) -> None:
        await self._stand.stop()

    # -- time

    async def _play(self) -> None:
        tick_ns = int(self._config.tick_ms * NS_PER_MS)
        if self._config.start_on_subscribe:
            while not any(feed.subscriptions for feed in self.feeds.values()):
                await self._clock.sleep(tick_ns / NS_PER_S)
        self._started_ns = self._clock.mono_ns()
        self._market_start_ns = self._clock.wall_ns()
        for feed in self.feeds.values():
            feed.native.leap(self._market_start_ns)
        end_ns = int(self._config.seconds * NS_PER_S)
        at_ns = 0  # market time since the start
        while not end_ns or at_ns < end_ns:
            due_ns = self._clock.mono_ns() - self._started_ns
            at_ns = min(due_ns, at_ns + STEP_MAX_NS, end_ns or due_ns)
            self._do_orders(at_ns)
            self._tick(at_ns)
            behind_ns = self._clock.mono_ns() - self._started_ns - at_ns
            self._ticks += 1
            self._late_total_ns += behind_ns
            self._late_max_ns = max(self._late_max_ns, behind_ns)
            await self._stand.clients_read()
            await self._clock.sleep(max(0, tick_ns - behind_ns) / NS_PER_S)
        self.done = True

    def _tick(self, at_ns: int) -> None:
        """Let the markets live until `at_ns`; one write per connection."""
        now_ns = self._started_ns + at_ns
        for market, feed in self.feeds.items():
            native = feed.native
            native.advance(self._market_start_ns + at_ns)
            for number, client in self.servers[market].clients.items():
                # What a closing client no longer gets must not be in the sent-log either.
                if client.closing:
                    continue
                if client.stalled_until_ns > now_ns:
                    if native.pending_bytes(number) > STALLED_BYTES_MAX:
                        client.abort()
                elif native.pending_bytes(number):
                    client.write(native.take(number))
            if self._log.is_on:
                self._log.append(native.take_log(), now_ns)

    # -- faults

    def _do_orders(self, at_ns: int) -> None:
        while self._orders and self._orders[0].t * NS_PER_S <= at_ns:
            self.order(self._orders.pop(0))

    def order(self, fault: FaultOrder) -> None:
        """Do a fault now. Raises ConfigError for a market or stream that is not there."""
        markets = [fault.market] if fault.market is not None else list(self.feeds)[:1]
        for market in markets:
            if market not in self.feeds:
                raise ConfigError(f"fault {fault.kind}: market {market} is not simulated")
            if fault.kind == SURGE:
                self._order_surge(self.feeds[market], fault)
            elif fault.kind in MESSAGE_FAULTS:
                self._order_message(self.feeds[market], fault)
            else:
                self._order_connection(market, fault)

    def _order_surge(self, feed: _MarketFeed, fault: FaultOrder) -> None:
        try:
            feed.day.surge(fault.symbol, fault.argument)
        except KeyError as error:
            raise ConfigError(f"fault {fault.kind}: no symbol {fault.symbol}") from error

    def _order_message(self, feed: _MarketFeed, fault: FaultOrder) -> None:
        try:
            feed.native.inject(fault.kind, fault.stream, fault.count, fault.argument)
        except KeyError as error:
            raise ConfigError(f"fault {fault.kind}: no stream {fault.stream}") from error

    def _order_connection(self, market: Market, fault: FaultOrder) -> None:
        server, feed = self.servers[market], self.feeds[market]
        chosen = [c for n, c in server.clients.items() if fault.client in {0, n}]
        span_ns = fault.argument * NS_PER_MS
        if len(self._connection_ledger) < LEDGER_ENTRIES_MAX:
            self._connection_ledger.append(
                {
                    "kind": fault.kind,
                    "market": market,
                    "ordered_ns": feed.native.now_ns,
                    "argument": fault.argument,
                    "connections": [client.number for client in chosen],
                }
            )
        if fault.kind == "rest_down":
            feed.rest_down_until_ns = feed.native.now_ns + span_ns
        elif fault.kind == "shutdown":
            server.shut_down()
        for client in chosen:
            if fault.kind == "disconnect":
                client.abort()
            elif fault.kind == "stall":
                client.stalled_until_ns = self._clock.mono_ns() + span_ns

    # -- control over HTTP

    def _control_routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_fault", self._http_fault),
            web.get("/_ledger", self._http_ledger),
            web.get("/_stats", self._http_stats),
        ]

    async def _http_fault(self, request: web.Request) -> web.Response:
        try:
            self.order(msgspec.json.decode(await request.read(), type=FaultOrder))
        except (msgspec.DecodeError, TickdError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"ok": True})

    async def _http_ledger(self, _: web.Request) -> web.Response:
        ledger = {
            "messages": {
                market: msgspec.json.decode(feed.native.ledger())
                for market, feed in self.feeds.items()
            },
            "connections": self._connection_ledger,
        }
        return web.Response(body=msgspec.json.encode(ledger), content_type="application/json")

    async def _http_stats(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self.stats()), content_type="application/json")

    def stats(self) -> dict[str, object]:
        """What was made and sent, how late, at what cost."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "done": self.done,
            "running_s": (self._clock.mono_ns() - self._started_ns) / NS_PER_S
            if self._started_ns
            else 0.0,
            "messages": sum(feed.native.messages for feed in self.feeds.values()),
            "late_ms_max": self._late_max_ns / NS_PER_MS,
            "late_ms_mean": self._late_total_ns / max(1, self._ticks) / NS_PER_MS,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "totals": {market: feed.native.totals() for market, feed in self.feeds.items()},
            "slow_closed": {market: server.slow_closed for market, server in self.servers.items()},
            "connections": [
                {
                    "connection": client.number,
                    "market": market,
                    "streams": sum(client.streams.values()),
                    "messages": self.feeds[market].native.delivered(client.number),
                    "bytes": client.bytes_written,
                    "unsent_bytes": client.unsent_bytes,
                }
                for market, server in self.servers.items()
                for client in server.clients.values()
            ],
        }


async def serve_sim(
    config: SimServerConfig, clock: Clock, on_start: Callable[[Addresses], None]
) -> None:
    """Serve until cancelled, or until done with `exit_when_done`."""
    server = SimServer(config, clock)
    try:
        on_start(await server.start())
        await server.run()
    finally:
        await server.stop()
