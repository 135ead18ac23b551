"""Whether two sets of rows are the same, told by a few numbers: of a block, and of a table by SQL.

Every column of every row goes in: a row is mixed to 64 bits, weighted by its sequence number, and
the rows are added and xored. What a person or a fault can do to a row - drop it, double it, change
a value, swap two - changes the numbers. Everything is arithmetic modulo 2^64, which numpy and
ClickHouse share, so no row has to travel. Pure: it asks nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tickd.native import table_columns
from tickd.rows import Column, Lists

__all__ = [
    "EMPTY",
    "Fingerprint",
    "day_sql",
    "figures_sql",
    "fingerprint",
    "joined",
]

_U64: Final = np.uint64
_Numbers = npt.NDArray[np.uint64]
_MASK: Final = (1 << 64) - 1
_DAY_NS: Final = 86_400 * 10**9
_ARRAY: Final = re.compile(r"Array\((\w+)\)")


class Fingerprint(NamedTuple):
    """What some rows are; equal numbers mean equal rows."""

    rows: int
    distinct: int
    seq_first: int
    seq_last: int
    total: int
    mixed: int


EMPTY: Final = Fingerprint(0, 0, 0, 0, 0, 0)


def joined(first: Fingerprint, second: Fingerprint) -> Fingerprint:
    """Return the fingerprint of two sets of rows without common ones."""
    if 0 in (first.rows, second.rows):
        return first if second.rows == 0 else second
    return Fingerprint(
        first.rows + second.rows,
        first.distinct + second.distinct,
        min(first.seq_first, second.seq_first),
        max(first.seq_last, second.seq_last),
        (first.total + second.total) & _MASK,
        first.mixed ^ second.mixed,
    )


def fingerprint(columns: Mapping[str, Column]) -> Fingerprint:
    """Return the fingerprint of a block's rows, which are distinct by construction."""
    seq = np.asarray(columns["seq"]).astype(_U64)
    rows = len(seq)
    if rows == 0:
        return EMPTY
    mixed = np.zeros(rows, _U64)
    for (_, values), factor in zip(columns.items(), _factors(), strict=False):
        if isinstance(values, Lists):
            mixed += _per_row(values) * _U64(factor)
        else:
            mixed += _unsigned(values) * _U64(factor)
    weighted = mixed * ((seq * _U64(_WEIGHT)) | _U64(1))
    return Fingerprint(
        rows=rows,
        distinct=rows,
        seq_first=int(seq.min()),
        seq_last=int(seq.max()),
        total=int(weighted.sum(dtype=_U64)),
        mixed=int(np.bitwise_xor.reduce(weighted)),
    )


def figures_sql(table: str) -> str:
    """Return the SQL expressions of a `Fingerprint`'s fields, in order."""
    terms = (
        f"{_value_sql(name, kind)} * {factor}"
        for (name, kind), factor in zip(table_columns(table), _factors(), strict=False)
    )
    weighted = f"({' + '.join(terms)}) * bitOr(seq * {_WEIGHT}, 1)"
    return (
        f"count(), uniqExact(seq), min(seq), max(seq), sum({weighted} AS weighted), "
        "groupBitXor(weighted)"
    )


def day_sql() -> str:
    """Return the SQL expression of a row's UTC day, days since the epoch."""
    return f"toInt32(intDiv(toUnixTimestamp64Nano(ts_recv), {_DAY_NS}))"


def _value_sql(name: str, kind: str) -> str:
    if kind == "UInt64":
        return name
    if kind.startswith("UInt"):
        return f"toUInt64({name})"
    if kind.startswith("DateTime64"):
        return f"reinterpretAsUInt64(toUnixTimestamp64Nano({name}))"
    if _ARRAY.fullmatch(kind):
        element = f"reinterpretAsUInt64(x) * bitOr(toUInt64(i) * {_ELEMENT}, 1)"
        summed = f"arraySum((x, i) -> {element}, {name}, arrayEnumerate({name}))"
        return f"({summed} + length({name}) * {_LENGTH})"
    return f"reinterpretAsUInt64(toInt64({name}))"


def _per_row(column: Lists) -> _Numbers:
    """Mix each row's elements with their places; an empty array counts by its length, 0."""
    ends = column.ends.astype(np.int64)
    lengths = column.lengths
    starts: npt.NDArray[np.int64] = ends - lengths
    places = np.arange(1, len(column.values) + 1) - np.repeat(starts, lengths)
    factors = (places.astype(_U64) * _U64(_ELEMENT)) | _U64(1)
    running = np.zeros(len(column.values) + 1, _U64)
    np.cumsum(_unsigned(column.values) * factors, dtype=_U64, out=running[1:])
    return running[ends] - running[starts] + lengths.astype(_U64) * _U64(_LENGTH)


def _unsigned(values: npt.NDArray[Any]) -> _Numbers:
    """Return the numbers modulo 2^64, as ClickHouse's reinterpretation does."""
    if values.dtype.kind == "u":
        return values.astype(_U64)
    return values.astype(np.int64).view(_U64)


def _random(state: int) -> Iterator[int]:
    """SplitMix64: odd numbers without a relation that a change of several columns could meet."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        yield (mixed ^ (mixed >> 31)) | 1


@cache
def _numbers(state: int, count: int) -> Sequence[int]:
    numbers = _random(state)
    return tuple(next(numbers) for _ in range(count))


_WEIGHT, _ELEMENT, _LENGTH = _numbers(1, 3)
_COLUMNS_MAX: Final = 64


def _factors() -> Iterable[int]:
    """One per column, in block order."""
    return _numbers(2, _COLUMNS_MAX)
