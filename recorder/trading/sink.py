"""The sink of trading rows: every decision, order, fill, snapshot and audit once in ClickHouse.

Its source is the raw log's control records: the live ones as they are recorded, from memory, held
back until they are in the file; whatever else is missing from the file itself. When more waits than
memory is meant for, it is forgotten and read again, so a ClickHouse that is slow or away holds up
nobody. It keeps no plan: docs/adr/0038-risk-tables.md says why a row can neither be lost nor come
twice. It makes no row of events, and repairs nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar, final

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import ClickHouseError
from recorder.raw.watermark import LogProgress
from recorder.sink.retry import RetryPolicy
from recorder.trading.log import RECORDS_MAX, TradingLog
from recorder.trading.mark import Mark, read_mark, write_mark
from recorder.trading.rows import (
    TRADING_TABLES,
    BadRecordError,
    ControlRecord,
    Row,
    row_of,
    table_of,
)
from tickd.events import SEQ_INDEX_BITS
from tickd.native import NativeError
from tickd.ports import Clock

__all__ = ["TradingSink"]

_log = structlog.get_logger(__name__)

_T = TypeVar("_T")
# What may wait in memory: an hour of ten decisions a second, or a few seconds of thousands.
HELD_RECORDS_MAX: Final = 1 << 15
HELD_BYTES_MAX: Final = 16 << 20
# So that few rows make few parts: an insert is a part, and a part costs the server two fsyncs.
_PAUSE_S: Final = 0.5
# Rows that are made in one turn of the loop: 0.3 ms of it.
_TURN_RECORDS: Final = 16
# A start reads what was recorded since the mark; a minute of the raw log takes a second or two.
_MARK_S: Final = 60.0
_UNREADABLE_S: Final = 10.0
_RETRY: Final = RetryPolicy(delay_ms_min=100, delay_ms_max=5_000)


class _EndedError(Exception):
    """The end came before the rows were in: the next start takes them from the raw log."""


@final
class TradingSink:
    """Stores the trading records of one node. `run` is its life; it ends behind `close`.

    Args: `directory`: the raw log's; `mark`: a file of its own; `next_frame`: the number that the
    next record gets; `ready`: whether the tables are there; `drain_s`: so long it tries behind
    `close`. Owns `clickhouse`. Loop thread only.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        *,
        node: int,
        directory: Path,
        mark: Path,
        progress: LogProgress,
        next_frame: Callable[[], int],
        ready: Callable[[], bool],
        clock: Clock,
        random: Callable[[], float],
        held_records_max: int = HELD_RECORDS_MAX,
        drain_s: float = 5.0,
    ) -> None:
        self._clickhouse = clickhouse
        self._node = node
        self._trading_log = TradingLog(directory)
        self._mark = mark
        self._progress = progress
        self._next_frame = next_frame
        self._ready = ready
        self._clock = clock
        self._random = random
        self._held_records_max = held_records_max
        # Live records, complete from `_live_from` on; older ones stand in the log.
        self._held: deque[ControlRecord] = deque()
        self._held_bytes = 0
        self._live_from = self._begun = next_frame()
        # Every row of a frame below is stored. Until ClickHouse was asked: nobody knows.
        self._frame = 0
        # Highest number by table, and tables of which a predecessor's insert may still arrive.
        self._stored: dict[str, int] = {}
        self._doubtful = set(TRADING_TABLES.values())
        self._news = asyncio.Event()
        self._drain_ns = round(drain_s * 1e9)
        self._closed_ns: int | None = None
        self._is_over = False
        self._marked_ns = clock.mono_ns()
        self.rows = dict.fromkeys(TRADING_TABLES.values(), 0)
        self.malformed = 0
        self.forgotten = 0  # live records that found no room: they are read again
        self.fault: str | None = None

    @property
    def frame_needed(self) -> int:
        """The first frame of the raw log that this may still have to read."""
        return self._frame

    def taken(self, frame_no: int, recv_ns: int, payload: bytes) -> None:
        """Hear of a control record that was just appended to the raw log. Raises nothing."""
        if self._is_over or table_of(payload) is None:
            return
        if len(self._held) >= self._held_records_max or self._held_bytes >= HELD_BYTES_MAX:
            self.forgotten += len(self._held) + 1
            self._held.clear()
            self._held_bytes = 0
            self._live_from = frame_no + 1
        else:
            self._held.append(ControlRecord(frame_no, recv_ns, payload))
            self._held_bytes += len(payload)
        self._news.set()

    def close(self) -> None:
        """Let `run` end when everything is in, or its time is up."""
        self._closed_ns = self._clock.mono_ns()
        self._news.set()

    async def run(self) -> None:
        """Store what comes until `close`; whoever cannot wait for the rest cancels it.

        Raises TickdError(FATAL): the raw log takes no records any more.
        """
        try:
            while not self._ready():
                if self._closed_ns is not None:
                    return
                await self._clock.sleep(_PAUSE_S)
            await self._begin()
            while await self._step():
                pass
        except _EndedError:
            return
        finally:
            self._is_over = True  # what comes now is above the mark
            self._write_mark()
            await self._clickhouse.close()

    def draw(self) -> dict[str, Any]:
        """What status and metrics show."""
        return {
            "rows": dict(self.rows),
            "waiting": len(self._held),
            "reading": self._frame < self._live_from,
            "forgotten": self.forgotten,
            "malformed": self.malformed,
            "segments_absent": self._trading_log.segments_absent,
            "stretches_damaged": self._trading_log.stretches_damaged,
            "fault": self.fault,
        }

    async def _begin(self) -> None:
        """Find out what ClickHouse holds, and so where to begin."""
        tables = TRADING_TABLES.values()
        for table in tables:
            self._stored[table] = await self._try(partial(self._asked, table), table)
        mark = await asyncio.to_thread(
            read_mark, self._mark, node=self._node, database=self._clickhouse.database
        )
        starts = []
        for table in tables:
            stored = self._stored[table]
            start = None if mark is None else mark.start_of(table, stored)
            # A control record is a frame and a row.
            starts.append((stored >> SEQ_INDEX_BITS) + 1 if start is None else start)
        self._frame = min(starts)
        _log.info("trading_rows_begin", frame=self._frame, live_from=self._live_from)

    async def _step(self) -> bool:
        """Store the next records, wherever they are; False: there are none and none will come."""
        if self._frame < self._live_from:
            await self._catch_up(self._live_from - 1)
            return True
        if self._held:
            count = min(len(self._held), RECORDS_MAX)
            records = [self._held.popleft() for _ in range(count)]
            self._held_bytes -= sum(len(record.payload) for record in records)
            await self._store(records)
            self._frame = records[-1].frame_no + 1
        else:
            # What is recorded from now on is not there yet.
            self._frame = self._next_frame()
            if self._closed_ns is not None:
                return False
            self._news.clear()
            await self._wait()
        if self._clock.mono_ns() - self._marked_ns > _MARK_S * 1e9:
            self._marked_ns = self._clock.mono_ns()
            await asyncio.to_thread(write_mark, self._mark, self._mark_now())
        return True

    async def _wait(self) -> None:
        """Wait for a record, then a little for more of them; not longer than a mark lasts."""
        try:
            async with asyncio.timeout(_MARK_S):
                await self._news.wait()
        except TimeoutError:
            return
        if self._closed_ns is None:
            await self._clock.sleep(_PAUSE_S)

    async def _catch_up(self, frame_to: int) -> None:
        """Store what stands in the raw log up to a frame."""
        if frame_to >= self._begun:
            await self._progress.reached(frame_to)
        pieces = self._trading_log.read(self._frame, frame_to)
        while True:
            try:
                records = await asyncio.to_thread(_next, pieces)
            except (OSError, NativeError) as error:
                await self._unreadable(error)
                return
            if not records:
                break
            await self._store(records)
            self._frame = records[-1].frame_no + 1
        self._frame = frame_to + 1

    async def _unreadable(self, error: Exception) -> None:
        """The raw log cannot be read now: orders go on, the rows come later."""
        self.fault = f"the raw log cannot be read: {error}"
        _log.error("trading_log_unreadable", fault=str(error))
        await self._pause(_UNREADABLE_S)

    async def _store(self, records: Sequence[ControlRecord]) -> None:
        """Insert the rows of consecutive records, one block per table and UTC day."""
        last = records[-1].frame_no
        if last >= self._begun:
            await self._progress.reached(last)
        by_table: dict[str, list[Row]] = {}
        for number, record in enumerate(records, 1):
            try:
                row = row_of(record, node=self._node)
                by_table.setdefault(row.table, []).append(row)
            except BadRecordError as error:
                self.malformed += 1
                _log.error("trading_record_malformed", fault=str(error))
            if not number % _TURN_RECORDS:
                await asyncio.sleep(0)  # orders go first
        for table, rows in by_table.items():
            # A token speaks for one partition: rows of two days may lie in two.
            for _, block in groupby(rows, lambda row: row.day):
                await self._insert(table, list(block))

    async def _insert(self, table: str, rows: list[Row]) -> None:
        """Insert what is not there yet, under the number of its first row.

        One insert of a table is under way at a time, and each begins where the one before ended:
        a second one under the same number is the same one, and the server drops it. Where it is
        not known what became of one, the table is asked how far it goes, before anything follows.
        """
        attempt = spent = 0
        while rows := [row for row in rows if row.seq > self._stored[table]]:
            first, last = rows[0].seq, rows[-1].seq
            token = f"{table}-{self._node}-{first}" + (f"-{spent}" if spent else "")
            is_acked = await self._attempt(table, rows, token, attempt)
            attempt += 1
            if table not in self._doubtful:
                found = last if is_acked else 0
            else:
                found = await self._try(partial(self._asked, table), table)
                if is_acked and found >= last:
                    self._doubtful.discard(table)
                elif is_acked:
                    # One of the life before, shorter and under the same number, came first.
                    self.fault = f"{table} holds rows up to {found}, behind an insert up to {last}"
                    _log.warning("trading_insert_in_doubt", table=table, last=last, found=found)
                    spent += found < first and await self._is_token_spent(table, token)
                    await self._pause(_PAUSE_S)
            self.rows[table] += sum(row.seq <= found for row in rows)
            self._stored[table] = max(self._stored[table], found)

    async def _is_token_spent(self, table: str, token: str) -> bool:
        """Whether the server remembers a token of which it has no row, nor will have one.

        One that was killed between the two does, and one of whose rows a person deleted some.
        Replicas commit both at once; one that lacks the rows is behind, and they will come.
        """
        if self._clickhouse.schema.engine == "replicated":
            return False
        return not await self._try(partial(self._clickhouse.running, token=token), table)

    async def _attempt(self, table: str, rows: Sequence[Row], token: str, attempt: int) -> bool:
        """Insert once; whether the server said yes. Raises _EndedError."""
        try:
            lines = [row.line for row in rows]
            await self._clickhouse.insert_lines(table, list(rows[0].values), lines, token)
        except ClickHouseError as error:
            if error.outcome == "unknown":
                self._doubtful.add(table)
            await self._failed(error, table, attempt)
            return False
        self.fault = None
        return True

    async def _asked(self, table: str) -> int:
        rows = await self._clickhouse.query(
            f"SELECT max(seq) FROM {self._clickhouse.database}.{table}"  # noqa: S608 - own names only
            " WHERE node = {node:UInt16}",
            {"node": self._node},
        )
        return int(rows[0][0])

    async def _try(self, step: Callable[[], Awaitable[_T]], table: str) -> _T:
        """Repeat `step` until it is done: what is refused waits for an operator, in order.

        Raises _EndedError: it is not done, and the end is near.
        """
        attempt = 0
        while True:
            try:
                done = await step()
            except ClickHouseError as error:
                await self._failed(error, table, attempt)
                attempt += 1
            else:
                self.fault = None
                return done

    async def _failed(self, error: ClickHouseError, table: str, attempt: int) -> None:
        """Tell, and wait before the next try. Raises _EndedError."""
        self.fault = str(error)
        _log.warning("trading_rows_failed", table=table, fault=str(error), attempt=attempt)
        await self._pause(_RETRY.delay_ms(attempt, self._random, error.retry_after_s) / 1000)

    async def _pause(self, seconds: float) -> None:
        """Wait before another try. Raises _EndedError: there is no time for one."""
        if self._closed_ns is None:
            await self._clock.sleep(seconds)
            return
        left_ns = self._closed_ns + self._drain_ns - self._clock.mono_ns()
        if left_ns <= 0:
            raise _EndedError
        await self._clock.sleep(min(seconds, left_ns / 1e9))

    def _mark_now(self) -> Mark:
        return Mark(
            node=self._node,
            database=self._clickhouse.database,
            frame=self._frame,
            stored=dict(self._stored),
        )

    def _write_mark(self) -> None:
        if self._frame:
            write_mark(self._mark, self._mark_now())


def _next(pieces: Iterator[list[ControlRecord]]) -> list[ControlRecord]:
    """In a thread."""
    return next(pieces, [])
