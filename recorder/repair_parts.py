"""From ledger ranges of single tables to the parts in which the raw log is read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

__all__ = ["Part", "Range", "parts_of"]


class Range(Protocol):
    """Sequence numbers of a table, both ends included."""

    @property
    def table(self) -> str: ...
    @property
    def seq_from(self) -> int: ...
    @property
    def seq_to(self) -> int: ...


class Part(NamedTuple):
    """A stretch of the log, both ends included, of which all these tables want something."""

    seq_from: int
    seq_to: int
    tables: tuple[str, ...]


def parts_of(
    ranges: Collection[Range], without: Collection[tuple[int, int]] = ()
) -> Sequence[Part]:
    """Return parts in the order of the log that cover exactly the ranges, less `without`.

    A part has the same tables from end to end, so no row is compared that no range names.
    """
    ends = {edge for each in ranges for edge in (each.seq_from, each.seq_to + 1)}
    ends |= {edge for first, last in without for edge in (first, last + 1)}
    parts: list[Part] = []
    for start, stop in pairwise(sorted(ends)):
        if any(first <= start <= last for first, last in without):
            continue
        tables = tuple(
            sorted({each.table for each in ranges if each.seq_from <= start <= each.seq_to})
        )
        if not tables:
            continue
        if parts and parts[-1].seq_to + 1 == start and parts[-1].tables == tables:
            parts[-1] = parts[-1]._replace(seq_to=stop - 1)
        else:
            parts.append(Part(start, stop - 1, tables))
    return parts
