"""What a stretch of one table holds, in a few numbers: from events, and from ClickHouse.

Rows are counted with and without repetitions; a digest over every column and every sequence number
finds what counting does not. Sums are modulo 2^64, so they may be added in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.verify.columns import Rows, scattered, scattered_sql, value_sql

__all__ = ["Span", "TableFigures", "seqs_of", "stored_figures", "stored_of_parts"]

_MODULUS: Final = 1 << 64
# A venue's rows are found by their day; a clock that steps moves a stamp by less than this.
_MARGIN_NS: Final = 86_400 * 10**9
# Ranges to leave out in one question, of all its tables: some 60 bytes each of the 256 KiB that a
# server reads by default.
_RANGES_MAX: Final = 2_000


@dataclass(slots=True)
class TableFigures:
    """The figures of a stretch; all zeros: it has no rows."""

    rows: int = 0
    distinct: int = 0
    seq_first: int = 0
    seq_last: int = 0
    digest: int = 0

    @classmethod
    def of(cls, rows: Rows) -> TableFigures:
        """The figures of rows that must be there, each once."""
        if not len(rows.seq):
            return cls()
        weighed = scattered(rows.seq) * rows.value
        return cls(
            rows=len(rows.seq),
            distinct=len(rows.seq),
            seq_first=int(rows.seq.min()),
            seq_last=int(rows.seq.max()),
            digest=int(np.sum(weighed, dtype=np.uint64)),
        )

    def add(self, other: TableFigures) -> None:
        """Take in a stretch without common rows."""
        if other.rows == 0:
            return
        self.seq_first = min(self.seq_first, other.seq_first) if self.rows else other.seq_first
        self.seq_last = max(self.seq_last, other.seq_last)
        self.rows += other.rows
        self.distinct += other.distinct
        self.digest = (self.digest + other.digest) % _MODULUS


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a node's rows: sequence numbers, both included, and when they were received."""

    node: int
    seq_from: int
    seq_to: int
    recv_from_ns: int
    recv_to_ns: int

    def overlapping(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those ranges that have a number in common with it."""
        return [each for each in ranges if each[0] <= self.seq_to and each[1] >= self.seq_from]

    def where(self, leave_out: Sequence[tuple[int, int]] = ()) -> tuple[str, dict[str, object]]:
        """Return the SQL condition and its parameters."""
        condition = (
            "node = {node:UInt16} AND seq BETWEEN {first:UInt64} AND {last:UInt64} "
            "AND ts_recv BETWEEN fromUnixTimestamp64Nano({from_ns:Int64}, 'UTC') "
            "AND fromUnixTimestamp64Nano({to_ns:Int64}, 'UTC')"
        )
        for first, last in self.overlapping(leave_out):
            condition += f" AND NOT seq BETWEEN {first} AND {last}"
        return condition, {
            "node": self.node,
            "first": self.seq_from,
            "last": self.seq_to,
            "from_ns": self.recv_from_ns - _MARGIN_NS,
            "to_ns": self.recv_to_ns + _MARGIN_NS,
        }


async def stored_figures(
    clickhouse: ClickHouse, table: str, span: Span, leave_out: Sequence[tuple[int, int]] = ()
) -> TableFigures:
    """Ask for the figures of a stretch, without the ranges `leave_out`. Raises ClickHouseError."""
    condition, parameters = span.where(leave_out)
    rows = await clickhouse.query(
        f"SELECT {_figures_sql(table)} "  # noqa: S608 - own names only
        f"FROM {clickhouse.database}.{table} WHERE {condition}",
        parameters,
    )
    return TableFigures(*(int(str(value)) for value in rows[0]))


async def stored_of_parts(
    clickhouse: ClickHouse,
    span: Span,
    starts: Sequence[int],
    leave_out: Mapping[str, Sequence[tuple[int, int]]],
) -> dict[tuple[str, int], TableFigures] | None:
    """Ask for the figures of every table and every part of a stretch in one question.

    Args: `starts`: the first number of each part, in order, the stretch's own first; `leave_out`:
    by table.
    Returns figures by table and start, none where no row is; None: the question would be too long.
    Raises ClickHouseError.
    """
    if sum(len(span.overlapping(ranges)) for ranges in leave_out.values()) > _RANGES_MAX:
        return None
    begins = ", ".join(f"toUInt64({start})" for start in starts)
    questions, parameters = list[str](), dict[str, object]()
    for table, ranges in leave_out.items():
        condition, parameters = span.where(ranges)
        questions.append(
            f"SELECT '{table}', roundDown(seq, [{begins}]) AS start, {_figures_sql(table)} "  # noqa: S608 - own names only
            f"FROM {clickhouse.database}.{table} WHERE {condition} GROUP BY start"
        )
    rows = await clickhouse.query(" UNION ALL ".join(questions), parameters)
    return {
        (str(row[0]), int(str(row[1]))): TableFigures(*(int(str(value)) for value in row[2:]))
        for row in rows
    }


def _figures_sql(table: str) -> str:
    """The columns of `TableFigures`, in its order."""
    digest = f"sum({scattered_sql('seq')} * ({value_sql(table)}))"
    return f"count(), uniqExact(seq), min(seq), max(seq), {digest}"


async def seqs_of(
    clickhouse: ClickHouse, table: str, span: Span, leave_out: Sequence[tuple[int, int]] = ()
) -> dict[int, tuple[int, int]]:
    """Ask for (how often, digest of the value) of every seq of a short stretch.

    Raises ClickHouseError.
    """
    condition, parameters = span.where(leave_out)
    rows = await clickhouse.query(
        f"SELECT seq, count(), any({value_sql(table)}) "  # noqa: S608 - own names only
        f"FROM {clickhouse.database}.{table} WHERE {condition} GROUP BY seq",
        parameters,
    )
    return {int(str(row[0])): (int(str(row[1])), int(str(row[2]))) for row in rows}
