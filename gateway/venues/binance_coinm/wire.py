"""Binance COIN-M futures: URLs and streams. Quirks: README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.venue import RestRequest, Wire
from gateway.venues.binance import BinanceWire, StreamKind
from gateway.venues.binance_coinm.limits import EXCHANGE_INFO_WEIGHT, LIMITS


def instrument_requests(symbols: Sequence[str]) -> tuple[RestRequest, ...]:
    """The whole list in one reply: dapi has no filter by symbol."""
    return (RestRequest("/dapi/v1/exchangeInfo", EXCHANGE_INFO_WEIGHT),) if symbols else ()


WIRE: Final[Wire] = BinanceWire(
    venue="binance-coinm",
    ws_url="wss://dstream.binance.com",
    rest_url="https://dapi.binance.com",
    # Not split like USD-M, as far as public clients show (tardis-node, 2026-08-22).
    endpoints={"stream": "/stream"},
    kinds=(
        StreamKind("trade", ("trade",), "stream"),
        StreamKind("aggTrade", ("aggtrade",), "stream"),
        StreamKind("bookTicker", ("quote",), "stream"),
        StreamKind("markPrice@1s", ("mark", "funding"), "stream"),
        StreamKind("indexPrice@1s", ("index",), "stream", of_pair=True),
        StreamKind("forceOrder", ("liquidation",), "stream"),
    ),
    depth_suffixes={0: "depth@0ms", 100: "depth@100ms", 250: "depth", 500: "depth@500ms"},
    depth_interval_ms=100,
    depth_endpoint="stream",
    streams_per_message_max=LIMITS.streams_per_message_max,
    instrument_requests_of=instrument_requests,
    listing=RestRequest("/dapi/v1/exchangeInfo", EXCHANGE_INFO_WEIGHT),
    tickers=RestRequest("/dapi/v1/ticker/24hr", 40),
    rest_channels=("open_interest",),
)
