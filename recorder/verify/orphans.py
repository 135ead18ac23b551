"""Rows that nothing accounts for: of nodes that nobody knows, above the log's end, or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.verify.report import Finding, Kind
from tickd.native import EVENT_TABLES

__all__ = ["count_rows", "last_stored", "rows_above", "rows_astray", "unknown_nodes"]

# Of one table in one question, which may be about seven: 40 bytes each of 256 KiB.
_RANGES_MAX: Final = 500


async def count_rows(
    clickhouse: ClickHouse,
    *,
    node: int,
    seq_to: int,
    leave_out: Mapping[str, Sequence[tuple[int, int]]],
) -> dict[str, int]:
    """Count a node's rows up to `seq_to` by table, without those in some ranges of each.

    Raises ClickHouseError.
    """
    short = {table: ranges for table, ranges in leave_out.items() if len(ranges) <= _RANGES_MAX}
    conditions = {
        table: f"NOT ({_inside(ranges)})" if ranges else "1" for table, ranges in short.items()
    }
    conditions |= dict.fromkeys(leave_out.keys() - short.keys(), "1")
    counts = await _count(clickhouse, node, seq_to, conditions)
    for table in leave_out.keys() - short.keys():
        for at in range(0, len(leave_out[table]), _RANGES_MAX):
            inside = {table: _inside(leave_out[table][at : at + _RANGES_MAX])}
            counts[table] -= (await _count(clickhouse, node, seq_to, inside))[table]
    return counts


async def last_stored(clickhouse: ClickHouse, *, node: int) -> dict[str, int]:
    """The highest sequence number of a node's rows by table, 0 for none. Raises ClickHouseError."""
    rows = await clickhouse.query(
        " UNION ALL ".join(
            f"SELECT '{table}', max(seq) FROM {clickhouse.database}.{table} "  # noqa: S608 - own names only
            "WHERE node = {node:UInt16}"
            for table in EVENT_TABLES
        ),
        {"node": node},
    )
    return {str(table): int(str(seq)) for table, seq in rows}


async def rows_above(
    clickhouse: ClickHouse, table: str, *, node: int, seq_from: int, seq_to: int
) -> Finding | None:
    """Rows up to `seq_to` whose frames the log does not have: it ends before `seq_from`.

    Raises ClickHouseError.
    """
    if seq_to < seq_from:
        return None
    rows = await clickhouse.query(
        f"SELECT count(), min(seq), max(seq) FROM {clickhouse.database}.{table} "  # noqa: S608 - own names only
        "WHERE node = {node:UInt16} AND seq BETWEEN {seq_from:UInt64} AND {seq_to:UInt64}",
        {"node": node, "seq_from": seq_from, "seq_to": seq_to},
    )
    count, first, last = (int(str(value)) for value in rows[0])
    if not count:
        return None
    return Finding(
        kind=Kind.ROWS_ORPHANED,
        where=table,
        text=f"{count} rows of {table} are above the end of the raw log: seq {first} to {last}",
        count=count,
        table=table,
        seq_from=first,
        seq_to=last,
    )


def rows_astray(table: str, *, counted: int, compared: int) -> Finding | None:
    """Rows that the table has and no segment's comparison saw."""
    if counted <= compared:
        return None
    return Finding(
        kind=Kind.ROWS_ORPHANED,
        where=table,
        text=f"{counted - compared} rows of {table} lie in no segment: below the log's begin, or"
        " more than a day off their frame's time",
        count=counted - compared,
        table=table,
    )


async def unknown_nodes(clickhouse: ClickHouse, *, node: int) -> list[Finding]:
    """Rows of nodes that stored neither a segment nor an instrument. Raises ClickHouseError."""
    database = clickhouse.database
    rows = await clickhouse.query(
        " UNION ALL ".join(
            f"SELECT '{table}', node, count(), min(seq), max(seq) "  # noqa: S608 - own names only
            f"FROM {database}.{table} WHERE node != {{node:UInt16}} "
            f"AND node NOT IN (SELECT node FROM {database}.segments) "
            f"AND node NOT IN (SELECT node FROM {database}.instruments) GROUP BY node"
            for table in EVENT_TABLES
        ),
        {"node": node},
    )
    findings = []
    for row in sorted(rows, key=lambda row: EVENT_TABLES.index(str(row[0]))):
        table = str(row[0])
        stranger, count, first, last = (int(str(value)) for value in row[1:])
        findings.append(
            Finding(
                kind=Kind.NODE_UNKNOWN,
                where=table,
                text=f"{count} rows of {table} are of node {stranger}, which stored no segment",
                count=count,
                table=table,
                seq_from=first,
                seq_to=last,
            )
        )
    return findings


async def _count(
    clickhouse: ClickHouse, node: int, seq_to: int, conditions: Mapping[str, str]
) -> dict[str, int]:
    """Rows by table that meet the table's condition."""
    rows = await clickhouse.query(
        " UNION ALL ".join(
            f"SELECT '{table}', count() FROM {clickhouse.database}.{table} "  # noqa: S608 - own names only
            f"WHERE node = {{node:UInt16}} AND seq <= {{seq_to:UInt64}} AND ({condition})"
            for table, condition in conditions.items()
        ),
        {"node": node, "seq_to": seq_to},
    )
    return {str(table): int(str(count)) for table, count in rows}


def _inside(ranges: Sequence[tuple[int, int]]) -> str:
    return " OR ".join(f"seq BETWEEN {first} AND {last}" for first, last in ranges)
