"""Rows cut into groups of a size that depends on the rows alone.

However a source cuts its answer, the groups, and so the bytes of the files, are the same. It keeps
at most one group per table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from tickd.rows import TableRows, joined

__all__ = ["GROUP_LEVELS", "GROUP_ROWS", "Groups"]

GROUP_ROWS: Final = 65_536
# A deep snapshot has thousands of price levels in one row; 32 bytes each in most formats.
GROUP_LEVELS: Final = 131_072


class Groups:
    """One table's rows in, whole groups out."""

    def __init__(self, rows_max: int = GROUP_ROWS, levels_max: int = GROUP_LEVELS) -> None:
        self._rows_max = rows_max
        self._levels_max = levels_max
        self._parts: list[TableRows] = []
        self._rows = 0
        self._levels = 0

    def add(self, rows: TableRows) -> Iterator[TableRows]:
        """Take the next rows and give the groups that are full.

        A group ends with the row that fills it.
        """
        ends = np.cumsum(rows.levels())
        start, behind = 0, 0
        while start < len(rows):
            full = start + self._rows_max - self._rows
            wanted = behind + self._levels_max - self._levels
            stop = min(full, int(np.searchsorted(ends, wanted, side="left")) + 1, len(rows))
            self._parts.append(rows.slice(start, stop))
            self._rows += stop - start
            self._levels += int(ends[stop - 1]) - behind
            start, behind = stop, int(ends[stop - 1])
            if self._rows >= self._rows_max or self._levels >= self._levels_max:
                yield self._take()

    def rest(self) -> Iterator[TableRows]:
        """Give the last group, if there is one."""
        if self._parts:
            yield self._take()

    def _take(self) -> TableRows:
        group = joined(self._parts)
        self._parts, self._rows, self._levels = [], 0, 0
        return group
