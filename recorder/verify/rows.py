"""Rows against the log: whether ClickHouse holds what a segment must have become, and if not, what.

Figures are compared per segment and table, those of many small segments with one question; only
where they differ is it asked which rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.verify.columns import Rows
from recorder.verify.figures import (
    Span,
    TableFigures,
    seqs_of,
    stored_figures,
    stored_of_parts,
)
from recorder.verify.log import LogReading, Piece
from recorder.verify.report import Finding, Kind
from tickd.events import SEQ_INDEX_BITS

__all__ = ["Ranges", "Segment", "compare"]

# Which rows differ is found out for so many pieces of a segment's table; behind them it is counted.
_PIECES_MAX: Final = 16
_EXAMPLES: Final = 5

# (first, last) sequence numbers by table: rows there may be absent, or be there.
Ranges = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(slots=True)
class Segment:
    """The pieces of one segment, their rows reduced to figures."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    figures: list[dict[str, TableFigures]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows it must have become, in all tables."""
        return sum(each.rows for figures in self.figures for each in figures.values())

    @property
    def recv_from_ns(self) -> int:
        return min(piece.recv_from_ns for piece in self.pieces)

    @property
    def recv_to_ns(self) -> int:
        return max(piece.recv_to_ns for piece in self.pieces)

    def add(self, piece: Piece, leave_out: Ranges) -> None:
        """Take in a piece; its rows are let go."""
        self.figures.append(
            {
                table: TableFigures.of(rows.without(list(leave_out.get(table, ()))))
                for table, rows in piece.rows.items()
                if table in piece.compared
            }
        )
        piece.rows = {}
        self.pieces.append(piece)

    def wanted(self, table: str) -> TableFigures:
        """What all compared pieces must have become."""
        total = TableFigures()
        for figures in self.figures:
            if table in figures:
                total.add(figures[table])
        return total

    def span(self, table: str, node: int, pieces: Iterable[Piece] | None = None) -> Span | None:
        """The stretch that is compared; None: nothing of it can be."""
        chosen = [p for p in (self.pieces if pieces is None else pieces) if table in p.compared]
        if not chosen:
            return None
        return Span(
            node=node,
            seq_from=chosen[0].seq_from,
            seq_to=chosen[-1].seq_to,
            recv_from_ns=min(piece.recv_from_ns for piece in chosen),
            recv_to_ns=max(piece.recv_to_ns for piece in chosen),
        )


async def compare(
    clickhouse: ClickHouse,
    segments: Sequence[Segment],
    *,
    node: int,
    directory: Path,
    leave_out: Ranges,
) -> tuple[dict[str, int], list[Finding]]:
    """Return how many rows of consecutive segments are stored, by table, and what is wrong.

    One question for all of them; another for each segment and table of which the answer differs.
    Raises ClickHouseError.
    """
    together = Span(
        node=node,
        seq_from=segments[0].pieces[0].seq_from,
        seq_to=segments[-1].pieces[-1].seq_to,
        recv_from_ns=min(segment.recv_from_ns for segment in segments),
        recv_to_ns=max(segment.recv_to_ns for segment in segments),
    )
    starts = [segment.pieces[0].seq_from for segment in segments]
    known = await stored_of_parts(clickhouse, together, starts, leave_out)
    rows, findings = dict.fromkeys(leave_out, 0), list[Finding]()
    for segment, start in zip(segments, starts, strict=True):
        for table in leave_out:
            span, wanted = segment.span(table, node), segment.wanted(table)
            if span is None:
                continue
            stored = None if known is None else known.get((table, start), TableFigures())
            # What differs is asked again within the segment's own time: that counts.
            if stored is None or stored != wanted:
                stored = await stored_figures(clickhouse, table, span, leave_out[table])
            rows[table] += stored.rows
            if stored != wanted:
                search = _Search(
                    clickhouse,
                    table,
                    segment,
                    node=node,
                    directory=directory,
                    leave_out=leave_out[table],
                )
                findings += await search.findings()
    return rows, findings


class _Search:
    """Finds out which rows of one table differ in one segment."""

    def __init__(
        self,
        clickhouse: ClickHouse,
        table: str,
        segment: Segment,
        *,
        node: int,
        directory: Path,
        leave_out: Sequence[tuple[int, int]],
    ) -> None:
        self._clickhouse = clickhouse
        self._table = table
        self._segment = segment
        self._node = node
        self._directory = directory
        self._leave_out = leave_out
        self._found: dict[Kind, list[int]] = {}
        self._counts: dict[Kind, int] = {}

    async def findings(self) -> list[Finding]:
        """One finding per kind, with the first and last seq that it concerns."""
        unsure: list[int] = []
        segment = self._segment
        for number, piece in enumerate(segment.pieces):
            span = segment.span(self._table, self._node, [piece])
            if span is None:
                continue
            wanted = segment.figures[number].get(self._table, TableFigures())
            stored = await stored_figures(self._clickhouse, self._table, span, self._leave_out)
            if stored == wanted:
                continue
            if stored.rows == 0:
                self._note(Kind.ROWS_MISSING, [wanted.seq_first, wanted.seq_last], wanted.rows)
            elif wanted.rows == 0:
                self._note(Kind.ROWS_ORPHANED, [stored.seq_first, stored.seq_last], stored.rows)
            elif len(unsure) < _PIECES_MAX:
                unsure.append(number)
            else:
                self._note_by_count(wanted, stored)
        if unsure:
            await self._look_closely(unsure)
        return [self._finding(kind) for kind in self._found]

    async def _look_closely(self, numbers: Sequence[int]) -> None:
        """Compare row by row; the segment is decoded once more for it."""
        segment, table = self._segment, self._table
        loop = asyncio.get_running_loop()
        wanted = await loop.run_in_executor(None, self._rows_again, frozenset(numbers))
        for number in numbers:
            span = segment.span(table, self._node, [segment.pieces[number]])
            assert span is not None
            stored = await seqs_of(self._clickhouse, table, span, self._leave_out)
            self._compare_rows(wanted.get(number, {}), stored)

    def _rows_again(self, numbers: frozenset[int]) -> dict[int, dict[int, int]]:
        """Value by seq of the rows of some pieces; runs in a thread."""
        pieces = self._segment.pieces
        frame_from = pieces[0].seq_from >> SEQ_INDEX_BITS
        frame_to = pieces[max(numbers)].seq_to >> SEQ_INDEX_BITS
        found: dict[int, dict[int, int]] = {}
        reading = LogReading(self._directory, frame_from, frame_to)
        for piece in reading.pieces():
            for number in numbers:
                own = pieces[number]
                if own.seq_from <= piece.seq_from <= own.seq_to:
                    rows = piece.rows.get(self._table)
                    if rows is not None:
                        found.setdefault(number, {}).update(_by_seq(rows, self._leave_out))
        return found

    def _compare_rows(
        self, wanted: Mapping[int, int], stored: Mapping[int, tuple[int, int]]
    ) -> None:
        twice = [seq for seq, (count, _) in stored.items() if count > 1]
        self._note(Kind.ROWS_TWICE, twice, sum(stored[seq][0] - 1 for seq in twice))
        self._note(Kind.ROWS_MISSING, missing := wanted.keys() - stored.keys(), len(missing))
        orphans = stored.keys() - wanted.keys()
        self._note(Kind.ROWS_ORPHANED, orphans, sum(stored[seq][0] for seq in orphans))
        other = [seq for seq, value in wanted.items() if seq in stored and stored[seq][1] != value]
        self._note(Kind.ROWS_DIFFER, other, len(other))

    def _note_by_count(self, wanted: TableFigures, stored: TableFigures) -> None:
        """Enough was looked at closely: the counts of this piece have to do."""
        place = [wanted.seq_first, wanted.seq_last]
        self._note(Kind.ROWS_TWICE, place, stored.rows - stored.distinct)
        self._note(Kind.ROWS_MISSING, place, max(0, wanted.distinct - stored.distinct))
        self._note(Kind.ROWS_ORPHANED, place, max(0, stored.distinct - wanted.distinct))
        if stored.rows == wanted.rows:
            self._note(Kind.ROWS_DIFFER, place, 1)

    def _note(self, kind: Kind, seqs: Iterable[int], count: int) -> None:
        if count:
            self._found.setdefault(kind, []).extend(sorted(seqs)[: _EXAMPLES * 100])
            self._counts[kind] = self._counts.get(kind, 0) + count

    def _finding(self, kind: Kind) -> Finding:
        seqs, count = sorted(self._found[kind]), self._counts[kind]
        words = {
            Kind.ROWS_MISSING: "are not in ClickHouse",
            Kind.ROWS_TWICE: "are there more than once",
            Kind.ROWS_ORPHANED: "are of no frame of the raw log",
            Kind.ROWS_DIFFER: "have other values than the raw log says",
        }[kind]
        examples = ", ".join(map(str, seqs[:_EXAMPLES]))
        more = " …" if len(seqs) > _EXAMPLES else ""
        return Finding(
            kind=kind,
            where=self._segment.name,
            text=f"{count} rows of {self._table} {words}: seq {examples}{more}",
            count=count,
            table=self._table,
            seq_from=seqs[0],
            seq_to=seqs[-1],
        )


def _by_seq(rows: Rows, leave_out: Sequence[tuple[int, int]]) -> dict[int, int]:
    kept = rows.without(list(leave_out))
    return dict(zip(kept.seq.tolist(), kept.value.tolist(), strict=True))
