"""Verify without the raw log: what SQL on (node, seq) can say against the table `segments`.

Rows that are there twice, rows whose frame is in no segment, numbers between segments that no gap
names, and long stretches of a segment without any row. It cannot see a row that is missing among
others, nor a changed value: that takes the log itself (`recorder/verify/verify.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import ClickHouseError
from recorder.verify.bars import check_bars
from recorder.verify.figures import Span
from recorder.verify.orphans import count_rows, unknown_nodes
from recorder.verify.report import Finding, Kind, Pending, VerifyReport, ranges_of
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES
from tickd.topics import CHANNELS

__all__ = ["HOLE_FRAMES", "verify_in_sql"]

# Subscriptions and instrument definitions have no rows: a venue of 3,000 symbols makes as many.
HOLE_FRAMES: Final = 10_000
# Stretches are found in steps of this share of the shortest one that counts.
_STEPS_PER_HOLE: Final = 10
# Distinct frames of one question: bounds what the server keeps for it.
_FRAMES_PER_QUESTION: Final = 4_000_000
_NS: Final = 10**9


class _Segment(NamedTuple):
    name: str
    first: int
    last: int
    recv_first_ns: int
    recv_last_ns: int
    records: int
    bytes: int

    def span(self, node: int) -> Span:
        first, last = self.first << SEQ_INDEX_BITS, ((self.last + 1) << SEQ_INDEX_BITS) - 1
        return Span(node, first, last, self.recv_first_ns, self.recv_last_ns)


async def verify_in_sql(
    clickhouse: ClickHouse,
    *,
    node: int,
    pending: Sequence[Pending] = (),
    hole_frames: int = HOLE_FRAMES,
) -> VerifyReport:
    """Ask ClickHouse alone. `pending`: what the sink still owes, where its files are at hand."""
    report = VerifyReport(mode="sql", node=node, pending=list(pending))
    try:
        segments = await _segments(clickhouse, node)
        await _rows(clickhouse, report, segments, node)
        await _numbers(clickhouse, report, segments, node)
        for segment in segments:
            await _holes(clickhouse, report, segment, node, hole_frames)
        report.add(*await unknown_nodes(clickhouse, node=node))
        seq_to = segments[-1].span(node).seq_to if segments else 0
        report.checked.bars, findings = await check_bars(clickhouse, node=node, seq_to=seq_to)
        report.add(*findings)
    except ClickHouseError as error:
        report.unchecked.append(f"rows in ClickHouse: {error}")
    return report


async def _segments(clickhouse: ClickHouse, node: int) -> list[_Segment]:
    """The sealed segments as ClickHouse knows them, in order."""
    rows = await clickhouse.query(
        "SELECT segment, first_frame, last_frame, toUnixTimestamp64Nano(first_recv),"  # noqa: S608 - own names only
        " toUnixTimestamp64Nano(last_recv), records, bytes"
        f" FROM {clickhouse.database}.segments FINAL WHERE node = {{node:UInt16}}"
        " ORDER BY first_frame, last_frame",
        {"node": node},
    )
    return [_Segment(str(row[0]), *(int(str(value)) for value in row[1:])) for row in rows]


async def _rows(
    clickhouse: ClickHouse, report: VerifyReport, segments: Sequence[_Segment], node: int
) -> None:
    """Rows per segment and table: none twice, none outside."""
    report.segments.sealed = len(segments)
    report.segments.bytes = sum(segment.bytes for segment in segments)
    report.checked.segments = len(segments)
    end = segments[-1].span(node).seq_to if segments else 0
    counted = await count_rows(
        clickhouse, node=node, seq_to=end, leave_out=dict.fromkeys(EVENT_TABLES, ())
    )
    for table in EVENT_TABLES:
        inside = 0
        for segment in segments:
            rows, distinct, first, last = await _count(clickhouse, table, segment.span(node))
            inside += rows
            if rows != distinct:
                report.add(
                    Finding(
                        kind=Kind.ROWS_TWICE,
                        where=segment.name,
                        text=f"{rows - distinct} rows of {table} are there more than once",
                        count=rows - distinct,
                        table=table,
                        seq_from=first,
                        seq_to=last,
                    )
                )
        totals = report.table(table)
        totals.stored = inside
        totals.pending = sum(entry.rows or 0 for entry in report.pending if entry.table == table)
        outside = counted[table] - inside
        if outside > 0:
            report.add(
                Finding(
                    kind=Kind.ROWS_ORPHANED,
                    where=table,
                    text=f"{outside} rows of {table} are in no segment's frames and time",
                    count=outside,
                    table=table,
                    seq_to=end,
                )
            )


async def _count(clickhouse: ClickHouse, table: str, span: Span) -> tuple[int, int, int, int]:
    """Rows, distinct sequence numbers, the first and the last of those."""
    rows = distinct = 0
    first, last = 0, 0
    for part in _parts(span):
        condition, parameters = part.where()
        found = await clickhouse.query(
            "SELECT count(), uniqExact(seq), min(seq), max(seq) "  # noqa: S608 - own names only
            f"FROM {clickhouse.database}.{table} WHERE {condition}",
            parameters,
        )
        here = [int(str(value)) for value in found[0]]
        if here[0]:
            first, last = first or here[2], here[3]
        rows, distinct = rows + here[0], distinct + here[1]
    return rows, distinct, first, last


async def _numbers(
    clickhouse: ClickHouse, report: VerifyReport, segments: Sequence[_Segment], node: int
) -> None:
    """Frame numbers between segments are announced by a gap, or missing."""
    if not segments:
        return
    numbers = report.numbers
    numbers.first, numbers.last = segments[0].first, max(each.last for each in segments)
    numbers.all = numbers.last - numbers.first + 1
    gaps = await _frame_gaps(clickhouse, node)
    holes = 0
    for before, after in pairwise(segments):
        rest = before.last + 1
        holes += max(0, after.first - rest)
        for first, last in gaps:
            if first <= rest <= last:
                rest = min(last, after.first - 1) + 1
        if rest < after.first:
            numbers.missing += after.first - rest
            report.add(
                Finding(
                    kind=Kind.FRAMES_MISSING,
                    where=after.name,
                    text=f"frames {rest} to {after.first - 1} are in no segment and in no gap",
                    count=after.first - rest,
                    seq_from=rest << SEQ_INDEX_BITS,
                    seq_to=(after.first << SEQ_INDEX_BITS) - 1,
                )
            )
    numbers.announced = holes - numbers.missing
    numbers.recorded = numbers.all - holes


async def _frame_gaps(clickhouse: ClickHouse, node: int) -> list[tuple[int, int]]:
    """The announced gaps of frame numbers, in order."""
    rows = await clickhouse.query(
        f"SELECT DISTINCT from_id, to_id FROM {clickhouse.database}.gaps "  # noqa: S608 - own names only
        "WHERE node = {node:UInt16} AND channel = {channel:UInt8} AND instrument = 0"
        " AND to_id != 18446744073709551615 ORDER BY from_id, to_id",
        {"node": node, "channel": CHANNELS.index("gap")},
    )
    return [(int(str(first)), int(str(last))) for first, last in rows]


async def _holes(
    clickhouse: ClickHouse, report: VerifyReport, segment: _Segment, node: int, hole_frames: int
) -> None:
    """Stretches of a segment without any row, in any table."""
    step = max(1, hole_frames // _STEPS_PER_HOLE)
    with_rows = 0
    filled: set[int] = set()
    for part in _parts(segment.span(node)):
        condition, parameters = part.where()
        tables = " UNION ALL ".join(
            f"SELECT bitShiftRight(seq, {SEQ_INDEX_BITS}) AS frame"  # noqa: S608 - own names only
            f" FROM {clickhouse.database}.{table} WHERE {condition}"
            for table in EVENT_TABLES
        )
        rows = await clickhouse.query(
            f"SELECT intDiv(frame, {step}) AS at, uniqExact(frame) FROM ({tables}) GROUP BY at",  # noqa: S608 - own names only
            parameters,
        )
        filled.update(int(str(row[0])) for row in rows)
        with_rows += sum(int(str(row[1])) for row in rows)
    frames = report.frames
    frames.all += segment.records
    frames.with_rows += min(with_rows, segment.records)
    rest = max(0, segment.records - with_rows)
    frames.without_rows["not_asked"] = frames.without_rows.get("not_asked", 0) + rest
    known = _unfilled(report.pending)
    for first, last in _runs(segment, filled, step):
        if last - first + 1 < hole_frames or _covers(known, first, last):
            continue
        report.add(
            Finding(
                kind=Kind.ROWS_MISSING,
                where=segment.name,
                text=f"no table has a row of the frames {first} to {last}"
                f" ({_time(segment.recv_first_ns)} to {_time(segment.recv_last_ns)})",
                count=last - first + 1,
                seq_from=first << SEQ_INDEX_BITS,
                seq_to=((last + 1) << SEQ_INDEX_BITS) - 1,
            )
        )


def _runs(segment: _Segment, filled: set[int], step: int) -> list[tuple[int, int]]:
    """Runs of steps without a row, as frames within the segment."""
    runs: list[tuple[int, int]] = []
    begin: int | None = None
    for at in range(segment.first // step, segment.last // step + 2):
        empty = at not in filled and at <= segment.last // step
        if empty and begin is None:
            begin = at
        elif not empty and begin is not None:
            runs.append((max(segment.first, begin * step), min(segment.last, at * step - 1)))
            begin = None
    return runs


def _unfilled(pending: Sequence[Pending]) -> list[tuple[int, int]]:
    """Ranges of seq in which any table may lack rows."""
    return [each for table in EVENT_TABLES for each in ranges_of(pending, table)]


def _covers(ranges: Sequence[tuple[int, int]], first_frame: int, last_frame: int) -> bool:
    first, last = first_frame << SEQ_INDEX_BITS, ((last_frame + 1) << SEQ_INDEX_BITS) - 1
    return any(begin <= first and end >= last for begin, end in ranges)


def _parts(span: Span) -> list[Span]:
    """The same stretch in parts that one question may cover."""
    step = _FRAMES_PER_QUESTION << SEQ_INDEX_BITS
    return [
        Span(span.node, at, min(at + step - 1, span.seq_to), span.recv_from_ns, span.recv_to_ns)
        for at in range(span.seq_from, span.seq_to + 1, step)
    ]


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // _NS, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
