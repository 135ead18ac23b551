"""Simulated market and decoder agree: nothing refused, no gap, every book joins its snapshot."""

from __future__ import annotations

import msgspec
import pytest

from gateway.servers.text_frames import text_payloads
from tickd.native import Decoder, SimMarket

START_NS = 1_700_000_000_000_000_000
CHANNELS = ("trade", "bookTicker", "depth@100ms", "aggTrade")
FUTURES_CHANNELS = (*CHANNELS, "markPrice@1s", "forceOrder")
PREFIXES = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}


class Records:
    """Concatenated records of one connection, as the raw log would hold them."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._frame_no = 0

    def add(self, kind: str, at_ns: int, payload: bytes) -> None:
        self._frame_no += 1
        head = f"{self._frame_no} {at_ns} {at_ns} 1 {kind} {len(payload)} "
        self.content += head.encode() + payload + b"\n"


def mantissa_and_scale(text: str) -> tuple[int, int]:
    return int(text.replace(".", "")), len(text.partition(".")[2])


def describe(market: SimMarket, venue: str, records: Records) -> None:
    for entry in msgspec.json.decode(market.exchange_info())["symbols"]:
        filters = {item["filterType"]: item for item in entry["filters"]}
        tick, price_scale = mantissa_and_scale(filters["PRICE_FILTER"]["tickSize"])
        lot, size_scale = mantissa_and_scale(filters["LOT_SIZE"]["stepSize"])
        instrument = {
            "kind": "instrument",
            "venue": venue,
            "symbol": entry["symbol"],
            "asset_class": "perpetual",
            "price_scale": price_scale,
            "size_scale": size_scale,
            "tick": tick,
            "lot": lot,
            "multiplier": "1",
        }
        records.add("C", START_NS, msgspec.json.encode(instrument))


@pytest.mark.parametrize("name", ["spot", "usdm", "coinm"])
def test_a_simulated_market_decodes_without_a_flaw(name: str) -> None:
    market = SimMarket(11, 3, 20_000.0, START_NS, market=name)  # type: ignore[arg-type]
    channels = FUTURES_CHANNELS if name != "spot" else CHANNELS
    streams = [f"{symbol.lower()}@{channel}" for symbol in market.symbols() for channel in channels]
    records = Records()
    describe(market, f"binance-{name}", records)
    connect = {
        "kind": "connect",
        "connection": 1,
        "venue": f"binance-{name}",
        "url": "ws://127.0.0.1/stream",
        "streams": streams,
    }
    records.add("C", START_NS, msgspec.json.encode(connect))
    assert all(market.subscribe(1, stream) for stream in streams)
    frames = 0
    for step in range(1, 1_001):
        market.advance(START_NS + step * 2_000_000)
        for payload in text_payloads(market.take(1)):
            records.add("W", market.now_ns, payload)
            frames += 1
        if step == 150:
            for symbol in market.symbols():
                body = market.snapshot(symbol, 1_000)
                assert body is not None
                line = f"GET {PREFIXES[name]}/depth?symbol={symbol}&limit=1000 200\n"
                records.add("R", market.now_ns, line.encode() + body)
    decoder = Decoder()
    batch = decoder.decode(bytes(records.content))
    counters = decoder.counters()
    assert decoder.take_refusals() == []
    assert counters.get("gaps", 0) == 0
    assert counters["resyncs"] == 3  # the first synchronisation of each book
    assert len(batch) > frames == market.messages
