"""Rows as text, column by column: what CSV and JSON lines have in common.

Prices and sizes are decimal text with exactly the instrument's decimals, times are nanoseconds or
ISO 8601 with nine digits. Columns are built and joined natively; no row is an object. It writes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.export.arrow_rows import decimals
from backtest.export.errors import RefusedRowsError
from backtest.export.formats.port import TimesAs
from backtest.export.layout import Field, LevelsAs, Role, fields_of, flattened
from tickd.events import ID_UNDEF, Flag
from tickd.rows import Column, Definition, Integers, Lists, TableRows

__all__ = ["TEXT_LEVELS", "TEXT_ROWS", "TextColumn", "TextTable", "side_by_side", "text_bytes"]

# Text is larger than what it says, and several copies of it live while lines are joined; how rows
# are grouped does not show in it.
TEXT_ROWS: Final = 16_384
TEXT_LEVELS: Final = 32_768

_SCALES: Final = {
    Role.PRICE: "price_scale",
    Role.PRICES: "price_scale",
    Role.SIZE: "size_scale",
    Role.SIZES: "size_scale",
    Role.VALUE: "value_scale",
}
_SCALE_MAX: Final = 18


class TextColumn(NamedTuple):
    """Text per row, null where there is nothing; `quoted` is no number to JSON."""

    name: str
    text: pa.Array
    quoted: bool
    lists: bool = False


class TextTable:
    """One table's rows as columns of text."""

    def __init__(
        self,
        table: str,
        definitions: Sequence[Definition],
        levels: LevelsAs,
        times: TimesAs,
        escape: Callable[[str], str],
    ) -> None:
        self._flat = table == "book" and levels == "flat"
        self._fields = fields_of(table, levels)
        self._iso = times == "iso"
        known = sorted(definitions)
        self._ids = np.array([each.instrument for each in known], np.uint32)
        self._names = {
            Role.VENUE: pa.array([escape(each.venue) for each in known], pa.string()),
            Role.SYMBOL: pa.array([escape(each.symbol) for each in known], pa.string()),
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self._fields)

    def columns(self, rows: TableRows) -> list[TextColumn]:
        """Return the rows' text. Raises RefusedRowsError."""
        columns = flattened(rows) if self._flat else rows.columns
        return [self._column(field, columns) for field in self._fields]

    def _column(self, field: Field, columns: Mapping[str, Column]) -> TextColumn:
        values, role = columns[field.source], field.role
        if isinstance(values, Lists):
            scales = np.repeat(_plain(columns, _SCALES[role]), values.lengths)
            inner = _decimal_text(values.values, scales, field.name)
            ends = np.concatenate((np.zeros(1, np.int32), values.ends.astype(np.int32)))
            lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner)
            return TextColumn(field.name, lists, quoted=True, lists=True)
        if role in self._names:
            places = pa.array(np.searchsorted(self._ids, values))
            return TextColumn(field.name, self._names[role].take(places), quoted=True)
        if role is Role.NAME:
            return TextColumn(field.name, _name_text(field, values), quoted=True)
        if role in _SCALES:
            text = _decimal_text(values, _plain(columns, _SCALES[role]), field.name)
            return TextColumn(field.name, text, quoted=True)
        if role in (Role.INTEGER, Role.ID):
            absent = values == ID_UNDEF if role is Role.ID else None
            text = pa.array(values, mask=absent).cast(pa.string())
            return TextColumn(field.name, text, quoted=False)
        return self._time(field, values, columns)

    def _time(self, field: Field, values: Integers, columns: Mapping[str, Column]) -> TextColumn:
        absent = None
        if field.role is Role.EVENT_TIME:
            absent = (_plain(columns, "flags") & int(Flag.NO_EVENT_TIME)) != 0
        elif field.role is Role.NEXT_TIME:
            absent = values == 0
        ticks = pa.array(values, mask=absent)
        if not self._iso:
            return TextColumn(field.name, ticks.cast(pa.string()), quoted=False)
        text = ticks.cast(pa.timestamp("ns")).cast(pa.string())
        day, time = (
            pc.call_function("utf8_slice_codeunits", [text], pc.SliceOptions(start, stop))
            for start, stop in ((0, 10), (11, None))
        )
        return TextColumn(field.name, side_by_side(day, "T", time, "Z"), quoted=True)


def side_by_side(*parts: pa.Array | str, between: str = "") -> pa.Array:
    """Return the parts of each row as one text; null where one of them is."""
    # By name: the functions of pyarrow.compute are made when it is imported.
    return pc.call_function("binary_join_element_wise", [*parts, between])


def text_bytes(lines: pa.Array) -> memoryview:
    """Return the text of an array without nulls, one value right after the other."""
    _, ends, data = lines.buffers()
    if data is None:
        return memoryview(b"")
    places = np.frombuffer(ends, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(data)[int(places[0]) : int(places[-1])]


def _decimal_text(mantissas: Integers, scales: Integers, what: str) -> pa.Array:
    """Text with as many decimals as the row's own scale says."""
    distinct = np.unique(scales)
    if len(distinct) and int(distinct[-1]) > _SCALE_MAX:
        raise RefusedRowsError(f"{what} has rows whose decimals nobody defined")
    if len(distinct) <= 1:
        scale = int(distinct[0]) if len(distinct) else 0
        return decimals(mantissas, scales, scale, what).cast(pa.string())
    parts, places = [], []
    for scale in distinct:
        chosen = np.flatnonzero(scales == scale)
        parts.append(
            decimals(mantissas[chosen], scales[chosen], int(scale), what).cast(pa.string())
        )
        places.append(chosen)
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_arrays(parts).take(pa.array(order))


def _name_text(field: Field, values: Integers) -> pa.Array:
    texts: list[str | None] = [None] * 256
    for code, name in field.names.items():
        texts[code] = name
    found = pa.array(texts, pa.string()).take(pa.array(values.astype(np.uint8)))
    if found.null_count:
        raise RefusedRowsError(f"{field.name} has a code that this version does not know")
    return found


def _plain(columns: Mapping[str, Column], name: str) -> Integers:
    column = columns[name]
    assert not isinstance(column, Lists)
    return column
