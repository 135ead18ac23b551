"""Binance USD-M: past trades by id. Sources: README.md, section History."""

from __future__ import annotations

from typing import Final

from gateway.venue import History
from gateway.venues.binance import BinanceHistory, HistoryPath

DAY_SECONDS: Final = 86_400.0

HISTORY: Final[History] = BinanceHistory(
    paths={
        # Trades of the order book only: ids of the insurance fund and of auto-deleveraging stay
        # missing. The key says who asks; nothing is signed.
        "trade": HistoryPath("/fapi/v1/historicalTrades", 20, 500, keyed=True),
        "aggtrade": HistoryPath("/fapi/v1/aggTrades", 20, 1000),
    },
    keeps_seconds=90 * DAY_SECONDS,  # "the last three months"
)
