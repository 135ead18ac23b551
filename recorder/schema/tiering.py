"""How long events stay, and on which disks: makes the tables' TTL and policy the configured ones.

What is not configured is left as an operator set it. Only tables of events are touched: bars,
instruments and segments stay. It moves and deletes nothing itself; ClickHouse does, whole days at a
time.
"""

from __future__ import annotations

import re
from typing import Final

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import SchemaConfig
from tickd.native import DERIVED_TABLES, EVENT_TABLES

__all__ = ["align", "alterations", "ttl_of"]

_log = structlog.get_logger(__name__)

_TTL: Final = re.compile(r" TTL (.+?)(?= SETTINGS |$)")
_TABLES: Final = (*EVENT_TABLES, *DERIVED_TABLES)
_NAMES: Final = ", ".join(f"'{table}'" for table in _TABLES)


def ttl_of(schema: SchemaConfig) -> str | None:
    """Return the TTL as the server writes it, "" for none; None: not configured."""
    if schema.ttl_days is None and schema.cold_after_days is None:
        return None
    parts: list[str] = []
    if schema.cold_after_days is not None:
        cold = f"toDateTime(ts_recv) + toIntervalDay({schema.cold_after_days})"
        parts.append(f"{cold} TO VOLUME '{schema.cold_volume}'")
    if schema.ttl_days:
        parts.append(f"toDateTime(ts_recv) + toIntervalDay({schema.ttl_days})")
    return ", ".join(parts)


def alterations(database: str, schema: SchemaConfig) -> list[str]:
    """Return what `align` would run on tables that have no TTL yet."""
    wanted = ttl_of(schema)
    if not wanted:
        return []
    return [_alter(database, table, schema, f"MODIFY TTL {wanted}") for table in _TABLES]


async def align(server: ClickHouse) -> list[str]:
    """Change what differs from the configuration; return the names of the changed tables.

    Raises ClickHouseError, for one when the server knows no such policy or volume.
    """
    schema, database = server.schema, server.database
    wanted = ttl_of(schema)
    if wanted is None and schema.storage_policy is None:
        return []
    changed: list[str] = []
    rows = await server.query(
        "SELECT name, engine_full, storage_policy FROM system.tables"  # noqa: S608 - own names only
        f" WHERE database = '{database}' AND name IN ({_NAMES}) ORDER BY name"
    )
    for name, engine_full, policy in rows:
        changes: list[str] = []
        if schema.storage_policy not in {None, policy}:
            changes.append(f"MODIFY SETTING storage_policy = '{schema.storage_policy}'")
        found = _TTL.search(str(engine_full))
        if wanted is not None and wanted != (found[1] if found else ""):
            changes.append(f"MODIFY TTL {wanted}" if wanted else "REMOVE TTL")
        for change in changes:  # one by one: a TTL names volumes of the policy
            await server.command(_alter(database, str(name), schema, change))
            _log.info("table_changed", table=name, change=change)
        if changes:
            changed.append(str(name))
    return changed


def _alter(database: str, table: str, schema: SchemaConfig, change: str) -> str:
    cluster = "" if schema.cluster is None else f" ON CLUSTER '{schema.cluster}'"
    return f"ALTER TABLE {database}.{table}{cluster} {change}"
