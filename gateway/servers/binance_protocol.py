"""Binance's WebSocket side: connections, subscriptions, pings, limits, the end of a connection.

What the streams carry comes from a `Feed` (a simulated market, a capture); this file decides who
gets it and for how long. It makes no market data and answers no REST call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from gateway.servers.config import Market, ProtocolConfig
from gateway.servers.rules import RULES, STREAM_NAME, Endpoint, parse_path, stream_class
from gateway.servers.text_frames import text_frame
from tickd.ports import Clock

__all__ = ["Client", "Feed", "ProtocolServer"]

NS_PER_S: Final = 1_000_000_000
# A frame from a client is a subscribe message; Binance accepts about this much.
CLIENT_FRAME_BYTES_MAX: Final = 1 << 20
_METHODS: Final = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`"


class Feed(Protocol):
    """Where the messages of a market come from."""

    def subscribe(self, client: Client, stream: str) -> bool:
        """Send `stream` to `client` from now on; False for an unknown stream. Raises nothing."""
        ...

    def unsubscribe(self, client: Client, stream: str) -> None:
        """Send it no longer. Raises nothing."""

    def gone(self, client: Client) -> None:
        """Forget a client. Raises nothing."""


class _Request(msgspec.Struct):
    method: str
    params: list[str] = []
    id: int | str | None = None


_REQUEST: Final = msgspec.json.Decoder(_Request)


class Client(WSListener):
    """One connection of a client, as the venue sees it."""

    def __init__(self, server: ProtocolServer, number: int, endpoint: Endpoint) -> None:
        self.number = number
        self.combined = endpoint.combined
        self.streams: dict[str, bool] = {}  # in order; False: accepted, never delivered
        self.since_ns = server.clock.mono_ns()
        self.congested = False  # the unsent bytes exceed the bound
        self.stalled_until_ns = 0  # a fault: nothing is written before this
        self.bytes_written = 0
        self._server = server
        self._endpoint = endpoint
        self._transport: WSTransport | None = None
        self._received_ns: deque[int] = deque()  # of the last second
        self.pinged_ns = self.since_ns
        self.awaited_pong: bytes | None = None
        self.closing = False

    # -- what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        high = self._server.config.slow_bytes_max
        transport.underlying_transport.set_write_buffer_limits(high=high, low=high // 4)
        self._server.clients[self.number] = self
        for stream in self._endpoint.streams:
            refusal = self._add(stream)
            if refusal is not None:
                self._say({"error": {"code": 2, "msg": refusal}, "id": None})

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self.end(WSCloseCode.OK, "")
            return
        if self._too_many(self._server.clock.mono_ns()):
            self.end(WSCloseCode.POLICY_VIOLATION, "Too many requests")
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PONG:
            if frame.get_payload_as_bytes() == self.awaited_pong:
                self.awaited_pong = None
        elif kind == WSMsgType.TEXT:
            self._say(self._answer(frame.get_payload_as_bytes()))
        else:
            self.end(WSCloseCode.UNSUPPORTED_DATA, "text only")

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows' signature
        self.closing = True
        if self._server.clients.pop(self.number, None) is not None:
            self._server.feed.gone(self)
        self._server.wake()

    def pause_writing(self) -> None:
        self.congested = True
        if self._server.config.slow == "close":
            self._server.slow_closed += 1
            self.abort()

    def resume_writing(self) -> None:
        self.congested = False
        self._server.wake()

    # -- what feeds and the server call

    def write(self, frames: bytes | bytearray) -> None:
        """Send whole WebSocket frames; for a closed connection they are lost, as in real life."""
        if self._transport is not None and not self.closing:
            self.bytes_written += len(frames)
            self._transport.underlying_transport.write(frames)

    @property
    def unsent_bytes(self) -> int:
        if self._transport is None or self.closing:
            return 0
        return int(self._transport.underlying_transport.get_write_buffer_size())

    def ping(self, now_ns: int) -> None:
        """Ask for a pong with the same payload, as the venue does: the time in ms."""
        self.pinged_ns = now_ns
        self.awaited_pong = str(self._server.clock.wall_ns() // 1_000_000).encode()
        if self._transport is not None:
            self._transport.send_ping(self.awaited_pong)

    def end(self, code: WSCloseCode, reason: str) -> None:
        """Say goodbye and close; bytes still unsent go first."""
        if self._transport is not None and not self.closing:
            self.closing = True
            self._transport.send_close(code, reason)
            self._transport.disconnect()

    def abort(self) -> None:
        """Cut the connection without a word."""
        if self._transport is not None:
            self.closing = True
            self._transport.disconnect(graceful=False)

    def announce_shutdown(self) -> None:
        """Send the event `serverShutdown` (spot has it since 2026-05-08)."""
        data = {"e": "serverShutdown", "E": self._server.clock.wall_ns() // 1_000_000}
        self._say({"stream": "!serverShutdown", "data": data} if self.combined else data)

    # -- requests

    def _say(self, message: object) -> None:
        if self._transport is not None and not self.closing:
            self.write(text_frame(msgspec.json.encode(message)))

    def _too_many(self, now_ns: int) -> bool:
        recent = self._received_ns
        recent.append(now_ns)
        while recent and recent[0] <= now_ns - NS_PER_S:
            recent.popleft()
        return len(recent) > self._server.messages_per_s_max

    def _answer(self, payload: bytes) -> object:
        try:
            request = _REQUEST.decode(payload)
        except msgspec.ValidationError as error:
            return {"error": {"code": 2, "msg": f"Invalid request: {error}"}, "id": None}
        except msgspec.DecodeError as error:
            return {"error": {"code": 3, "msg": f"Invalid JSON: {error}"}, "id": None}
        refusal: str | None = None
        if request.method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self.streams), "id": request.id}
        if request.method == "SUBSCRIBE":
            refusals = [self._add(stream) for stream in request.params]
            refusal = next((text for text in refusals if text is not None), None)
        elif request.method == "UNSUBSCRIBE":
            for stream in request.params:
                if self.streams.pop(stream, False):
                    self._server.feed.unsubscribe(self, stream)
        else:
            refusal = (
                f"Invalid request: unknown variant `{request.method}`, expected one of {_METHODS}"
            )
        if refusal is not None:
            return {"error": {"code": 2, "msg": refusal}, "id": request.id}
        return {"result": None, "id": request.id}

    def _add(self, stream: str) -> str | None:
        """Subscribe; the words of a refusal, None when it is accepted."""
        if stream in self.streams:
            return None
        if STREAM_NAME.fullmatch(stream) is None:
            return f"Invalid request: malformed stream {stream[:100]!r}"
        if len(self.streams) >= self._server.config.streams_max:
            return "Invalid request: too many streams"
        only = self._endpoint.only
        if only is not None and stream_class(stream) != only:
            self.streams[stream] = False  # the real one says nothing either
            return None
        known = self._server.feed.subscribe(self, stream)
        if not known and self._server.config.unknown_streams == "error":
            return f"Invalid request: unknown stream {stream!r}"
        self.streams[stream] = known
        return None


class ProtocolServer:
    """The WebSocket endpoint of one market."""

    def __init__(
        self,
        market: Market,
        config: ProtocolConfig,
        clock: Clock,
        feed: Feed,
        numbers: Iterator[int],
    ) -> None:
        rules = RULES[market]
        self.market: Market = market
        self.config = config
        self.clock = clock
        self.feed = feed
        self.clients: dict[int, Client] = {}
        self.refused = 0  # upgrades with an unknown path
        self.slow_closed = 0
        self.messages_per_s_max = config.messages_per_s_max or rules.messages_per_s_max
        self._ping_ns = int((config.ping_interval_s or rules.ping_interval_s) * NS_PER_S)
        self._pong_ns = int((config.pong_timeout_s or rules.pong_timeout_s) * NS_PER_S)
        self._numbers = numbers
        self._woken = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; the URL to connect to."""
        self._server = await ws_create_server(
            self._accept,
            self.config.host,
            self.config.ws_port,
            enable_auto_pong=False,  # client pings count against its limit: see Client.on_ws_frame
            max_frame_size=CLIENT_FRAME_BYTES_MAX,
            logger_name="tickd_server",
        )
        port = self._server.sockets[0].getsockname()[1]
        return f"ws://{self.config.host}:{port}"

    async def keep(self) -> None:
        """Ping, miss pongs, end old connections; runs until cancelled."""
        shortest = min(self._ping_ns, self._pong_ns, int(self.config.lifetime_s * NS_PER_S))
        period_s = max(0.005, min(0.5, shortest / NS_PER_S / 4))
        while True:
            await self.clock.sleep(period_s)
            now_ns = self.clock.mono_ns()
            for client in list(self.clients.values()):
                self._keep_one(client, now_ns)

    def _keep_one(self, client: Client, now_ns: int) -> None:
        if now_ns - client.since_ns >= self.config.lifetime_s * NS_PER_S:
            client.end(WSCloseCode.GOING_AWAY, "connection lifetime is over")
        elif client.awaited_pong is not None and now_ns - client.pinged_ns >= self._pong_ns:
            client.end(WSCloseCode.POLICY_VIOLATION, "Pong timeout")
        elif client.awaited_pong is None and now_ns - client.pinged_ns >= self._ping_ns:
            client.ping(now_ns)

    def is_congested(self) -> bool:
        """Whether a client has to read before more may be sent."""
        return any(client.congested and not client.closing for client in self.clients.values())

    def wake(self) -> None:
        """Something changed that a waiting feed may want to know."""
        self._woken.set()

    async def writable(self, timeout_s: float) -> bool:
        """Wait until nobody is congested, `timeout_s` at most: whether that is so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.is_congested():
                    self._woken.clear()
                    await self._woken.wait()
        return not self.is_congested()

    async def drained(self, timeout_s: float) -> None:
        """Wait until everything is handed to the kernel, `timeout_s` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(client.unsent_bytes for client in self.clients.values()):
                    await self.clock.sleep(0.005)

    def shut_down(self) -> None:
        """Announce to every client that this server goes away; it does not go yet."""
        for client in self.clients.values():
            client.announce_shutdown()

    async def stop(self) -> None:
        """Close the connections and the socket."""
        if self._server is None:
            return
        for client in list(self.clients.values()):
            client.end(WSCloseCode.GOING_AWAY, "server stops")
        self._server.close()
        await self._server.wait_closed()

    def _accept(self, request: WSUpgradeRequest) -> Client | None:
        endpoint = parse_path(self.market, request.path.decode("latin-1"))
        if endpoint is None:
            self.refused += 1
            return None
        return Client(self, next(self._numbers), endpoint)
