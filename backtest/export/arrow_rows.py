"""Rows as Arrow record batches: exact decimals, nanoseconds, nulls, names as dictionaries.

A file has one decimal scale per column: the largest of the instruments that may be in it, so that
every value fits exactly. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.export.errors import RefusedRowsError
from backtest.export.layout import Field, LevelsAs, Role, fields_of, flattened
from tickd.events import ID_UNDEF, PRICE_UNDEF, Flag
from tickd.rows import Column, Definition, Integers, Lists, Mask, TableRows

__all__ = ["ArrowTable", "decimals"]

_DIGITS: Final = 38  # of decimal128: 19 of a mantissa and 18 of scaling always fit
_SCALE_MAX: Final = 18
_TIME: Final = pa.timestamp("ns", tz="UTC")
_DECIMALS: Final = {Role.PRICE, Role.SIZE, Role.VALUE}
_LISTS: Final = {Role.PRICES: Role.PRICE, Role.SIZES: Role.SIZE}
_SCALES: Final = {Role.PRICE: "price_scale", Role.SIZE: "size_scale", Role.VALUE: "value_scale"}
_LOW: Final = np.uint64(0xFFFF_FFFF)
_HALF: Final = np.uint64(32)
_NEVER_NULL: Final = {Role.INTEGER, Role.TIME, Role.VENUE, Role.SYMBOL, Role.NAME}


class ArrowTable:
    """One table's schema, and its rows in it."""

    def __init__(
        self, table: str, definitions: Sequence[Definition], levels: LevelsAs = "list"
    ) -> None:
        self.table: Final = table
        self._flat = table == "book" and levels == "flat"
        self._fields = fields_of(table, levels)
        known = sorted(definitions)
        self._ids = np.array([each.instrument for each in known], np.uint32)
        self._names = {
            Role.VENUE: _Names([each.venue for each in known]),
            Role.SYMBOL: _Names([each.symbol for each in known]),
        }
        self._scales = {
            Role.PRICE: max((each.price_scale for each in known), default=0),
            Role.SIZE: max((each.size_scale for each in known), default=0),
            # The decimals of a mark are as the venue wrote them, row by row.
            Role.VALUE: _SCALE_MAX,
        }
        self.schema: Final = pa.schema(
            [
                pa.field(each.name, self._type(each), nullable=each.role not in _NEVER_NULL)
                for each in self._fields
            ]
        )

    def batch(self, rows: TableRows) -> pa.RecordBatch:
        """Return rows in this schema. Raises RefusedRowsError."""
        columns = flattened(rows) if self._flat else rows.columns
        arrays = [self._array(field, columns) for field in self._fields]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _type(self, field: Field) -> pa.DataType:
        if field.role is Role.INTEGER:
            return pa.from_numpy_dtype(np.dtype(field.width))
        if field.role is Role.ID:
            return pa.uint64()
        if field.role in (Role.TIME, Role.EVENT_TIME, Role.NEXT_TIME):
            return _TIME
        if field.role in _DECIMALS:
            return pa.decimal128(_DIGITS, self._scales[field.role])
        if field.role in _LISTS:
            inner = pa.decimal128(_DIGITS, self._scales[_LISTS[field.role]])
            return pa.list_(pa.field("element", inner, nullable=True))
        return pa.dictionary(pa.int32(), pa.string())

    def _array(  # noqa: PLR0911 - one per role
        self, field: Field, columns: Mapping[str, Column]
    ) -> pa.Array:
        values = columns[field.source]
        if isinstance(values, Lists):
            return self._list(field, values, columns)
        role = field.role
        if role is Role.INTEGER:
            return pa.array(values.astype(field.width, copy=False))
        if role in self._names:
            places = np.searchsorted(self._ids, values)
            return self._names[role].take(places)
        if role is Role.NAME:
            return _enumerated(field, values)
        if role in _DECIMALS:
            scales = _plain(columns, _SCALES[role])
            return decimals(values, scales, self._scales[role], field.name)
        if role is Role.ID:
            return _with_nulls(values, pa.uint64(), values == ID_UNDEF)
        return _with_nulls(values, _TIME, _no_time(role, values, columns))

    def _list(self, field: Field, lists: Lists, columns: Mapping[str, Column]) -> pa.Array:
        role = _LISTS[field.role]
        scales = np.repeat(_plain(columns, _SCALES[role]), lists.lengths)
        inner = decimals(lists.values, scales, self._scales[role], field.name)
        ends = np.concatenate((np.zeros(1, np.int32), lists.ends.astype(np.int32)))
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner, type=self._type(field))


class _Names:
    """Texts by place as a dictionary column: one sorted dictionary for the whole file."""

    def __init__(self, texts: Sequence[str]) -> None:
        distinct = sorted(set(texts))
        self._codes = np.array([distinct.index(text) for text in texts], np.int32)
        self._dictionary = pa.array(distinct, pa.string())

    def take(self, places: npt.NDArray[np.intp]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(self._codes[places]), self._dictionary)


def decimals(mantissas: Integers, scales: Integers, scale: int, what: str) -> pa.Array:
    """Return mantissa x 10^-scales exactly as decimal128(38, scale), undefined as null.

    Raises RefusedRowsError when a row has more decimals than `scale`.
    """
    undefined = mantissas == PRICE_UNDEF
    shift = scale - scales.astype(np.int64)
    # What is undefined needs no scale: a row without an instrument has none.
    shift[undefined] = 0
    if len(shift) and not 0 <= int(shift.min()) <= int(shift.max()) <= _SCALE_MAX:
        worst = int(scales[~undefined].max())
        raise RefusedRowsError(
            f"{what} has rows of {worst} decimals, the file's column holds {scale}",
            hint="an instrument was defined anew meanwhile? export again",
        )
    pair = np.empty((len(mantissas), 2), np.uint64)
    if not shift.any():
        pair[:, 0] = mantissas.view(np.uint64)
        pair[:, 1] = (mantissas >> 63).view(np.uint64)
    else:
        _multiply(mantissas, np.uint64(10) ** shift.astype(np.uint64), pair)
    buffers = [_validity(undefined), pa.py_buffer(pair)]
    return pa.Array.from_buffers(pa.decimal128(_DIGITS, scale), len(mantissas), buffers)


def _multiply(
    mantissas: Integers, factors: npt.NDArray[np.uint64], out: npt.NDArray[np.uint64]
) -> None:
    """64 by 64 to 128 bits, two's complement, in 32-bit halves."""
    # |-2^63| is -2^63 in int64, whose bits are 2^63 as an unsigned number: right as well.
    size = np.abs(mantissas).view(np.uint64)
    low, high = size & _LOW, size >> _HALF
    factor_low, factor_high = factors & _LOW, factors >> _HALF
    lowest = low * factor_low
    # Below 2^60 + 2^63 + 2^32: a factor is below 10^18 < 2^60, a mantissa's half below 2^31.
    middle = low * factor_high + high * factor_low + (lowest >> _HALF)
    result_low = (middle << _HALF) | (lowest & _LOW)
    result_high = high * factor_high + (middle >> _HALF)
    negative = mantissas < 0
    out[:, 0] = np.where(negative, ~result_low + np.uint64(1), result_low)
    carry = np.where(result_low == 0, np.uint64(1), np.uint64(0))
    out[:, 1] = np.where(negative, ~result_high + carry, result_high)


def _enumerated(field: Field, values: Integers) -> pa.Array:
    codes = np.full(256, -1, np.int32)
    for place, code in enumerate(field.names):
        codes[code] = place
    places = codes[values.astype(np.uint8)]
    if len(places) and int(places.min()) < 0:
        raise RefusedRowsError(f"{field.name} has a code that this version does not know")
    return pa.DictionaryArray.from_arrays(
        pa.array(places), pa.array(list(field.names.values()), pa.string())
    )


def _no_time(role: Role, values: Integers, columns: Mapping[str, Column]) -> Mask | None:
    if role is Role.EVENT_TIME:
        return np.asarray((_plain(columns, "flags") & int(Flag.NO_EVENT_TIME)) != 0)
    if role is Role.NEXT_TIME:
        return np.asarray(values == 0)
    return None


def _with_nulls(values: Integers, kind: pa.DataType, absent: Mask | None) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(values))
    validity = None if absent is None else _validity(absent)
    return pa.Array.from_buffers(kind, len(values), [validity, data])


def _validity(absent: npt.NDArray[Any]) -> pa.Buffer | None:
    if not absent.any():
        return None
    return pa.py_buffer(np.packbits(~absent, bitorder="little"))


def _plain(columns: Mapping[str, Column], name: str) -> Integers:
    column = columns[name]
    assert not isinstance(column, Lists)
    return column
