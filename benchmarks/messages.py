"""Real USD-M messages for the benchmarks, from the capture; from the simulated market without one.

Depth messages that are picked by size are no chain any more: their ids (U, u, pu) are written anew
so that both sides see an unbroken book. Trades are also given as aggTrade, the only trade message
that cryptofeed reads: same fields, one fill each. Nothing else is changed. It measures nothing.
"""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import harness

from gateway.servers.text_frames import text_payloads
from tickd.native import SimMarket

CAPTURE = "wire/binance/usdm_btcusdt_20240808.gz"
INSTRUMENT = (
    b'{"kind":"instrument","venue":"binance-usdm","symbol":"BTCUSDT","asset_class":"perpetual",'
    b'"price_scale":2,"size_scale":3,"tick":10,"lot":1,"multiplier":"1"}'
)
CONNECT = b'{"kind":"connect","connection":7,"venue":"binance-usdm"}'
SNAPSHOT_REQUEST = b"GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000 200\n"
MESSAGES_PER_SHAPE = 12_800
SIM_MESSAGES = 120_000


class Shape(NamedTuple):
    """Messages of one kind."""

    name: str
    messages: list[bytes]
    levels: int  # in all of them


class Wire(NamedTuple):
    """What the benchmarks play: a book to begin with and messages in order."""

    origin: str
    snapshot: bytes
    lines: list[bytes]  # every message as received


def load() -> Wire:
    path = Path(harness.captures()) / CAPTURE
    if not path.exists():
        return simulated()
    with gzip.open(path, "rb") as stream:
        lines = [line.rstrip(b"\n").partition(b" ")[2] for line in stream]
    snapshot = next(line for line in lines if b'"stream"' not in line[:12])
    return Wire(f"capture {path.name}", snapshot, [line for line in lines if line != snapshot])


def simulated() -> Wire:
    market = SimMarket(1, ["BTCUSDT"], 10_000.0, 1_723_161_255_000_000_000, depth_levels=28.0)
    for channel in ("trade", "bookTicker", "depth@0ms"):
        market.subscribe(1, f"btcusdt@{channel}")
    snapshot = market.snapshot("BTCUSDT", 1000)
    assert snapshot is not None
    market.advance(market.now_ns + int(SIM_MESSAGES / 10_000 * 1e9))
    return Wire("simulated market, seed 1", snapshot, list(text_payloads(market.take(1))))


def shapes(wire: Wire) -> list[Shape]:
    trades = [line for line in wire.lines if b"@trade" in line[:32]]
    quotes = [line for line in wire.lines if b"@bookTicker" in line[:32]]
    depth = [json.loads(line) for line in wire.lines if b"@depth" in line[:32]]
    last = json.loads(wire.snapshot)["lastUpdateId"]
    some = [message for message in depth if 6 <= levels_of(message) <= 10]
    deep = [message for message in depth if levels_of(message) >= 100]
    count = MESSAGES_PER_SHAPE
    return [
        Shape("trade", trades[:count], 0),
        Shape("aggTrade", [aggregated(line) for line in trades[:count]], 0),
        Shape("bookTicker", quotes[:count], 0),
        chain("depth of 8 levels", some, last, count),
        chain("depth as captured", depth, last, count // 4),
        chain("depth of 100 and more levels", deep, last, count // 16),
    ]


def levels_of(message: dict[str, Any]) -> int:
    return len(message["data"]["b"]) + len(message["data"]["a"])


def aggregated(line: bytes) -> bytes:
    message = json.loads(line)
    data = message["data"]
    message["stream"] = message["stream"].replace("@trade", "@aggTrade")
    message["data"] = {
        "e": "aggTrade",
        "E": data["E"],
        "a": data["t"],
        "s": data["s"],
        "p": data["p"],
        "q": data["q"],
        "f": data["t"],
        "l": data["t"],
        "T": data["T"],
        "m": data["m"],
    }
    return json.dumps(message, separators=(",", ":")).encode()


def chain(name: str, messages: list[dict[str, Any]], last: int, count: int) -> Shape:
    """`count` messages, repeated as needed, as one unbroken chain after a snapshot at `last`."""
    lines, levels = [], 0
    for message in itertools.islice(itertools.cycle(messages), count):
        data = {**message["data"], "U": last + 1 if lines else last, "u": last + 50, "pu": last}
        last += 50
        levels += levels_of(message)
        whole = {**message, "data": data}
        lines.append(json.dumps(whole, separators=(",", ":")).encode())
    return Shape(name, lines, levels)


def record(number: int, payload: bytes, *, kind: bytes = b"W", connection: int = 7) -> bytes:
    stamps = b"1723161255030314667 8112345678901"
    return b"%d %b %d %b %d %b\n" % (number, stamps, connection, kind, len(payload), payload)


def preamble(wire: Wire) -> tuple[bytes, bytes]:
    """Records that a decoder needs first: instrument and connection; the book."""
    return (
        record(1, INSTRUMENT, kind=b"C") + record(2, CONNECT, kind=b"C"),
        record(3, SNAPSHOT_REQUEST + wire.snapshot, kind=b"R"),
    )


def bursts(messages: list[bytes], size: int, *, first: int = 16) -> list[bytes]:
    """Records of the messages, `size` to a burst."""
    records = [record(number, payload) for number, payload in enumerate(messages, first)]
    return [b"".join(records[at : at + size]) for at in range(0, len(records), size)]
