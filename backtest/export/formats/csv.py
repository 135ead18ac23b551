"""CSV (RFC 4180, UTF-8, LF): a header line, nothing for null, one line per row or price level."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from backtest.export.errors import ExportError
from backtest.export.formats.port import Job, Output
from backtest.export.formats.tables import TableFormat
from backtest.export.formats.text import TEXT_LEVELS, TEXT_ROWS, TextTable, side_by_side, text_bytes
from tickd.rows import TableRows

__all__ = ["FORMAT"]


class _Csv(TableFormat):
    def open(self, job: Job) -> Output:
        if job.options.levels == "list":
            raise ExportError("csv has no lists", hint="--levels flat: one line per price level")
        return super().open(job)


class _Writer:
    def __init__(self, table: str, path: Path, job: Job) -> None:
        definitions = job.selected.instruments_of(table)
        self._text = TextTable(table, definitions, "flat", job.options.times, _escape)
        self._file = path.open("wb")
        self._file.write(",".join(self._text.names).encode() + b"\n")

    def write(self, group: TableRows) -> None:
        columns = [column.text.fill_null("") for column in self._text.columns(group)]
        lines = side_by_side(*columns, between=",")
        self._file.write(text_bytes(side_by_side(lines, "\n")))

    def close(self, digest: str) -> None:
        del digest
        self._file.close()


def _escape(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


FORMAT: Final = _Csv("csv", ".csv", _Writer, rows_max=TEXT_ROWS, levels_max=TEXT_LEVELS)
