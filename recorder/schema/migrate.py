"""Migrations: applies deploy/clickhouse/NNN_*.sql in order, refuses a changed history.

What ran is written down in the table `migrations` with the checksum of the file. A run that was cut
off is simply run again: every statement says IF NOT EXISTS. New OHLCV tables get the bars of the
trades that are there already (recorder/schema/bars.py) before their file counts as applied; of a
node that is running itself, the report names the hours that its repair must look at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import SchemaConfig
from recorder.errors import ClickHouseError, ServerUnreachableError
from recorder.schema.bars import BARS, Bars, backfill, hours_lacking
from recorder.schema.ddl import adapted, create_database
from recorder.schema.tiering import align
from tickd.errors import Action, TickdError

__all__ = [
    "Migration",
    "MigrationError",
    "MigrationReport",
    "ddl_directory",
    "migrate",
    "read_migrations",
]

_log = structlog.get_logger(__name__)

_FILE: Final = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")
_DATABASE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Afterwards no start asks for half-made days around a migration any more: the question reads a week
# of trades, and an upgrade that leaves its daemon running so long is none.
_REMEMBER_S: Final = 30 * 86_400
_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")


class MigrationError(TickdError):
    """The files or the server's history cannot be used; nothing more was applied."""

    action = Action.FATAL


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name, its text as written and the checksum of that text."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def bars(self) -> tuple[Bars, ...]:
        """The OHLCV tables that begin with this file."""
        return tuple(b for b in BARS if f"EXISTS {{{{database}}}}.{b.view} " in self.text)

    def statements(self, places: Mapping[str, str]) -> list[str]:
        """Return the statements with `{{name}}` filled in. Raises MigrationError."""

        def fill(match: re.Match[str]) -> str:
            if match[1] not in places:
                raise MigrationError(f"{self.name}: unknown place {match[0]}")
            return places[match[1]]

        # Statements end with ';' at the end of a line, which no string in these files has.
        parts = re.split(r";[ \t]*(?:\n|\Z)", _without_comments(self.text))
        return [_PLACE.sub(fill, part).strip() for part in parts if part.strip()]


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run did."""

    database: str
    applied: tuple[str, ...]
    already: int
    # Hours (Unix time of their starts) whose bars the asking node's repair must look at.
    hours_lacking: frozenset[int] = frozenset()


def ddl_directory() -> Path:
    """Return deploy/clickhouse, beside this package in a checkout and in a wheel alike."""
    return Path(__file__).resolve().parents[2] / "deploy" / "clickhouse"


def read_migrations(directory: Path) -> list[Migration]:
    """Return the files in order. Raises MigrationError for a wrong name or numbering."""
    found: list[Migration] = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named NNN_name.sql")
        found.append(Migration(int(match[1]), path.stem, path.read_text(encoding="utf-8")))
    if not found:
        raise MigrationError(f"no migrations in {directory}", hint="the installation is incomplete")
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations are not numbered 1..{len(found)}: {numbers}")
    return found


async def migrate(
    server: ClickHouse,
    *,
    migrations: Sequence[Migration] | None = None,
    node: int | None = None,
    again: bool = False,
) -> MigrationReport:
    """Bring the configured database (created when absent) to the newest version.

    Replicas without a cluster are migrated one by one; those that are away are left for later.
    Args: `node`: the one that asks and will repair, such as the daemon that is starting; `again`:
    run every statement anew, for replicas that joined since.
    Raises MigrationError when an applied file was changed or is unknown here, ClickHouseError when
    a statement fails.
    """
    if not _DATABASE.fullmatch(server.database):
        raise MigrationError(f"database name {server.database!r} is not a plain identifier")
    wanted = read_migrations(ddl_directory()) if migrations is None else migrations
    replicated = server.schema.engine == "replicated" and server.schema.cluster is None
    reports: list[MigrationReport] = []
    faults: list[ServerUnreachableError] = []
    async with server.each(alone=not replicated) as each:
        for one in each:
            try:
                reports.append(await _migrate(one, wanted, node=node, again=again))
            except ServerUnreachableError as error:
                _log.warning("migrate_left_out", server=one.endpoint.url, fault=str(error))
                faults.append(error)
    if not reports:
        raise faults[0]
    lacking = frozenset(hour for report in reports for hour in report.hours_lacking)
    return replace(reports[0], hours_lacking=lacking)


def _statements(server: ClickHouse, migration: Migration) -> list[str]:
    places = {
        "database": server.database,
        "user": _escaped(server.endpoint.user),
        "password": _escaped(server.endpoint.engine_password),
    }
    parts = migration.statements(places)
    return [each for part in parts for each in adapted(part, server.schema)]


async def _migrate(
    server: ClickHouse, wanted: Sequence[Migration], *, node: int | None, again: bool
) -> MigrationReport:
    database, schema = server.database, server.schema
    await server.command(create_database(database, schema))
    await server.command(_history_table(database, schema))
    applied = await _history(server, database)
    _check(wanted, applied, database)
    done: list[Migration] = []
    try:
        for migration in wanted:
            known = applied.get(migration.number)
            if known is None or again:
                for statement in _statements(server, migration):
                    await server.command(statement)
            if known is None:
                if migration.bars:
                    await backfill(server, migration.bars)
                done.append(migration)
    except ClickHouseError:
        await _write_down(server, done)
        raise
    await _write_down(server, done)
    lacking = frozenset[int]() if node is None else await _lacking(server, wanted, node)
    await align(server)
    return MigrationReport(database, tuple(m.name for m in done), len(applied), lacking)


async def _lacking(server: ClickHouse, wanted: Sequence[Migration], node: int) -> frozenset[int]:
    """The hours whose bars a node's repair must look at, around every migration that is young."""
    applied = await _history(server, server.database)
    hours: set[int] = set()
    for migration in wanted:
        known = applied[migration.number]
        if migration.bars and known.age_s < _REMEMBER_S:
            hours |= await hours_lacking(
                server, migration.bars, node=node, applied_s=known.applied_s
            )
    return frozenset(hours)


async def _write_down(server: ClickHouse, migrations: Sequence[Migration]) -> None:
    """One insert for all of them: each costs the server two fsyncs, and a line too few is harmless.

    A run that was cut off before is run again, and every statement may be.
    """
    if not migrations:
        return
    rows = [{"number": m.number, "name": m.name, "sha256": m.sha256} for m in migrations]
    names = "".join(f"{m.name}-{m.sha256} " for m in migrations)
    # The token makes two daemons that migrate at once write the same lines once.
    await server.command(
        f"INSERT INTO {server.database}.migrations (number, name, sha256)"
        f" FORMAT JSONEachRow\n{chr(10).join(map(json.dumps, rows))}",
        settings={
            "insert_deduplication_token": hashlib.sha256(names.encode()).hexdigest(),
            "async_insert": "0",
        },
    )


def _history_table(database: str, schema: SchemaConfig) -> str:
    """Replicas without a cluster are migrated one by one and have a history each."""
    if schema.cluster is None:
        schema = SchemaConfig()
    return adapted(_HISTORY.format(database=database).strip(), schema)[0]


_HISTORY: Final = """
CREATE TABLE IF NOT EXISTS {database}.migrations
(
    number     UInt32,
    name       String,
    sha256     String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY number
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory =
1
"""


class _Applied(NamedTuple):
    """A line of the history."""

    name: str
    sha256: str
    applied_s: int
    age_s: int


async def _history(server: ClickHouse, database: str) -> dict[int, _Applied]:
    rows = await server.query(
        "SELECT number, name, sha256, toInt64(toUnixTimestamp(toDateTime(applied_at))),"  # noqa: S608 - checked name
        " toInt64(toUnixTimestamp(now())) - toInt64(toUnixTimestamp(toDateTime(applied_at)))"
        f" FROM {database}.migrations ORDER BY number",
    )
    return {
        int(str(number)): _Applied(str(name), str(sha256), int(str(applied_s)), int(str(age_s)))
        for number, name, sha256, applied_s, age_s in rows
    }


def _check(
    wanted: Sequence[Migration],
    applied: Mapping[int, _Applied],
    database: str,
) -> None:
    """Refuse a history that these files did not write."""
    known = {migration.number: migration for migration in wanted}
    for number, line in applied.items():
        migration = known.get(number)
        if migration is None:
            raise MigrationError(
                f"database {database} has migration {line.name}, which this tickd does not know",
                hint="a newer tickd migrated it: upgrade this one",
            )
        if migration.sha256 != line.sha256:
            raise MigrationError(
                f"migration {migration.name} was changed after it was applied to {database}"
                f" (applied {line.sha256[:12]} as {line.name}, file {migration.sha256[:12]})",
                hint="restore the file and put the change into a new migration",
            )


def _without_comments(text: str) -> str:
    return (
        "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")) + "\n"
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
