"""Arrow: the IPC file format, one record batch per group of rows, to be mapped into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa

from backtest.export.arrow_rows import ArrowTable
from backtest.export.formats.port import Job
from backtest.export.formats.tables import TableFormat
from tickd.rows import TableRows

__all__ = ["FORMAT"]


class _Writer:
    def __init__(self, table: str, path: Path, job: Job) -> None:
        levels = job.options.levels or "list"
        self._rows = ArrowTable(table, job.selected.instruments_of(table), levels)
        # The schema is written first, so the hash of what follows stands in the manifest only.
        schema = self._rows.schema.with_metadata(dict(job.metadata))
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def write(self, group: TableRows) -> None:
        self._writer.write_batch(self._rows.batch(group))

    def close(self, digest: str) -> None:
        del digest
        try:
            self._writer.close()
        finally:
            self._file.close()


FORMAT: Final = TableFormat("arrow", ".arrow", _Writer)
