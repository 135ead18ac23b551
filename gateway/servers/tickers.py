"""Binance's 24-hour tickers of a simulated market: an invented day, the same for the same orders.

Pure. Nobody has simulated a day: a symbol was as active as its place says (Zipf's law, as for its
messages), times every surge that was ordered. It changes no message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from gateway.servers.config import Market

# Of the busiest symbol.
TRADES_MAX: Final = 4_000_000
TRADE_SIZE: Final = Decimal("0.25")
SWING: Final = Decimal("0.02")  # from the low to the high of the symbol that moved most


class Tickers:
    """Args: `price`: the last price of a symbol."""

    def __init__(
        self, market: Market, symbols: Sequence[str], price: Callable[[str], Decimal]
    ) -> None:
        self._market = market
        self._price = price
        self._activity = {symbol: 1.0 / place for place, symbol in enumerate(symbols, start=1)}

    def surge(self, symbol: str, times: int) -> None:
        """The last day of `symbol` was `times` as busy. Raises KeyError."""
        self._activity[symbol] *= times

    def reply(self) -> bytes:
        """The REST reply `ticker/24hr` of all symbols."""
        return msgspec.json.encode([self._ticker(symbol) for symbol in self._activity])

    def _ticker(self, symbol: str) -> dict[str, object]:
        activity, last = self._activity[symbol], self._price(symbol)
        trades = round(TRADES_MAX * activity)
        half = last * SWING * Decimal(min(1.0, activity)) / 2
        volume = trades * TRADE_SIZE
        ticker: dict[str, object] = {
            "symbol": symbol,
            "lastPrice": f"{last:f}",
            "highPrice": f"{last + half:f}",
            "lowPrice": f"{last - half:f}",
            "volume": f"{volume:f}",
            "count": trades,
        }
        if self._market == "coinm":  # contracts, and coins
            ticker |= {"volume": str(trades), "baseVolume": f"{volume:f}"}
        else:
            ticker["quoteVolume"] = f"{volume * last:f}"
        return ticker
