"""The fallback spool: ready blocks in files, while ClickHouse is away or memory is full.

It saves building a block again; it is never the truth. What it loses - a torn tail, a flipped bit,
everything not yet on the disk when the power went - is planned, so the raw log gives it again.
Therefore nothing here is fsynced, and a disk that refuses a write is an answer (`put` says no), not
a failure. It sends nothing and decides nothing about order beyond "oldest first within a table".
"""

from __future__ import annotations

import errno
import heapq
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import structlog

from recorder.clickhouse.blocks import BlockBytes
from recorder.errors import SpoolDamagedError
from recorder.sink.plan import PlannedBlock
from recorder.spool.file import DONE_AT, Record, SpooledBlock, encode, survey
from tickd.ports import Clock

__all__ = ["Spool", "SpoolCounters", "SpooledBlock", "TableSpool"]

_log = structlog.get_logger(__name__)

_SUFFIX: Final = ".spool"
_DIGITS: Final = 8
_FILE_BYTES: Final = 64 << 20
# An entry costs about 600 bytes of memory; more than this is no queue but a second raw log.
_BLOCKS_MAX: Final = 100_000

_Key = tuple[str, int, int]


@dataclass(slots=True)
class SpoolCounters:
    """Totals since the start; the wiring turns them into metrics."""

    put: int = 0
    put_bytes: int = 0
    read: int = 0
    done: int = 0
    full: int = 0  # refused: the limit
    faults: int = 0  # refused or failed: the disk
    damaged: int = 0  # blocks whose bytes were not those written
    damaged_bytes: int = 0  # found at the start between whole records
    torn_bytes: int = 0  # cut off at the start behind the last whole record


@dataclass(frozen=True, slots=True)
class TableSpool:
    """What waits of one table; `oldest_ns`: wall time when its oldest block was put, 0: nothing."""

    blocks: int
    bytes: int
    oldest_ns: int


@dataclass(slots=True)
class _File:
    path: Path
    size: int = 0  # up to the end of the last whole record
    waiting: int = 0  # records that are not done
    fd: int = -1  # open while it is being written


@dataclass(slots=True)
class _Entry:
    file: _File
    record: Record
    unknown: bool  # it may have been sent


@dataclass(slots=True)
class _Table:
    entries: dict[_Key, _Entry] = field(default_factory=dict)
    # A heap of (seq_from, key); what is done stays in it until it comes to the front.
    order: list[tuple[int, _Key]] = field(default_factory=list)
    current: _File | None = None
    number: int = 0  # of the last file
    bytes: int = 0  # bodies that wait
    oldest_ns: int = 0

    def oldest(self) -> _Entry | None:
        while self.order:
            entry = self.entries.get(self.order[0][1])
            if entry is not None:
                return entry
            heapq.heappop(self.order)
        return None

    def moved(self) -> None:
        """The oldest may be another one."""
        entry = self.oldest()
        self.oldest_ns = 0 if entry is None else entry.record.put_ns


@final
class Spool:
    """The spool of one node. Blocking, one thread; the figures may be read from any.

    Args: `bytes_max` bounds what its files occupy; `blocks_max` what its index does.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bytes_max: int,
        clock: Clock,
        file_bytes_max: int = _FILE_BYTES,
        blocks_max: int = _BLOCKS_MAX,
    ) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        # Space comes back file by file: several must fit into the limit.
        self._file_bytes_max = min(file_bytes_max, max(bytes_max // 8, 1))
        self._blocks_max = blocks_max
        self._clock = clock
        self._tables: dict[str, _Table] = {}
        self.may_grow = True  # False: takes nothing, as if full; may be set from any thread
        self.counters = SpoolCounters()
        self.fault: str | None = None  # what the disk said last, None once it took a block
        self.bytes = 0  # of all files
        self.blocks = 0  # that wait

    def open(self) -> None:
        """Read the headers of what is there; cut torn tails. A file that cannot be read is left.

        Everything found counts as perhaps sent: who wrote it may have got that far.
        """
        for path in sorted(self._directory.glob(f"*/*{_SUFFIX}")):
            if path.stem.isdecimal():
                table = self._tables.setdefault(path.parent.name, _Table())
                table.number = max(table.number, int(path.stem))
                try:
                    self._load(table, path)
                except OSError as error:
                    self._failed("spool_file_unreadable", error, path)

    def put(self, planned: PlannedBlock, block: BlockBytes, *, unknown: bool) -> bool:
        """Keep a block; False when there is no room or the disk refuses, and nothing is kept.

        Args: `unknown`: it may have been sent. A block of the same place is replaced.
        """
        head, record = encode(planned, block, put_ns=self._clock.wall_ns())
        size = record.end
        is_full = self.bytes + size > self._bytes_max or self.blocks >= self._blocks_max
        if is_full or not self.may_grow:
            self.counters.full += 1
            return False
        table = self._tables.setdefault(planned.table, _Table())
        try:
            file = self._writable(planned.table, table, size)
            _write(file.fd, head, block, file.size)
        except OSError as error:
            self._undo(table)
            self._failed("spool_write_failed", error, self._directory / planned.table)
            return False
        record = record.at(file.size)
        file.size = record.end
        self.bytes += size
        self.fault = None
        self.counters.put += 1
        self.counters.put_bytes += size
        self._enter(table, file, record, unknown=unknown)
        return True

    def peek(self, table: str) -> tuple[PlannedBlock, bool] | None:
        """Return a table's oldest block, and whether it may have been sent; None: nothing waits."""
        spooled = self._tables.get(table)
        entry = None if spooled is None else spooled.oldest()
        return None if entry is None else (entry.record.planned, entry.unknown)

    def read(self, planned: PlannedBlock) -> SpooledBlock:
        """Return a block as it was put. Raises SpoolDamagedError: build it from the raw log.

        It still waits afterwards, damaged or not, until `done`.
        """
        entry = self._entry(planned)
        if entry is None:
            raise SpoolDamagedError(f"no block {planned.token} in the spool")
        record, path = entry.record, entry.file.path
        block = record.block()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _read(fd, block, record.body_at)
            finally:
                os.close(fd)
        except OSError as error:
            self.counters.damaged += 1
            self._failed("spool_read_failed", error, path)
            raise SpoolDamagedError(f"{path} at {record.offset}: {error}") from error
        if not record.is_body(block):
            self.counters.damaged += 1
            raise SpoolDamagedError(f"{path} at {record.offset}: the checksum does not fit")
        self.counters.read += 1
        return block

    def mark_unknown(self, planned: PlannedBlock) -> None:
        """Note that a block may have been sent. For this life: a restart asks in any case."""
        entry = self._entry(planned)
        if entry is not None:
            entry.unknown = True

    def done(self, planned: PlannedBlock) -> None:
        """Forget a block; a file of which nothing waits any more is deleted. Unknown: nothing."""
        entry = self._entry(planned)
        if entry is not None:
            self.counters.done += 1
            self._remove(self._tables[planned.table], entry)

    def planned(self) -> list[PlannedBlock]:
        """Everything that waits, by table, oldest first."""
        return [
            entry.record.planned
            for table in self._tables.values()
            for entry in sorted(table.entries.values(), key=_age)
        ]

    def holds(self, planned: PlannedBlock) -> bool:
        """Whether exactly this block waits here: its place and its content."""
        return self._entry(planned) is not None

    @property
    def oldest_ns(self) -> int:
        """Wall time of the `put` of the oldest block; 0 when nothing waits."""
        tables = list(self._tables.values())
        return min((table.oldest_ns for table in tables if table.oldest_ns), default=0)

    def table(self, name: str) -> TableSpool:
        """What waits of one table."""
        table = self._tables.get(name)
        if table is None:
            return TableSpool(0, 0, 0)
        return TableSpool(len(table.entries), table.bytes, table.oldest_ns)

    def close(self) -> None:
        """Close what is open; what waits stays for the next start."""
        for table in self._tables.values():
            self._finish(table)

    # Files.

    def _load(self, table: _Table, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            found = survey(fd)
            if found.torn_bytes:
                os.ftruncate(fd, found.good_bytes)
        finally:
            os.close(fd)
        self.counters.torn_bytes += found.torn_bytes
        self.counters.damaged_bytes += found.damaged_bytes
        if found.torn_bytes or found.damaged_bytes:
            _log.warning(
                "spool_file_damaged",
                path=str(path),
                torn_bytes=found.torn_bytes,
                damaged_bytes=found.damaged_bytes,
                hint="the raw log gives these blocks again",
            )
        file = _File(path, found.good_bytes)
        self.bytes += file.size
        for record in found.records:
            if not record.done:
                self._enter(table, file, record, unknown=True)
        if file.waiting == 0:
            self._delete(file)

    def _writable(self, name: str, table: _Table, size: int) -> _File:
        """Return the file that takes `size` more bytes. Raises OSError."""
        current = table.current
        if current is not None and current.size and current.size + size > self._file_bytes_max:
            self._finish(table)
            current = None
        if current is None:
            directory = self._directory / name
            directory.mkdir(parents=True, exist_ok=True)
            table.number += 1
            path = directory / f"{table.number:0{_DIGITS}}{_SUFFIX}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            current = _File(path, fd=os.open(path, flags, 0o600))
            table.current = current
        return current

    def _undo(self, table: _Table) -> None:
        """Take back a write that did not succeed; what cannot be cut is left behind for good."""
        file = table.current
        if file is None:
            return
        try:
            os.ftruncate(file.fd, file.size)
        except OSError as error:
            self._failed("spool_undo_failed", error, file.path)
            self._finish(table)
        else:
            if file.waiting == 0:
                self._finish(table)

    def _finish(self, table: _Table) -> None:
        """Write no more to the current file."""
        file, table.current = table.current, None
        if file is not None:
            os.close(file.fd)
            file.fd = -1
            if file.waiting == 0:
                self._delete(file)

    def _delete(self, file: _File) -> None:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            self._failed("spool_delete_failed", error, file.path)
        self.bytes -= file.size

    # The index.

    def _entry(self, planned: PlannedBlock) -> _Entry | None:
        table = self._tables.get(planned.table)
        entry = None if table is None else table.entries.get(planned.key)
        return entry if entry is not None and entry.record.planned == planned else None

    def _enter(self, table: _Table, file: _File, record: Record, *, unknown: bool) -> None:
        planned = record.planned
        replaced = table.entries.get(planned.key)
        file.waiting += 1
        if replaced is not None:
            self._remove(table, replaced)
        table.entries[planned.key] = _Entry(file, record, unknown)
        heapq.heappush(table.order, (planned.seq_from, planned.key))
        table.bytes += record.body_bytes
        self.blocks += 1
        table.moved()

    def _remove(self, table: _Table, entry: _Entry) -> None:
        file, record = entry.file, entry.record
        del table.entries[record.planned.key]
        table.bytes -= record.body_bytes
        self.blocks -= 1
        table.moved()
        file.waiting -= 1
        if file.waiting:
            self._mark_done(file, record)
        elif file is table.current:
            self._finish(table)
        else:
            self._delete(file)

    def _mark_done(self, file: _File, record: Record) -> None:
        """For a restart; lost, it costs a question to the plan."""
        place, done = DONE_AT
        try:
            fd = os.open(file.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(fd, done, record.offset + place)
            finally:
                os.close(fd)
        except OSError as error:
            self._failed("spool_mark_failed", error, file.path)

    def _failed(self, event: str, error: OSError, path: Path) -> None:
        self.counters.faults += 1
        words = f"{path}: {error.strerror or error}"
        if self.fault != words:  # a full disk says the same thing a thousand times
            _log.warning(event, fault=words)
        self.fault = words


def _age(entry: _Entry) -> tuple[int, int]:
    return (entry.record.planned.seq_from, entry.record.planned.day)


def _write(fd: int, head: bytes, block: BlockBytes, offset: int) -> None:
    """Write a whole record or raise OSError; a short count is followed by the reason."""
    for part in (memoryview(head), block.body):
        view = part
        while view:
            count = os.pwrite(fd, view, offset)
            if count == 0:
                raise OSError(errno.EIO, "nothing was written")
            view = view[count:]
            offset += count


def _read(fd: int, block: SpooledBlock, offset: int) -> None:
    """Fill a block; a file that ends too early leaves zeros, which the checksum refuses."""
    view = block.body
    while view:
        count = os.preadv(fd, [view], offset)
        if count == 0:
            return
        view = view[count:]
        offset += count
