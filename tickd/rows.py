"""Rows of the event tables as columns, and the port through which they are read back.

The vocabulary that the recorder (who reads raw log and ClickHouse) and the exporters share. Columns
are those of `native/core/src/block/schema.rs`: integers, mantissas, sentinels. It reads nothing and
formats nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "NO_INSTRUMENT",
    "Column",
    "Cut",
    "Damage",
    "Definition",
    "Integers",
    "Lists",
    "Mask",
    "RowSource",
    "SourceFacts",
    "TableRows",
    "joined",
]

Integers = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


class Lists(NamedTuple):
    """A column of lists: `ends[i]` is one past the last value of row i in `values`."""

    ends: npt.NDArray[np.uint64]
    values: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        ends = self.ends.astype(np.int64)
        return ends - np.concatenate((np.zeros(1, np.int64), ends[:-1]))[: len(ends)]

    def take(self, mask: Mask) -> Lists:
        lengths = self.lengths
        kept = self.values[np.repeat(mask, lengths)]
        return Lists(np.cumsum(lengths[mask]).astype(np.uint64), kept)

    def slice(self, start: int, stop: int) -> Lists:
        first = int(self.ends[start - 1]) if start else 0
        last = int(self.ends[stop - 1]) if stop else 0
        return Lists(self.ends[start:stop] - np.uint64(first), self.values[first:last])

    def ordered(self, order: npt.NDArray[np.intp]) -> Lists:
        lengths = self.lengths
        starts = (self.ends.astype(np.int64) - lengths)[order]
        lengths = lengths[order]
        ends = np.cumsum(lengths)
        # Position of each value: its row's start, plus its place within the row.
        places = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return Lists(ends.astype(np.uint64), self.values[np.repeat(starts, lengths) + places])


Column = Integers | Lists


@dataclass(frozen=True, slots=True)
class TableRows:
    """Some rows of one event table, ordered by `seq`."""

    table: str
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.integers("seq"))

    def integers(self, name: str) -> Integers:
        column = self.columns[name]
        assert not isinstance(column, Lists), f"{name} is a list column"
        return column

    def lists(self, name: str) -> Lists:
        column = self.columns[name]
        assert isinstance(column, Lists), f"{name} is no list column"
        return column

    def levels(self) -> npt.NDArray[np.int64]:
        """Price levels per row: what a row weighs beyond itself."""
        if self.table != "book":
            return np.zeros(len(self), np.int64)
        return self.lists("bid_price").lengths + self.lists("ask_price").lengths

    def take(self, mask: Mask) -> TableRows:
        """Return the rows where `mask` is true."""
        if mask.all():
            return self
        return self._each(lambda column: column[mask], lambda lists: lists.take(mask))

    def slice(self, start: int, stop: int) -> TableRows:
        if start == 0 and stop >= len(self):
            return self
        return self._each(lambda column: column[start:stop], lambda lists: lists.slice(start, stop))

    def in_order(self) -> TableRows:
        """Return the rows ordered by `seq`."""
        seqs = self.integers("seq")
        if len(seqs) < 2 or bool((seqs[1:] > seqs[:-1]).all()):
            return self
        order = np.argsort(seqs, kind="stable")
        return self._each(lambda column: column[order], lambda lists: lists.ordered(order))

    def _each(self, plain: _Plain, listed: _Listed) -> TableRows:
        columns: dict[str, Column] = {
            name: listed(column) if isinstance(column, Lists) else plain(column)
            for name, column in self.columns.items()
        }
        return TableRows(self.table, columns)


class _Plain(Protocol):
    def __call__(self, column: Integers, /) -> Integers: ...


class _Listed(Protocol):
    def __call__(self, lists: Lists, /) -> Lists: ...


def joined(parts: Sequence[TableRows]) -> TableRows:
    """Return rows of one table, one part after the other. At least one part."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Column] = {}
    for name, first in parts[0].columns.items():
        if isinstance(first, Lists):
            lists = [part.lists(name) for part in parts]
            lengths = np.concatenate([each.lengths for each in lists])
            values = np.concatenate([each.values for each in lists])
            columns[name] = Lists(np.cumsum(lengths).astype(np.uint64), values)
        else:
            columns[name] = np.concatenate([part.integers(name) for part in parts])
    return TableRows(parts[0].table, columns)


class Definition(NamedTuple):
    """An instrument as its rows need it; `tick` and `lot` are mantissas, 0 where unknown."""

    instrument: int
    venue: str
    symbol: str
    price_scale: int
    size_scale: int
    tick: int = 0
    lot: int = 0
    multiplier: str = "1"


# Rows of no instrument: what is missing of the node as a whole (topic gap.tickd.frames).
NO_INSTRUMENT: Final = Definition(0, "tickd", "frames", 0, 0)


class Damage(NamedTuple):
    """A stretch of the source that could not be read."""

    where: str
    offset: int
    bytes: int
    reason: str


class SourceFacts(NamedTuple):
    """What a source holds: times are of the receive clock, None where it holds nothing."""

    node: int
    definitions: Mapping[int, Definition]
    first_ns: int | None
    last_ns: int | None


# All wanted rows of one stretch of the stream, at most one part per table. Cuts follow each other
# by `seq`: every row of a cut is above every row of the cut before.
Cut = Sequence[TableRows]


class RowSource(Protocol):
    """Rows of the event tables out of one place."""

    @property
    def name(self) -> str:
        """Say which place: `raw` or `clickhouse`."""
        ...

    async def facts(self) -> SourceFacts:
        """Return what is there. Raises TickdError."""
        ...

    def cuts(
        self, tables: Sequence[str], from_ns: int, to_ns: int, instruments: Sequence[int] | None
    ) -> AsyncIterator[Cut]:
        """Give the rows with from_ns <= ts_recv < to_ns; `instruments` None means all.

        Raises TickdError, also in the middle.
        """
        ...

    def damage(self) -> Sequence[Damage]:
        """What `cuts` could not read so far."""
        ...
