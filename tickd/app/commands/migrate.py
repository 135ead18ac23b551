"""`tickd migrate`: create or update the tables in ClickHouse, or that in PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from recorder.probes.postgres import connected, read_postgres_migrations
from recorder.schema.ddl import adapted, create_database
from recorder.schema.migrate import MigrationReport, ddl_directory, read_migrations
from recorder.schema.migrate import migrate as bring_up_to_date
from recorder.schema.tiering import alterations
from tickd.app.clickhouse_of import clickhouse_of
from tickd.app.config import Config, load_config
from tickd.secrets import HIDDEN


def migrate(
    config: Path, *, show: bool = False, again: bool = False, postgres: bool = False
) -> int:
    """Create or update the tables in ClickHouse; running it again changes nothing.

    Args:
        config: the TOML file
        show: print the statements instead of running them; ClickHouse is not asked
        again: run every statement anew, for replicas that joined since
        postgres: the table of latency probes in PostgreSQL instead, as a user who may create it

    Example:
        tickd migrate tickd.toml
        tickd migrate tickd.toml --show
        tickd migrate tickd.toml --postgres

    """
    settings = load_config(config)
    if postgres:
        sys.stdout.write(_postgres_text() if show else asyncio.run(_migrate_postgres(settings)))
        return 0
    if show:
        sys.stdout.write(_text(settings))
        return 0
    report = asyncio.run(_migrate(settings, again=again))
    applied = ", ".join(report.applied) or "nothing"
    sys.stdout.write(
        f"database {report.database}: applied {applied}; {report.already} were there\n"
    )
    return 0


async def _migrate(config: Config, *, again: bool) -> MigrationReport:
    async with clickhouse_of(config) as server:
        return await bring_up_to_date(server, again=again)


async def _migrate_postgres(config: Config) -> str:
    async with connected(config.postgres) as connection:
        applied = await connection.migrate()
    return f"database {config.postgres.database}: applied {', '.join(applied) or 'nothing'}\n"


def _postgres_text() -> str:
    return "\n".join(file.text for file in read_postgres_migrations())


def _text(config: Config) -> str:
    """Every statement of every file; the password of the dictionary's source is not printed."""
    clickhouse = config.clickhouse
    places = {"database": clickhouse.database, "user": clickhouse.user, "password": HIDDEN}
    parts = [create_database(clickhouse.database, clickhouse.schema)]
    for migration in read_migrations(ddl_directory()):
        for statement in migration.statements(places):
            parts += adapted(statement, clickhouse.schema)
    parts += alterations(clickhouse.database, clickhouse.schema)
    return "".join(f"{part};\n\n" for part in parts)
