"""A raw log of the simulated market for benchmarks of what reads raw logs. It measures nothing."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path

from gateway.servers.text_frames import text_payloads
from tickd.native import Decoder, RawLog, SimMarket

VENUE = "binance-usdm"
CHANNELS = ("trade", "bookTicker", "depth@0ms")
STEP_NS = 1_000_000
# Between a message's event and its receipt, so that nothing seems to come from the future.
LATENCY_NS = 2_000_000


def record(directory: Path, *, messages: int, symbols: int, rate: float) -> int:
    """Record so many messages of a market that starts now; return the payload bytes."""
    market = SimMarket(1, symbols, rate, time.time_ns())
    log, decoder = RawLog(str(directory), node=1, pending_bytes_max=1 << 40), Decoder()
    log.restore_decoder(decoder)
    log.end_burst(decoder)
    for definition in definitions(market):
        log.record(0, "C", json.dumps(definition).encode())
    connection = log.next_connection()
    connect = {"kind": "connect", "connection": connection, "venue": VENUE, "url": "ws://sim"}
    log.record(connection, "C", json.dumps(connect | {"streams": []}).encode())
    for symbol in market.symbols():
        for channel in CHANNELS:
            market.subscribe(connection, f"{symbol.lower()}@{channel}")
    at_ns, size, snapshots = market.now_ns, 0, False
    while market.messages < messages:
        at_ns += STEP_NS
        market.advance(at_ns)
        for number, payload in enumerate(text_payloads(market.take(connection))):
            size += len(payload)
            log.frame_at(connection, payload, at_ns + LATENCY_NS + number * 100, at_ns)
        if not snapshots and market.messages > symbols * 50:
            snapshots = True
            for symbol in market.symbols():
                head = f"GET /fapi/v1/depth?symbol={symbol}&limit=1000 200\n".encode()
                log.record(connection, "R", head + (market.snapshot(symbol, 1000) or b""))
            # Replies are stamped with the machine's clock, so the market's must be behind it.
            at_ns = max(at_ns, time.time_ns())
        log.end_burst(decoder)
    log.close(60_000)
    return size


def definitions(market: SimMarket) -> list[dict[str, object]]:
    found = []
    for each in json.loads(market.exchange_info())["symbols"]:
        filters = {one["filterType"]: one for one in each["filters"]}
        tick = Decimal(filters["PRICE_FILTER"]["tickSize"]).normalize()
        lot = Decimal(filters["LOT_SIZE"]["stepSize"]).normalize()
        scales = [max(0, -int(value.as_tuple().exponent)) for value in (tick, lot)]
        found.append(
            {
                "kind": "instrument",
                "venue": VENUE,
                "symbol": each["symbol"],
                "asset_class": "perpetual",
                "price_scale": scales[0],
                "size_scale": scales[1],
                "tick": int(tick.scaleb(scales[0])),
                "lot": int(lot.scaleb(scales[1])),
                "multiplier": "1",
            }
        )
    return found
