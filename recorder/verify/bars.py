"""Bars against trades: whether every bar is what the stored trades say.

Each bar of each OHLCV table is recomputed from `trades` in ClickHouse and compared with what its
materialised view has summed up. It reads no raw log: whether the trades are right is another
question.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.schema.bars import BAR_TIME, BARS, Bars, bars_select
from recorder.verify.report import Finding, Kind

__all__ = ["check_bars"]

_HOUR_S: Final = 3_600
_DAY_S: Final = 24 * _HOUR_S
# A trade belongs to the bar of its venue time, which is at most a day off its receive time.
_MARGIN_S: Final = _DAY_S
# Bars of one question: a day of minutes, an hour of seconds, for any number of instruments.
_BARS_PER_INSTRUMENT: Final = 3_600
_ATTEMPTS: Final = 3
_EXAMPLES: Final = 5
_FIELDS: Final = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "buy_volume",
    "turnover",
    "trades",
)


class _Different(NamedTuple):
    instrument: int
    start_s: int
    text: str


async def check_bars(
    clickhouse: ClickHouse, *, node: int, seq_to: int | None, hours_due: Collection[int] = ()
) -> tuple[int, list[Finding]]:
    """Compare every bar; return how many there are, and what is wrong.

    Args: `seq_to`: bars that hold a later trade are left alone, because they still grow;
    `hours_due`: so are those of these hours (Unix time of their starts), which repair will make.
    Raises ClickHouseError.
    """
    checked, findings, due = 0, list[Finding](), frozenset(hours_due)
    for bars in BARS:
        if not await _exists(clickhouse, bars.table):
            continue
        begin_s, end_s = await _extent(clickhouse, bars, node)
        span_s = bars.seconds * _BARS_PER_INSTRUMENT
        at_s = begin_s - begin_s % span_s
        different: list[_Different] = []
        while at_s < end_s:
            compared, found = await _compare(
                clickhouse, bars, node=node, start_s=at_s, end_s=at_s + span_s, seq_to=seq_to
            )
            checked += compared
            different += (each for each in found if each.start_s // _HOUR_S * _HOUR_S not in due)
            at_s = await _next(clickhouse, bars, node=node, from_s=at_s + span_s)
        if different:
            findings.append(_finding(bars.table, different))
    return checked, findings


async def _exists(clickhouse: ClickHouse, table: str) -> bool:
    rows = await clickhouse.query(
        "SELECT count() FROM system.tables WHERE database = {database:String} "
        "AND name = {table:String}",
        {"database": clickhouse.database, "table": table},
    )
    return int(str(rows[0][0])) > 0


async def _extent(clickhouse: ClickHouse, bars: Bars, node: int) -> tuple[int, int]:
    """From the first bar to behind the last, of the table and of what the trades say."""
    rows = await clickhouse.query(
        f"SELECT min(at), max(at) + 1 FROM ("  # noqa: S608 - own names only
        f"SELECT toUnixTimestamp({bars.column}) AS at FROM {clickhouse.database}.{bars.table} "
        "WHERE node = {node:UInt16} UNION ALL "
        f"SELECT toUnixTimestamp(toDateTime({BAR_TIME}, 'UTC')) AS at "
        f"FROM {clickhouse.database}.trades "
        "WHERE node = {node:UInt16} AND NOT bitTest(flags, 9))",
        {"node": node},
    )
    return int(str(rows[0][0] or 0)), int(str(rows[0][1] or 0))


async def _next(clickhouse: ClickHouse, bars: Bars, *, node: int, from_s: int) -> int:
    """Where the next stretch with bars or trades begins, so that quiet days cost nothing."""
    span_s = bars.seconds * _BARS_PER_INSTRUMENT
    rows = await clickhouse.query(
        "SELECT min(at) FROM ("  # noqa: S608 - own names only
        f"SELECT toUnixTimestamp({bars.column}) AS at FROM {clickhouse.database}.{bars.table} "
        "WHERE node = {node:UInt16} AND "
        f"{bars.column} >= toDateTime({{from_s:UInt32}}, 'UTC') UNION ALL "
        f"SELECT toUnixTimestamp(toDateTime({BAR_TIME}, 'UTC')) AS at "
        f"FROM {clickhouse.database}.trades "
        "WHERE node = {node:UInt16} AND NOT bitTest(flags, 9) "
        "AND ts_recv >= toDateTime64({recv_s:UInt32}, 9, 'UTC') AND at >= {from_s:UInt32}) "
        "HAVING count() > 0",
        {"node": node, "from_s": from_s, "recv_s": max(0, from_s - _MARGIN_S)},
    )
    if not rows:
        return 1 << 40
    found = int(str(rows[0][0]))
    return max(from_s, found - found % span_s)


async def _compare(
    clickhouse: ClickHouse,
    bars: Bars,
    *,
    node: int,
    start_s: int,
    end_s: int,
    seq_to: int | None,
) -> tuple[int, list[_Different]]:
    """The bars of a stretch of time; what differs is asked again, for rows may be on their way."""
    different: list[_Different] = []
    count = 0
    for _ in range(_ATTEMPTS):
        rows = await clickhouse.query(
            _sql(clickhouse.database, bars),
            {
                "node": node,
                "from_s": start_s,
                "to_s": end_s,
                "recv_from_s": max(0, start_s - _MARGIN_S),
                "recv_to_s": end_s + _MARGIN_S,
                "seq_to": (1 << 64) - 1 if seq_to is None else seq_to,
            },
        )
        count = int(str(rows[0][0]))
        found = [_Different(int(row[0]), int(row[1]), str(row[2])) for row in rows[0][1]]
        if not found:
            return count, []
        known = {(each.instrument, each.start_s) for each in different}
        different = [e for e in found if not different or (e.instrument, e.start_s) in known]
        if seq_to is None:
            break
    return count, different


def _sql(database: str, bars: Bars) -> str:
    """How many bars there are, and those that differ: (instrument, start, what)."""
    table, column = bars.table, bars.column
    merged = {"open": "argMinMerge(open)", "close": "argMaxMerge(close)", "high": "max(high)"}
    merged |= {"low": "min(low)"}
    own = ", ".join(f"{merged.get(f, f'sum({f})')} AS {f}_b" for f in _FIELDS)
    values = ", ".join(f"toString({f}_b)" for f in _FIELDS)
    final = {"open": "finalizeAggregation(open)", "close": "finalizeAggregation(close)"}
    wanted = ", ".join(f"{final.get(f, f)} AS {f}_b" for f in _FIELDS)
    recv_from = "ts_recv >= toDateTime64({recv_from_s:UInt32}, 9, 'UTC')"
    recv_to = "ts_recv < toDateTime64({recv_to_s:UInt32}, 9, 'UTC')"
    trades = bars_select(
        bars,
        database,
        own="node = {node:UInt16}",
        live=f"{recv_from} AND {recv_to}",
        fetched=recv_from,
    )
    return (
        "SELECT count(), groupArrayIf(10000)((instrument, at,"  # noqa: S608 - own names only
        " concat(toString(said), ' in the bar, ', toString(found), ' of its trades')),"
        " said != found) FROM ("
        " SELECT instrument, at, source, anyIf(v, is_bar) AS said, anyIf(v, NOT is_bar) AS found,"
        " max(last) AS seq_end FROM ("
        f" SELECT instrument, toUnixTimestamp({column}) AS at, source, true AS is_bar,"
        f" toUInt64(0) AS last, [{values}] AS v FROM ("
        f" SELECT instrument, {column}, toString(source) AS source, {own} FROM {database}.{table}"
        " WHERE node = {node:UInt16}"
        f" AND {column} >= toDateTime({{from_s:UInt32}}, 'UTC')"
        f" AND {column} < toDateTime({{to_s:UInt32}}, 'UTC')"
        f" GROUP BY instrument, {column}, source)"
        " UNION ALL"
        f" SELECT instrument, at, source, false AS is_bar, seq_last AS last, [{values}] AS v"
        f" FROM (SELECT instrument, toUnixTimestamp({column}) AS at,"
        f" toString(source) AS source, seq_last, {wanted} FROM ({trades})"
        " WHERE at >= {from_s:UInt32} AND at < {to_s:UInt32})"
        ") GROUP BY instrument, at, source HAVING seq_end <= {seq_to:UInt64})"
    )


def _finding(table: str, different: list[_Different]) -> Finding:
    examples = "; ".join(
        f"instrument {each.instrument} at {each.start_s}: {each.text}"
        for each in different[:_EXAMPLES]
    )
    return Finding(
        kind=Kind.BARS_DIFFER,
        where=table,
        text=f"{len(different)} bars are not what their trades say: {examples}",
        count=len(different),
        table=table,
    )
