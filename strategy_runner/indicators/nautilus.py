"""An indicator with the methods that NautilusTrader's indicators have, without importing it.

Ticks are read by their attributes. Its one job is the translation of names and numbers; Nautilus
registers subclasses of its own class only, so a strategy calls it from `on_quote_tick` and
`on_trade_tick`.
"""

from __future__ import annotations

import inspect
import math
from typing import Protocol, SupportsFloat, SupportsInt

_AGGRESSORS = {1: 1.0, 2: -1.0}  # nautilus_trader.model.enums.AggressorSide: BUYER, SELLER


class Wrapped(Protocol):
    """What the adapter needs of an indicator."""

    @property
    def value(self) -> float: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def count(self) -> int: ...
    def update(self, *arguments: float) -> object: ...
    def reset(self) -> None: ...


class QuoteTick(Protocol):
    """Nautilus' quote: its prices and sizes become floats."""

    bid_price: SupportsFloat
    ask_price: SupportsFloat
    bid_size: SupportsFloat
    ask_size: SupportsFloat
    ts_event: int


class TradeTick(Protocol):
    """Nautilus' trade."""

    price: SupportsFloat
    size: SupportsFloat
    aggressor_side: SupportsInt
    ts_event: int


class NautilusIndicator:
    """Feeds an indicator of quotes, trades, prices, or trades with their quote.

    Indicators of prices take trades and, when they see none, nothing; books are not supported.
    """

    def __init__(self, indicator: Wrapped) -> None:
        self.indicator = indicator
        self._takes = tuple(inspect.signature(indicator.update).parameters)
        self._on_quotes = self._takes[0] == "bid_price"
        if "flat_levels" in self._takes:
            raise TypeError(f"{type(indicator).__name__} takes books, which ticks do not have")
        self._bid = self._ask = math.nan

    @property
    def name(self) -> str:
        return type(self.indicator).__name__

    @property
    def value(self) -> float:
        return self.indicator.value

    @property
    def count(self) -> int:
        return self.indicator.count

    @property
    def has_inputs(self) -> bool:
        return self.indicator.count > 0

    @property
    def initialized(self) -> bool:
        return self.indicator.is_ready

    def handle_quote_tick(self, tick: QuoteTick) -> None:
        self._bid, self._ask = float(tick.bid_price), float(tick.ask_price)
        if self._on_quotes:
            sizes = float(tick.bid_size), float(tick.ask_size)
            self.indicator.update(self._bid, sizes[0], self._ask, sizes[1], tick.ts_event)

    def handle_trade_tick(self, tick: TradeTick) -> None:
        if self._on_quotes:
            return
        known: dict[str, float] = {
            "price": float(tick.price),
            "size": float(tick.size),
            "side": _AGGRESSORS.get(int(tick.aggressor_side), 0.0),
            "bid_price": self._bid,
            "ask_price": self._ask,
            "ts_ns": tick.ts_event,
            "mark": 1.0,
        }
        self.indicator.update(*(known[name] for name in self._takes))

    def reset(self) -> None:
        self._bid = self._ask = math.nan
        self.indicator.reset()
