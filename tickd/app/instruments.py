"""The instruments that this daemon has heard of, by number and by name, for whoever trades.

It keeps definitions, and knows which of them a symbol means now; it reads no market data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import msgspec

from risk.brokers.port import Traded

__all__ = ["Instruments"]

# How the record of a definition begins.
_RECORD: Final = b'{"kind":"instrument",'


class _Definition(msgspec.Struct, frozen=True):
    """All that makes a number: another tick or scale is another instrument."""

    venue: str
    symbol: str
    asset_class: str
    price_scale: int
    size_scale: int
    tick: int
    lot: int
    multiplier: str


@final
class Instruments:
    """Definitions in the order in which they came: the last that a venue told is what it means."""

    def __init__(self) -> None:
        self._numbers: Final[dict[tuple[str, str], list[int]]] = {}
        self._known: Final[dict[_Definition, int]] = {}
        self._traded: Final[dict[int, Traded]] = {}
        self._names: Final[dict[int, tuple[str, str]]] = {}
        self._lots: Final[dict[int, int]] = {}
        self._current: Final[dict[tuple[str, str], int]] = {}
        self._on_meaning: Callable[[str, str], None] = lambda _venue, _symbol: None

    def on_meaning(self, callback: Callable[[str, str], None]) -> None:
        """Call `callback(venue, symbol)` whenever a symbol means another number than before."""
        self._on_meaning = callback

    def define(self, number: int, definition: bytes) -> None:
        """Take a definition (JSON); one that is known already says nothing new."""
        if number in self._names:
            return
        told = msgspec.json.decode(definition, type=_Definition)
        name = (told.venue, told.symbol)
        self._known[told] = number
        self._names[number] = name
        self._lots[number] = max(told.lot, 1)
        self._numbers.setdefault(name, []).append(number)
        self._traded[number] = Traded(
            number, told.symbol, told.price_scale, told.size_scale, told.multiplier
        )
        self._mean(name, number)

    def hear(self, _frame_no: int, _recv_ns: int, payload: bytes) -> None:
        """Look at a control record: a venue may go back to a definition that it had before."""
        if not payload.startswith(_RECORD):
            return
        try:
            told = msgspec.json.decode(payload, type=_Definition)
        except msgspec.DecodeError:
            return  # the decoder refuses it, too
        number = self._known.get(told)
        if number is not None and self._current[told.venue, told.symbol] != number:
            self._mean((told.venue, told.symbol), number)

    def _mean(self, name: tuple[str, str], number: int) -> None:
        self._current[name] = number
        self._on_meaning(*name)

    def traded(self, venue: str, symbol: str) -> Traded | None:
        """What a venue means by a symbol now."""
        number = self._current.get((venue, symbol))
        return None if number is None else self._traded[number]

    def symbols(self) -> list[tuple[str, str]]:
        """Venue and symbol of all that is defined."""
        return list(self._current)

    def of_number(self, number: int) -> Traded | None:
        """One definition, whether or not its symbol still means it."""
        return self._traded.get(number)

    def numbers(self, venue: str, symbol: str) -> list[int]:
        """Every number that a symbol has had."""
        return self._numbers.get((venue, symbol), [])

    def lot(self, number: int) -> int:
        """What sizes are multiples of; 1 where nobody has defined the number."""
        return self._lots.get(number, 1)

    def name(self, number: int) -> tuple[str, str]:
        """Venue and symbol; both empty where nobody has defined the number."""
        return self._names.get(number, ("", ""))

    def label(self, number: int) -> str:
        """`venue:symbol`; `:number` of one that nobody has defined."""
        return ":".join(self._names.get(number, ("", str(number))))
