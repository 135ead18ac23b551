"""Tables on a terminal that is too narrow for them: fewer columns, each whole; one line per row.

A table that is squeezed shows the beginnings of all figures, which tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

__all__ = ["FittingLine", "FittingTable"]

# More than any terminal has: what a table would like to take.
_WISHED: Final = 10_000


@final
class FittingTable:
    """A table made without the columns that there is no room for.

    `make`: of the names of the columns that are left out. `drop`: in this order, as far as needed.
    """

    def __init__(
        self, make: Callable[[frozenset[str]], RenderableType], drop: Sequence[str]
    ) -> None:
        self._make = make
        self._drop = tuple(drop)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for count in range(len(self._drop) + 1):
            table = self._make(frozenset(self._drop[:count]))
            if count == len(self._drop) or _width(console, options, table) <= options.max_width:
                yield table
                return


@final
class FittingLine:
    """A grid where it fits, else its rows as lines, whose ends are cut off."""

    def __init__(self, grid: RenderableType, rows: Sequence[Sequence[Text]]) -> None:
        self._grid = grid
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if _width(console, options, self._grid) <= options.max_width:
            yield self._grid
            return
        for row in self._rows:
            line = Text("  ").join(cell for cell in row if cell.plain)
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line


def _width(console: Console, options: ConsoleOptions, what: RenderableType) -> int:
    return Measurement.get(console, options.update(max_width=_WISHED), what).maximum
