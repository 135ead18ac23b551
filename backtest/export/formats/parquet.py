"""Parquet: nanosecond timestamps, decimal128, zstd, statistics, one row group per group of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from backtest.export.arrow_rows import ArrowTable
from backtest.export.formats.port import Job
from backtest.export.formats.tables import TableFormat
from tickd.rows import TableRows

__all__ = ["FORMAT"]

_LEVEL: Final = 3  # of zstd


class _Writer:
    def __init__(self, table: str, path: Path, job: Job) -> None:
        levels = job.options.levels or "list"
        self._rows = ArrowTable(table, job.selected.instruments_of(table), levels)
        self._metadata = job.metadata
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(
            self._file,
            self._rows.schema,
            version="2.6",
            compression="zstd",
            compression_level=_LEVEL,
            write_statistics=True,
            # Sequence numbers, ids and stamps hardly repeat: a dictionary of them is in the way.
            use_dictionary=[  # pyright: ignore[reportArgumentType] - the documentation allows it
                field.name for field in self._rows.schema if pa.types.is_dictionary(field.type)
            ],
        )

    def write(self, group: TableRows) -> None:
        self._writer.write_batch(self._rows.batch(group), row_group_size=1 << 30)

    def close(self, digest: str) -> None:
        try:
            self._writer.add_key_value_metadata({**self._metadata, "tickd.hash": digest})
            self._writer.close()
        finally:
            self._file.close()


FORMAT: Final = TableFormat("parquet", ".parquet", _Writer)
