"""One file per table: what Parquet, Arrow, CSV and JSONL have in common.

Groups of rows whose size depends on the rows alone go to one writer per table, opened at its first
row. It knows no format; a format gives it a writer, and sizes where it has its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from backtest.export.content import ContentHash
from backtest.export.errors import ExportError
from backtest.export.formats.port import Job, Output, Written
from backtest.export.groups import GROUP_LEVELS, GROUP_ROWS, Groups
from backtest.export.selection import Selected
from tickd.rows import Cut, TableRows

__all__ = ["OpenWriter", "TableFormat", "TableWriter"]


class TableWriter(Protocol):
    """The open file of one table."""

    def write(self, group: TableRows) -> None:
        """Append a group. Raises OSError, RefusedRowsError."""
        ...

    def close(self, digest: str) -> None:
        """Complete the file; `digest` is its rows' hash, "" for a file given up. Raises OSError."""
        ...


OpenWriter = Callable[[str, Path, Job], TableWriter]


class TableFormat:
    """`Format` that writes a file per table.

    Args: `rows_max`, `levels_max`: of a group of rows.
    """

    def __init__(
        self,
        name: str,
        suffix: str,
        open_writer: OpenWriter,
        *,
        rows_max: int = GROUP_ROWS,
        levels_max: int = GROUP_LEVELS,
    ) -> None:
        self.name = name
        self.suffix = suffix
        self._open_writer = open_writer
        self._bounds = (rows_max, levels_max)

    def tables(self, selected: Selected) -> tuple[str, ...]:
        return selected.tables

    def open(self, job: Job) -> Output:
        return _Files(job, self.suffix, self._open_writer, self._bounds)


class _Files:
    """`Output` of a format of tables."""

    def __init__(
        self, job: Job, suffix: str, open_writer: OpenWriter, bounds: tuple[int, int]
    ) -> None:
        """Refuse what cannot be. Raises ExportError."""
        self._bounds = bounds
        self._job = job
        self._suffix = suffix
        self._open_writer = open_writer
        self._groups: dict[str, Groups] = {}
        self._writers: dict[str, TableWriter] = {}
        if job.file_name is not None and len(job.selected.tables) > 1:
            raise ExportError(
                f"these topics make {len(job.selected.tables)} tables, not one file",
                hint="name a folder with --out, or fewer topics",
            )
        job.files.refuse_existing([self._name(table) for table in job.selected.tables])

    def write(self, cut: Cut) -> None:
        for rows in cut:
            groups = self._groups.setdefault(rows.table, Groups(*self._bounds))
            for group in groups.add(rows):
                self._writer(rows.table).write(group)

    def finish(self, hashes: Mapping[str, ContentHash]) -> list[Written]:
        written = []
        for table in self._job.selected.tables:
            for group in self._groups.get(table, Groups()).rest():
                self._writer(table).write(group)
            writer = self._writers.pop(table, None)
            if writer is not None:
                writer.close(hashes[table].hexdigest())
                facts = {"levels": hashes[table].levels} if table == "book" else {}
                written.append(Written(self._name(table), table, hashes[table].rows, facts))
        return written

    def abandon(self) -> None:
        for writer in self._writers.values():
            with contextlib.suppress(OSError):
                writer.close("")
        self._writers.clear()

    def _writer(self, table: str) -> TableWriter:
        if table not in self._writers:
            path = self._job.files.create(self._name(table))
            self._writers[table] = self._open_writer(table, path, self._job)
        return self._writers[table]

    def _name(self, table: str) -> str:
        return self._job.file_name or f"{table}{self._suffix}"
