"""The doctor's look at ClickHouse: version, settings, rights, room, asked of the server itself.

Questions only: no table is made, no row written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.query import EMBEDDED
from recorder.config import ClickHouseConfig
from recorder.errors import ClickHouseError
from recorder.schema.migrate import ddl_directory, read_migrations
from tickd.app.findings import Finding, fail, ok, warn
from tickd.errors import ConfigError
from tickd.units import format_bytes

__all__ = ["RIGHTS", "check_clickhouse", "judge_version"]

# Deduplication tokens on plain MergeTree and the JSON settings that the sink uses are older.
VERSION_MIN: Final = (23, 8)
SERVER_SECONDS: Final = 15.0
# What recording and migrating take, each with who needs it.
RIGHTS: Final = {
    "INSERT": "the sink",
    "SELECT": "verify, repair, query",
    "CREATE TABLE": "migrate",
    "CREATE VIEW": "migrate",
    "ALTER DELETE": "repair",
    "ALTER ADD COLUMN": "migrate",
    "DROP TABLE": "repair of bars",
}
NEEDED_TO_RECORD: Final = frozenset({"INSERT", "SELECT"})
CLOCK_MS_MAX: Final = 1_000.0
FREE_SHARE_MIN: Final = 0.10


async def check_clickhouse(config: ClickHouseConfig, wall_ns: Callable[[], int]) -> list[Finding]:
    """Every configured server, one after the other; without a network for the embedded one."""
    if config.url == EMBEDDED:
        return [_embedded()]
    try:
        server = ClickHouse(config)
    except ConfigError as error:
        return [fail("clickhouse", str(error), error.hint or "")]
    findings: list[Finding] = []
    try:
        async with server.each() as each:
            for one in each:
                try:
                    async with asyncio.timeout(SERVER_SECONDS):
                        findings += await _check(one, config, wall_ns)
                except ClickHouseError as error:
                    findings.append(fail("clickhouse", str(error), error.hint or _remedy(error)))
                except TimeoutError:
                    words = f"{one.endpoint.url}: no answer in {SERVER_SECONDS:g} s"
                    findings.append(fail("clickhouse", words, "what does its own log say?"))
    finally:
        await server.close()
    return findings


def _embedded() -> Finding:
    try:
        return ok("clickhouse", f"embedded, chdb {version('chdb')}")
    except PackageNotFoundError:
        remedy = 'pip install "tickd[embedded]", or clickhouse.url of a server'
        return fail("clickhouse", "embedded is asked for, and not installed", remedy)


def _remedy(error: ClickHouseError) -> str:
    words = str(error)
    if "uthentication" in words or "password" in words:
        return "clickhouse.user and clickhouse.password; does the user exist there?"
    return "see: tickd query CONFIG 'SELECT 1'"


async def _check(
    server: ClickHouse, config: ClickHouseConfig, wall_ns: Callable[[], int]
) -> list[Finding]:
    before_ns = wall_ns()
    ((told, now_ms),) = await server.query(
        "SELECT version(), toFloat64(toUnixTimestamp64Milli(now64(3)))"
    )
    after_ns = wall_ns()
    return [
        judge_version(str(told), server.endpoint.url),
        _judge_clock(float(now_ms), before_ns / 1e6, after_ns / 1e6),
        await _settings(server),
        *await _rights(server, config.database),
        *await _room(server),
        await _schema(server, config.database),
    ]


def judge_version(told: str, url: str) -> Finding:
    """Args: `told`: what `version()` says, e.g. 24.8.4.13."""
    name = "clickhouse version"
    numbers = tuple(int(part) for part in told.split(".")[:2] if part.isdigit())
    words = f"{told} at {url}"
    if numbers < VERSION_MIN:
        least = ".".join(map(str, VERSION_MIN))
        return fail(name, f"{words}, older than {least}", f"ClickHouse {least} or newer")
    return ok(name, words)


def _judge_clock(server_ms: float, before_ms: float, after_ms: float) -> Finding:
    """Where the server's now lies outside of the time of the question, clocks differ."""
    apart = max(before_ms - server_ms, server_ms - after_ms, 0.0)
    words = f"{apart:.0f} ms from ours"
    if apart > CLOCK_MS_MAX:
        return warn("clickhouse clock", words, "a time server for both machines")
    return ok("clickhouse clock", words)


async def _settings(server: ClickHouse) -> Finding:
    name = "clickhouse settings"
    rows = await server.query(
        "SELECT name, value FROM system.settings WHERE name IN"
        " ('readonly', 'async_insert', 'insert_deduplicate', 'max_execution_time')"
    )
    found = {str(key): str(value) for key, value in rows}
    if found.get("readonly") in ("1", "2"):
        remedy = "a profile without readonly for this user"
        return fail(name, f"readonly = {found['readonly']} for this user", remedy)
    if found.get("insert_deduplicate") == "0":
        remedy = "insert_deduplicate = 1 in the user's profile; retried blocks may double"
        return warn(name, "insert_deduplicate = 0", remedy)
    return ok(name, ", ".join(f"{key} {value}" for key, value in sorted(found.items())))


async def _rights(server: ClickHouse, database: str) -> list[Finding]:
    """By CHECK GRANT where the server knows it, one question each; else by SHOW GRANTS, as text."""
    missing: list[str] = []
    for right in RIGHTS:
        try:
            reply = await server.command(f"CHECK GRANT {right} ON {database}.*")
        except ClickHouseError as error:
            if "yntax" not in str(error):
                raise
            return [await _grants(server)]
        if reply.strip() == b"0":
            missing.append(right)
    if not missing:
        return [ok("clickhouse rights", ", ".join(RIGHTS) + f" on {database}.*")]
    findings = []
    for right in missing:
        words = f"{right} on {database}.* is not granted: {RIGHTS[right]} needs it"
        remedy = f"GRANT {right} ON {database}.* TO the user of clickhouse.user"
        judged = fail if right in NEEDED_TO_RECORD else warn
        findings.append(judged("clickhouse rights", words, remedy))
    return findings


async def _grants(server: ClickHouse) -> Finding:
    rows = await server.query("SHOW GRANTS")
    words = "; ".join(str(row[0]) for row in rows)[:300]
    remedy = f"this server cannot be asked one by one; needed: {', '.join(RIGHTS)}"
    return warn("clickhouse rights", words or "none", remedy) if not rows else _by_text(words)


def _by_text(words: str) -> Finding:
    lacking = [
        each for each in sorted(NEEDED_TO_RECORD) if each not in words and "ALL" not in words
    ]
    if lacking:
        remedy = f"GRANT {', '.join(lacking)} on tickd's database to clickhouse.user"
        return fail("clickhouse rights", f"no {', '.join(lacking)} in: {words}", remedy)
    return ok("clickhouse rights", words)


async def _room(server: ClickHouse) -> list[Finding]:
    """Of each disk; a user without the right to see them is told nothing."""
    try:
        rows = await server.query(
            "SELECT name, toFloat64(free_space), toFloat64(total_space) FROM system.disks"
            " WHERE total_space > 0 AND total_space < 1e18"
        )
    except ClickHouseError:
        return []
    findings = []
    for disk, free, total in rows:
        name = f"clickhouse disk {disk}"
        words = f"{format_bytes(int(free))} of {format_bytes(int(total))} free"
        if free < FREE_SHARE_MIN * total:
            findings.append(warn(name, words, "clickhouse.schema.ttl_days, or a bigger disk"))
        else:
            findings.append(ok(name, words))
    return findings


async def _schema(server: ClickHouse, database: str) -> Finding:
    """Which migrations were applied."""
    name = "clickhouse tables"
    wanted = len(read_migrations(ddl_directory()))
    try:
        ((applied,),) = await server.query(
            f"SELECT toInt64(uniqExact(number)) FROM {database}.migrations"  # noqa: S608 - a name that the configuration checked
        )
    except ClickHouseError:
        return warn(name, f"database {database} is not made yet", "tickd migrate; a start does so")
    words = f"{applied} of {wanted} migrations"
    if applied < wanted:
        return warn(name, words, "tickd migrate; a start of the daemon does so")
    if applied > wanted:
        return fail(name, f"{words}: a newer tickd was here", "the newer tickd")
    return ok(name, words)
