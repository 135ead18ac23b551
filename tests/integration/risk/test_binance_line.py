"""One WebSocket of the Binance broker against servers of the tests' own: pieces, ends, refusals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from risk.brokers.binance.config import BinanceConfig
from risk.brokers.binance.errors import RefusedError, UnclearError
from risk.brokers.binance.line import MESSAGE_BYTES_MAX, Line
from risk.errors import NotSentError

SECRET_PATH = "/private/ws/listenKeyListenKey"


def config(**settings: Any) -> BinanceConfig:
    given = {
        "name": "a",
        "market": "usdm",
        "symbols": ("BTCUSDT",),
        "api_key_file": "-",
        "secret_key_file": "-",
        "connect_timeout_s": 2.0,
    }
    return BinanceConfig(**{**given, **settings})


class Ends:
    """What a line told."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.ends: list[str] = []
        self.line = Line("line", self.texts.append, self.ends.append)

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, self.ends
            await asyncio.sleep(0.002)


@asynccontextmanager
async def saying(say: Callable[[WSTransport], None], **server: Any) -> AsyncIterator[str]:
    """A server that says something to whoever says something."""

    class Peer(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.TEXT:
                say(transport)

    running = await ws_create_server(
        lambda _request: Peer(), "127.0.0.1", 0, logger_name="test_server", **server
    )
    try:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}{SECRET_PATH}"
    finally:
        running.close()


async def test_message_in_pieces_is_one_message() -> None:
    def say(transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"ab", fin=False)
        transport.send(WSMsgType.CONTINUATION, b"cd", fin=False)
        transport.send(WSMsgType.CONTINUATION, b"ef")
        transport.send(WSMsgType.TEXT, b"whole")

    told = Ends()
    async with saying(say) as url:
        await told.line.open(url, config(), None)
        told.line.send(b"go on")
        await told.until(lambda: len(told.texts) == 2)
        told.line.cut("enough")
    assert told.texts == [b"abcdef", b"whole"]
    assert told.ends == ["line: enough"]


async def test_message_without_an_end_ends_the_line() -> None:
    def say(transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"a", fin=False)
        for _ in range(4):
            transport.send(WSMsgType.CONTINUATION, b"x" * (MESSAGE_BYTES_MAX // 4), fin=False)

    told = Ends()
    async with saying(say) as url:
        await told.line.open(url, config(), None)
        told.line.send(b"go on")
        await told.until(lambda: bool(told.ends))
    assert told.ends == ["line: a message exceeds the limit"]
    assert not told.texts


async def test_close_of_the_venue_is_told_once_and_nothing_is_sent_after_it() -> None:
    def say(transport: WSTransport) -> None:
        transport.send_close(WSCloseCode.GOING_AWAY, b"maintenance\n")

    told = Ends()
    async with saying(say) as url:
        await told.line.open(url, config(), None)
        told.line.send(b"go on")
        await told.until(lambda: bool(told.ends))
        with pytest.raises(NotSentError):
            told.line.send(b"{}")
        told.line.cut("again")
    assert len(told.ends) == 1
    assert "venue closed" in told.ends[0]
    assert "maintenance\\n" in told.ends[0]


async def test_peer_that_answers_no_ping_is_given_up() -> None:
    """A connection that is dead without a word must not take orders for long."""
    told = Ends()
    async with saying(lambda _transport: None, enable_auto_pong=False) as url:
        await told.line.open(url, config(ping_idle_s=0.05, ping_reply_s=0.05), None)
        await told.until(lambda: bool(told.ends))


async def test_nothing_is_sent_before_the_line_is_open() -> None:
    with pytest.raises(NotSentError):
        Ends().line.send(b"{}")


@asynccontextmanager
async def declining(status: int, headers: dict[str, str]) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    application = web.Application()
    application.router.add_get(SECRET_PATH, answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}{SECRET_PATH}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [(429, {"Retry-After": "7"}, 7.0), (418, {}, 60.0), (429, {"Retry-After": "soon"}, 60.0)],
)
async def test_limited_upgrade_says_how_long_to_wait(
    status: int, headers: dict[str, str], wait_s: float
) -> None:
    async with declining(status, headers) as url:
        with pytest.raises(RefusedError) as caught:
            await Ends().line.open(url, config(), None)
    assert caught.value.retry_after_s == wait_s
    assert SECRET_PATH not in str(caught.value)


async def test_failures_to_connect_never_tell_the_address() -> None:
    async with declining(404, {}) as url:
        with pytest.raises(UnclearError, match="404") as declined:
            await Ends().line.open(url, config(), None)
    with pytest.raises(UnclearError) as refused:  # nobody listens there any more
        await Ends().line.open(url, config(), None)
    for caught in (declined, refused):
        assert "listenKey" not in str(caught.value)
        assert caught.value.__cause__ is None
