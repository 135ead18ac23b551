"""The replay venue: recorded captures behind Binance's protocol, paced or as fast as clients read.

Messages are sent byte for byte as recorded, in the order of the files. It invents nothing but the
exchangeInfo, whose tick and lot are the recorded decimals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gateway.servers.binance_protocol import Client
from gateway.servers.captures import Capture, Line, merged, scan
from gateway.servers.config import Market, ReplayServerConfig
from gateway.servers.process import Addresses
from gateway.servers.replay_book import ReplayBook
from gateway.servers.sent_log import SentLog
from gateway.servers.stand import Stand
from gateway.servers.text_frames import text_frame
from tickd.ports import Clock

NS_PER_S: Final = 1_000_000_000
# Messages handed over before the event loop runs again.
BURST_MAX: Final = 256
SLEEP_MIN_S: Final = 0.001
SNAPSHOT_TIMEOUT_S: Final = 30.0


class _MarketFeed:
    """The recorded streams of one market: who gets them, and the books behind the REST side."""

    def __init__(self, market: Market, captures: Sequence[Capture], clock: Clock) -> None:
        self.market: Market = market
        self.streams = {stream for capture in captures for stream in capture.streams}
        self._captures = captures
        self._clock = clock
        self._subscribers: dict[str, list[Client]] = {stream: [] for stream in self.streams}
        self._books = {symbol: ReplayBook() for capture in captures for symbol in capture.symbols}
        # Several intervals of one symbol would be applied twice: the first stream makes the book.
        self._book_streams: dict[str, tuple[str, ReplayBook]] = {}
        self._snapshot_came = asyncio.Event()
        self._outboxes: dict[Client, bytearray] = {}
        self.log_lines = bytearray()
        self.logs = False
        self.sent = 0

    # -- Feed

    def subscribe(self, client: Client, stream: str) -> bool:
        if stream not in self._subscribers:
            return False
        self._subscribers[stream].append(client)
        return True

    def unsubscribe(self, client: Client, stream: str) -> None:
        if client in self._subscribers.get(stream, ()):
            self._subscribers[stream].remove(client)

    def gone(self, client: Client) -> None:
        for clients in self._subscribers.values():
            if client in clients:
                clients.remove(client)
        self._outboxes.pop(client, None)

    # -- RestSource

    async def depth(self, symbol: str, limit: int) -> bytes | None:
        book = self._books.get(symbol)
        if book is None:
            return None
        async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
            while not book.is_known:
                self._snapshot_came.clear()
                await self._snapshot_came.wait()
        return book.answer(limit)

    def past_trades(self, symbol: str, from_id: int | None, limit: int) -> bytes | None:
        """A capture has no past: the list is empty."""
        del from_id, limit
        return b"[]" if symbol in self._books else None

    def tickers(self) -> bytes:
        """A capture has no day before it: the list is empty."""
        return b"[]"

    def exchange_info(self) -> bytes:
        facts = {s: f for capture in self._captures for s, f in capture.symbols.items()}
        symbols = [
            _listing(self.market, name, f.price_scale, f.size_scale) for name, f in facts.items()
        ]
        return msgspec.json.encode(
            {
                "timezone": "UTC",
                "serverTime": self._clock.wall_ns() // 1_000_000,
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": symbols,
            }
        )

    # -- playing

    def is_awaited(self) -> bool:
        """Whether a recorded stream still has no subscriber."""
        return not all(self._subscribers.values())

    def play(self, line: Line) -> None:
        """Put one recorded line into the outboxes of its subscribers, and into the book."""
        if not line.stream:
            if line.symbol in self._books:
                self._books[line.symbol].play_snapshot(line.payload)
                self._snapshot_came.set()
            return
        if "@depth" in line.stream:
            self._play_depth(line)
        framed = b""
        for client in self._subscribers[line.stream]:
            if client.closing:
                continue  # what it no longer gets must not be in the sent-log either
            if client.combined:
                payload, framed = line.payload, framed or text_frame(line.payload)
                frame = framed
            else:
                payload = line.payload[len(line.stream) + 20 : -1]  # the value of "data"
                frame = text_frame(payload)
            self._outboxes.setdefault(client, bytearray()).extend(frame)
            self.sent += 1
            if self.logs:
                self.log_lines += b"%d %s %s\n" % (client.number, line.stream.encode(), payload)

    def _play_depth(self, line: Line) -> None:
        owner = line.stream.partition("@")[0]
        known = self._book_streams.get(owner)
        if known is None:
            book = self._books.get(owner.upper())
            if book is None:
                return
            known = self._book_streams[owner] = (line.stream, book)
        if known[0] == line.stream:
            known[1].play_diff(line.payload)

    def flush(self) -> None:
        """One write per connection."""
        for client, outbox in self._outboxes.items():
            if outbox:
                client.write(bytes(outbox))
                outbox.clear()


def _listing(market: Market, symbol: str, price_scale: int, size_scale: int) -> dict[str, object]:
    pair = symbol.partition("_")[0]
    quote = next((q for q in ("USDT", "USDC", "BUSD", "USD", "BTC") if pair.endswith(q)), "USDT")
    entry: dict[str, object] = {
        "symbol": symbol,
        "pair": pair,
        "status": "TRADING",
        "contractType": "PERPETUAL",
        "baseAsset": pair.removesuffix(quote),
        "quoteAsset": quote,
        "pricePrecision": price_scale,
        "quantityPrecision": size_scale,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": _step(price_scale)},
            {"filterType": "LOT_SIZE", "stepSize": _step(size_scale)},
        ],
    }
    if market == "coinm":
        entry["contractSize"] = 100 if pair.startswith("BTC") else 10
        entry["contractStatus"] = entry.pop("status")
    if market == "spot":
        for key in ("pair", "contractType", "pricePrecision", "quantityPrecision"):
            del entry[key]
    return entry


def _step(scale: int) -> str:
    return "1" if scale == 0 else "0." + "0" * (scale - 1) + "1"


class ReplayServer:
    """All captures of one configuration, on one clock."""

    def __init__(
        self,
        config: ReplayServerConfig,
        clock: Clock,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._on_progress = on_progress
        self._config = config
        self._clock = clock
        self._captures = [scan(name) for name in config.files]
        self._log = SentLog(config.protocol.sent_log)
        by_market: dict[Market, list[Capture]] = {}
        for capture in self._captures:
            by_market.setdefault(capture.market, []).append(capture)
        self.feeds: dict[Market, _MarketFeed] = {
            market: _MarketFeed(market, captures, clock) for market, captures in by_market.items()
        }
        for feed in self.feeds.values():
            feed.logs = self._log.is_on
        self._stand = Stand(config.protocol, clock, self.feeds, log=self._log)
        self.done = asyncio.Event()

    async def start(self) -> Addresses:
        """Listen; where."""
        symbols: dict[Market, list[str]] = {market: [] for market in self.feeds}
        for capture in self._captures:
            symbols[capture.market] += capture.symbols
        return await self._stand.start(symbols)

    async def run(self) -> None:
        """Play once; then wait to be stopped, or return with `exit_when_done`."""
        await self._stand.run(self._play_awaited, exit_when_done=self._config.exit_when_done)

    async def stop(self) -> None:
        await self._stand.stop()

    async def _play_awaited(self) -> None:
        if self._config.wait_subscribed:
            while any(feed.is_awaited() for feed in self.feeds.values()):
                await self._clock.sleep(SLEEP_MIN_S)
        await self._play()
        self.done.set()

    async def _play(self) -> None:
        started_ns = self._clock.mono_ns()
        first_ns: int | None = None
        burst = played = 0
        total = sum(capture.lines for capture in self._captures)
        for line in merged(self._captures):
            first_ns = line.recv_ns if first_ns is None else first_ns
            wait_ns = self._wait_ns(started_ns, line.recv_ns - first_ns)
            if wait_ns > 0 or burst >= BURST_MAX:
                await self._flush(max(0.0, wait_ns / NS_PER_S))
                burst = 0
                self._on_progress(played, total)
            self.feeds[line.market].play(line)
            burst += 1
            played += 1
        await self._flush(0.0)
        self._on_progress(played, total)

    def _wait_ns(self, started_ns: int, offset_ns: int) -> int:
        if self._config.speed == 0:
            return 0
        due_ns = started_ns + int(offset_ns / self._config.speed)
        return due_ns - self._clock.mono_ns()

    async def _flush(self, wait_s: float) -> None:
        """Hand over what is due, let clients read, then wait."""
        for feed in self.feeds.values():
            feed.flush()
            self._log.append(feed.log_lines, self._clock.mono_ns())
            feed.log_lines.clear()
        await self._stand.clients_read()
        await self._clock.sleep(wait_s)


async def serve_replay(
    config: ReplayServerConfig,
    clock: Clock,
    on_start: Callable[[Addresses], None],
    on_progress: Callable[[int, int], None] = lambda _played, _lines: None,
) -> None:
    """Serve until cancelled, or played with `exit_when_done`. Raises ConfigError: bad file.

    Args: `on_progress`: called with lines played and lines in all, once per burst.
    """
    server = ReplayServer(config, clock, on_progress)
    try:
        on_start(await server.start())
        await server.run()
    finally:
        await server.stop()
