"""Rows that nothing accounts for: of nodes that nobody knows, above the log's end, or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.verify.report import Finding, Kind
from tickd.native import EVENT_TABLES

__all__ = ["count_rows", "last_stored", "rows_above", "rows_astray", "unknown_nodes"]

_RANGES_MAX: Final = 1_000


async def count_rows(
    clickhouse: ClickHouse,
    table: str,
    *,
    node: int,
    seq_to: int,
    leave_out: Sequence[tuple[int, int]],
) -> int:
    """Count a node's rows up to `seq_to`, without those in some ranges. Raises ClickHouseError."""
    if len(leave_out) > _RANGES_MAX:
        total = await count_rows(clickhouse, table, node=node, seq_to=seq_to, leave_out=())
        for at in range(0, len(leave_out), _RANGES_MAX):
            ranges = leave_out[at : at + _RANGES_MAX]
            total -= await _count(clickhouse, table, node, seq_to, _inside(ranges))
        return total
    condition = f"NOT ({_inside(leave_out)})" if leave_out else "1"
    return await _count(clickhouse, table, node, seq_to, condition)


async def last_stored(clickhouse: ClickHouse, table: str, *, node: int) -> int:
    """The highest sequence number of a node's rows, 0 for none. Raises ClickHouseError."""
    rows = await clickhouse.query(
        f"SELECT max(seq) FROM {clickhouse.database}.{table} "  # noqa: S608 - own names only
        "WHERE node = {node:UInt16}",
        {"node": node},
    )
    return int(str(rows[0][0]))


async def rows_above(
    clickhouse: ClickHouse, table: str, *, node: int, seq_from: int, seq_to: int
) -> Finding | None:
    """Rows up to `seq_to` whose frames the log does not have: it ends before `seq_from`.

    Raises ClickHouseError.
    """
    if seq_to < seq_from:
        return None
    rows = await clickhouse.query(
        f"SELECT count(), min(seq), max(seq) FROM {clickhouse.database}.{table} "  # noqa: S608
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
    findings = []
    for table in EVENT_TABLES:
        rows = await clickhouse.query(
            "SELECT node, count(), min(seq), max(seq) "  # noqa: S608 - own names only
            f"FROM {database}.{table} WHERE node != {{node:UInt16}} "
            f"AND node NOT IN (SELECT node FROM {database}.segments) "
            f"AND node NOT IN (SELECT node FROM {database}.instruments) GROUP BY node",
            {"node": node},
        )
        for stranger, count, first, last in rows:
            findings.append(
                Finding(
                    kind=Kind.NODE_UNKNOWN,
                    where=table,
                    text=f"{count} rows of {table} are of node {stranger}, which stored no segment",
                    count=int(str(count)),
                    table=table,
                    seq_from=int(str(first)),
                    seq_to=int(str(last)),
                )
            )
    return findings


async def _count(clickhouse: ClickHouse, table: str, node: int, seq_to: int, condition: str) -> int:
    rows = await clickhouse.query(
        f"SELECT count() FROM {clickhouse.database}.{table} "  # noqa: S608 - own names only
        f"WHERE node = {{node:UInt16}} AND seq <= {{seq_to:UInt64}} AND ({condition})",
        {"node": node, "seq_to": seq_to},
    )
    return int(str(rows[0][0]))


def _inside(ranges: Sequence[tuple[int, int]]) -> str:
    return " OR ".join(f"seq BETWEEN {first} AND {last}" for first, last in ranges)
