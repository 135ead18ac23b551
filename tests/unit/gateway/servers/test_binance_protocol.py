"""The server side of Binance's WebSocket protocol, seen by a plain aiohttp client."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from gateway.servers.config import ProtocolConfig, SimServerConfig
from tests.unit.gateway.servers.kit import ask, closing_code, receive, simulated


def quiet(**options: object) -> SimServerConfig:
    """A venue that hardly speaks: what is tested here is the protocol."""
    return SimServerConfig(symbols=2, rate=1.0, protocol=ProtocolConfig(**options))  # type: ignore[arg-type]


def busy(**options: object) -> SimServerConfig:
    return SimServerConfig(symbols=2, rate=2_000.0, protocol=ProtocolConfig(**options))  # type: ignore[arg-type]


async def test_subscribe_list_and_unsubscribe_are_acknowledged() -> None:
    async with simulated(quiet()) as venue, venue.connect("/public/stream") as ws:
        streams = ["btcusdt@trade", "ethusdt@depth@100ms"]
        answer = await ask(ws, {"method": "SUBSCRIBE", "params": streams, "id": 7})
        assert answer == {"result": None, "id": 7}
        assert await ask(ws, {"method": "LIST_SUBSCRIPTIONS", "id": "x"}) == {
            "result": streams,
            "id": "x",
        }
        await ask(ws, {"method": "UNSUBSCRIBE", "params": streams[:1], "id": 8})
        answer = await ask(ws, {"method": "LIST_SUBSCRIPTIONS", "id": 9})
        assert answer["result"] == streams[1:]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"method": "SUBSCRIBE", "params": ["nosuch@trade"], "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": ["btcusdt"], "id": 1}, 2),
        ({"method": "JUMP", "params": [], "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": [1], "id": 1}, 2),
        ([], 2),
    ],
)
async def test_a_bad_request_is_refused_with_the_venues_code(request_: object, code: int) -> None:
    async with simulated(quiet()) as venue, venue.connect("/public/ws") as ws:
        assert (await ask(ws, request_))["error"]["code"] == code
        # The connection lives on.
        good = {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 2}
        assert await ask(ws, good) == {"result": None, "id": 2}


async def test_text_that_is_not_json_is_refused() -> None:
    async with simulated(quiet()) as venue, venue.connect("/public/ws") as ws:
        await ws.send_str("{nonsense")
        assert (await receive(ws))["error"]["code"] == 3


async def test_combined_wraps_and_bare_does_not() -> None:
    async with (
        simulated(busy()) as venue,
        venue.connect("/public/stream?streams=btcusdt@bookTicker") as combined,
        venue.connect("/public/ws/btcusdt@bookTicker") as bare,
    ):
        wrapped, plain = await receive(combined), await receive(bare)
        assert wrapped["stream"] == "btcusdt@bookTicker"
        assert wrapped["data"]["e"] == plain["e"] == "bookTicker"


@pytest.mark.parametrize(
    ("path", "events"),
    [
        ("/public/stream", {"trade"}),
        ("/market/stream", {"aggTrade"}),
        ("/stream", {"trade"}),  # switched off in 2026: delivers what /public does
    ],
)
async def test_mixed_classes_are_acknowledged_and_half_of_them_silent(
    path: str, events: set[str]
) -> None:
    async with simulated(busy()) as venue, venue.connect(path) as ws:
        streams = ["btcusdt@trade", "btcusdt@aggTrade"]
        answer = await ask(ws, {"method": "SUBSCRIBE", "params": streams, "id": 1})
        assert answer["result"] is None
        assert (await ask(ws, {"method": "LIST_SUBSCRIPTIONS", "id": 2}))["result"] == streams
        seen = {(await receive(ws))["data"]["e"] for _ in range(50)}
        assert seen == events


async def test_spot_has_no_classes() -> None:
    config = SimServerConfig(markets=("spot",), symbols=1, rate=2_000.0)
    path = "/stream?streams=btcusdt@trade/btcusdt@aggTrade/btcusdt@bookTicker"
    async with simulated(config) as venue, venue.connect(path, "binance-spot") as ws:
        streams = {(await receive(ws))["stream"] for _ in range(100)}
        assert len(streams) == 3


async def test_an_unknown_path_is_not_found() -> None:
    async with simulated(quiet()) as venue:
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with venue.connect("/private/stream"):
                pass
        assert error.value.status == 404


async def test_server_pings_and_an_answer_keeps_the_connection() -> None:
    config = quiet(ping_interval_s=0.05, pong_timeout_s=0.1)
    async with simulated(config) as venue, venue.connect("/public/ws", autoping=False) as ws:
        for _ in range(4):
            message = await ws.receive(timeout=5)
            assert message.type == aiohttp.WSMsgType.PING
            await ws.pong(message.data)


@pytest.mark.parametrize("payload", [None, b"something else"])
async def test_a_missing_or_wrong_pong_ends_the_connection(payload: bytes | None) -> None:
    config = quiet(ping_interval_s=0.05, pong_timeout_s=0.1)
    async with simulated(config) as venue, venue.connect("/public/ws", autoping=False) as ws:
        message = await ws.receive(timeout=5)
        assert message.type == aiohttp.WSMsgType.PING
        if payload is not None:
            await ws.pong(payload)
        assert await closing_code(ws) == 1008


async def test_a_client_ping_is_answered_with_its_payload() -> None:
    async with simulated(quiet()) as venue, venue.connect("/public/ws", autoping=False) as ws:
        await ws.ping(b"hello")
        message = await ws.receive(timeout=5)
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"hello")


@pytest.mark.parametrize("with_pings", [False, True])
async def test_too_many_messages_end_the_connection_with_1008(with_pings: bool) -> None:
    async with simulated(quiet()) as venue, venue.connect("/public/ws") as ws:
        for number in range(11):
            if with_pings and number % 2:
                await ws.ping()
            else:
                await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        assert await closing_code(ws) == 1008


async def test_ten_messages_in_a_second_are_allowed() -> None:
    async with simulated(quiet()) as venue, venue.connect("/public/ws") as ws:
        for number in range(10):
            answer = await ask(ws, {"method": "LIST_SUBSCRIPTIONS", "id": number})
            assert answer["id"] == number


async def test_an_old_connection_is_ended() -> None:
    async with simulated(quiet(lifetime_s=0.1)) as venue, venue.connect("/public/ws") as ws:
        assert await closing_code(ws) == 1001


async def test_shutdown_is_announced_to_everybody() -> None:
    async with (
        simulated(quiet()) as venue,
        venue.connect("/public/stream") as combined,
        venue.connect("/public/ws") as bare,
    ):
        await venue.post("/_fault", {"kind": "shutdown"})
        wrapped, plain = await receive(combined), await receive(bare)
        assert wrapped["stream"] == "!serverShutdown"
        assert wrapped["data"]["e"] == plain["e"] == "serverShutdown"


async def test_a_client_that_does_not_read_is_closed_when_so_ordered() -> None:
    config = SimServerConfig(
        symbols=5,
        rate=400_000.0,
        protocol=ProtocolConfig(slow="close", slow_bytes_max=65_536),
    )
    streams = "/".join(f"{s}usdt@bookTicker" for s in ("btc", "eth", "sol", "xrp", "doge"))
    async with simulated(config) as venue:
        url = venue.addresses.ws["binance-usdm"].removeprefix("ws://")
        host, port = url.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        try:
            writer.write(
                f"GET /public/stream?streams={streams} HTTP/1.1\r\nHost: {url}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            await reader.readuntil(b"\r\n\r\n")
            stats: dict[str, object] = {}
            while stats.get("slow_closed") != {"usdm": 1} or stats["connections"]:
                stats = (await venue.get("/_stats"))[1]
        finally:
            writer.transport.abort()
