"""`tickd query`: ask ClickHouse a question in SQL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from recorder.clickhouse.query import OutputFormat
from recorder.clickhouse.query import query as ask
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.partial_config import TablesConfig, load_tables
from tickd.errors import ConfigError


def query(
    sql: str,
    *,
    config: Path = Path("tickd.toml"),
    output: Annotated[
        Literal["table", "json", "csv", "arrow"], Parameter(name=["--format", "-f"])
    ] = "table",
) -> int:
    """Ask ClickHouse a question in SQL.

    A running daemon's embedded server answers; without a daemon it is started for the question.

    Args:
        sql: one statement
        config: the daemon's config file
        output: table, json (one object per line), csv (with names) or arrow (stream)

    Examples:
        tickd query "SELECT symbol, count() FROM trades GROUP BY symbol"
        tickd query -f csv "SELECT * FROM ohlcv_1m" > bars.csv

    """
    if not config.exists():  # the only command whose file has a default
        raise ConfigError(f"{config}: no such file", hint="name the daemon's file with --config")
    return asyncio.run(_query(load_tables(config), sql, OutputFormat[output.upper()]))


async def _query(config: TablesConfig, sql: str, output: OutputFormat) -> int:
    async with clickhouse_of(config) as server:
        pieces = ask(
            server,
            sql,
            output=output,
            color=output is OutputFormat.TABLE and sys.stdout.isatty(),
        )
        try:
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # `| head` is a fine way to use this command
            sys.stderr.close()
    return 0
