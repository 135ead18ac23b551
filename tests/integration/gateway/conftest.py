"""A venue on loopback that does what a test tells it, and a raw tap that keeps everything.

The venue speaks Binance's combined-stream protocol over real sockets: picows serves the WebSocket,
aiohttp the REST side. The tap implements the port and reads acknowledgements, shutdown notices and
depth gaps the way the native decoder reports them.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from picows import (
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from gateway.config import VenueConfig
from gateway.session import Session
from gateway.venue import Venue
from gateway.venues.registry import find
from tickd.clock import SystemClock
from tickd.errors import TickdError
from tickd.ports import Leg, Notice


class Client(WSListener):
    """One connection as the venue sees it."""

    def __init__(self, venue: VenueServer, path: str) -> None:
        self.venue = venue
        self.path = path
        self.transport: WSTransport | None = None
        self.streams: set[str] = set()
        self.received: list[tuple[float, WSMsgType, bytes]] = []
        self.closed = False

    def on_ws_connected(self, transport):
        self.transport = transport
        self.venue.clients.append(self)

    def on_ws_disconnected(self, transport):
        self.closed = True

    def on_ws_frame(self, transport, frame):
        payload = frame.get_payload_as_bytes()
        self.received.append((time.monotonic(), frame.msg_type, payload))
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self.venue.on_text(self, payload)

    def send(self, message: object) -> None:
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        if not self.closed:
            self.transport.send(WSMsgType.TEXT, text)

    def close(self, code: int, words: bytes = b"") -> None:
        self.transport.send(WSMsgType.CLOSE, code.to_bytes(2) + words)
        self.transport.disconnect()


@dataclass
class VenueServer:
    """Tests set the fields and call `publish`; everything that happened is kept."""

    clients: list[Client] = field(default_factory=list)
    upgrades: list[tuple[float, str]] = field(default_factory=list)
    decline: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # next upgrades
    acknowledge: bool = True
    refuse: str | None = None  # refuse subscriptions that contain this text
    requests: list[tuple[float, str]] = field(default_factory=list)
    replies: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)  # depth, next
    depth_gate: asyncio.Event | None = None
    symbols: tuple[str, ...] = ("BTCUSDT",)
    last_update: int = 0
    ws_url: str = ""
    rest_url: str = ""

    @property
    def open(self) -> list[Client]:
        return [client for client in self.clients if not client.closed]

    def on_upgrade(self, request: WSUpgradeRequest):
        path = request.path.decode()
        self.upgrades.append((time.monotonic(), path))
        if self.decline:
            status, headers = self.decline.pop(0)
            return WSUpgradeResponseWithListener(
                WSUpgradeResponse.create_error_response(status, b"no", headers), None
            )
        return Client(self, path)

    def on_text(self, client: Client, payload: bytes) -> None:
        if payload == b"ping":
            if self.acknowledge:
                client.send(b"pong")
            return
        message = json.loads(payload)
        if self.refuse is not None and self.refuse in payload.decode():
            client.send({"error": {"code": 2, "msg": "Invalid request"}, "id": message["id"]})
            return
        client.streams.update(message["params"])
        if self.acknowledge:
            client.send({"result": None, "id": message["id"]})

    def publish(self, stream: str, data: dict[str, object]) -> None:
        for client in self.open:
            if stream in client.streams:
                client.send(
                    b'{"stream":"%s","data":%s}' % (stream.encode(), json.dumps(data).encode())
                )

    def publish_depth(self, symbol: str = "BTCUSDT", *, skip: int = 0) -> None:
        first = self.last_update + 1 + skip
        self.last_update = first + 1
        self.publish(
            f"{symbol.lower()}@depth@100ms",
            {"e": "depthUpdate", "s": symbol, "U": first, "u": first + 1, "b": [], "a": []},
        )

    async def depth(self, request: web.Request) -> web.Response:
        self.requests.append((time.monotonic(), request.path_qs))
        if self.depth_gate is not None:
            await self.depth_gate.wait()
        if self.replies:
            status, headers, body = self.replies.pop(0)
            return web.Response(status=status, headers=headers, body=body)
        return web.json_response({"lastUpdateId": self.last_update, "bids": [], "asks": []})

    async def info(self, request: web.Request) -> web.Response:
        self.requests.append((time.monotonic(), request.path_qs))
        asked = re.findall(r'"([A-Z0-9]+)"', request.query.get("symbols", "")) or self.symbols
        if set(asked) - set(self.symbols):
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        ]
        listed = [{"symbol": symbol, "filters": filters} for symbol in asked]
        return web.json_response({"symbols": listed})


class KeepingTap:
    """A `RawTap` that keeps records in memory and tells legs what a decoder would tell them."""

    def __init__(self) -> None:
        self.records: list[tuple[int, str, bytes]] = []
        self.active: dict[str, int] = {}
        self.venue = ""
        self.closed_log = False
        self._legs: dict[int, Leg] = {}
        self._next = 0
        self._armed = False
        self._new: list[tuple[int, int, bytes]] = []
        self._last: dict[str, int | None] = {}

    def open(self, *, venue, url, streams, leg, backfill=False):
        if self.closed_log:
            raise TickdError("the raw log is closed")
        self._next += 1
        self.venue = venue
        self._legs[self._next] = leg
        self.control("connect", self._next, url=url, streams=list(streams))
        return self._next

    def frame(self, connection, payload):
        self.records.append((connection, "W", bytes(payload)))
        self._arm(connection)

    def record(self, connection, record_type, payload):
        self.records.append((connection, record_type, bytes(payload)))
        self._arm(connection)
        return len(self.records)

    def close(self, connection, reason):
        assert self._legs.pop(connection, None) is not None, "closed twice"
        self.control("disconnect", connection, reason=reason)

    def control(self, kind, connection, **fields):
        body = json.dumps({"kind": kind, "connection": connection, **fields}).encode()
        self.records.append((connection, "C", body))

    def legs(self) -> list[Leg]:
        return list(self._legs.values())

    # What the decoder does at the end of a burst.

    def _arm(self, connection: int) -> None:
        self._new.append((connection, len(self.records), self.records[-1][2]))
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._end_burst)

    def _end_burst(self) -> None:
        self._armed = False
        new, self._new = self._new, []
        for connection, frame_no, payload in new:
            for kind, text in self._notices(payload):
                if connection in self._legs:
                    self._legs[connection].on_notice(Notice(connection, frame_no, kind, text))

    def _notices(self, payload: bytes):
        if payload == b"pong":
            yield "pong", ""
        if payload.startswith(b"GET "):
            if b"/depth?" in payload:
                symbol = re.search(rb"symbol=(\w+)", payload)[1].decode()
                self._last[symbol] = json.loads(payload.split(b"\n", 1)[1])["lastUpdateId"]
            return
        if not payload.startswith(b"{"):
            return
        message = json.loads(payload)
        if "result" in message:
            yield "subscribed", str(message["id"])
        elif "error" in message:
            yield "refused", json.dumps(message["error"])
        elif message.get("stream") == "!serverShutdown":
            yield "shutdown", ""
        elif "stream" in message:
            channel = {"depth": "depth", "trade": "trade", "bookTicker": "quote"}[
                message["stream"].split("@")[1]
            ]
            symbol = message["data"]["s"]
            self.active[f"{channel}.{self.venue}.{symbol}"] = time.monotonic_ns()
            if channel == "depth":
                yield from self._book(symbol, message["data"])

    def _book(self, symbol: str, data: dict):
        last = self._last.get(symbol)
        if last is not None and data["u"] <= last:
            return
        if last is None or data["U"] > last + 1:
            self._last[symbol] = None
            yield "snapshot_wanted", symbol
        else:
            self._last[symbol] = data["u"]

    # What tests ask.

    def payloads(self, kind: str) -> list[bytes]:
        return [payload for _, record_type, payload in self.records if record_type == kind]

    def controls(self, kind: str) -> list[dict]:
        return [c for c in map(json.loads, self.payloads("C")) if c["kind"] == kind]

    def synced(self, symbol: str) -> bool:
        return self._last.get(symbol) is not None


@dataclass
class Stage:
    """A session at work against its venue."""

    venue: VenueServer
    tap: KeepingTap
    session: Session

    @property
    def state(self) -> str | None:
        lines = self.session.status().lines
        return lines[0].state if lines else None

    async def until(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        await wait_until(condition, seconds)


async def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - three parties, no common event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving() -> AsyncIterator[VenueServer]:
    venue = VenueServer()
    server = await ws_create_server(venue.on_upgrade, "127.0.0.1", 0)
    app = web.Application()
    for prefix in ("/api/v3", "/fapi/v1"):
        app.router.add_get(f"{prefix}/depth", venue.depth)
        app.router.add_get(f"{prefix}/exchangeInfo", venue.info)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    venue.ws_url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    venue.rest_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield venue
    finally:
        for client in venue.open:
            client.transport.disconnect(graceful=False)
        server.close()
        await server.wait_closed()
        await runner.cleanup()


FAST: dict[str, object] = {
    "connect_timeout_seconds": 1.0,
    "subscribe_timeout_seconds": 0.5,
    "backoff_first_seconds": 0.02,
    "backoff_cap_seconds": 0.1,
    "stable_seconds": 5.0,
    "handover_overlap_seconds": 0.05,
    "handover_max_seconds": 1.0,
    "watchdog_interval_seconds": 0.02,
    "instruments_wait_seconds": 1.0,
    "snapshot_retry_seconds": 0.02,
}


@asynccontextmanager
async def staged(
    prepare: Callable[[VenueServer], None] | None = None,
    *,
    name: str = "binance-spot",
    change: Callable[[Venue], Venue] = lambda known: known,
    **fields: object,
) -> AsyncIterator[Stage]:
    async with serving() as venue:
        if prepare is not None:
            prepare(venue)
        config = VenueConfig(
            **{
                "name": name,
                "symbols": ("BTCUSDT",),
                "channels": ("trade",),
                "ws_url": venue.ws_url,
                "rest_url": venue.rest_url,
                **FAST,
                **fields,
            }
        )
        tap = KeepingTap()
        session = Session(
            change(find(name)),
            config,
            tap=tap,
            clock=SystemClock(),
            activity=lambda: tap.active,
            jitter=random.Random(1).random,
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            try:
                yield Stage(venue, tap, session)
            finally:
                running.cancel()


@pytest.fixture
def stage() -> Callable[..., object]:
    return staged


@pytest.fixture
def trades() -> Callable[[VenueServer], Callable[[], Awaitable[None]]]:
    """A publisher of consecutive trades, one every few milliseconds, until cancelled."""

    def make(venue: VenueServer, published: list[int]):
        async def publish() -> None:
            number = 0
            while True:
                number += 1
                venue.publish("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "t": number})
                published.append(number)
                await asyncio.sleep(0.003)

        return publish

    return make


@pytest.fixture
async def serving_venue() -> AsyncIterator[VenueServer]:
    async with serving() as venue:
        yield venue


@pytest.fixture
def fast() -> dict[str, object]:
    return FAST


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    return wait_until
