"""Compare the raw log with its manifest and with what ClickHouse holds.

Reads every segment again through a fresh decoder and compares, per segment and table: rows, first
and last sequence number, distinct sequence numbers, sums of prices and sizes (modulo 2^64).
The expected figures come from the events themselves, not from the block encoder, so that a mistake
of the encoder shows. It changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from recorder.clickhouse import ClickHouse
from tickd.events import EVENT, SEQ_INDEX_BITS, SIZE_UNDEF, Flag, Kind
from tickd.native import (
    EVENT_TABLES,
    Decoder,
    RawLogReader,
    manifest_read,
    records_until,
    verify_segment,
)

__all__ = ["Difference", "TableFigures", "VerifyReport", "verify"]

_Events = npt.NDArray[np.void]

_MODULUS: Final = 1 << 64
_SEQ_MAX: Final = (1 << 64) - 1
_MARGIN_NS: Final = 86_400 * 10**9
# What makes a row, per table, and what its two sums are, in SQL. Undefined values count as nothing.
_ROW_KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "trades": (Kind.TRADE,),
    "quotes": (Kind.QUOTE,),
    "book": (Kind.DEPTH_HEAD, Kind.CLEAR),
    "marks": (Kind.MARK, Kind.INDEX, Kind.FUNDING, Kind.OPEN_INTEREST),
    "liquidations": (Kind.LIQUIDATION,),
    "states": (Kind.BOOK_STATE, Kind.STATUS),
    "gaps": (Kind.GAP,),
}
_SUMS: Final[Mapping[str, tuple[str, str]]] = {
    "trades": ("[price]", "[size]"),
    "quotes": ("[bid_price, ask_price]", "[bid_size, ask_size]"),
    "book": ("arrayConcat(bid_price, ask_price)", "arrayConcat(bid_size, ask_size)"),
    "marks": ("[value]", "emptyArrayInt64()"),
    "liquidations": ("[price]", "[size]"),
    "states": ("[toInt64(state)]", "emptyArrayInt64()"),
    "gaps": ("[toInt64(cause)]", "[reinterpretAsInt64(from_id)]"),
}


@dataclass(slots=True)
class TableFigures:
    """What one stretch of one table holds."""

    rows: int = 0
    distinct: int = 0
    seq_first: int = 0
    seq_last: int = 0
    price_sum: int = 0
    size_sum: int = 0

    def add(self, other: TableFigures) -> None:
        """Take in a stretch without common rows."""
        if other.rows == 0:
            return
        self.seq_first = min(self.seq_first, other.seq_first) if self.rows else other.seq_first
        self.seq_last = max(self.seq_last, other.seq_last)
        self.rows += other.rows
        self.distinct += other.distinct
        self.price_sum = (self.price_sum + other.price_sum) % _MODULUS
        self.size_sum = (self.size_sum + other.size_sum) % _MODULUS


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be; `where` is a segment, and its table if any."""

    where: str
    what: str
    raw_log: object
    found: object


@dataclass(slots=True)
class VerifyReport:
    """What was compared, and what differs; `ok` means nothing does."""

    segments: int = 0
    segments_sealed: int = 0
    frame_last: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differences


@dataclass(slots=True)
class _Segment:
    name: str
    tables: dict[str, TableFigures]
    seq_from: int = 0
    seq_to: int = _SEQ_MAX
    recv_first_ns: int = 0
    recv_last_ns: int = 0


async def verify(
    directory: Path,
    clickhouse: ClickHouse,
    *,
    node: int,
    frame_to: int | None = None,
    on_segment: Callable[[VerifyReport], None] | None = None,
) -> VerifyReport:
    """Compare the raw log in `directory` with its manifest and with ClickHouse.

    Args: `frame_to`: compare up to this frame only (a live sink is always a little behind);
    `on_segment`: called with the report so far after each segment.
    Raises ClickHouseError, TickdError(FATAL) when the raw log cannot be read.
    """
    report = VerifyReport()
    _check_files(directory, report)
    loop = asyncio.get_running_loop()
    reading = _segments(directory, report, frame_to)
    while (segment := await loop.run_in_executor(None, lambda: next(reading, None))) is not None:
        report.segments += 1
        for table, wanted in segment.tables.items():
            found = await _figures(clickhouse, table, node, segment)
            report.rows[table] = report.rows.get(table, 0) + wanted.rows
            _compare(report, f"{segment.name} {table}", wanted, found)
        if on_segment is not None:
            on_segment(report)
    if frame_to is None:
        await _look_for_orphans(report, clickhouse, node)
    return report


async def _look_for_orphans(report: VerifyReport, clickhouse: ClickHouse, node: int) -> None:
    """Rows of this node that no segment accounts for, wherever they are."""
    for table in EVENT_TABLES:
        rows = await clickhouse.query(
            f"SELECT count() FROM {clickhouse.database}.{table} WHERE node = {{node:UInt16}}",  # noqa: S608
            {"node": node},
        )
        found, wanted = int(str(rows[0][0])), report.rows.get(table, 0)
        if found != wanted:
            report.differences.append(Difference(table, "rows in all", wanted, found))


def _compare(report: VerifyReport, where: str, wanted: TableFigures, found: TableFigures) -> None:
    if found.rows != found.distinct:
        report.differences.append(
            Difference(where, "rows stored twice", 0, found.rows - found.distinct)
        )
    for name in ("rows", "seq_first", "seq_last", "price_sum", "size_sum"):
        raw_log, clickhouse = getattr(wanted, name), getattr(found, name)
        if raw_log != clickhouse:
            report.differences.append(Difference(where, name, raw_log, clickhouse))


def _check_files(directory: Path, report: VerifyReport) -> None:
    """Check the manifest's chain, and each sealed segment against its line."""
    previous: object = None
    for number, line in enumerate(manifest_read(str(directory)), start=1):
        if previous is not None and line.get("prev") != previous:
            report.differences.append(
                Difference("manifest", f"chain broken at line {number}", previous, line.get("prev"))
            )
        previous = line.get("sum")
        if line.get("kind") != "sealed":
            continue
        path = directory / "segments" / str(line["segment"])
        if not path.exists():  # shipped and removed by retention, or lost: the manifest knows
            report.differences.append(Difference(path.name, "file", "sealed", "absent"))
            continue
        report.segments_sealed += 1
        verdict = verify_segment(str(path))
        if not verdict["ok"]:
            report.differences.append(Difference(path.name, "bytes", "whole", verdict["damaged"]))
        if verdict["records"] != line["records"]:
            report.differences.append(
                Difference(path.name, "records", line["records"], verdict["records"])
            )


def _segments(directory: Path, report: VerifyReport, frame_to: int | None) -> Iterator[_Segment]:
    """Yield each segment with what its frames must have become; blocks, for a thread."""
    decoder = Decoder()
    current: _Segment | None = None
    reader = RawLogReader(str(directory), 0, frame_to)
    for name, data in reader:
        chunk = data if frame_to is None else data[: records_until(data, frame_to)]
        if not chunk:
            continue
        frame_first = int(chunk[: chunk.index(b" ")])
        if current is None or current.name != name:
            if current is not None:
                current.seq_to = (frame_first << SEQ_INDEX_BITS) - 1
                yield current
            figures = {table: TableFigures() for table in EVENT_TABLES}
            current = _Segment(name, figures, frame_first << SEQ_INDEX_BITS)
            current.recv_first_ns = int(chunk.split(b" ", 2)[1])
        batch = decoder.decode(chunk)
        report.frame_last = batch.frame_last
        current.recv_last_ns = max(current.recv_last_ns, _count(batch, current.tables))
    report.differences.extend(
        Difference(name, f"{size} bytes at {offset}", "readable", reason)
        for name, offset, size, reason in reader.damaged
    )
    if current is not None:
        if frame_to is not None:
            current.seq_to = ((frame_to + 1) << SEQ_INDEX_BITS) - 1
        yield current


def _count(batch: object, tables: Mapping[str, TableFigures]) -> int:
    """Add a batch's events to the figures; return the highest receive time."""
    events = np.frombuffer(batch, dtype=EVENT)  # type: ignore[call-overload]
    if len(events) == 0:
        return 0
    for table, kinds in _ROW_KINDS.items():
        tables[table].add(_wanted(table, events, kinds))
    return int(events["ts_recv"].max())


def _wanted(table: str, events: _Events, kinds: tuple[Kind, ...]) -> TableFigures:
    chosen = events[np.isin(events["kind"], kinds)]
    if len(chosen) == 0:
        return TableFigures()
    prices, sizes = chosen["price"], chosen["size"]
    rows = chosen
    match table:
        case "quotes":
            # One row per message: it ends with LAST and is named by its first record.
            ends = (chosen["flags"] & Flag.LAST) != 0
            rows = chosen[np.concatenate(([True], ends[:-1]))]
        case "book":
            levels = events[events["kind"] == Kind.DEPTH]
            prices, sizes = levels["price"], levels["size"]
        case "marks":
            interest = chosen["kind"] == Kind.OPEN_INTEREST
            prices, sizes = np.where(interest, sizes, prices), prices[:0]
        case "states":
            prices, sizes = chosen["aux"], prices[:0]
        case "gaps":
            prices, sizes = chosen["aux"] & 0xFF, chosen["id"].view(np.int64)
    seqs = rows["seq"]
    return TableFigures(
        rows=len(rows),
        distinct=len(rows),
        seq_first=int(seqs.min()),
        seq_last=int(seqs.max()),
        price_sum=_sum(prices),
        size_sum=_sum(sizes),
    )


def _sum(values: npt.NDArray[np.int64]) -> int:
    defined = values[values != SIZE_UNDEF]
    return int(np.sum(defined.astype(np.uint64, casting="unsafe"), dtype=np.uint64))


async def _figures(
    clickhouse: ClickHouse, table: str, node: int, segment: _Segment
) -> TableFigures:
    def total(values: str) -> str:
        mapped = f"arrayMap(x -> reinterpretAsUInt64(x), arrayFilter(x -> x != {SIZE_UNDEF}, v))"
        return f"sum(arraySum({mapped.replace(', v)', f', {values})')}))"

    prices, sizes = _SUMS[table]
    rows = await clickhouse.query(
        f"SELECT count(), uniqExact(seq), min(seq), max(seq), {total(prices)}, {total(sizes)} "  # noqa: S608
        f"FROM {clickhouse.database}.{table} "
        "WHERE node = {node:UInt16} AND seq BETWEEN {first:UInt64} AND {last:UInt64} "
        "AND ts_recv BETWEEN fromUnixTimestamp64Nano({from_ns:Int64}, 'UTC') "
        "AND fromUnixTimestamp64Nano({to_ns:Int64}, 'UTC')",
        {
            "node": node,
            "first": segment.seq_from,
            "last": segment.seq_to,
            "from_ns": segment.recv_first_ns - _MARGIN_NS,
            "to_ns": max(segment.recv_first_ns, segment.recv_last_ns) + _MARGIN_NS,
        },
    )
    return TableFigures(*(int(str(value)) for value in rows[0]))
