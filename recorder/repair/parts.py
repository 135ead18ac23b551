"""From ledger ranges of single tables to the parts in which the raw log is read. Pure."""

from __future__ import annotations

from collections import Counter
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
    # What begins (+1) and ends (-1) where; "" stands for what is left out.
    edges = [(each.seq_from, each.seq_to + 1, each.table) for each in ranges]
    edges += [(first, last + 1, "") for first, last in without]
    changes = [(start, 1, name) for start, _, name in edges]
    changes += [(stop, -1, name) for _, stop, name in edges]
    changes.sort()
    open_now: Counter[str] = Counter()
    parts: list[Part] = []
    for (start, change, name), (stop, _, _) in pairwise([*changes, (0, 0, "")]):
        open_now[name] += change
        if stop <= start or open_now[""]:
            continue
        tables = tuple(sorted(name for name, count in open_now.items() if name and count))
        if not tables:
            continue
        if parts and parts[-1].seq_to + 1 == start and parts[-1].tables == tables:
            parts[-1] = parts[-1]._replace(seq_to=stop - 1)
        else:
            parts.append(Part(start, stop - 1, tables))
    return parts
