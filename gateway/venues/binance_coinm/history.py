"""Binance COIN-M: past trades by id. Sources: README.md, section History."""

from __future__ import annotations

from typing import Final

from gateway.venue import History
from gateway.venues.binance import BinanceHistory, HistoryPath

HISTORY: Final[History] = BinanceHistory(
    paths={
        "trade": HistoryPath("/dapi/v1/historicalTrades", 20, 500, keyed=True),
        "aggtrade": HistoryPath("/dapi/v1/aggTrades", 20, 1000),
    },
    keeps_seconds=None,  # its page names no end
)
