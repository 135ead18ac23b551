"""Blocks as JSONEachRow, for servers and proxies that take nothing else.

Made from the Native block, so that there is one place where events become values. Numbers of 64
bits go as text, because whatever handles JSON on the way may read numbers as floats; times as dates
with nine digits, because a bare number means ticks to one version of ClickHouse and seconds to
another. It sends nothing; it takes milliseconds per thousand rows and belongs in a thread.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, Final

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
import orjson
from backports import zstd

from recorder.blocks import BlockBytes
from tickd.native import table_columns

__all__ = ["json_body", "json_rows"]

Column = list[Any]

_WIDTHS: Final = {
    "UInt8": "u1",
    "UInt16": "<u2",
    "UInt32": "<u4",
    "UInt64": "<u8",
    "Int32": "<i4",
    "Int64": "<i8",
}
_ENUM: Final = re.compile(r"'(\w+)' = (-?\d+)")
# ClickHouse reads dates by multiplying whole seconds: the last part of 1677 overflows.
_NS_MIN: Final = -9_223_372_036 * 10**9
# Time matters more than bytes: 1 is five times as fast as 6 and a third larger.
_GZIP_LEVEL: Final = 1
# The interpreter's lock is held for so many rows at a time, well under 1 ms.
_ROWS: Final = 256


def json_body(block: BlockBytes, compression: str) -> bytes | None:
    """Return the body of a block's insert as JSONEachRow, packed.

    None for a block that holds what cannot be said in JSON: it has to go as it is.
    """
    if block.format != "Native":
        return None
    plain: memoryview | bytes = block.body
    match block.encoding:
        case "lz4":
            plain = bytes(lz4.frame.decompress(plain))
        case "zstd":
            plain = zstd.decompress(plain)
        case None:
            pass
        case other:
            raise ValueError(f"a Native block is never packed with {other!r}")
    lines = json_rows(block.table, memoryview(plain))
    if lines is None:
        return None
    match compression:
        case "gzip":
            return gzip.compress(lines, _GZIP_LEVEL, mtime=0)  # the same bytes every time
        case "lz4":
            return bytes(lz4.frame.compress(lines))
        case "zstd":
            return zstd.compress(lines, 1)
    return lines


def json_rows(table: str, native: memoryview) -> bytes | None:
    """Return the rows of a plain Native block, one JSON object per line; None as `json_body`."""
    columns = dict(_columns(table, native))
    if any(column is None for column in columns.values()):
        return None
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    lines: list[bytes] = []
    while part := [dict(zip(names, row)) for row in islice(rows, _ROWS)]:  # noqa: B905 - as above
        # A list of rows costs a third of single ones. No value can hold a brace: they are numbers,
        # dates and names of enums.
        lines += (orjson.dumps(part)[1:-1].replace(b"},{", b"}\n{"), b"\n")
    return b"".join(lines)


def _columns(table: str, native: memoryview) -> Iterator[tuple[str, Column | None]]:
    """Each column's values as JSON has them; None for a column that it cannot hold."""
    reader = _Reader(native)
    count, rows = reader.varint(), reader.varint()
    wanted = table_columns(table)
    if count != len(wanted):
        raise ValueError(f"a block of {table} has {count} columns, not {len(wanted)}")
    for name, kind in wanted:
        if (reader.text(), reader.text()) != (name, kind):
            raise ValueError(f"a block of {table} has another column in place of {name}")
        yield name, _column(reader, kind, rows)
    reader.end()


def _column(reader: _Reader, kind: str, rows: int) -> Column | None:
    if kind == "Array(Int64)":
        ends = reader.values("<u8", rows)
        values = list(map(str, reader.values("<i8", int(ends[-1]) if rows else 0).tolist()))
        starts = [0, *ends.tolist()]
        return [values[start:stop] for start, stop in pairwise(starts)]
    if kind.startswith("DateTime64(9"):
        times = reader.values("<i8", rows)
        if rows and times.min() < _NS_MIN:
            return None
        dates: Column = np.datetime_as_string(times.view("<M8[ns]"), unit="ns").tolist()
        return dates
    if kind.startswith("Enum8"):
        names = {int(number): name for name, number in _ENUM.findall(kind)}
        return [names[number] for number in reader.values("i1", rows).tolist()]
    numbers: Column = reader.values(_WIDTHS[kind], rows).tolist()
    return list(map(str, numbers)) if kind.endswith("64") else numbers


class _Reader:
    """Reads a Native block from the front."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self) -> str:
        size = self.varint()
        self._at += size
        return bytes(self._data[self._at - size : self._at]).decode()

    def values(self, kind: str, count: int) -> np.ndarray[Any, Any]:
        found = np.frombuffer(self._data, kind, count, self._at)
        self._at += found.nbytes
        return found

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"a block has {len(self._data) - self._at} bytes behind its columns")
