"""The simulated venue as a server: data, snapshots, faults on order, the sent-log."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from gateway.servers.config import ProtocolConfig, SimServerConfig
from gateway.servers.fault_orders import FaultOrder, parse_order
from tests.unit.gateway.servers.kit import closing_code, receive, simulated
from tickd.errors import ConfigError
from tickd.native import SimMarket

STREAMS = "btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@0ms/ethusdt@trade"
START_NS = 1_700_000_000_000_000_000


async def test_ids_are_consecutive_and_chained_on_the_wire() -> None:
    config = SimServerConfig(symbols=2, rate=5_000.0, seed=3)
    last: dict[str, int] = {}
    async with simulated(config) as venue, venue.connect(f"/public/stream?streams={STREAMS}") as ws:
        for _ in range(2_000):
            message = await receive(ws)
            stream, data = message["stream"], message["data"]
            if data["e"] == "trade":
                assert data["t"] == last.get(stream, data["t"] - 1) + 1
                last[stream] = data["t"]
            elif data["e"] == "depthUpdate":
                assert data["pu"] == last.get(stream, data["pu"])
                last[stream] = data["u"]
    assert len(last) == 3


async def test_a_snapshot_overlaps_the_stream() -> None:
    config = SimServerConfig(symbols=1, rate=5_000.0)
    path = "/public/stream?streams=btcusdt@depth@0ms"
    async with simulated(config) as venue, venue.connect(path) as ws:
        diffs = [(await receive(ws))["data"] for _ in range(3)]
        _, book = await venue.get("/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        last_id = book["lastUpdateId"]
        while diffs[-1]["u"] <= last_id:
            diffs.append((await receive(ws))["data"])
        joining = next(diff for diff in diffs if diff["u"] >= last_id)
        assert joining["U"] <= last_id or joining["pu"] == last_id


async def test_the_market_stands_still_until_somebody_subscribes() -> None:
    async with simulated(SimServerConfig(symbols=1, rate=10_000.0)) as venue:
        _, stats = await venue.get("/_stats")
        assert (stats["running_s"], stats["messages"]) == (0.0, 0)
        _, first = await venue.get("/fapi/v1/depth?symbol=BTCUSDT&limit=5")
        _, second = await venue.get("/fapi/v1/depth?symbol=BTCUSDT&limit=5")
        assert first == second


async def test_a_gap_is_exactly_what_the_ledger_says() -> None:
    config = SimServerConfig(symbols=1, rate=5_000.0)
    async with (
        simulated(config) as venue,
        venue.connect("/public/stream?streams=btcusdt@trade") as ws,
    ):
        ids = [(await receive(ws))["data"]["t"] for _ in range(20)]
        order = {"kind": "gap", "symbol": "BTCUSDT", "count": 3}
        assert await venue.post("/_fault", order) == (200, {"ok": True})
        while len(ids) < 2 or ids[-1] == ids[-2] + 1:
            ids.append((await receive(ws))["data"]["t"])
        _, ledger = await venue.get("/_ledger")
        (entry,) = ledger["messages"]["usdm"]
        assert entry["done"]
        assert entry["ids"] == [[t, t] for t in range(ids[-2] + 1, ids[-1])]
        assert len(entry["ids"]) == 3


async def test_malformed_frames_arrive_malformed() -> None:
    config = SimServerConfig(
        symbols=1, rate=1_000.0, faults=("truncated@symbol=BTCUSDT,channel=bookTicker",)
    )
    path = "/public/stream?streams=btcusdt@bookTicker"
    async with simulated(config) as venue, venue.connect(path) as ws:
        with pytest.raises(ValueError, match=r"."):
            await receive(ws)
        assert (await receive(ws))["data"]["e"] == "bookTicker"


async def test_disconnect_and_stall_are_done_by_the_server() -> None:
    config = SimServerConfig(symbols=1, rate=1_000.0)
    path = "/public/stream?streams=btcusdt@bookTicker"
    async with simulated(config) as venue, venue.connect(path) as ws:
        await receive(ws)
        await venue.post("/_fault", {"kind": "stall", "argument": 60_000})
        _, stats = await venue.get("/_stats")
        written = stats["connections"][0]["bytes"]
        made = stats["connections"][0]["messages"]
        while stats["connections"][0]["messages"] < made + 20:
            _, stats = await venue.get("/_stats")
        assert stats["connections"][0]["bytes"] == written
        await venue.post("/_fault", {"kind": "disconnect", "client": 1})
        assert await closing_code(ws) in {1006, None}
        _, ledger = await venue.get("/_ledger")
        assert [entry["kind"] for entry in ledger["connections"]] == ["stall", "disconnect"]
        assert ledger["connections"][1]["connections"] == [1]


async def test_rest_can_be_down() -> None:
    config = SimServerConfig(symbols=1, rate=1_000.0)
    async with simulated(config) as venue:
        await venue.post("/_fault", {"kind": "rest_down", "argument": 60_000})
        status, answer = await venue.get("/fapi/v1/depth?symbol=BTCUSDT&limit=5")
        assert (status, answer["code"]) == (504, -1007)


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "gap", "symbol": "NOSUCH"},
        {"kind": "gap"},
        {"kind": "nosuch"},
        {"kind": "disconnect", "market": "spot"},
        {"kind": "surge", "symbol": "NOSUCH", "argument": 2},
        {"kind": "surge", "symbol": "BTCUSDT"},
        {"kind": "gap", "symbol": "BTCUSDT", "colour": "red"},
    ],
)
async def test_an_impossible_fault_is_refused(order: dict[str, Any]) -> None:
    async with simulated(SimServerConfig(symbols=1)) as venue:
        status, answer = await venue.post("/_fault", order)
        assert status == 400
        assert answer["error"]


async def test_the_sent_log_holds_every_message_in_order(tmp_path: Path) -> None:
    log = tmp_path / "sent.log"
    config = SimServerConfig(
        symbols=2,
        rate=5_000.0,
        seconds=0.4,
        exit_when_done=True,
        protocol=ProtocolConfig(sent_log=str(log)),
    )
    received: dict[int, list[str]] = defaultdict(list)
    async with (
        simulated(config) as venue,
        venue.connect(f"/public/stream?streams={STREAMS}") as first,
        venue.connect("/public/ws/ethusdt@trade") as second,
    ):
        for number, ws in ((1, first), (2, second)):
            async for message in ws:
                received[number].append(message.data)
    logged: dict[int, list[str]] = defaultdict(list)
    for line in log.read_text().splitlines():
        number_text, _, payload = line.split(" ", 2)
        logged[int(number_text)].append(payload)
    assert len(received[1]) > 100
    assert received == logged


def test_the_same_seed_gives_the_same_bytes() -> None:
    def play(seed: int, step_ns: int) -> bytes:
        market = SimMarket(seed, 3, 20_000.0, START_NS)
        for symbol in market.symbols():
            assert market.subscribe(1, f"{symbol.lower()}@trade")
            assert market.subscribe(1, f"{symbol.lower()}@depth@100ms")
        taken = b""
        while market.now_ns < START_NS + 500_000_000:
            market.advance(market.now_ns + step_ns)
            taken += market.take(1)
        return taken

    assert play(5, 1_000_000) == play(5, 10_000_000)
    assert play(5, 1_000_000) != play(6, 1_000_000)


def test_what_the_native_market_refuses() -> None:
    market = SimMarket(1, ["BTCUSDT"], 100.0, START_NS)
    assert not market.subscribe(1, "ethusdt@trade")
    assert market.snapshot("ETHUSDT", 5) is None
    assert (market.take(9), market.pending_bytes(9), market.delivered(9)) == (b"", 0, 0)
    with pytest.raises(ValueError, match="nosuch"):
        market.inject("nosuch", "btcusdt@trade")
    with pytest.raises(KeyError):
        market.inject("gap", "ethusdt@trade")
    with pytest.raises(ValueError, match="market"):
        SimMarket(1, 1, 1.0, START_NS, market="nosuch")  # type: ignore[arg-type]


def test_fault_orders_read_as_written() -> None:
    order = parse_order("gap@t=5,symbol=BTCUSDT,channel=depth@0ms,count=3")
    assert order == FaultOrder(kind="gap", t=5.0, symbol="BTCUSDT", channel="depth@0ms", count=3)
    assert order.stream == "btcusdt@depth@0ms"
    for bad in ("nosuch", "gap", "gap@symbol", "gap@symbol=A,count=0", "gap@symbol=A,x=1"):
        with pytest.raises(ConfigError):
            parse_order(bad)
