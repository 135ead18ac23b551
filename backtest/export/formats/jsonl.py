"""JSON lines: one object per row; numbers for integers, text for decimals and names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from backtest.export.formats.port import Job
from backtest.export.formats.tables import TableFormat
from backtest.export.formats.text import (
    TEXT_LEVELS,
    TEXT_ROWS,
    TextColumn,
    TextTable,
    side_by_side,
    text_bytes,
)
from tickd.rows import TableRows

__all__ = ["FORMAT"]


class _Writer:
    def __init__(self, table: str, path: Path, job: Job) -> None:
        definitions = job.selected.instruments_of(table)
        levels = job.options.levels or "list"
        self._text = TextTable(table, definitions, levels, job.options.times, _escape)
        self._file = path.open("wb")

    def write(self, group: TableRows) -> None:
        parts: list[pa.Array | str] = []
        for place, column in enumerate(self._text.columns(group)):
            parts += [("," if place else "{") + f'"{column.name}":', _json(column)]
        self._file.write(text_bytes(side_by_side(*parts, "}\n")))

    def close(self, digest: str) -> None:
        del digest
        self._file.close()


def _json(column: TextColumn) -> pa.Array:
    if column.lists:
        values = column.text
        quoted = pa.ListArray.from_arrays(values.offsets, _quoted(values.values))
        return side_by_side("[", pc.call_function("binary_join", [quoted, ","]), "]")
    text = _quoted(column.text) if column.quoted else column.text
    return text.fill_null("null")


def _quoted(text: pa.Array) -> pa.Array:
    return side_by_side('"', text, '"')


def _escape(text: str) -> str:
    return json.dumps(text)[1:-1]


FORMAT: Final = TableFormat("jsonl", ".jsonl", _Writer, rows_max=TEXT_ROWS, levels_max=TEXT_LEVELS)
