"""Rows of decisions, orders, fills, accounts and audits against the raw log's control records.

Every column of every row, in stretches of a thousand records, over the whole log. What the sink
of these rows has not claimed to have stored may be absent. It decodes no market data.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.trading.log import TradingLog
from recorder.trading.mark import Mark
from recorder.trading.rows import TRADING_TABLES, BadRecordError, ControlRecord, row_of
from recorder.verify.report import Finding, Kind, TableTotals
from tickd.events import SEQ_INDEX_BITS

__all__ = ["TradingCheck"]

_FRAME_MAX: Final = (1 << 47) - 1
_EXAMPLES: Final = 5
# Beyond, a stretch holds nothing but what does not belong there.
_ROWS_MAX: Final = 200_000
_SETTINGS: Final = {
    "default_format": "JSONEachRow",
    "output_format_json_quote_64bit_integers": "1",
}
_WORDS: Final = {
    Kind.ROWS_MISSING: "are not in ClickHouse",
    Kind.ROWS_TWICE: "are there more than once",
    Kind.ROWS_ORPHANED: "are of no control record of the raw log",
    Kind.ROWS_DIFFER: "have other values than the raw log says",
}


@dataclass(slots=True)
class _Found:
    """What is wrong with one table, by kind."""

    seqs: dict[Kind, list[int]] = field(default_factory=dict)
    counts: Counter[Kind] = field(default_factory=Counter)

    def note(self, kind: Kind, seq: int, count: int = 1) -> None:
        self.counts[kind] += count
        seqs = self.seqs.setdefault(kind, [])
        if len(seqs) < _EXAMPLES:
            seqs.append(seq)


class TradingCheck:
    """One comparison.

    Args: `mark`: what the sink says it has stored; `frame_to`: compare no further; `unreadable`:
    (first, last) sequence numbers that the log cannot give here.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        directory: Path,
        mark: Mark,
        *,
        frame_to: int | None,
        unreadable: Sequence[tuple[int, int]],
    ) -> None:
        self._clickhouse = clickhouse
        self._trading_log = TradingLog(directory)
        self._mark = mark
        self._frame_to = _FRAME_MAX if frame_to is None else frame_to
        self._unreadable = unreadable
        self._found = {table: _Found() for table in TRADING_TABLES.values()}
        self.tables = {table: TableTotals(raw_log=0) for table in TRADING_TABLES.values()}

    async def run(self) -> list[Finding]:
        """Compare, and return what is wrong. Raises ClickHouseError, OSError, NativeError."""
        loop = asyncio.get_running_loop()
        pieces = self._trading_log.read(0, self._frame_to)
        start = 0
        while records := await loop.run_in_executor(None, next, pieces, None):
            stop = records[-1].frame_no << SEQ_INDEX_BITS
            await self._compare(records, start, stop)
            start = stop + 1
        await self._compare([], start, ((self._frame_to + 1) << SEQ_INDEX_BITS) - 1)
        return [
            _finding(table, kind, found.seqs[kind], count)
            for table, found in self._found.items()
            for kind, count in found.counts.items()
        ]

    async def _compare(self, records: Sequence[ControlRecord], first: int, last: int) -> None:
        wanted: dict[str, dict[int, object]] = {table: {} for table in TRADING_TABLES.values()}
        for record in records:
            try:
                row = row_of(record, node=self._mark.node)
            except BadRecordError:
                continue  # the sink has said so, and why
            wanted[row.table][row.seq] = _plain(row.values)
        for table, rows in wanted.items():
            await self._compare_table(table, rows, first, last)

    async def _compare_table(
        self, table: str, wanted: Mapping[int, object], first: int, last: int
    ) -> None:
        reply = await self._clickhouse.command(
            f"SELECT * FROM {self._clickhouse.database}.{table}"  # noqa: S608 - own names only
            " WHERE node = {node:UInt16} AND seq BETWEEN {first:UInt64} AND {last:UInt64}"
            " ORDER BY seq LIMIT {most:UInt64}",
            parameters={
                "node": self._mark.node,
                "first": first,
                "last": last,
                "most": _ROWS_MAX,
            },
            settings=_SETTINGS,
        )
        stored: dict[int, object] = {}
        found, totals = self._found[table], self.tables[table]
        totals.raw_log = (totals.raw_log or 0) + len(wanted)
        for line in reply.splitlines():
            row: Any = _plain(msgspec.json.decode(line))
            seq = int(row["seq"])
            totals.stored += 1
            if seq in stored:
                found.note(Kind.ROWS_TWICE, seq)
            elif seq not in wanted:
                if not any(begin <= seq <= end for begin, end in self._unreadable):
                    found.note(Kind.ROWS_ORPHANED, seq)
            elif row != wanted[seq]:
                found.note(Kind.ROWS_DIFFER, seq)
            stored[seq] = row
        for seq in wanted.keys() - stored.keys():
            if seq >> SEQ_INDEX_BITS < self._mark.frame:
                found.note(Kind.ROWS_MISSING, seq)
            else:
                totals.pending += 1


def _plain(value: object) -> object:
    """A value as text all through: whether a number came quoted is nobody's business."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value)


def _finding(table: str, kind: Kind, seqs: Sequence[int], count: int) -> Finding:
    examples = ", ".join(map(str, sorted(seqs)))
    more = " …" if count > len(seqs) else ""
    return Finding(
        kind=kind,
        where=table,
        text=f"{count} rows of {table} {_WORDS[kind]}: seq {examples}{more}",
        count=count,
        table=table,
        seq_from=min(seqs),
        seq_to=max(seqs),
    )
