"""Blocks as JSONEachRow, for servers and proxies that take nothing else.

Made from the Native block, so that there is one place where events become values. Numbers of 64
bits go as text, because whatever handles JSON on the way may read numbers as floats; times as dates
with nine digits, because a bare number means ticks to one version of ClickHouse and seconds to
another. It sends nothing; it takes milliseconds per thousand rows and belongs in a thread.
"""

from __future__ import annotations

import gzip
import re
from itertools import islice, pairwise
from typing import Any, Final

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
import orjson
from backports import zstd

from recorder.clickhouse.blocks import BlockBytes
from recorder.clickhouse.native_format import read_block
from recorder.errors import ClickHouseError
from tickd.native import table_columns
from tickd.rows import Column, Lists

__all__ = ["json_body", "json_rows"]

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
    """Return the rows of a plain Native block, one JSON object per line; None as `json_body`.

    Raises ClickHouseError when it is no block of this table.
    """
    found = read_block(native)
    kinds = dict(table_columns(table))
    if list(found) != list(kinds):
        raise ClickHouseError(f"a block with {', '.join(found)} is none of {table}")
    columns = [_said(kinds[name], column) for name, column in found.items()]
    if None in columns:
        return None
    names = list(found)
    rows = zip(*columns, strict=True)
    lines: list[bytes] = []
    while part := [dict(zip(names, row)) for row in islice(rows, _ROWS)]:  # noqa: B905 - as above
        # A list of rows costs a third of single ones. No value can hold a brace: they are numbers,
        # dates and names of enums.
        lines += (orjson.dumps(part)[1:-1].replace(b"},{", b"}\n{"), b"\n")
    return b"".join(lines)


def _said(kind: str, column: Column) -> list[Any] | None:
    """A column's values as JSON has them; None for a column that it cannot hold."""
    if isinstance(column, Lists):
        values = list(map(str, column.values.tolist()))
        return [values[start:stop] for start, stop in pairwise((0, *column.ends.tolist()))]
    if kind.startswith("DateTime64(9"):
        if column.min() < _NS_MIN:
            return None
        dates: list[Any] = np.datetime_as_string(column.view("<M8[ns]"), unit="ns").tolist()
        return dates
    if kind.startswith("Enum8"):
        names = {int(number): name for name, number in _ENUM.findall(kind)}
        return [names[number] for number in column.tolist()]
    numbers: list[Any] = column.tolist()
    return list(map(str, numbers)) if kind.endswith("64") else numbers
