"""The instruments that this daemon has heard of, by number and by name, for whoever trades.

It keeps definitions and reads no market data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import msgspec

from risk.brokers.port import Traded

__all__ = ["Instruments"]


class _Definition(msgspec.Struct, frozen=True):
    venue: str
    symbol: str
    price_scale: int
    size_scale: int
    multiplier: str = "1"


@final
class Instruments:
    """Definitions in the order in which they came: the newest of a symbol counts."""

    def __init__(self) -> None:
        self._names: Final[dict[int, tuple[str, str]]] = {}
        self._numbers: Final[dict[tuple[str, str], list[int]]] = {}
        self._traded: Final[dict[tuple[str, str], Traded]] = {}
        self._on_new: Callable[[int, str, str], None] = lambda _number, _venue, _symbol: None

    def on_new(self, callback: Callable[[int, str, str], None]) -> None:
        """Call `callback(number, venue, symbol)` for each new definition."""
        self._on_new = callback

    def define(self, number: int, definition: bytes) -> None:
        """Take a definition (JSON)."""
        told = msgspec.json.decode(definition, type=_Definition)
        name = (told.venue, told.symbol)
        if number not in self._names:
            self._names[number] = name
            self._numbers.setdefault(name, []).append(number)
            self._on_new(number, *name)
        self._traded[name] = Traded(
            number, told.symbol, told.price_scale, told.size_scale, told.multiplier
        )

    def traded(self, venue: str, symbol: str) -> Traded | None:
        """The newest definition of a venue's symbol."""
        return self._traded.get((venue, symbol))

    def numbers(self, venue: str, symbol: str) -> list[int]:
        """Every number that a symbol has had."""
        return self._numbers.get((venue, symbol), [])

    def label(self, number: int) -> str:
        """`venue:symbol`."""
        return ":".join(self._names.get(number, ("", str(number))))
