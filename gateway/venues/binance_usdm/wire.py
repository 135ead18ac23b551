"""Binance USD-M futures: URLs, and which stream lives on which path. Quirks: README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.venue import RestRequest, Wire
from gateway.venues.binance import BinanceWire, StreamKind
from gateway.venues.binance_usdm.limits import EXCHANGE_INFO_WEIGHT, LIMITS


def instrument_requests(symbols: Sequence[str]) -> tuple[RestRequest, ...]:
    """The whole list in one reply: fapi has no filter by symbol."""
    return (RestRequest("/fapi/v1/exchangeInfo", EXCHANGE_INFO_WEIGHT),) if symbols else ()


WIRE: Final[Wire] = BinanceWire(
    venue="binance-usdm",
    ws_url="wss://fstream.binance.com",
    rest_url="https://fapi.binance.com",
    # Since 2026-04-23 a stream asked for on the wrong path is not delivered, without an error.
    endpoints={"public": "/public/stream", "market": "/market/stream"},
    kinds=(
        StreamKind("trade", ("trade",), "public"),
        StreamKind("aggTrade", ("aggtrade",), "market"),
        StreamKind("bookTicker", ("quote",), "public"),
        StreamKind("markPrice@1s", ("mark", "index", "funding"), "market"),
        StreamKind("forceOrder", ("liquidation",), "market"),
    ),
    depth_suffixes={0: "depth@0ms", 100: "depth@100ms", 250: "depth", 500: "depth@500ms"},
    depth_interval_ms=100,
    depth_endpoint="public",
    streams_per_message_max=LIMITS.streams_per_message_max,
    instrument_requests_of=instrument_requests,
    listing=RestRequest("/fapi/v1/exchangeInfo", EXCHANGE_INFO_WEIGHT),
    tickers=RestRequest("/fapi/v1/ticker/24hr", 40),
    rest_channels=("open_interest",),
)
