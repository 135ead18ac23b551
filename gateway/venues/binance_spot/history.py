"""Binance spot: past trades by id. Sources: README.md, section History."""

from __future__ import annotations

from typing import Final

from gateway.venue import History
from gateway.venues.binance import BinanceHistory, HistoryPath

HISTORY: Final[History] = BinanceHistory(
    paths={
        "trade": HistoryPath("/api/v3/historicalTrades", 25, 1000),
        "aggtrade": HistoryPath("/api/v3/aggTrades", 4, 1000),
    },
    keeps_seconds=None,
)
