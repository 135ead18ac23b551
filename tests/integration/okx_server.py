"""A small OKX v5 on loopback: public and business WebSocket paths, the instrument list, text pings.

It keeps a book and says it as OKX does: a snapshot upon a subscription, updates chained by
`prevSeqId`, a keep-alive that repeats the id, a reset that lowers it. Tests make the market.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from picows import WSListener, WSMsgType, WSUpgradeRequest, ws_create_server

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "wire" / "okx"
START_MS = 1_800_000_000_000
SYMBOL = "BTC-USDT"
KINDS = {"BTC-USDT": "SPOT", "BTC-USDT-SWAP": "SWAP", "BTC-USD-270326": "FUTURES"}


class Client(WSListener):
    """One connection as the venue sees it."""

    def __init__(self, server: OkxServer, path: str) -> None:
        self.server = server
        self.path = path
        self.topics: set[tuple[str, str]] = set()  # channel and symbol
        self.received: list[bytes] = []
        self.closed = False
        self._transport: Any = None

    def on_ws_connected(self, transport):
        self._transport = transport
        self.server.clients.append(self)

    def on_ws_disconnected(self, transport):
        self.closed = True

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            self.received.append(text)
            self.server.on_text(self, text)

    def send(self, message: bytes | dict[str, Any]) -> None:
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        if not self.closed:
            self._transport.send(WSMsgType.TEXT, text)

    def cut(self) -> None:
        self.closed = True
        self._transport.disconnect(graceful=False)


@dataclass
class OkxServer:
    """Calls of tests make messages; what clients said is kept."""

    clients: list[Client] = field(default_factory=list)
    bids: dict[str, str] = field(default_factory=lambda: {"29999.9": "1", "29999.8": "2"})
    asks: dict[str, str] = field(default_factory=lambda: {"30000.1": "1", "30000.2": "2"})
    seq: int = 1_000
    trade_id: int = 500
    now_ms: int = START_MS
    turnover: dict[str, float] = field(default_factory=dict)  # of the last day, by symbol
    ws_url: str = ""
    rest_url: str = ""

    # What clients say ---------------------------------------------------------------------------

    def on_text(self, client: Client, text: bytes) -> None:
        if text == b"ping":
            client.send(b"pong")
            return
        request = json.loads(text)
        for arg in request["args"]:
            answer = {"id": request["id"], "event": request["op"], "arg": arg, "connId": "a4d3ae55"}
            client.send(answer)
            topic = arg["channel"], arg["instId"]
            if request["op"] == "unsubscribe":
                client.topics.discard(topic)
                continue
            client.topics.add(topic)
            if topic == ("books", SYMBOL):
                client.send(self._book("snapshot", -1, self.bids, self.asks))

    def requests(self, operation: str) -> list[dict[str, Any]]:
        said = [text for client in self.clients for text in client.received if text != b"ping"]
        return [request for request in map(json.loads, said) if request["op"] == operation]

    def pings(self) -> int:
        return sum(client.received.count(b"ping") for client in self.clients)

    # What the market does -----------------------------------------------------------------------

    def update(self, side: str, price: str, size: str, *, said: bool = True) -> None:
        """A level changes; unless `said`, nobody hears of it: the chain is broken."""
        levels = self.bids if side == "bids" else self.asks
        if size == "0":
            levels.pop(price, None)
        else:
            levels[price] = size
        before, self.seq = self.seq, self.seq + 3
        if said:
            self._publish("books", self._book("update", before, **{side: {price: size}}))

    def keep_alive(self) -> None:
        self._publish("books", self._book("update", self.seq))

    def reset(self) -> None:
        """After maintenance the ids begin anew, below the last one."""
        before, self.seq = self.seq, 7
        self._publish("books", self._book("update", before))

    def trade(self, price: str, size: str, *, fills: int = 1, said: bool = True) -> None:
        self.trade_id += fills
        row = {
            "instId": SYMBOL,
            "tradeId": str(self.trade_id),
            "px": price,
            "sz": size,
            "side": "buy",
            "ts": str(self._tick()),
            "count": str(fills),
        }
        if said:
            self._publish("trades", {"arg": _arg("trades"), "data": [row]})

    def best(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The whole book in mantissas (scales 1 and 8), best first."""

        def levels(side: dict[str, str], *, falling: bool) -> list[tuple[int, int]]:
            pairs = [(round(float(p) * 10), round(float(s) * 10**8)) for p, s in side.items()]
            return sorted(pairs, reverse=falling)

        return levels(self.bids, falling=True), levels(self.asks, falling=False)

    def _book(
        self,
        action: str,
        before: int,
        bids: dict[str, str] | None = None,
        asks: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        data = {
            "asks": [[price, size, "0", "1"] for price, size in (asks or {}).items()],
            "bids": [[price, size, "0", "1"] for price, size in (bids or {}).items()],
            "ts": str(self._tick()),
            "checksum": 0,
            "prevSeqId": before,
            "seqId": self.seq,
        }
        return {"arg": _arg("books"), "action": action, "data": [data]}

    def _publish(self, channel: str, message: dict[str, Any]) -> None:
        for client in self.clients:
            if (channel, SYMBOL) in client.topics:
                client.send(message)

    def _tick(self) -> int:
        self.now_ms += 1
        return self.now_ms

    # REST ---------------------------------------------------------------------------------------

    async def tickers(self, request: web.Request) -> web.Response:
        """The last day; of those that `turnover` leaves out the venue says nothing."""
        kind = request.query["instType"]
        rows = [
            {
                "instType": kind,
                "instId": name,
                "last": "30000",
                "high24h": "30300",
                "low24h": "29700",
                "vol24h": str(turnover),
                # In quote currency for spot, in coins else.
                "volCcy24h": str(turnover if kind == "SPOT" else turnover / 30000),
            }
            for name, turnover in self.turnover.items()
            if KINDS[name] == kind
        ]
        return web.json_response({"code": "0", "msg": "", "data": rows})

    async def instruments(self, request: web.Request) -> web.Response:
        listed = json.loads((FIXTURES / "instruments.json").read_text())
        kind = request.query["instType"]
        rows = [row for row in listed["data"] if row["instType"] == kind]
        return web.json_response({**listed, "data": rows})

    def on_upgrade(self, request: WSUpgradeRequest) -> Client:
        return Client(self, request.path.decode())


def _arg(channel: str) -> dict[str, str]:
    return {"channel": channel, "instId": SYMBOL}


@asynccontextmanager
async def serving() -> AsyncIterator[OkxServer]:
    """The venue on ports of the kernel's choice, closed with the block."""
    venue = OkxServer()
    server = await ws_create_server(venue.on_upgrade, "127.0.0.1", 0)
    app = web.Application()
    app.router.add_get("/api/v5/public/instruments", venue.instruments)
    app.router.add_get("/api/v5/market/tickers", venue.tickers)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    venue.ws_url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    venue.rest_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield venue
    finally:
        for client in venue.clients:
            if not client.closed:
                client.cut()
        server.close()
        await server.wait_closed()
        await runner.cleanup()
