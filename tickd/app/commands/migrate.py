"""`tickd migrate`: create or update the tables in ClickHouse."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from recorder.migrate import MigrationReport
from recorder.migrate import migrate as bring_up_to_date
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.config import Config, load_config


def migrate(config: Path) -> int:
    """Create or update the tables in ClickHouse; running it again changes nothing.

    Args:
        config: the TOML file

    Example:
        tickd migrate tickd.toml

    """
    report = asyncio.run(_migrate(load_config(config)))
    applied = ", ".join(report.applied) or "nothing"
    sys.stdout.write(
        f"database {report.database}: applied {applied}; {report.already} were there\n"
    )
    return 0


async def _migrate(config: Config) -> MigrationReport:
    async with clickhouse_of(config) as server:
        return await bring_up_to_date(server)
