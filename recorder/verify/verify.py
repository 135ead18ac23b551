"""Prove that raw log, manifest and ClickHouse agree: each frame and each row, each checksum.

The flow only: files, promises, the log decoded again segment by segment against ClickHouse, rows
that nothing accounts for, bars. What each part looks at stands in its own `verify_*.py`. It changes
nothing, and holds the figures of a bounded number of segments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import ClickHouseError
from recorder.raw.records import heads_of
from recorder.ship.config import ShipConfig
from recorder.trading.mark import MARK_FILE, Mark, read_mark
from recorder.verify.bars import check_bars
from recorder.verify.files import LogFiles, check_files
from recorder.verify.frames import FrameAccount
from recorder.verify.log import LogReading, Piece
from recorder.verify.objects import check_objects
from recorder.verify.orphans import (
    count_rows,
    last_stored,
    rows_above,
    rows_astray,
    unknown_nodes,
)
from recorder.verify.promises import read_promises
from recorder.verify.report import VerifyReport, ranges_of
from recorder.verify.rows import Segment, compare
from recorder.verify.trading import TradingCheck
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES, RawLogReader

__all__ = ["Step", "verify"]

Step = Literal["files", "rows"]
OnProgress = Callable[[Step, int], None]
_SEQ_MAX: Final = (1 << 64) - 1
# Segments of one question to ClickHouse. It reads whole days, however few rows it is about: one
# for every segment of a node that restarts often takes longer than all the rest. The numbers
# bound its text, the memory of its answer (16 bytes a row), and the days.
_SEGMENTS_MAX: Final = 256
_ROWS_MAX: Final = 2_000_000
_BATCH_NS: Final = 3_600 * 10**9


async def verify(
    directory: Path,
    clickhouse: ClickHouse,
    *,
    node: int,
    frame_to: int | None = None,
    sink: Path | None = None,
    remote: ShipConfig | None = None,
    on_progress: OnProgress = lambda _step, _bytes: None,
) -> VerifyReport:
    """Compare the raw log in `directory` with its manifest and with ClickHouse.

    Args: `frame_to`: compare rows up to this frame only (a live sink is always a little behind);
    `sink`: where plan, spool and quarantine are, beside the raw log if None; `remote`: the store
    to ask about shipped files; `on_progress`: hears of bytes read: once of each file, once of its
    records.
    Raises OSError, ConfigError, TickdError(FATAL) when the raw log cannot be read at all.
    """
    run = _Run(directory, clickhouse, node, frame_to, on_progress)
    sink = sink if sink is not None else directory.parent / "sink"
    await run.files(sink)
    if remote is not None:
        await check_objects(run.report, run.manifest, remote)
    await run.log()
    await run.tables()
    return run.report


class _Run:
    """One run of verify: its report, and what one step tells the next."""

    def __init__(
        self,
        directory: Path,
        clickhouse: ClickHouse,
        node: int,
        frame_to: int | None,
        on_progress: OnProgress,
    ) -> None:
        self.report = VerifyReport(node=node, frame_to=frame_to)
        self._directory = directory
        self._clickhouse = clickhouse
        self._node = node
        self._frame_to = frame_to
        self._on_progress = on_progress
        self._files = LogFiles()
        # Rows that may be absent, or be there, by table.
        self._leave_out: dict[str, list[tuple[int, int]]] = {table: [] for table in EVENT_TABLES}
        self._clickhouse_is_there = True
        self._hours_due: frozenset[int] = frozenset()
        # What has gone from here, and what is damaged.
        self._unreadable: list[tuple[int, int]] = []
        self._mark: Mark | None = None
        self._seq_end = 0  # the last number that was compared

    async def files(self, sink: Path) -> None:
        """Check the files, and read what was promised."""
        report, loop = self.report, asyncio.get_running_loop()
        for table in EVENT_TABLES:
            report.table(table)
        # The promises first: a block that arrives meanwhile is then left out, not missed.
        promises = await loop.run_in_executor(None, read_promises, sink, self._node)
        report.pending = promises.pending
        self._hours_due = promises.hours
        report.add(*promises.findings)
        self._files = files = await loop.run_in_executor(
            None,
            check_files,
            self._directory,
            partial(self._told, loop),
        )
        report.segments = files.totals
        report.checked = files.checked
        for name in ("plan_lines", "spool_blocks", "quarantined_blocks", "hours_due"):
            setattr(report.checked, name, getattr(promises.checked, name))
        report.add(*files.findings)
        for table in EVENT_TABLES:
            self._leave_out[table] = ranges_of(report.pending, table)
            report.table(table).pending = sum(
                entry.rows or 0 for entry in report.pending if entry.table == table
            )
        for absent in files.absent:
            self._exclude(EVENT_TABLES, absent.first, absent.last)
        # The mark before the log is read: what is stored meanwhile does not count as missed.
        self._mark = await loop.run_in_executor(
            None,
            partial(
                read_mark, sink / MARK_FILE, node=self._node, database=self._clickhouse.database
            ),
        )

    async def log(self) -> None:
        """Decode the log again and compare each segment's rows."""
        account = FrameAccount(_begin(self._files))
        for absent in self._files.absent:
            account.explain(absent.first, absent.last, absent.cause)
        for first, last in self._files.announced:
            account.explain(first, last, "announced")
        reading = LogReading(self._directory, 0, self._frame_to, account)
        loop = asyncio.get_running_loop()
        pieces = reading.pieces()
        batch = list[Segment]()  # read, not compared yet; the last one is still being read
        excluded = 0
        while (piece := await loop.run_in_executor(None, next, pieces, None)) is not None:
            for first, last in reading.lost[excluded:]:
                self._exclude_seqs(EVENT_TABLES, first, last)
            excluded = len(reading.lost)
            if not batch or batch[-1].name != piece.segment:
                if batch and _is_enough(batch, piece):
                    await self._compare(batch)
                    batch = []
                batch.append(Segment(piece.segment))
            self._take(batch[-1], piece)
        if batch:
            await self._compare(batch)
        if self._frame_to is None and reading.damaged:
            reading.lose_end(_frame_last(self._files))
            for first, last in reading.lost[excluded:]:
                self._exclude_seqs(EVENT_TABLES, first, last)
        numbers, findings = account.finish()
        self.report.numbers, self.report.frames = numbers, account.frames
        self.report.add(*findings)
        self._seq_end = max(
            self._seq_end, *(last for ranges in self._leave_out.values() for _, last in ranges), 0
        )

    async def tables(self) -> None:
        """Look for rows that no segment accounts for, and compare the bars."""
        try:
            await self._orphans()
            await self._trading()
            self.report.add(*await unknown_nodes(self._clickhouse, node=self._node))
            seq_to = None if self._frame_to is None else self._seq_to
            bars, findings = await check_bars(
                self._clickhouse, node=self._node, seq_to=seq_to, hours_due=self._hours_due
            )
        except ClickHouseError as error:
            self._gone(error)
        else:
            self.report.checked.bars = bars
            self.report.add(*findings)

    async def _trading(self) -> None:
        """Compare what gate and router did, where its sink has ever come to an end of a round."""
        if self._mark is None or not self._clickhouse_is_there:
            return
        check = TradingCheck(
            self._clickhouse,
            self._directory,
            self._mark,
            frame_to=self._frame_to,
            unreadable=self._unreadable,
        )
        findings = await check.run()
        self.report.tables |= check.tables
        self.report.add(*findings)

    def _told(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        """Pass on from the thread that reads files."""
        loop.call_soon_threadsafe(self._on_progress, "files", size)

    @property
    def manifest(self) -> Sequence[Mapping[str, Any]]:
        """Its whole lines, once the files are checked."""
        return self._files.lines

    @property
    def _seq_to(self) -> int:
        """The last sequence number that is compared."""
        if self._frame_to is None:
            return _SEQ_MAX
        return ((self._frame_to + 1) << SEQ_INDEX_BITS) - 1

    def _take(self, segment: Segment, piece: Piece) -> None:
        self._on_progress("rows", piece.bytes)
        self._seq_end = max(self._seq_end, piece.seq_to)
        for table in EVENT_TABLES:
            if table not in piece.compared:
                self._leave_out[table].append((piece.seq_from, piece.seq_to))
        for table, rows in piece.rows.items():
            totals = self.report.table(table)
            totals.raw_log = (totals.raw_log or 0) + len(rows.seq)
        segment.add(piece, self._leave_out)

    async def _compare(self, segments: Sequence[Segment]) -> None:
        if not self._clickhouse_is_there:
            return
        try:
            stored, findings = await compare(
                self._clickhouse,
                segments,
                node=self._node,
                directory=self._directory,
                leave_out=self._leave_out,
            )
        except ClickHouseError as error:
            self._gone(error)
            return
        for table, rows in stored.items():
            self.report.table(table).stored += rows
        self.report.add(*findings)

    async def _orphans(self) -> None:
        if not self._clickhouse_is_there:
            return
        # The rows before the log: what is in ClickHouse was in the log first.
        highest = await last_stored(self._clickhouse, node=self._node)
        behind = await self._end_of_log() + 1
        counted = await count_rows(
            self._clickhouse,
            node=self._node,
            seq_to=min(self._seq_end, self._seq_to),
            leave_out=self._leave_out,
        )
        for table in EVENT_TABLES:
            above = await rows_above(
                self._clickhouse, table, node=self._node, seq_from=behind, seq_to=highest[table]
            )
            compared = self.report.table(table).stored
            astray = rows_astray(table, counted=counted[table], compared=compared)
            self.report.add(*(finding for finding in (above, astray) if finding is not None))

    async def _end_of_log(self) -> int:
        """The last number that the log has by now; a live one has grown meanwhile."""
        if self._frame_to is None:
            return self._seq_end
        last = await asyncio.get_running_loop().run_in_executor(
            None, _last_frame, self._directory, self._frame_to
        )
        return max(self._seq_end, ((last + 1) << SEQ_INDEX_BITS) - 1)

    def _exclude(self, tables: tuple[str, ...], frame_first: int, frame_last: int) -> None:
        first, last = frame_first << SEQ_INDEX_BITS, ((frame_last + 1) << SEQ_INDEX_BITS) - 1
        self._exclude_seqs(tables, first, last)

    def _exclude_seqs(self, tables: tuple[str, ...], first: int, last: int) -> None:
        self._unreadable.append((first, last))
        for table in tables:
            self._leave_out[table].append((first, last))

    def _gone(self, error: ClickHouseError) -> None:
        """ClickHouse cannot be asked: the files are still worth checking."""
        if self._clickhouse_is_there:
            self._clickhouse_is_there = False
            self.report.unchecked.append(f"rows in ClickHouse: {error}")


def _is_enough(batch: Sequence[Segment], piece: Piece) -> bool:
    """Whether read segments are compared before the one that begins with `piece` joins them."""
    return (
        len(batch) >= _SEGMENTS_MAX
        or sum(segment.rows for segment in batch) >= _ROWS_MAX
        or piece.recv_to_ns - min(each.recv_from_ns for each in batch) > _BATCH_NS
    )


def _begin(files: LogFiles) -> int:
    """The first frame number that was ever given out, 0 when the manifest does not say."""
    first = [int(line["frame_next"]) for line in files.lines if line.get("kind") == "started"]
    sealed = [int(line["frame_first"]) for line in files.lines if line.get("kind") == "sealed"]
    return min((*first, *sealed), default=0)


def _frame_last(files: LogFiles) -> int:
    sealed = [int(line["frame_last"]) for line in files.lines if line.get("kind") == "sealed"]
    return max(sealed, default=0)


def _last_frame(directory: Path, frame_from: int) -> int:
    """The last frame number in the log, which goes on at least from `frame_from`. Blocks."""
    last = b""
    for _, data in RawLogReader(str(directory), frame_from):
        last = data
    return int(heads_of(last)["frame_no"][-1]) if last else 0
