"""Hours whose bars have to be looked at because trades of them were fetched later.

The views keep the bars of live trades; what is fetched gets into bars by repair alone. An hour is
looked at once its rows are in ClickHouse, and once more when it is over: a live trade that comes
late may belong before one that was fetched. Pure: repair's journal keeps what is said here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

__all__ = ["Due", "FilledHour", "due", "noted", "unmade"]

_HOUR_S: Final = 3_600
# What a late leg still brings of an hour it brings within ten minutes of its end.
_OVER_S: Final = 600


class FilledHour(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An hour and how far its rows must have come.

    hour: Unix time of its start; seq: look once every row up to it is stored; looked: it was looked
    at, and waits for its end; last: this look is its last.
    """

    hour: int
    seq: int
    looked: bool = False
    last: bool = False


class Due(NamedTuple):
    """Hours to look at now, and what is left when that has been noted elsewhere."""

    hours: frozenset[int]
    left: tuple[FilledHour, ...]


def noted(known: Sequence[FilledHour], hours: Collection[int], seq: int) -> tuple[FilledHour, ...]:
    """Add hours that rows up to `seq` belong to."""
    kept = {each.hour: each for each in known}
    for hour in hours:
        before = kept.get(hour)
        highest = seq if before is None else max(seq, before.seq)
        kept[hour] = FilledHour(hour=hour, seq=highest)
    return tuple(kept[hour] for hour in sorted(kept))


def due(known: Sequence[FilledHour], *, settled: int, progress: int, now_s: float) -> Due:
    """What is to be looked at now.

    Args: `settled`: every trade up to here is stored; `progress`: or planned.
    """
    hours: set[int] = set()
    left: list[FilledHour] = []
    for each in known:
        is_over = now_s >= each.hour + _HOUR_S + _OVER_S
        if each.looked and not each.last:
            # Over: what has been planned by now must be stored first.
            seq = progress if is_over else each.seq
            left.append(FilledHour(hour=each.hour, seq=seq, looked=True, last=is_over))
        elif settled < each.seq:
            left.append(each)
        else:
            hours.add(each.hour)
            if not (each.last or is_over):
                left.append(FilledHour(hour=each.hour, seq=each.seq, looked=True))
    return Due(frozenset(hours), tuple(left))


def unmade(known: Sequence[FilledHour]) -> frozenset[int]:
    """The hours whose bars do not have what was fetched yet."""
    return frozenset(each.hour for each in known if not each.looked)
