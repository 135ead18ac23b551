"""One stretch of the raw log, made equal in ClickHouse: look, delete what differs, insert.

It works on rows of event tables between two sequence numbers of one node. Which stretches, when and
what is written down before is `recorder/repair/repair.py`'s business; so is every repetition.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.native_format import read_block
from recorder.raw.stretches import Stretch
from recorder.repair.deletes import Deletes
from recorder.repair.fingerprint import (
    EMPTY,
    Fingerprint,
    day_sql,
    figures_sql,
    fingerprint,
)
from recorder.schema.bars import BAR_TIME, hour_sql
from recorder.sink.plan import PlannedBlock
from tickd.events import Flag
from tickd.native import Block

__all__ = ["Difference", "Mend", "Wanted", "prepare"]

_HOUR_NS: Final = 3_600 * 10**9
# Beyond this a venue's time counts as broken, and its bar goes by the receive time.
_SKEW_NS: Final = 24 * _HOUR_NS


class Difference(NamedTuple):
    """A UTC day of a table (days since the epoch) that is not as the raw log has it."""

    table: str
    day: int
    seq_from: int
    seq_to: int
    raw_log: int  # rows
    found: int
    doubled: int

    @property
    def what(self) -> str:
        if self.found == 0:
            return "missing"
        if self.doubled:
            return "doubled"
        return "altered" if self.found == self.raw_log else "other rows"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stretch and what ClickHouse must say about it."""

    stretch: Stretch
    days: Mapping[str, Mapping[int, Fingerprint]]  # table -> day
    recv_ns: tuple[int, int] | None  # first and last receive time of any row
    hours: frozenset[int]  # Unix time of the hours whose bars its trades are in

    def blocks(self, table: str) -> list[Block]:
        return [block for block in self.stretch.blocks if block.table == table]


def prepare(stretch: Stretch, tables: Collection[str]) -> Wanted:
    """Compute what a stretch's rows are; for a thread."""
    days: dict[str, dict[int, Fingerprint]] = {table: {} for table in tables}
    recv: list[tuple[int, int]] = []
    hours: set[int] = set()
    for block in stretch.blocks:
        columns = read_block(memoryview(block))
        days[block.table][block.day] = fingerprint(columns)
        ts_recv = np.asarray(columns["ts_recv"])
        recv.append((int(ts_recv.min()), int(ts_recv.max())))
        if block.table == "trades":
            ts_event = np.asarray(columns["ts_event"])
            fetched = np.asarray(columns["flags"]) & int(Flag.BACKFILLED) != 0
            near = fetched | (np.abs(ts_event - ts_recv) <= _SKEW_NS)
            at = np.unique(np.where(near, ts_event, ts_recv) // _HOUR_NS)
            hours.update(int(hour) * 3_600 for hour in at)
    bounds = (min(first for first, _ in recv), max(last for _, last in recv)) if recv else None
    return Wanted(stretch, days, bounds, frozenset(hours))


class Mend:
    """The event rows of one node. Every call may raise ClickHouseError."""

    def __init__(self, clickhouse: ClickHouse, deletes: Deletes, *, node: int) -> None:
        self._clickhouse = clickhouse
        self._deletes = deletes
        self._node = node

    async def differences(self, table: str, wanted: Wanted, *, wide: bool) -> list[Difference]:
        """Return the days on which a table differs from the raw log in this stretch.

        Args: `wide`: look for the numbers at any receive time, not only at the raw log's; exact,
        but it reads every partition.
        """
        expected = wanted.days[table]
        found = await self._found(table, wanted, wide=wide)
        return [
            Difference(
                table,
                day,
                wanted.stretch.seq_from,
                wanted.stretch.seq_to,
                expected.get(day, EMPTY).rows,
                found.get(day, EMPTY).rows,
                found.get(day, EMPTY).rows - found.get(day, EMPTY).distinct,
            )
            for day in sorted(found.keys() | expected.keys())
            if found.get(day, EMPTY) != expected.get(day, EMPTY)
        ]

    async def count(self, table: str, seq_from: int, seq_to: int) -> int:
        """Rows of the node between two numbers, whenever received."""
        rows = await self._clickhouse.query(
            f"SELECT count() FROM {self._clickhouse.database}.{table} "  # noqa: S608 - own names
            f"WHERE {self._where(seq_from, seq_to)}"
        )
        return int(rows[0][0])

    async def hours(self, wanted: Wanted) -> frozenset[int]:
        """Hours whose bars the trades are in that ClickHouse holds of a stretch, right or wrong."""
        rows = await self._clickhouse.query(
            f"SELECT DISTINCT {hour_sql(BAR_TIME)} "  # noqa: S608 - own names and numbers
            f"FROM {self._clickhouse.database}.trades "
            f"WHERE {self._where(wanted.stretch.seq_from, wanted.stretch.seq_to)}"
        )
        return frozenset(int(hour) for (hour,) in rows)

    async def delete(self, table: str, wanted: Wanted, until_s: int) -> None:
        """Delete what a table holds of a stretch, whenever received."""
        where = self._where(wanted.stretch.seq_from, wanted.stretch.seq_to)
        await self._deletes.rows(table, where, until_s)

    async def insert(self, block: Block, planned: PlannedBlock, word: str) -> None:
        """Insert a block. `word` makes its token one that no earlier insert had."""
        await self._clickhouse.insert_block(block, f"{planned.token}-{word}")

    def planned(self, block: Block, wanted: Wanted) -> PlannedBlock:
        """A block's identity, with the bounds at which the raw log gives it again."""
        return msgspec.structs.replace(
            PlannedBlock.of(block, self._node),
            seq_from=wanted.stretch.seq_from,
            seq_to=wanted.stretch.seq_to,
        )

    async def _found(self, table: str, wanted: Wanted, *, wide: bool) -> dict[int, Fingerprint]:
        where = self._where(wanted.stretch.seq_from, wanted.stretch.seq_to)
        if not wide and wanted.recv_ns is not None:
            # The primary key begins with instrument and time, so this is what bounds the read.
            first, last = wanted.recv_ns
            where += (
                f" AND ts_recv >= fromUnixTimestamp64Nano({first}, 'UTC')"
                f" AND ts_recv <= fromUnixTimestamp64Nano({last}, 'UTC')"
            )
        rows = await self._clickhouse.query(
            f"SELECT {day_sql()} AS day, {figures_sql(table)} "  # noqa: S608 - own names and numbers
            f"FROM {self._clickhouse.database}.{table} WHERE {where} GROUP BY day"
        )
        return {
            int(day): Fingerprint(*(int(figure) for figure in figures)) for day, *figures in rows
        }

    def _where(self, seq_from: int, seq_to: int) -> str:
        return f"node = {self._node} AND seq >= {seq_from} AND seq <= {seq_to}"
