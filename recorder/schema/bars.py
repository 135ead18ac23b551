"""The OHLCV tables: which there are, and how their bars are made again from the trades.

Materialised views keep the bars while trades arrive. Bars of trades that are older than their table
(a migration) are made here, from what `trades` holds, on days when nobody inserts any more; those
of the other days, of repaired and of fetched trades, in recorder/repair/bar_repair.py, from the
same SELECT. It touches no trade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import ServerBusyError

__all__ = [
    "BARS",
    "BAR_TIME",
    "Bars",
    "backfill",
    "bars_select",
    "columns_of",
    "hour_sql",
    "hours_lacking",
    "view_select",
]

_log = structlog.get_logger(__name__)

_DAY_S: Final = 86_400
# Beyond this a venue's time counts as broken and the receive time stands for it; see the views.
_SKEW_S: Final = _DAY_S
# A node that stored a trade so recently is taken for a running one.
_QUIET_S: Final = 600
# The bars were deleted a moment ago: what the server remembers of them must not count.
_NO_TOKENS: Final = {"insert_deduplicate": "0", "async_insert": "0"}
# By it a successor finds statements that still run.
_MARK: Final = "/* tickd-bars */"


class Bars(NamedTuple):
    """One interval: its table, the column of a bar's start, how ClickHouse computes that."""

    table: str
    column: str
    seconds: int
    start: str

    @property
    def view(self) -> str:
        """The materialised view that keeps it."""
        return f"{self.table}_mv"


# Every OHLCV table; whoever recomputes or checks bars goes through this list.
BARS: Final = (
    Bars("ohlcv_1s", "second", 1, "toDateTime(at, 'UTC')"),
    Bars("ohlcv_1m", "minute", 60, "toStartOfMinute(toDateTime(at, 'UTC'))"),
    Bars("ohlcv_1h", "hour", 3_600, "toStartOfHour(toDateTime(at, 'UTC'))"),
)

# The time whose bar a live trade is in: the venue's, or the receive time where that is broken.
_LIVE_TIME: Final = (
    "if(abs(toUnixTimestamp64Nano(ts_event) - toUnixTimestamp64Nano(ts_recv)) > 86400000000000,"
    " ts_recv, ts_event)"
)
# The same for any trade: a fetched one (flag 0x0400) may come long after its time.
BAR_TIME: Final = f"if(bitTest(flags, 10), ts_event, {_LIVE_TIME})"
_SOURCE: Final = "CAST(bitTest(flags, 11), 'Enum8(\\'trade\\' = 0, \\'aggregate\\' = 1)')"
_SUMS: Final = (
    "sum(toInt128(size)) AS volume, sumIf(toInt128(size), side = 'B') AS buy_volume,"
    " sum(toInt128(price) * toInt128(size)) AS turnover, count() AS trades"
)
_COLUMNS: Final = (
    "price_scale",
    "size_scale",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "buy_volume",
    "turnover",
    "trades",
)


def columns_of(bars: Bars) -> tuple[str, ...]:
    """Return the columns of an interval's table, in order."""
    return ("instrument", bars.column, "node", "source", *_COLUMNS)


def view_select(bars: Bars, database: str) -> str:
    """Return the SELECT of an interval's view: live trades only, in the order of their arrival."""
    return (
        f"SELECT instrument, {bars.start} AS {bars.column}, node, {_SOURCE} AS source,"  # noqa: S608 - own names only
        " any(t.price_scale) AS price_scale, any(t.size_scale) AS size_scale,"
        " argMinState(price, seq) AS open, max(price) AS high, min(price) AS low,"
        f" argMaxState(price, seq) AS close, {_SUMS}"
        f" FROM (SELECT *, {_LIVE_TIME} AS at FROM {database}.trades) AS t"
        f" WHERE bitAnd(flags, 1536) = 0 GROUP BY instrument, {bars.column}, node, source"
    )


def bars_select(
    bars: Bars, database: str, *, own: str = "1", live: str = "1", fetched: str = "1"
) -> str:
    """Return a SELECT of `columns_of` and `seq_last`: the bars as all trades together want them.

    What was fetched later (flag 0x0400) opens or closes a bar where it happened before or after
    every live trade of it, and counts once: not at all where the same trade came live as well. The
    states of open and close are those of live trades, so that what arrives later goes behind them.
    Args: conditions: `own` of all trades, `live` and `fetched` of either kind.
    """
    trades = f"{database}.trades"
    live = f"{own} AND {live} AND NOT bitTest(flags, 10)"
    fetched = f"{own} AND {fetched} AND bitTest(flags, 10)"
    key = "instrument, bitTest(flags, 11), id"
    # Live trades with the id of a fetched one: few or none, whatever `live` spans.
    both = (
        f"SELECT {key} FROM {trades} WHERE {live}"  # noqa: S608 - own names only
        f" AND (instrument, id) IN (SELECT instrument, id FROM {trades} WHERE {fetched})"
    )
    wanted = "node, seq, ts_recv, ts_event, instrument, price_scale, size_scale, flags, id, price"
    wanted += ", size, side"
    source = (
        f"SELECT {wanted}, false AS late FROM {trades} WHERE {live}"  # noqa: S608 - own names only
        f" UNION ALL SELECT {wanted}, true AS late FROM {trades}"
        f" WHERE {fetched} AND ({key}) NOT IN ({both})"
    )
    pieces = (
        f"SELECT instrument, {bars.start} AS {bars.column}, node, {_SOURCE} AS source,"  # noqa: S608 - own names only
        " any(t.price_scale) AS price_scale, any(t.size_scale) AS size_scale,"
        " max(price) AS high, min(price) AS low,"
        f" {_SUMS}, max(seq) AS seq_last, countIf(NOT late) AS live, countIf(late) AS fetched,"
        f" {_end('argMin', 'first')}, {_end('argMax', 'last')}"
        f" FROM (SELECT *, {BAR_TIME} AS at FROM ({source})) AS t"
        f" WHERE NOT bitTest(flags, 9) GROUP BY instrument, {bars.column}, node, source"
    )
    opens = (
        "fetched > 0 AND (live = 0 OR (first_fetched.2, first_fetched.3) < (first_at, first_id))"
    )
    closes = "fetched > 0 AND (live = 0 OR (last_fetched.2, last_fetched.3) > (last_at, last_id))"
    values = {
        "open": f"{_state('argMin', 'first', opens)} AS open",
        "close": f"{_state('argMax', 'last', closes)} AS close",
    }
    columns = ", ".join(values.get(name, name) for name in columns_of(bars))
    return f"SELECT {columns}, seq_last FROM ({pieces})"  # noqa: S608 - own names only


def _end(choose: str, name: str) -> str:
    """Columns: the live trade at one end of a bar, and the fetched one (price, time, id, seq)."""
    return (
        f"{choose}If(price, seq, NOT late) AS {name}_price,"
        f" {choose}If(at, seq, NOT late) AS {name}_at, {choose}If(id, seq, NOT late) AS {name}_id,"
        f" {choose}If(seq, seq, NOT late) AS {name}_seq,"
        f" {choose}If((price, at, id, seq), (at, id, seq), late) AS {name}_fetched"
    )


def _state(choose: str, name: str, if_fetched: str) -> str:
    return (
        f"initializeAggregation('{choose}State',"
        f" if({if_fetched}, {name}_fetched.1, {name}_price),"
        f" if(live > 0, {name}_seq, {name}_fetched.4))"
    )


async def backfill(clickhouse: ClickHouse, tables: Sequence[Bars]) -> int:
    """Make the bars of trades that are older than their table; return how many days were made.

    Only days of which bars are missing are touched: where trades have been dropped (a TTL), their
    bars stay. Of a node that may be running the last two days are left out, as it inserts into them
    meanwhile; its own start makes them (`hours_lacking`). Raises ClickHouseError; ServerBusyError
    while a predecessor that was cut off has left the server working on bars.
    """
    database = clickhouse.database
    rows = await clickhouse.query(
        "SELECT node, day, trades FROM ("  # noqa: S608 - own names only
        f"SELECT node, toUnixTimestamp(toStartOfDay(toDateTime({BAR_TIME}, 'UTC'))) AS day,"
        " count() AS trades, max(max(toUnixTimestamp(toDateTime(ts_recv, 'UTC'))))"
        " OVER (PARTITION BY node) AS last"
        f" FROM {database}.trades WHERE NOT bitTest(flags, 9) GROUP BY node, day"
        ") WHERE last < toUnixTimestamp(now()) - {quiet:UInt32}"
        " OR day < toUnixTimestamp(toStartOfDay(now('UTC'))) - 86400 ORDER BY node, day",
        {"quiet": _QUIET_S},
    )
    wanted = [(int(str(node)), int(str(day)), int(str(count))) for node, day, count in rows]
    made = 0
    for bars in tables if wanted else ():
        if await clickhouse.running(mark=_MARK):
            raise ServerBusyError(
                f"{database}: bars of older trades are being made", hint="wait until that has ended"
            )
        has = await _trades_of_days(clickhouse, bars)
        for node, day_s, count in wanted:
            if has.get((node, day_s), 0) >= count:
                continue
            # A day is a whole number of every interval.
            await _recompute(clickhouse, bars, node=node, start_s=day_s, stop_s=day_s + _DAY_S)
            _log.info("bars_made", table=bars.table, node=node, day_start_s=day_s)
            made += 1
    return made


async def hours_lacking(
    clickhouse: ClickHouse, tables: Sequence[Bars], *, node: int, applied_s: int
) -> frozenset[int]:
    """Return the hours whose bars this node's repair must look at, Unix time of their starts.

    What `backfill` left out because the node may have been running: hours with more trades than
    their bars are made of. Rows that are on their way just now make an hour too many, never one too
    few. Args: `applied_s`: when the tables came, Unix time: only days around it can lack bars.
    Raises ClickHouseError.
    """
    limits = {
        "node": node,
        "first": applied_s - 3 * _DAY_S,
        "last": applied_s + _DAY_S,
        # The receive time bounds what is read; the bar's time is at most a day beside it.
        "recv_first": applied_s - 4 * _DAY_S,
        "recv_last": applied_s + 2 * _DAY_S,
    }
    lacking: set[int] = set()
    for bars in tables:
        rows = await clickhouse.query(
            "SELECT hour FROM ("  # noqa: S608 - own names only
            f"SELECT {hour_sql(BAR_TIME)} AS hour, toInt64(1) AS trades"
            f" FROM {clickhouse.database}.trades WHERE node = {{node:UInt16}}"
            " AND NOT bitTest(flags, 9)"
            " AND ts_recv >= toDateTime64({recv_first:Int64}, 9, 'UTC')"
            " AND ts_recv < toDateTime64({recv_last:Int64}, 9, 'UTC')"
            f" UNION ALL SELECT {hour_sql(bars.column)} AS hour, -toInt64(trades)"
            f" FROM {clickhouse.database}.{bars.table} WHERE node = {{node:UInt16}}"
            ") WHERE hour BETWEEN {first:Int64} AND {last:Int64} GROUP BY hour"
            " HAVING sum(trades) > 0",
            limits,
        )
        lacking |= {int(str(hour)) for (hour,) in rows}
    return frozenset(lacking)


def hour_sql(time: str) -> str:
    """Return the SQL expression of the hour (Unix time of its start) in which a time lies."""
    return f"toInt64(toUnixTimestamp(toStartOfHour(toDateTime({time}, 'UTC'))))"


async def _trades_of_days(clickhouse: ClickHouse, bars: Bars) -> dict[tuple[int, int], int]:
    """How many trades the bars of (node, start of a UTC day) are made of."""
    rows = await clickhouse.query(
        f"SELECT node, toUnixTimestamp(toStartOfDay({bars.column})) AS day, sum(trades)"  # noqa: S608 - own names only
        f" FROM {clickhouse.database}.{bars.table} GROUP BY node, day"
    )
    return {(int(str(node)), int(str(day))): int(str(count)) for node, day, count in rows}


async def _recompute(
    clickhouse: ClickHouse, bars: Bars, *, node: int, start_s: int, stop_s: int
) -> None:
    database = clickhouse.database
    limits: Mapping[str, object] = {"node": node, "start": start_s, "stop": stop_s}
    own = "node = {node:UInt16}"
    await clickhouse.command(
        f"{_MARK} DELETE FROM {database}.{bars.table} WHERE {own}"  # noqa: S608 - own names only
        f" AND {bars.column} >= toDateTime({{start:UInt32}}, 'UTC')"
        f" AND {bars.column} < toDateTime({{stop:UInt32}}, 'UTC')",
        parameters=limits,
        # Done here when it returns; replicas follow in the same order, and may be away now.
        settings={"lightweight_deletes_sync": "1", "mutations_sync": "1"},
    )
    # The first bounds what is read: a live trade counts at most `_SKEW_S` beside its receive time.
    recv_from = "ts_recv >= toDateTime64({start:UInt32}, 9, 'UTC')" + f" - {_SKEW_S}"
    recv_to = "ts_recv < toDateTime64({stop:UInt32}, 9, 'UTC')" + f" + {_SKEW_S}"
    within = (
        f"{own} AND {BAR_TIME} >= toDateTime64({{start:UInt32}}, 9, 'UTC')"
        f" AND {BAR_TIME} < toDateTime64({{stop:UInt32}}, 9, 'UTC')"
    )
    select = bars_select(
        bars, database, own=within, live=f"{recv_from} AND {recv_to}", fetched=recv_from
    )
    columns = ", ".join(columns_of(bars))
    await clickhouse.command(
        f"{_MARK} INSERT INTO {database}.{bars.table} ({columns})"  # noqa: S608 - own names only
        f" SELECT {columns} FROM ({select})",
        parameters=limits,
        settings=await _without_tokens(clickhouse),
    )


async def _without_tokens(clickhouse: ClickHouse) -> dict[str, str]:
    """Settings that store rows which the server remembers: they were deleted a moment ago."""
    known = await clickhouse.query(
        "SELECT count() FROM system.settings WHERE name = 'deduplicate_insert'"
    )
    newer = {"deduplicate_insert": "disable"} if int(str(known[0][0])) else {}
    return {**_NO_TOKENS, **newer}
