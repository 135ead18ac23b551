"""Servers and a plain client (aiohttp, not the library under test) for the tests of this folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp

from gateway.servers.config import ReplayServerConfig, SimServerConfig
from gateway.servers.process import Addresses
from gateway.servers.replay import serve_replay
from gateway.servers.sim import serve_sim
from tickd.clock import SystemClock

RECEIVE_TIMEOUT_S = 5.0


class Venue:
    """A running server and a session to talk to it."""

    def __init__(self, addresses: Addresses, session: aiohttp.ClientSession) -> None:
        self.addresses = addresses
        self.session = session

    def connect(
        self, path: str, venue: str = "binance-usdm", **options: Any
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        return self.session.ws_connect(self.addresses.ws[venue] + path, **options)

    async def get(self, path: str, venue: str = "binance-usdm") -> tuple[int, Any]:
        async with self.session.get(self.addresses.rest[venue] + path) as reply:
            return reply.status, await reply.json()

    async def post(self, path: str, body: object, venue: str = "binance-usdm") -> tuple[int, Any]:
        async with self.session.post(self.addresses.rest[venue] + path, json=body) as reply:
            return reply.status, await reply.json()


@contextlib.asynccontextmanager
async def _serve(
    run: Callable[[Callable[[Addresses], None]], Awaitable[None]],
) -> AsyncIterator[Venue]:
    started: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        await run(started.set_result)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(serve(), name="served")
        try:
            async with asyncio.timeout(10.0), aiohttp.ClientSession() as session:
                yield Venue(await started, session)
        finally:
            task.cancel()


def simulated(config: SimServerConfig) -> contextlib.AbstractAsyncContextManager[Venue]:
    return _serve(lambda on_start: serve_sim(config, SystemClock(), on_start))


def replayed(config: ReplayServerConfig) -> contextlib.AbstractAsyncContextManager[Venue]:
    return _serve(lambda on_start: serve_replay(config, SystemClock(), on_start))


async def receive(ws: aiohttp.ClientWebSocketResponse) -> Any:
    return await ws.receive_json(timeout=RECEIVE_TIMEOUT_S)


async def ask(ws: aiohttp.ClientWebSocketResponse, request: object) -> Any:
    """The answer to a request; market data in between is skipped."""
    await ws.send_json(request)
    while True:
        message = await receive(ws)
        if "result" in message or "error" in message:
            return message


async def closing_code(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    """Read to the end: the code of the close frame."""
    async with asyncio.timeout(RECEIVE_TIMEOUT_S):
        while not ws.closed:
            message = await ws.receive()
            if message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
                break
    return ws.close_code
