"""`tickd export`: recorded rows as files for other tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from backtest.export.formats.port import ClockSkew, FormatOptions, TimesAs
from backtest.export.formats.registry import find
from backtest.export.layout import LevelsAs
from backtest.export.run import Report, Request, run_export
from recorder.clickhouse.rows import ClickHouseRows
from recorder.raw.log_rows import LogRows
from tickd.app.asking import state_dir_of
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.exit_codes import ExitCode
from tickd.app.partial_config import TablesConfig, load_tables
from tickd.describe import time_text
from tickd.errors import ConfigError
from tickd.rows import RowSource
from tickd.units import duration_ms, time_ns

GAPS_SHOWN = 5
TOPICS = {"hftbacktest": "trade.*.*,depth.*.*"}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What some formats can do."""

    levels: LevelsAs | None = None
    "price levels as lists, or flat: one row per level (csv: always flat)"
    times: TimesAs = "ns"
    "csv, jsonl: integers of nanoseconds or ISO text"
    clock_skew: ClockSkew = "refuse"
    "hftbacktest: what becomes of rows that are not later than their event"
    lead_in: str = "1d"
    "hftbacktest: how far before --from a book may have begun"
    compress: bool = False
    "hftbacktest: deflate the npz; slower to load"
    check: bool = True
    "hftbacktest: validate every file that was written"

    def options(self) -> FormatOptions:
        return FormatOptions(
            self.levels, self.times, self.clock_skew, compress=self.compress, check=self.check
        )


ORDINARY_FILES: Final = FileOptions()


def export(
    path: Path,
    *,
    out: Path,
    output: Annotated[
        Literal["parquet", "arrow", "csv", "jsonl", "hftbacktest"],
        Parameter(name=["--format", "-f"]),
    ] = "parquet",
    topics: str | None = None,
    from_time: Annotated[str | None, Parameter(name="--from")] = None,
    to_time: Annotated[str | None, Parameter(name="--to")] = None,
    source: Literal["raw", "clickhouse"] = "raw",
    overwrite: bool = False,
    files: FileOptions = ORDINARY_FILES,
) -> ExitCode:
    """Write recorded rows to files that other tools read.

    One file per table (trades, quotes, book, ...) and a manifest.json with row counts, a content
    hash and the gaps inside the range. Both sources give the same rows and the same hash. Exit
    code 3 when a damaged part of the raw log could not be read.

    Args:
        path: a config file, or a state directory (raw log only)
        out: a folder, or one file when the topics make one table
        output: parquet, arrow (IPC file), csv, jsonl or hftbacktest (npz)
        topics: patterns with commas between, e.g. "trade.*.BTCUSDT,depth.*.*"; default all
        from_time: first receive time, e.g. 2026-11-20T12:00:00.5Z; default the beginning
        to_time: receive time that ends the range and is not in it; default the end
        source: the raw log or the tables in ClickHouse
        overwrite: replace files that are there
        files: what some formats can do

    Examples:
        tickd export tickd.toml --out day --from 2026-11-20 --to 2026-11-21
        tickd export /var/lib/tickd --topics "trade.*.BTCUSDT" --out btc.parquet
        tickd export tickd.toml --format csv --source clickhouse --topics "quote.*.*" --out csv
        tickd export tickd.toml --format hftbacktest --topics "*.binance-usdm.BTCUSDT" --out npz

    """
    chosen = topics or TOPICS.get(output, "*")
    request = Request(
        patterns=tuple(text.strip() for text in chosen.split(",") if text.strip()),
        from_ns=None if from_time is None else time_ns(from_time),
        to_ns=None if to_time is None else time_ns(to_time),
        out=out,
        options=files.options(),
        overwrite=overwrite,
        lead_in_ns=duration_ms(files.lead_in) * 1_000_000 if output == "hftbacktest" else 0,
    )
    if path.is_dir() and source != "raw":
        raise ConfigError(f"{path} is a state directory", hint="name the config file instead")
    raw = raw_directory(state_dir_of(path))
    opened = _log_rows(raw) if source == "raw" else _clickhouse_rows(load_tables(path))
    report = asyncio.run(_export(opened, output, request))
    _print(report)
    return ExitCode.DATA_LOSS if report.damage else ExitCode.OK


async def _export(
    source: AbstractAsyncContextManager[RowSource], output: str, request: Request
) -> Report:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    async with source as rows:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("export", total=1.0, rows=0)

            def show(done: float, count: int) -> None:
                progress.update(bar, completed=done, rows=count)

            report = await run_export(rows, find(output), request, show)
            progress.update(bar, completed=1.0)
            return report


@asynccontextmanager
async def _log_rows(directory: Path) -> AsyncIterator[RowSource]:
    yield LogRows(directory)


@asynccontextmanager
async def _clickhouse_rows(config: TablesConfig) -> AsyncIterator[RowSource]:
    async with clickhouse_of(config) as clickhouse:
        yield ClickHouseRows(clickhouse, node=config.node.id)


def raw_directory(path: Path) -> Path:
    """The folder that holds `segments/`: the raw log of a state directory, or named itself."""
    return path / "raw" if (path / "raw").is_dir() else path


def _print(report: Report) -> None:
    # Lines are for people and for grep: a terminal may wrap them, we do not.
    console, warnings = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    for file in report.files:
        facts = "".join(f"  {name} {value}" for name, value in file.facts.items())
        console.print(f"{file.rows:>14,} rows  {file.name}{facts}", markup=False, highlight=False)
    if not report.files:
        console.print("no rows in this range, no file written")
    console.print(f"content hash {report.hash}\nmanifest {report.manifest}", highlight=False)
    for note in report.notes:
        warnings.print(note, markup=False)
    if report.gaps_total:
        warnings.print(f"{report.gaps_total:,} gaps inside the range:")
    for gap in report.gaps[:GAPS_SHOWN]:
        missing = "" if gap.missing is None else f", {gap.missing:,} missing"
        warnings.print(
            f"  {gap.topic}: {gap.cause}, {time_text(gap.from_ns)} to {time_text(gap.to_ns)}"
            f"{missing}",
            markup=False,
        )
    if report.gaps_total > GAPS_SHOWN:
        warnings.print("  … all of them: the manifest")
    for damage in report.damage:
        warnings.print(
            f"damaged: {damage.where}, {damage.bytes} bytes at {damage.offset}: {damage.reason}; "
            "its rows are missing here",
            markup=False,
        )
