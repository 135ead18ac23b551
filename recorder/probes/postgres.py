"""One PostgreSQL connection: opened, its table brought up to date, rows copied in.

Speaks through asyncpg, imported when it is first needed. Every await has a timeout; every failure
is a PostgresFaultError. It keeps nothing and tries nothing again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, cast, final

from recorder.probes.config import PostgresConfig
from recorder.probes.rows import COLUMNS, Row
from recorder.schema.migrate import Migration, read_migrations
from tickd.errors import Action, TickdError

__all__ = [
    "PostgresConnection",
    "PostgresFaultError",
    "connected",
    "read_postgres_migrations",
    "require_library",
]

# Of all daemons that share the database one migrates at a time: "tickd" in ASCII.
_LOCK: Final = 0x74_69_63_6B_64
_HISTORY: Final = """
CREATE TABLE IF NOT EXISTS tickd_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""
_STAGE: Final = "CREATE TEMPORARY TABLE fresh (LIKE latency_probes) ON COMMIT DROP"
_MOVE: Final = "INSERT INTO latency_probes SELECT * FROM fresh ON CONFLICT DO NOTHING"


class PostgresFaultError(TickdError):
    """The server is away, or refuses something; what was copied may or may not be there."""

    action = Action.RETRY


class _Library(Protocol):
    """What is used of asyncpg, which has no types."""

    PostgresError: type[Exception]
    InterfaceError: type[Exception]
    InternalClientError: type[Exception]

    async def connect(self, **keys: object) -> Any: ...


def require_library() -> _Library:
    """Return asyncpg. Raises TickdError(FATAL): it is not installed."""
    try:
        import asyncpg  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise TickdError(
            "[postgres] needs asyncpg, which is not installed",
            action=Action.FATAL,
            hint="pip install 'tickd[postgres]', or postgres.enabled = false",
        ) from error
    return cast("_Library", asyncpg)


def read_postgres_migrations() -> list[Migration]:
    """Return the files beside the packages, in order. Raises MigrationError(FATAL)."""
    return read_migrations(Path(__file__).resolve().parents[2] / "deploy" / "postgres")


@final
class PostgresConnection:
    """An open one; `connected` makes it."""

    def __init__(self, library: _Library, raw: Any, timeout_s: float) -> None:
        self._library: Final = library
        self._raw: Final = raw
        self._timeout_s: Final = timeout_s

    async def migrate(self) -> list[str]:
        """Apply what is missing and return the names. Raises PostgresFaultError.

        A user who may only insert needs no other right where everything is applied already.
        """
        files = read_postgres_migrations()
        async with self._guarded("migrate"), self._raw.transaction():
            await self._raw.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await self._raw.fetchval("SELECT to_regclass('tickd_migrations')") is None:
                await self._raw.execute(_HISTORY)
            rows = await self._raw.fetch("SELECT number, name, sha256 FROM tickd_migrations")
            known = {row["number"]: row for row in rows}
            for file in files:
                if file.number in known and known[file.number]["sha256"] != file.sha256:
                    raise PostgresFaultError(
                        f"migration {file.name} was applied with another text",
                        hint="a file that ran is never changed: add a new one",
                    )
            missing = [file for file in files if file.number not in known]
            for file in missing:
                await self._raw.execute(file.text)
                await self._raw.execute(
                    "INSERT INTO tickd_migrations (number, name, sha256) VALUES ($1, $2, $3)",
                    file.number,
                    file.name,
                    file.sha256,
                )
        return [file.name for file in missing]

    async def copy(self, rows: Sequence[Row]) -> None:
        """Store rows, all or none, by binary COPY; those that are there already stay as they are.

        Raises PostgresFaultError.
        """
        async with self._guarded("copy"), self._raw.transaction():
            await self._raw.execute(_STAGE)
            await self._raw.copy_records_to_table("fresh", records=rows, columns=COLUMNS)
            await self._raw.execute(_MOVE)

    @asynccontextmanager
    async def _guarded(self, what: str) -> AsyncIterator[None]:
        """Bound what is within, and give its failures one name."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except _failures_of(self._library) as error:
            words = str(error) or type(error).__name__
            raise PostgresFaultError(f"postgres {what}: {words}") from error


def _failures_of(library: _Library) -> tuple[type[Exception], ...]:
    """What a server, a network or the library's own state may raise; a timeout is an OSError."""
    return library.PostgresError, library.InterfaceError, library.InternalClientError, OSError


@asynccontextmanager
async def connected(config: PostgresConfig) -> AsyncIterator[PostgresConnection]:
    """Open a connection, and end it at once whatever happens. Raises PostgresFaultError."""
    library, timeout_s = require_library(), config.timeout_ms / 1000
    try:
        async with asyncio.timeout(timeout_s):
            raw = await library.connect(
                host=config.host,
                port=config.port,
                user=config.user,
                password=None if config.password is None else config.password.reveal(),
                database=config.database,
                ssl=False if config.host.startswith("/") else config.ssl,
                timeout=timeout_s,
                command_timeout=timeout_s,
                server_settings={"search_path": config.schema, "application_name": "tickd"},
            )
    except _failures_of(library) as error:
        words = str(error) or type(error).__name__
        raise PostgresFaultError(
            f"postgres at {config.host}:{config.port}: {words}", hint="see [postgres]"
        ) from error
    try:
        yield PostgresConnection(library, raw, timeout_s)
    finally:
        raw.terminate()
