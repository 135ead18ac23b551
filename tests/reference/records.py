"""Raw-log records for tests: written by hand, and made from the recorded captures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Capture:
    venue: str
    file: str
    symbol: str
    price_scale: int
    size_scale: int
    depth_path: str


# Scales as the captures need them. Spot sizes have 8 decimals: the recorded book holds dust that is
# finer than the lot of 5 decimals.
CAPTURES = {
    "binance-usdm": Capture(
        "binance-usdm", "usdm_btcusdt_20240808.gz", "BTCUSDT", 2, 3, "/fapi/v1/depth"
    ),
    "binance-spot": Capture(
        "binance-spot", "spot_btcusdt_20240808.gz", "BTCUSDT", 2, 8, "/api/v3/depth"
    ),
    "binance-coinm": Capture(
        "binance-coinm", "cm_btcusd_perp_20240808.gz", "BTCUSD_PERP", 1, 0, "/dapi/v1/depth"
    ),
}


def record(
    number: int, payload: bytes, *, kind: bytes = b"W", connection: int = 7, recv_ns: int = START_NS
) -> bytes:
    header = b"%d %d %d %d %s %d " % (number, recv_ns, number, connection, kind, len(payload))
    return header + payload + b"\n"


def control(number: int, fields: dict[str, object], *, recv_ns: int = START_NS) -> bytes:
    return record(number, json.dumps(fields).encode(), kind=b"C", connection=0, recv_ns=recv_ns)


def instrument(number: int, venue: str, symbol: str, *, price_scale: int, size_scale: int) -> bytes:
    return control(
        number,
        {
            "kind": "instrument",
            "venue": venue,
            "symbol": symbol,
            "asset_class": "perpetual",
            "price_scale": price_scale,
            "size_scale": size_scale,
            "tick": 1,
            "lot": 1,
            "multiplier": "1",
        },
    )


def connect(number: int, venue: str, connection: int = 7) -> bytes:
    fields = {"kind": "connect", "connection": connection, "venue": venue, "url": "", "streams": []}
    return control(number, fields)


def capture_records(folder: Path, capture: Capture) -> Iterator[bytes]:
    """The records of a capture: its instrument, one connection, then a record per line."""
    yield instrument(
        1,
        capture.venue,
        capture.symbol,
        price_scale=capture.price_scale,
        size_scale=capture.size_scale,
    )
    yield connect(2, capture.venue)
    request = f"GET {capture.depth_path}?symbol={capture.symbol}&limit=1000 200\n".encode()
    with gzip.open(folder / "wire" / "binance" / capture.file) as lines:
        for number, line in enumerate(lines, start=3):
            stamp, payload = line.rstrip(b"\n").split(b" ", 1)
            rest = not payload.startswith(b'{"stream"')
            yield record(
                number,
                request + payload if rest else payload,
                kind=b"R" if rest else b"W",
                recv_ns=int(stamp),
            )
