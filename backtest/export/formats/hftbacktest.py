"""hftbacktest: one npz of event rows per instrument and UTC day, both orders, checked.

Rows of an instrument are kept in scratch files beside the output until the end, because an event
may come arbitrarily late and the shift of a skewed clock is one for the whole export.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from backtest.export.content import ContentHash
from backtest.export.errors import ExportError, RefusedRowsError
from backtest.export.formats.port import Job, Output, Written
from backtest.export.hftbacktest_check import Grid, check_files
from backtest.export.hftbacktest_order import EventOrder
from backtest.export.hftbacktest_rows import (
    DAY_EXCH,
    DAY_LOCAL,
    EXCH,
    LOCAL,
    ROW,
    SNAPSHOT,
    TRADE,
    Feed,
    Rows,
)
from backtest.export.npz import NpzWriter
from backtest.export.selection import Selected
from tickd.describe import time_text
from tickd.rows import Cut, Definition
from tickd.topics import CHANNEL_TABLES, Pattern
from tickd.units import format_duration

__all__ = ["FORMAT"]

_TABLES: Final = ("trades", "quotes", "book")
_WAITING_BYTES_MAX: Final = 16 << 20
_MARKS: Final = ~np.uint64(DAY_LOCAL | DAY_EXCH)
_PROBLEMS_SHOWN: Final = 3


class _HftBacktest:
    name = "hftbacktest"
    suffix = ".npz"

    def tables(self, selected: Selected) -> tuple[str, ...]:
        for text in selected.patterns:
            channel = Pattern.parse(text).channel
            if channel != "*" and CHANNEL_TABLES[channel] not in _TABLES:
                raise ExportError(
                    f"hftbacktest has no rows for {channel}", hint="trade, quote and depth it has"
                )
        return tuple(table for table in _TABLES if table in selected.tables)

    def open(self, job: Job) -> Output:
        if job.options.levels is not None:
            raise ExportError("hftbacktest has a row per level", hint="leave --levels out")
        return _Files(job)


class _Instrument:
    """The rows of one instrument on their way."""

    def __init__(self, feed: Feed, order: EventOrder, name: str) -> None:
        self.feed, self.order, self.name = feed, order, name


class _Files:
    """`Output` of the format."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._with_book = "book" in FORMAT.tables(job.selected)
        self._instruments: dict[int, _Instrument] = {}
        self._writer: NpzWriter | None = None
        self._definitions = {each.instrument: each for each in job.selected.instruments}

    def write(self, cut: Cut) -> None:
        parts = {rows.table: rows for rows in cut}
        found = [np.unique(rows.integers("instrument")) for rows in cut if len(rows)]
        for instrument in sorted({int(each) for ids in found for each in ids}):
            own = {
                table: rows.take(rows.integers("instrument") == instrument)
                for table, rows in parts.items()
            }
            one = self._instrument(instrument)
            one.order.add(one.feed.take(own))
        if sum(one.order.waiting_bytes for one in self._instruments.values()) > _WAITING_BYTES_MAX:
            for one in self._instruments.values():
                one.order.flush()

    def finish(self, hashes: Mapping[str, ContentHash]) -> list[Written]:
        del hashes
        ordered = sorted(self._instruments.values(), key=lambda one: one.name)
        for one in ordered:
            one.order.add(one.feed.finish())
        shift_ns = self._shift(ordered)
        return [written for one in ordered for written in self._finish(one, shift_ns)]

    def abandon(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.abandon()
            self._writer = None

    def _instrument(self, instrument: int) -> _Instrument:
        if instrument not in self._instruments:
            definition = self._definitions[instrument]
            name = _name(definition, self._definitions.values())
            feed = Feed(
                definition,
                with_book=self._with_book,
                from_ns=self._job.from_ns,
                clock_skew=self._job.options.clock_skew,
            )
            staying, moving = (
                self._job.files.scratch(f".{name}.{half}") for half in ("received", "late")
            )
            for path in (staying, moving):
                path.unlink(missing_ok=True)  # of an export that was killed
            self._instruments[instrument] = _Instrument(feed, EventOrder(staying, moving), name)
        return self._instruments[instrument]

    def _shift(self, instruments: list[_Instrument]) -> int:
        """How far all receive stamps move. Raises RefusedRowsError when they may not."""
        skews = [one.feed.skew_ns for one in instruments if one.feed.skew_ns is not None]
        worst = max(skews, default=-1)
        backwards = sum(one.feed.counts["receive stamps raised"] for one in instruments)
        if self._job.options.clock_skew == "refuse" and (worst >= 0 or backwards):
            count = sum(one.feed.counts["clock skew"] for one in instruments)
            raise RefusedRowsError(
                f"{count:,} rows are not later than their event, by up to "
                f"{format_duration(max(worst, 0) / 1e9)}; {backwards:,} receive stamps run back",
                hint="--clock-skew shift moves all receive stamps by one amount, drop leaves "
                "such rows out",
            )
        return worst + 1 if self._job.options.clock_skew == "shift" and worst >= 0 else 0

    def _finish(self, one: _Instrument, shift_ns: int) -> Iterator[Written]:
        files = [_File()]
        for day, rows in _by_day(one.order.rows()):
            if day == len(files):
                files.append(_File())
            files[day].note(rows)
        if not sum(each.rows for each in files):
            return
        names = self._names(one, [each for each in files if each.rows])
        written = iter(names)
        kept = [each for each in files if each.rows]
        opened = -1
        for day, rows in _by_day(one.order.rows()):
            if not len(rows):
                continue
            if day != opened:
                self._close()
                opened = day
                self._open(next(written), files[day].rows)
            assert self._writer is not None
            self._writer.write(_final(rows, shift_ns))
        self._close()
        self._check(one, names)
        counts = {name: count for name, count in one.feed.counts.items() if count}
        facts = {"shift_ns": shift_ns, "instrument": one.name, **counts}
        for name, file in zip(names, kept, strict=True):
            yield Written(name, "events", file.rows, file.facts() | facts)
            facts = {"shift_ns": shift_ns}

    def _names(self, one: _Instrument, files: list[_File]) -> list[str]:
        if self._job.file_name is None:
            return [f"{one.name}_{file.day}.npz" for file in files]
        if len(files) > 1 or len(self._instruments) > 1:
            raise ExportError(
                f"{len(self._instruments)} instruments and {len(files)} days make several files",
                hint="name a folder with --out",
            )
        return [self._job.file_name]

    def _open(self, name: str, count: int) -> None:
        path = self._job.files.create(name)
        self._writer = NpzWriter(path, "data", ROW, count, compress=self._job.options.compress)

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _check(self, one: _Instrument, names: list[str]) -> None:
        if not self._job.options.check:
            return
        definition = one.feed.definition
        grid = Grid(max(definition.tick, 1), definition.price_scale)
        paths = [self._job.files.part(name) for name in names]
        problems = check_files(paths, grid)
        if problems:
            shown = "; ".join(
                f"{each.file} row {each.row}: {each.rule} ({each.rows:,})"
                for each in problems[:_PROBLEMS_SHOWN]
            )
            raise ExportError(
                f"the rows do not pass the check: {shown}", hint="--no-check keeps the files"
            )


class _File:
    """What one day's file will hold."""

    def __init__(self) -> None:
        self.rows = 0
        self._trades = 0
        self._snapshots = 0
        self._split = 0
        # The next file begins before the first row of the next day, so the last one tells the day.
        self._last_ts = 0

    def note(self, rows: Rows) -> None:
        ev = rows["ev"]
        self.rows += len(rows)
        local = (ev & LOCAL) != 0
        self._trades += int(np.count_nonzero(local & ((ev & 0xFF) == TRADE)))
        self._snapshots += int(np.count_nonzero(local & ((ev & 0xFF) == SNAPSHOT)))
        self._split += int(np.count_nonzero(local & ((ev & EXCH) == 0)))
        if local.any():
            self._last_ts = int(rows["local_ts"][local][-1])

    @property
    def day(self) -> str:
        return (time_text(self._last_ts) or "")[:10].replace("-", "")

    def facts(self) -> dict[str, object]:
        return {
            "trades": self._trades,
            "snapshot_levels": self._snapshots,
            "rows_split": self._split,
        }


def _by_day(pieces: Iterator[Rows]) -> Iterator[tuple[int, Rows]]:
    """Rows with the number of the file that they belong to, in order."""
    day = 0
    for rows in pieces:
        ev = rows["ev"]
        begins = (((ev & LOCAL) != 0) & ((ev & DAY_LOCAL) != 0)) | (
            ((ev & EXCH) != 0) & ((ev & DAY_EXCH) != 0)
        )
        start = 0
        for place in np.flatnonzero(begins).tolist():
            yield day, rows[start:place]
            day, start = day + 1, place
        yield day, rows[start:]


def _final(rows: Rows, shift_ns: int) -> Rows:
    rows = rows.copy()
    rows["ev"] &= _MARKS
    rows["local_ts"] += shift_ns
    return rows


def _name(definition: Definition, others: Iterable[Definition]) -> str:
    """File name of an instrument; one that was defined twice says which definition."""
    twins = [each for each in others if each[1:3] == definition[1:3]]
    symbol = "".join(c if c.isalnum() or c in "-_." else "-" for c in definition.symbol)
    suffix = f"-{definition.instrument}" if len(twins) > 1 else ""
    return f"{definition.venue}_{symbol}{suffix}"


FORMAT: Final = _HftBacktest()
