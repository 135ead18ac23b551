"""Bars compared with the trades they come from, and made again where they differ.

By hours, of one node, in every OHLCV table. A bar's definition is recorder/schema/bars.py's; here
is what repair needs beside it: a comparison of every column, deletes that cannot strike later,
inserts that count once whoever repeats them. It decides nothing about when, and touches no trade.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.repair.deletes import Deletes
from recorder.schema.bars import BARS, Bars, bars_select, columns_of, hour_sql

__all__ = ["BARS", "HOUR_S", "BarRepair", "Bars", "spans_of"]

HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
# Bars per insert and per quiet moment: about a second's work.
ROWS_MAX: Final = 250_000
# A column of a bar -> how its stored pieces are put together, and what a view's SELECT gives.
_VALUES: Final = {
    "price_scale": ("any(price_scale)", "price_scale"),
    "size_scale": ("any(size_scale)", "size_scale"),
    "open": ("argMinMerge(open)", "finalizeAggregation(open)"),
    "high": ("max(high)", "high"),
    "low": ("min(low)", "low"),
    "close": ("argMaxMerge(close)", "finalizeAggregation(close)"),
    "volume": ("sum(volume)", "volume"),
    "buy_volume": ("sum(buy_volume)", "buy_volume"),
    "turnover": ("sum(turnover)", "turnover"),
    "trades": ("sum(trades)", "trades"),
}


class BarRepair:
    """The bars of one node. Every call may raise ClickHouseError.

    A node's trades of an hour must not change between a question and what follows from it.
    """

    def __init__(self, clickhouse: ClickHouse, deletes: Deletes, *, node: int) -> None:
        self._clickhouse = clickhouse
        self._deletes = deletes
        self._node = node

    async def trades_arrive(self) -> bool:
        """Whether an insert of this node's trades is under way, and with it bars of its views."""
        return await self._clickhouse.running(token=f"trades-{self._node}-") > 0

    async def differing(self, bars: Bars, hours: Collection[int]) -> dict[int, int]:
        """Return which of these hours (Unix time of their start) hold other bars than they should.

        With each the number of bars that it should have. Compares every column of every bar, by
        sums of hashes.
        """
        wrong: dict[int, int] = {}
        for first, stop in _runs(hours):
            stored = await self._sums(self._stored_sql(bars, first, stop))
            wanted = await self._sums(self._wanted_sql(bars, first, stop))
            wrong |= {
                hour: wanted.get(hour, (0, 0))[0]
                for hour in (stored.keys() | wanted.keys()) & set(hours)
                if stored.get(hour) != wanted.get(hour)
            }
        return wrong

    async def delete(self, bars: Bars, span: tuple[int, int], until_s: int) -> None:
        """Delete a span's bars of this node; no effect once the server's time is `until_s`."""
        await self._deletes.rows(bars.table, self._where(bars, *span), until_s)

    async def insert(self, bars: Bars, span: tuple[int, int], rows: int, word: str) -> None:
        """Insert a span's bars, about so many. `word`: with it once only, whoever repeats it."""
        columns = ", ".join(columns_of(bars))
        first, stop = span
        # One insert must stay small whatever the interval and the number of instruments.
        step = max((stop - first) // max(-(-rows // ROWS_MAX), 1), bars.seconds)
        step = -(-step // bars.seconds) * bars.seconds
        for start in range(first, stop, step):
            select = self._select(bars, start, min(start + step, stop))
            await self._clickhouse.command(
                f"{self._deletes.mark} "
                f"INSERT INTO {self._clickhouse.database}.{bars.table} ({columns}) "
                f"SELECT {columns} FROM ({select}) "
                f"ORDER BY instrument, {bars.column}, source",
                settings={
                    "insert_deduplication_token": f"{bars.table}-{self._node}-{start}-{word}",
                    "async_insert": "0",
                },
            )

    async def _sums(self, sql: str) -> dict[int, tuple[int, int]]:
        rows = await self._clickhouse.query(sql)
        return {int(hour): (int(count), int(total)) for hour, count, total in rows}

    def _where(self, bars: Bars, first: int, stop: int) -> str:
        seconds = f"toUnixTimestamp({bars.column})"
        return f"node = {self._node} AND {seconds} >= {first} AND {seconds} < {stop}"

    def _select(self, bars: Bars, first: int, stop: int) -> str:
        """The bars of these seconds as the trades want them.

        A venue's time counts when it is within a day of the receive time, which bounds the read;
        what was fetched later may come whenever it wants.
        """
        margin = _DAY_S + 1
        recv_from = f"ts_recv >= toDateTime64({first - margin}, 9, 'UTC')"
        recv_to = f"ts_recv < toDateTime64({stop + margin}, 9, 'UTC')"
        select = bars_select(
            bars,
            self._clickhouse.database,
            own=f"node = {self._node}",
            live=f"{recv_from} AND {recv_to}",
            fetched=recv_from,
        )
        return f"SELECT * FROM ({select}) WHERE {self._where(bars, first, stop)}"

    def _stored_sql(self, bars: Bars, first: int, stop: int) -> str:
        merged = (f"{merge} AS v_{name}" for name, (merge, _) in _VALUES.items())
        return _sums_sql(
            bars,
            f"SELECT instrument, {bars.column}, source, {', '.join(merged)} "
            f"FROM {self._clickhouse.database}.{bars.table} "
            f"WHERE {self._where(bars, first, stop)} "
            f"GROUP BY instrument, {bars.column}, source",
        )

    def _wanted_sql(self, bars: Bars, first: int, stop: int) -> str:
        final = (f"{value} AS v_{name}" for name, (_, value) in _VALUES.items())
        return _sums_sql(
            bars,
            f"SELECT instrument, {bars.column}, source, {', '.join(final)} "
            f"FROM ({self._select(bars, first, stop)})",
        )


def _sums_sql(bars: Bars, rows: str) -> str:
    values = ", ".join(f"v_{name}" for name in _VALUES)
    return (
        f"SELECT {hour_sql(bars.column)} AS at_hour, count(), "
        f"sum(cityHash64(instrument, {bars.column}, source, {values})) "
        f"FROM ({rows}) GROUP BY at_hour"
    )


def spans_of(hours: Mapping[int, int]) -> Sequence[tuple[tuple[int, int], int]]:
    """Consecutive hours as ((first, stop), bars): at most a day, or an hour, or `ROWS_MAX` bars."""
    spans: list[tuple[tuple[int, int], int]] = []
    for hour, count in sorted(hours.items()):
        if spans:
            (first, stop), rows = spans[-1]
            if stop == hour and hour - first < _DAY_S and rows + count <= ROWS_MAX:
                spans[-1] = ((first, hour + HOUR_S), rows + count)
                continue
        spans.append(((hour, hour + HOUR_S), count))
    return spans


def _runs(hours: Collection[int]) -> Sequence[tuple[int, int]]:
    """Consecutive hours as (first, stop), none longer than a day."""
    runs: list[tuple[int, int]] = []
    for hour in sorted(hours):
        if runs and runs[-1][1] == hour and hour - runs[-1][0] < _DAY_S:
            runs[-1] = (runs[-1][0], hour + HOUR_S)
        else:
            runs.append((hour, hour + HOUR_S))
    return runs
