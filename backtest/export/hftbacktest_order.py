"""hftbacktest's two orders in bounded memory: EXCH rows by exchange time, LOCAL rows by receipt.

Rows come in the order of receipt. A row whose exchange time is not below that of any row before it
stands right in both orders and keeps both flags; any other is split: its LOCAL half stays, its EXCH
half moves back to where its time belongs. The halves that move are sorted outside memory, in runs
of a fixed size. It changes no time and no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np

from backtest.export.hftbacktest_rows import EXCH, LOCAL, ROW, TRADE, Rows
from tickd.rows import Integers

__all__ = ["EventOrder"]

_ROW_BYTES: Final = ROW.itemsize
RUN_ROWS: Final = 131_072  # 8 MiB
BLOCK_ROWS: Final = 16_384  # 1 MiB per open run and for the rows that stay


class EventOrder:
    """One instrument's rows: `add` in the order of receipt, then `rows` in hftbacktest's."""

    def __init__(
        self, staying: Path, moving: Path, *, run_rows: int = RUN_ROWS, block_rows: int = BLOCK_ROWS
    ) -> None:
        """Keep rows in two scratch files, which whoever gave them removes."""
        self._staying, self._moving = staying, moving
        self._run_rows, self._block_rows = run_rows, block_rows
        self._highest: int | None = None  # largest key so far
        self._waiting: tuple[list[Rows], list[Rows]] = ([], [])
        self._runs_sorted = False
        self.staying = 0
        self.moving = 0

    @property
    def waiting_bytes(self) -> int:
        return _ROW_BYTES * sum(len(rows) for part in self._waiting for rows in part)

    def add(self, rows: Rows) -> None:
        """Take the next rows, without EXCH and LOCAL flags."""
        if not len(rows):
            return
        keys = _keys(rows)
        highest = np.maximum.accumulate(keys)
        if self._highest is not None:
            highest = np.maximum(highest, self._highest)
        self._highest = int(highest[-1])
        late = keys < highest
        stay = rows.copy()
        stay["ev"] |= np.where(late, LOCAL, EXCH | LOCAL).astype(np.uint64)
        self._waiting[0].append(stay)
        self.staying += len(stay)
        if late.any():
            move = rows[late]
            move["ev"] |= np.uint64(EXCH)
            self._waiting[1].append(move)
            self.moving += len(move)

    def flush(self) -> None:
        """Write what waits to the scratch files. Raises OSError."""
        for path, waiting in zip((self._staying, self._moving), self._waiting, strict=True):
            if waiting:
                with path.open("ab") as file:
                    file.writelines(rows.tobytes() for rows in waiting)
                waiting.clear()

    def rows(self) -> Iterator[Rows]:
        """Give all rows in order; may be asked more than once. Raises OSError."""
        self.flush()
        moving = _Ahead(self._moved())
        if not self.staying:
            return
        highest: int | None = None
        with self._staying.open("rb") as file:
            while len(block := _read(file, self._block_rows)):
                is_both = (block["ev"] & EXCH) != 0
                # A LOCAL half has the place of the newest row before it that has both flags.
                least = np.int64(np.iinfo(np.int64).min if highest is None else highest)
                keys = np.maximum.accumulate(np.where(is_both, _keys(block), least))
                highest = int(keys[-1])
                late = moving.below(highest)
                places = np.searchsorted(keys, _keys(late), side="right")
                yield np.insert(block, places, late) if len(late) else block
        yield from moving.rest()

    def _moved(self) -> Iterator[Rows]:
        """The EXCH halves by exchange time; of one time in the order of receipt."""
        if not self.moving:
            return
        if not self._runs_sorted:
            _sort_runs(self._moving, self._run_rows)
            self._runs_sorted = True
        with self._moving.open("rb") as file:
            yield from _merged(file, self.moving, self._run_rows, self._block_rows)


def _keys(rows: Rows) -> Integers:
    """Exchange time, and at one time trades before the changes of the book that they cause."""
    is_trade = (rows["ev"] & 0xFF) == TRADE
    keys: Integers = rows["exch_ts"] * 2 + ~is_trade
    return keys


def _read(file: IO[bytes], count: int) -> Rows:
    return np.frombuffer(file.read(count * _ROW_BYTES), ROW)


class _Ahead:
    """Rows in order, taken by key."""

    def __init__(self, rows: Iterator[Rows]) -> None:
        self._rows = rows
        self._next: Rows | None = None

    def below(self, key: int) -> Rows:
        """Return the rows with a key below `key`."""
        taken: list[Rows] = []
        while (rows := self._peek()) is not None:
            stop = int(np.searchsorted(_keys(rows), key, side="left"))
            taken.append(rows[:stop])
            self._next = rows[stop:] if stop < len(rows) else None
            if self._next is not None:
                break
        return np.concatenate(taken) if taken else np.empty(0, ROW)

    def rest(self) -> Iterator[Rows]:
        while (rows := self._peek()) is not None:
            self._next = None
            yield rows

    def _peek(self) -> Rows | None:
        if self._next is None:
            self._next = next(self._rows, None)
        return self._next


def _sort_runs(path: Path, run_rows: int) -> None:
    """Sort each run of the file where it lies."""
    with path.open("r+b") as file:
        while True:
            begin = file.tell()
            run = _read(file, run_rows)
            if not len(run):
                return
            ordered = run[np.argsort(_keys(run), kind="stable")]
            file.seek(begin)
            file.write(ordered.tobytes())


class _Run(NamedTuple):
    """A sorted stretch of a file, by rows."""

    start: int
    stop: int
    first_key: int


class _OpenRun:
    """A run being read: some rows in memory, the rest in the file."""

    def __init__(self, file: IO[bytes], run: _Run, block_rows: int) -> None:
        self._file, self._block_rows = file, block_rows
        self.start, self._at, self._stop = run.start, run.start, run.stop
        self.rows: Rows = np.empty(0, ROW)

    @property
    def more(self) -> bool:
        return self._at < self._stop

    def fill(self) -> None:
        """Read on when nothing is left in memory."""
        if not len(self.rows):
            self.extend()

    def extend(self) -> None:
        count = min(self._block_rows, self._stop - self._at)
        self._file.seek(self._at * _ROW_BYTES)
        read = _read(self._file, count)
        self._at += count
        self.rows = np.concatenate([self.rows, read]) if len(self.rows) else read


def _merged(file: IO[bytes], total: int, run_rows: int, block_rows: int) -> Iterator[Rows]:
    """Rows of all runs in order. A run that overlaps at this time has a block in memory."""
    waiting = _runs(file, total, run_rows)
    active: list[_OpenRun] = []
    while waiting or active:
        for run in active:
            run.fill()
        active = [run for run in active if len(run.rows)]
        # Behind the end of a block, its run may have equal keys: only what is below is safe.
        bound = min((int(_keys(run.rows)[-1]) for run in active if run.more), default=None)
        if waiting and (bound is None or waiting[0].first_key <= bound):
            active.append(_OpenRun(file, waiting.pop(0), block_rows))
            continue
        taken = []
        for run in sorted(active, key=lambda each: each.start):
            keys = _keys(run.rows)
            stop = len(keys) if bound is None else int(np.searchsorted(keys, bound, side="left"))
            taken.append(run.rows[:stop])
            run.rows = run.rows[stop:]
        together = np.concatenate(taken) if taken else np.empty(0, ROW)
        if len(together):
            yield together[np.argsort(_keys(together), kind="stable")]
            continue
        # One key fills whole blocks: read on until another one comes.
        for run in active:
            if run.more and int(_keys(run.rows)[-1]) == bound:
                run.extend()


def _runs(file: IO[bytes], total: int, run_rows: int) -> list[_Run]:
    """All runs, by first key and then by place."""
    runs = []
    for start in range(0, total, run_rows):
        file.seek(start * _ROW_BYTES)
        runs.append(_Run(start, min(start + run_rows, total), int(_keys(_read(file, 1))[0])))
    return sorted(runs, key=lambda run: (run.first_key, run.start))
