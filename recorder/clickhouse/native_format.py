"""ClickHouse's Native format, read: blocks of bytes to columns of numpy arrays, without a copy.

The recorder's own blocks and ClickHouse's answers are in this format, so that one reader serves
both. It knows the types of tickd's tables only. It asks nobody and writes nothing.
Source: https://clickhouse.com/docs/interfaces/formats/Native, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recorder.errors import ClickHouseError
from tickd.rows import Column, Lists

__all__ = ["BlockReader", "read_block"]

_PLAIN: Final[dict[str, np.dtype[Any]]] = {
    "UInt8": np.dtype("u1"),
    "UInt16": np.dtype("<u2"),
    "UInt32": np.dtype("<u4"),
    "UInt64": np.dtype("<u8"),
    "Int8": np.dtype("i1"),
    "Int32": np.dtype("<i4"),
    "Int64": np.dtype("<i8"),
    "Float64": np.dtype("<f8"),
}
_ARRAY: Final = re.compile(r"Array\((\w+)\)")
_ENDS: Final[np.dtype[np.uint64]] = np.dtype("<u8")
_VARINT_BITS: Final = 7
_NAME_BYTES_MAX: Final = 4_096


class _ShortError(Exception):
    """The block goes on in bytes that are not here yet."""


class BlockReader:
    """Bytes of a reply in any pieces in, whole blocks out."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def push(self, piece: bytes) -> Iterator[dict[str, Column]]:
        """Give the blocks that are whole now; their arrays own their memory.

        Raises ClickHouseError on bytes that are no Native block.
        """
        self._bytes += piece
        while self._bytes:
            try:
                # The buffer moves on below, so a whole block is copied out of it once.
                _, stop = _parse(memoryview(self._bytes), 0, skim=True)
            except _ShortError:
                return
            block, _ = _parse(memoryview(bytes(self._bytes[:stop])), 0, skim=False)
            del self._bytes[:stop]
            if block:
                yield block

    def end(self) -> None:
        """Say that nothing comes any more. Raises ClickHouseError when a block is cut off."""
        if self._bytes:
            raise ClickHouseError(f"the reply ends inside a block, {len(self._bytes)} bytes over")


def read_block(data: memoryview) -> dict[str, Column]:
    """Return the columns of one block that must fill `data`; they are views of it.

    Raises ClickHouseError.
    """
    try:
        block, stop = _parse(data, 0, skim=False)
    except _ShortError:
        block, stop = {}, -1
    if stop != len(data):
        raise ClickHouseError(f"{len(data)} bytes are not exactly one Native block")
    return block


def _parse(data: memoryview, at: int, *, skim: bool) -> tuple[dict[str, Column], int]:
    """Return a block's columns (none when skimming) and its end."""
    count, at = _varint(data, at)
    rows, at = _varint(data, at)
    columns: dict[str, Column] = {}
    for _ in range(count):
        name, at = _text(data, at)
        kind, at = _text(data, at)
        if rows == 0:
            continue
        array = _ARRAY.fullmatch(kind)
        if array is None:
            values, at = _plain(data, at, _dtype(kind), rows)
            if not skim:
                columns[name] = values
            continue
        ends, at = _plain(data, at, _ENDS, rows)
        values, at = _plain(data, at, _dtype(array[1]), int(ends[-1]))
        if not skim:
            columns[name] = Lists(ends.view(_ENDS), values.astype(np.int64, copy=False))
    return columns, at


def _dtype(kind: str) -> np.dtype[np.integer[Any]]:
    if kind.startswith("Enum8("):
        return _PLAIN["Int8"]
    if kind.startswith("DateTime64(9"):
        return _PLAIN["Int64"]
    if kind not in _PLAIN:
        raise ClickHouseError(f"type {kind[:60]!r} is not one of tickd's tables'")
    return _PLAIN[kind]


def _plain(
    data: memoryview, at: int, dtype: np.dtype[np.integer[Any]], count: int
) -> tuple[npt.NDArray[np.integer], int]:
    stop = at + count * dtype.itemsize
    if stop > len(data):
        raise _ShortError
    values: npt.NDArray[np.integer] = np.frombuffer(data[at:stop], dtype)
    return values, stop


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise _ShortError
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += _VARINT_BITS
        if shift > 63:
            raise ClickHouseError("not a Native block: a number has no end")


def _text(data: memoryview, at: int) -> tuple[str, int]:
    size, at = _varint(data, at)
    if size > _NAME_BYTES_MAX:
        raise ClickHouseError(f"not a Native block: a name of {size} bytes")
    if at + size > len(data):
        raise _ShortError
    return bytes(data[at : at + size]).decode("utf-8", "replace"), at + size
