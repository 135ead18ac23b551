"""A closed UTC day of a table put in place as a whole: built beside it, compared, swapped in.

Quicker than step by step where most of the day is wrong. The day is built in a table of its own
from the raw log, the other nodes' rows are copied into it, and one REPLACE PARTITION makes it the
day. Only for days that are over: rows that somebody inserts between the copy and the swap are lost,
so no node may be writing into the day, and today somebody always is. What is cut off is done from
the beginning again; the table beside has a name that no other run uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial, reduce
from pathlib import Path
from typing import Final

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import RepairError
from recorder.raw.frame_times import frames_between
from recorder.raw.stretches import Hole
from recorder.repair.fingerprint import EMPTY, Fingerprint, figures_sql, joined
from recorder.repair.parts import Part
from recorder.repair.repair import Repair
from recorder.schema.bars import BAR_TIME, hour_sql
from tickd.events import SEQ_INDEX_BITS, SEQ_INDEX_MAX
from tickd.ports import Clock

__all__ = ["DaySwap"]

_log = structlog.get_logger(__name__)

_DAY_S: Final = 86_400
_NS: Final = 10**9
# Blocks of the day before midnight may still be on their way.
_CLOSED_FOR_S: Final = 600


class DaySwap:
    """Whole days of one node, while no daemon of it runs. Raises ClickHouseError, RepairError."""

    def __init__(
        self, raw: Path, repair: Repair, clickhouse: ClickHouse, *, clock: Clock, node: int
    ) -> None:
        self._raw = raw
        self._repair = repair
        self._clickhouse = clickhouse
        self._clock = clock
        self._node = node

    async def replace(self, table: str, day: int) -> int:
        """Make a day (days since the epoch) of a table what the raw log says; return its rows.

        Raises RepairError when the day is not over, or cannot be read or is not planned in full.
        """
        await self._check_closed(day)
        part = await self._part(table, day)
        if part is not None and self._repair.is_open(part):
            raise RepairError(
                f"planned blocks of {table} wait for the daemon",
                hint="let it run until `tickd status` shows none waiting",
            )
        async with self._beside(table) as beside:
            wanted = EMPTY if part is None else await self._fill(part, day, table, beside)
            copied = await self._copy_others(table, beside, day)
            own = f"node = {self._node}"
            found = await self._figures(table, beside, own)
            if found != wanted:
                raise RepairError(f"the rebuilt day differs: {found}, the raw log says {wanted}")
            if await self._count(table, day) != copied:
                raise RepairError(
                    f"another node writes into {table} of this day",
                    hint="let it finish, then try again",
                )
            database = self._clickhouse.database
            partition = f"PARTITION ID '{_partition(day)}'"
            # Nobody has rows of the day: the server refuses to replace by nothing.
            change = f"REPLACE {partition} FROM {database}.{beside}"
            if wanted.rows + copied == 0:
                change = f"DROP {partition}"
            await self._clickhouse.command(f"ALTER TABLE {database}.{table} {change}")
        _log.info("repair_day_replaced", table=table, day=_partition(day), rows=wanted.rows)
        if table == "trades":
            await self._repair.bars.run()
        return wanted.rows

    async def _check_closed(self, day: int) -> None:
        end_s = (day + 1) * _DAY_S + _CLOSED_FOR_S
        server_s = int((await self._clickhouse.query("SELECT toUnixTimestamp(now())"))[0][0])
        if min(server_s, self._clock.wall_ns() // _NS) < end_s:
            raise RepairError(
                f"day {_partition(day)} is not closed: rows may still arrive",
                hint="repair a range of it: tickd rebuild --from --to",
            )

    async def _part(self, table: str, day: int) -> Part | None:
        """What is to be read: by the log's times, and by the numbers of the rows that are to go.

        Nothing that is there leaves without the log having been asked, whatever its clock said.
        """
        start_ns = day * _DAY_S * _NS
        between = partial(frames_between, self._raw, start_ns, start_ns + _DAY_S * _NS)
        spans = [span for span in (await asyncio.to_thread(between),) if span is not None]
        rows = await self._clickhouse.query(
            f"SELECT count(), min(seq), max(seq) FROM {self._clickhouse.database}.{table} "
            f"WHERE node = {self._node} AND _partition_id = '{_partition(day)}'"
        )
        count, first, last = (int(value) for value in rows[0])
        if count:
            spans.append((first >> SEQ_INDEX_BITS, last >> SEQ_INDEX_BITS))
        if not spans:
            return None
        frame_from = min(span[0] for span in spans)
        frame_to = max(span[1] for span in spans)
        return Part(
            frame_from << SEQ_INDEX_BITS, frame_to << SEQ_INDEX_BITS | SEQ_INDEX_MAX, (table,)
        )

    @asynccontextmanager
    async def _beside(self, table: str) -> AsyncIterator[str]:
        """A table like `table` under a name of this run; what earlier runs left goes."""
        database = self._clickhouse.database
        prefix = f"{table}_swap_{self._node}_"
        for (name,) in await self._clickhouse.query(
            "SELECT name FROM system.tables WHERE database = {database:String} "
            "AND startsWith(name, {prefix:String})",
            {"database": database, "prefix": prefix},
        ):
            await self._clickhouse.command(f"DROP TABLE IF EXISTS {database}.{name} SYNC")
        beside = f"{prefix}{self._clock.wall_ns()}"
        await self._clickhouse.command(f"CREATE TABLE {database}.{beside} AS {database}.{table}")
        yield beside
        await self._clickhouse.command(f"DROP TABLE IF EXISTS {database}.{beside} SYNC")

    async def _fill(self, part: Part, day: int, table: str, beside: str) -> Fingerprint:
        """Insert the raw log's rows of the day; return what they are."""
        found: list[Fingerprint] = []
        hours = set(await self._hours(day)) if table == "trades" else set()
        async with aclosing(self._repair.pieces(part)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Hole):
                    raise RepairError(
                        f"the raw log cannot give the whole day: {piece.reason}",
                        hint="fetch the segment: tickd restore; or repair a range of the day",
                    )
                for block in piece.blocks(table):
                    if block.day == day:
                        token = f"{beside}-{block.seq_first}-{block.hash}"
                        insert = partial(self._clickhouse.insert_block, block, token, into=beside)
                        await self._repair.asked(insert)
                        found.append(piece.days[table][day])
                hours |= piece.hours
        await self._repair.note_hours(hours)
        return reduce(joined, found, EMPTY)

    async def _copy_others(self, table: str, beside: str, day: int) -> int:
        database = self._clickhouse.database
        await self._clickhouse.command(
            f"INSERT INTO {database}.{beside} SELECT * FROM {database}.{table} "
            f"WHERE node != {self._node} AND _partition_id = '{_partition(day)}'",
            settings={"async_insert": "0"},
        )
        rows = await self._clickhouse.query(
            f"SELECT count() FROM {self._clickhouse.database}.{beside} WHERE node != {self._node}"
        )
        return int(rows[0][0])

    async def _count(self, table: str, day: int) -> int:
        rows = await self._clickhouse.query(
            f"SELECT count() FROM {self._clickhouse.database}.{table} "
            f"WHERE node != {self._node} AND _partition_id = '{_partition(day)}'"
        )
        return int(rows[0][0])

    async def _figures(self, table: str, name: str, where: str) -> Fingerprint:
        rows = await self._clickhouse.query(
            f"SELECT {figures_sql(table)} FROM {self._clickhouse.database}.{name} WHERE {where}"
        )
        return Fingerprint(*(int(figure) for figure in rows[0]))

    async def _hours(self, day: int) -> list[int]:
        """Hours whose bars the trades are in that are to go."""
        rows = await self._clickhouse.query(
            f"SELECT DISTINCT {hour_sql(BAR_TIME)} FROM {self._clickhouse.database}.trades "
            f"WHERE node = {self._node} AND _partition_id = '{_partition(day)}'"
        )
        return [int(hour) for (hour,) in rows]


def _partition(day: int) -> str:
    return f"{datetime.fromtimestamp(day * _DAY_S, UTC):%Y%m%d}"
