"""Binance spot: URLs and streams. Quirks: README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from gateway.venue import RestRequest, Wire
from gateway.venues.binance import BinanceWire, StreamKind
from gateway.venues.binance_spot.limits import EXCHANGE_INFO_WEIGHT, LIMITS

# Keeps the URL below 1 kB and the reply below the size worth recording (256 KiB); the whole list
# is above 10 MB.
SYMBOLS_PER_REQUEST: Final = 20


def instrument_requests(symbols: Sequence[str]) -> tuple[RestRequest, ...]:
    """ExchangeInfo of exactly `symbols`, in chunks."""
    chunks = [
        symbols[start : start + SYMBOLS_PER_REQUEST]
        for start in range(0, len(symbols), SYMBOLS_PER_REQUEST)
    ]
    return tuple(
        RestRequest(
            "/api/v3/exchangeInfo?symbols="
            + quote("[" + ",".join(f'"{symbol}"' for symbol in chunk) + "]", safe=""),
            EXCHANGE_INFO_WEIGHT,
        )
        for chunk in chunks
    )


WIRE: Final[Wire] = BinanceWire(
    venue="binance-spot",
    ws_url="wss://stream.binance.com:9443",
    rest_url="https://api.binance.com",
    endpoints={"stream": "/stream"},
    kinds=(
        StreamKind("trade", ("trade",), "stream"),
        StreamKind("aggTrade", ("aggtrade",), "stream"),
        StreamKind("bookTicker", ("quote",), "stream"),
    ),
    depth_suffixes={100: "depth@100ms", 1000: "depth"},
    depth_interval_ms=100,
    depth_endpoint="stream",
    streams_per_message_max=LIMITS.streams_per_message_max,
    instrument_requests_of=instrument_requests,
    listing=RestRequest("/api/v3/exchangeInfo", EXCHANGE_INFO_WEIGHT),
    # Clients document 40; the higher number is safe, and the reply says what it was.
    tickers=RestRequest("/api/v3/ticker/24hr", 80),
)
