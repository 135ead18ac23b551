"""Which stretches of the stream ClickHouse lacks, per table: ranges that merge. Pure.

The plan file makes them durable and repair works them off; here is only what they mean together.
A range may be larger than what is missing, never smaller: repair compares before it touches.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec

__all__ = ["Ledger", "Spilled"]

# Beyond it the two nearest ranges of a table become one: a flapping server must not grow the file.
_RANGES_MAX: Final = 256


class Spilled(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of `table` with these sequence numbers, both included, are not in any plan."""

    table: str
    seq_from: int
    seq_to: int
    cause: str


class Ledger:
    """The ranges of all tables, each table's in order and apart from each other."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[Spilled]] = {}

    def add(self, spilled: Spilled) -> None:
        """Take in a range; what it overlaps or touches becomes one with it."""
        if spilled.seq_to < spilled.seq_from:
            return
        apart: list[Spilled] = []
        merged = spilled
        for known in self._ranges.get(spilled.table, ()):
            if known.seq_to + 1 < merged.seq_from or known.seq_from > merged.seq_to + 1:
                apart.append(known)
            else:
                merged = _joined(known, merged)
        ranges = sorted([*apart, merged], key=_begin)
        if len(ranges) > _RANGES_MAX:
            _join_nearest(ranges)
        self._ranges[spilled.table] = ranges

    def remove(self, table: str, seq_from: int, seq_to: int) -> None:
        """Forget what lies in [seq_from, seq_to]; what sticks out on either side stays."""
        left: list[Spilled] = []
        for known in self._ranges.get(table, ()):
            if known.seq_to < seq_from or known.seq_from > seq_to:
                left.append(known)
                continue
            if known.seq_from < seq_from:
                left.append(msgspec.structs.replace(known, seq_to=seq_from - 1))
            if known.seq_to > seq_to:
                left.append(msgspec.structs.replace(known, seq_from=seq_to + 1))
        self._ranges[table] = left

    def items(self, table: str | None = None) -> list[Spilled]:
        """Every range, or those of one table; per table in the order of the stream."""
        if table is not None:
            return list(self._ranges.get(table, ()))
        return [spilled for ranges in list(self._ranges.values()) for spilled in ranges]


def _begin(spilled: Spilled) -> int:
    return spilled.seq_from


def _joined(first: Spilled, second: Spilled) -> Spilled:
    """One range over both, with the cause of the earlier known."""
    return msgspec.structs.replace(
        first,
        seq_from=min(first.seq_from, second.seq_from),
        seq_to=max(first.seq_to, second.seq_to),
    )


def _join_nearest(ranges: list[Spilled]) -> None:
    gaps = [after.seq_from - before.seq_to for before, after in pairwise(ranges)]
    at = gaps.index(min(gaps))
    ranges[at : at + 2] = [_joined(ranges[at], ranges[at + 1])]
