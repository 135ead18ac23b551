"""The stand-in's WebSockets: the WebSocket API (log on, subscribe, orders), USD-M's user stream.

Checks who asks; what is asked goes to the venue.
"""

from __future__ import annotations

from typing import Any, Final, final

import msgspec
from aiohttp import WSMsgType, web

from risk.stands.binance.access import BAD_KEY, Refused
from risk.stands.binance.venue import Venue, refused

__all__ = ["socket_routes"]

ORDERS: Final = frozenset(
    {"order.place", "order.cancel", "order.modify", "order.amend.keepPriority"}
)


class _Request(msgspec.Struct):
    id: str | int | None = None
    method: str = ""
    params: dict[str, Any] = {}


@final
class _Connection:
    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.socket = web.WebSocketResponse(heartbeat=None)
        self.is_logged_on = False

    async def say(self, text: str) -> None:
        if not self.socket.closed:
            try:
                await self.socket.send_str(text)
            except (ConnectionError, RuntimeError):  # gone in between
                return

    def cut(self) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.abort()


class _Sockets:
    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def api(self, request: web.Request) -> web.WebSocketResponse:
        if not self._venue.takes_sockets:
            raise web.HTTPServiceUnavailable
        connection = _Connection(request)
        await connection.socket.prepare(request)
        self._venue.connections.append(connection)
        try:
            async for message in connection.socket:
                if message.type == WSMsgType.TEXT:
                    await self._asked(connection, message.data)
        finally:
            self._venue.gone(connection)
        return connection.socket

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        if request.match_info["key"] != self.listen_key:
            raise web.HTTPNotFound
        connection = _Connection(request)
        await connection.socket.prepare(request)
        self._venue.connections.append(connection)
        self._venue.listeners.append(connection)
        try:
            async for _ in connection.socket:
                pass
        finally:
            self._venue.gone(connection)
        return connection.socket

    listen_key: Final = "standInListenKey0123456789"

    async def _asked(self, connection: _Connection, text: str) -> None:
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.MsgspecError as error:
            await connection.say(refused(None, (400, -1135, f"Invalid JSON Request: {error}")))
            return
        refusal = self._refusal(connection, request)
        if refusal is not None:
            await connection.say(refused(request.id, refusal))
        elif request.method in ORDERS:
            asked = {
                name: str(value)
                for name, value in request.params.items()
                if name not in {"apiKey", "signature"}
            }
            await self._venue.request(connection, request.id, request.method, asked)
        else:
            await self._session(connection, request)

    def _refusal(self, connection: _Connection, request: _Request) -> Refused | None:
        access, params = self._venue.access, request.params
        if connection.is_logged_on and "signature" not in params:
            return access.check_time(params, self._venue.now_ms)
        if request.method == "session.logon" and not access.is_ed25519:
            return BAD_KEY  # Ed25519 alone may log on
        return access.check_call(params, self._venue.now_ms)

    async def _session(self, connection: _Connection, request: _Request) -> None:
        result: dict[str, Any]
        if request.method == "session.logon":
            connection.is_logged_on = True
            result = {"authorizedSince": self._venue.now_ms, "connectedSince": self._venue.now_ms}
        elif (
            request.method == "userDataStream.subscribe.signature"
            and self._venue.account.market == "spot"
        ):
            self._venue.listeners.append(connection)
            result = {"subscriptionId": 0}
        else:
            await connection.say(refused(request.id, (400, -1020, "Unknown method.")))
            return
        said = {"id": request.id, "status": 200, "result": result}
        await connection.say(msgspec.json.encode(said).decode())


def socket_routes(venue: Venue) -> tuple[list[web.RouteDef], str]:
    """The routes, and the listen key of USD-M's stream."""
    sockets = _Sockets(venue)
    if venue.account.market == "spot":
        return [web.get("/ws-api/v3", sockets.api)], ""
    routes = [web.get("/ws-fapi/v1", sockets.api), web.get("/private/ws/{key}", sockets.stream)]
    return routes, sockets.listen_key
