"""The plan: which blocks are promised to ClickHouse, which it has, and which stretches it lacks.

One JSON object per line, append-only, fsynced before the block it names is sent; that is what lets
a restart build exactly the same block again instead of guessing. One line is one fact: it is there
or it is not, also when it says several things at once. A torn last line is what a crash leaves and
is cut off. This file sends nothing and knows no ClickHouse; its methods block, so that a thread of
their own calls them (`plan_thread.py`).

    {"plan": {...}}                      a block, before it is first sent
    {"commit": {table, day, seq_from}}   ClickHouse has it (or it is in quarantine)
    {"progress": {table: seq, ...}}      everything up to here is planned
    {"spill": {cause, ranges, closed}}   no plan covers these ranges: repair brings them
    {"restored": {table, seq_from, ...}} repair has brought this one

Every write that raises OSError has changed nothing and may be called again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from recorder.errors import PlanError
from recorder.sink.ledger import Ledger, Spilled
from tickd.durable import sync_directory, write_all
from tickd.native import BLOCK_ENCODER_VERSION, EVENT_TABLES, Block

__all__ = ["Outcome", "Plan", "PlannedBlock", "Spilled"]

Outcome = Literal["inserted", "present", "quarantined"]

# About a day of one cut per second; beyond it the file is written anew with what is still open.
_COMPACT_BYTES: Final = 32 << 20
_DAY_S: Final = 86_400


class PlannedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies a block: rebuilt from the raw log at these bounds it has this hash."""

    table: str
    node: int
    day: int
    seq_from: int
    seq_to: int
    seq_first: int
    seq_last: int
    rows: int
    hash: str
    encoder: int

    @classmethod
    def of(cls, block: Block, node: int) -> PlannedBlock:
        return cls(
            table=block.table,
            node=node,
            day=block.day,
            seq_from=block.seq_from,
            seq_to=block.seq_to,
            seq_first=block.seq_first,
            seq_last=block.seq_last,
            rows=block.rows,
            hash=block.hash,
            encoder=BLOCK_ENCODER_VERSION,
        )

    @property
    def key(self) -> tuple[str, int, int]:
        return (self.table, self.day, self.seq_from)

    @property
    def token(self) -> str:
        """The deduplication token: position and content, so that it never covers other rows."""
        return f"{self.table}-{self.node}-{self.day}-{self.seq_first}-{self.seq_last}-{self.hash}"

    @property
    def day_start_s(self) -> int:
        """Start of its partition, seconds since the epoch."""
        return self.day * _DAY_S


class _Commit(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    day: int
    seq_from: int
    outcome: Outcome


class _Spill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    cause: str
    ranges: dict[str, tuple[int, int]]
    # Keys of planned blocks that are not going to be sent: their rows are in the ranges.
    closed: tuple[tuple[str, int, int], ...] = ()


class _Restored(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    seq_from: int
    seq_to: int


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    plan: PlannedBlock | None = None
    commit: _Commit | None = None
    progress: dict[str, int] | None = None
    spill: _Spill | None = None
    restored: _Restored | None = None


class Plan:
    """The plan file of one node, and what it says. Not thread-safe: one thread calls it."""

    def __init__(self, path: Path) -> None:
        """Read `path` (absent: nothing planned), cut a torn tail, write it compacted.

        A disk that takes no file does not keep the daemon from recording: the first promise tries
        again. Raises PlanError when a line before the last is damaged; OSError when it cannot be
        read.
        """
        self._path = path
        self._open: dict[tuple[str, int, int], PlannedBlock] = {}
        self._progress: dict[str, int] = dict.fromkeys(EVENT_TABLES, 0)
        self._ledger = Ledger()
        self._fd = -1
        self._bytes = 0
        self._compact_above = _COMPACT_BYTES
        # The file is not what we think: the next write begins a new one.
        self._suspect = True
        # Behind `_bytes` stands the beginning of a line that did not fit.
        self._tail_torn = False
        self.torn_bytes = 0
        self.is_new = not path.exists()
        self._read()
        with contextlib.suppress(OSError):
            self._compact()

    @property
    def open_blocks(self) -> list[PlannedBlock]:
        """Planned and not committed, in the order of planning."""
        return list(self._open.values())

    def progress(self, table: str) -> int:
        """Highest sequence number up to which every row of `table` is in some planned block."""
        return self._progress[table]

    def settled(self, table: str) -> int:
        """Highest sequence number up to which every row of `table` is committed."""
        open_from = (block.seq_from for block in self.open_blocks if block.table == table)
        spilled_from = (spilled.seq_from for spilled in self._ledger.items(table))
        begins = (*open_from, *spilled_from)
        return min(begins, default=self._progress[table] + 1) - 1

    def spilled(self) -> list[Spilled]:
        """What ClickHouse lacks, merged; per table in the order of the stream."""
        return self._ledger.items()

    def is_open(self, table: str, seq_from: int, seq_to: int) -> bool:
        """Whether a planned block overlaps the range: its rows may still arrive."""
        return any(
            block.table == table and block.seq_from <= seq_to and block.seq_to >= seq_from
            for block in self.open_blocks
        )

    def plan(self, blocks: Sequence[PlannedBlock], seq_to: int) -> None:
        """Promise the blocks of a cut that covers everything up to `seq_to`. Durable on return."""
        lines = [_Line(plan=block) for block in blocks]
        self._append([*lines, _Line(progress=self._moved(seq_to))], sync=True)

    def replan(self, block: PlannedBlock) -> None:
        """Promise another content for a planned block's place, durably; moves no other table."""
        self._append([_Line(plan=block)], sync=True)

    def commit(self, block: PlannedBlock, outcome: Outcome) -> None:
        """Note that `block` is settled. Not fsynced: losing it costs a question at the start."""
        table, day, seq_from = block.key
        line = _Commit(table=table, day=day, seq_from=seq_from, outcome=outcome)
        self._append([_Line(commit=line)], sync=False)

    def spill(
        self,
        table: str,
        seq_from: int,
        seq_to: int,
        cause: str,
        *,
        closing: Iterable[PlannedBlock] = (),
    ) -> None:
        """Note that ClickHouse lacks rows of `table` in this range. Durable on return.

        `closing`: planned blocks within it that are not going to be sent any more.
        """
        closed = tuple(block.key for block in closing)
        spill = _Spill(cause=cause, ranges={table: (seq_from, seq_to)}, closed=closed)
        self._append([_Line(spill=spill)], sync=True)

    def spill_to(self, seq_to: int, cause: str) -> None:
        """Give up planning everything up to `seq_to`: spilled for each table from its progress on.

        Durable on return, for all tables or none. Nothing below may be planned afterwards.
        """
        ranges = {table: (seq + 1, seq_to) for table, seq in self._progress.items() if seq < seq_to}
        if ranges:
            self._append([_Line(spill=_Spill(cause=cause, ranges=ranges))], sync=True)

    def start_at(self, progress: Mapping[str, int]) -> None:
        """Take over what ClickHouse holds already; only for a new plan. Durable on return."""
        assert not self._open
        self._append([_Line(progress=dict(progress))], sync=True)

    def restored(self, table: str, seq_from: int, seq_to: int) -> None:
        """Note that ClickHouse holds exactly the raw log's rows here. Durable on return."""
        line = _Restored(table=table, seq_from=seq_from, seq_to=seq_to)
        self._append([_Line(restored=line)], sync=True)

    def close(self) -> None:
        """Make everything durable, as far as the disk lets it, and close the file."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._suspect = True

    def _moved(self, seq_to: int) -> dict[str, int]:
        return {table: max(seq_to, seq) for table, seq in self._progress.items()}

    def _append(self, lines: Sequence[_Line], *, sync: bool) -> None:
        self._store(_encode(lines), sync=sync)
        for line in lines:
            self._apply(line)
        if self._bytes > self._compact_above:
            # What is written is written; a full disk may refuse a shorter file a while longer.
            self._compact_above = self._bytes + _COMPACT_BYTES
            with contextlib.suppress(OSError):
                self._compact()

    def _store(self, data: bytes, *, sync: bool) -> None:
        """Write behind the last whole line, or leave nothing of it there."""
        if self._suspect:
            self._compact()
        if self._tail_torn:
            os.ftruncate(self._fd, self._bytes)
            self._tail_torn = False
        try:
            write_all(self._fd, data)
        except OSError:
            self._tail_torn = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._bytes)
                self._tail_torn = False
            raise
        self._bytes += len(data)
        if sync:
            try:
                os.fdatasync(self._fd)
            except OSError:
                # The kernel may have thrown the pages away, and says yes the next time.
                self._suspect = True
                raise

    def _apply(self, line: _Line) -> None:
        if line.plan is not None:
            self._open[line.plan.key] = line.plan
            known = self._progress.get(line.plan.table, 0)
            self._progress[line.plan.table] = max(known, line.plan.seq_to)
        if line.commit is not None:
            self._open.pop((line.commit.table, line.commit.day, line.commit.seq_from), None)
        for table, seq in (line.progress or {}).items():
            self._progress[table] = max(self._progress.get(table, 0), seq)
        if line.spill is not None:
            for table, (seq_from, seq_to) in line.spill.ranges.items():
                self._ledger.add(
                    Spilled(table=table, seq_from=seq_from, seq_to=seq_to, cause=line.spill.cause)
                )
                self._progress[table] = max(self._progress.get(table, 0), seq_to)
            for key in line.spill.closed:
                self._open.pop(key, None)
        if line.restored is not None:
            done = line.restored
            self._ledger.remove(done.table, done.seq_from, done.seq_to)

    def _read(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        lines = data.split(b"\n")
        decoder = msgspec.json.Decoder(_Line)
        good_bytes = 0
        for number, text in enumerate(lines[:-1], start=1):
            try:
                line = decoder.decode(text)
            except msgspec.DecodeError as error:
                if any(_is_line(decoder, later) for later in lines[number:-1]):
                    raise PlanError(
                        f"{self._path}: line {number} is damaged: {error}",
                        hint="restore it, or move it away: the sink then asks ClickHouse",
                    ) from error
                break
            self._apply(line)
            good_bytes += len(text) + 1
        self.torn_bytes = len(data) - good_bytes

    def _compact(self) -> None:
        """Write what is still needed to a new file and put it in place of the old one, durably."""
        spills = (
            _Spill(cause=each.cause, ranges={each.table: (each.seq_from, each.seq_to)})
            for each in self._ledger.items()
        )
        lines = [
            _Line(progress=self._progress),
            *(_Line(plan=block) for block in self._open.values()),
            *(_Line(spill=spill) for spill in spills),
        ]
        data = _encode(lines)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(self._path.name + ".new")
        fd = os.open(
            fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            write_all(fd, data)
            os.fsync(fd)
            fresh.replace(self._path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                fresh.unlink()  # gives a full disk its bytes back
            raise
        # From here on the new file is the one that a restart reads.
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._bytes = fd, len(data)
        self._compact_above = max(_COMPACT_BYTES, 2 * len(data))
        self._suspect = self._tail_torn = False
        try:
            sync_directory(self._path.parent)
        except OSError:
            self._suspect = True  # the name may still be the old file's after a power cut
            raise


def _encode(lines: Iterable[_Line]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _is_line(decoder: msgspec.json.Decoder[_Line], text: bytes) -> bool:
    try:
        decoder.decode(text)
    except msgspec.DecodeError:
        return False
    return True
