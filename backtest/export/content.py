"""The content hash: what an export says, whatever file format, grouping or source it came through.

Per table, each column is one stream of little-endian integers in row order, hashed by SHA-256 (a
list column: the lengths as u64, and the values as a second stream). The table's hash is the SHA-256
of one line `column hash` per stream, in the order of the table; the export's is that of one line
`table rows hash` per table, by name. Columns, types and sentinels are those of the event tables
(docs/how-to/export.md). It keeps no rows.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from tickd.native import table_columns
from tickd.rows import Lists, TableRows

__all__ = ["ContentHash", "content_hash"]

_WIDTHS: Final = {
    "UInt8": "u1",
    "UInt16": "<u2",
    "UInt32": "<u4",
    "UInt64": "<u8",
    "Int32": "<i4",
    "Int64": "<i8",
}


class ContentHash:
    """The hash of one table's rows as they come."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.rows = 0
        self.levels = 0
        self._streams = {
            name: hashlib.sha256()
            for column, kind in table_columns(table)
            for name in _names(column, kind)
        }

    def add(self, rows: TableRows) -> None:
        """Take in the next rows."""
        self.rows += len(rows)
        self.levels += int(rows.levels().sum())
        for column, kind in table_columns(self.table):
            values = rows.columns[column]
            if isinstance(values, Lists):
                lengths = np.ascontiguousarray(values.lengths, "<u8")
                self._streams[f"{column}.lengths"].update(lengths.data)
                self._streams[column].update(np.ascontiguousarray(values.values, "<i8").data)
            else:
                self._streams[column].update(np.ascontiguousarray(values, _width(kind)).data)

    def hexdigest(self) -> str:
        lines = "".join(f"{name} {each.hexdigest()}\n" for name, each in self._streams.items())
        return hashlib.sha256(lines.encode()).hexdigest()


def content_hash(tables: dict[str, ContentHash]) -> str:
    """Return the hash of a whole export; tables without a row do not count."""
    held = sorted(
        (each.table, each.rows, each.hexdigest()) for each in tables.values() if each.rows
    )
    return hashlib.sha256("".join(f"{t} {n} {h}\n" for t, n, h in held).encode()).hexdigest()


def _names(column: str, kind: str) -> tuple[str, ...]:
    return (f"{column}.lengths", column) if kind.startswith("Array") else (column,)


def _width(kind: str) -> str:
    if kind.startswith("Enum8"):
        return "i1"
    return _WIDTHS.get(kind, "<i8")  # a time is nanoseconds
