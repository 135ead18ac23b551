"""Rows of latency probes: what histograms that only grow say about one interval.

Pure: two readings in, rows out. A quantile is the upper edge of its bucket, so never better than
the truth.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ["COLUMNS", "Key", "Probes", "Reading", "Row"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Key(NamedTuple):
    """What is measured; `venue` and `channel` empty: of all together."""

    stage: str
    venue: str = ""
    channel: str = ""


class Reading(NamedTuple):
    """Counts since the start, by upper edge of their bucket (ns); `max_ns`: 0: not known."""

    key: Key
    counts: Sequence[tuple[int, int]]
    max_ns: int = 0


class Row(NamedTuple):
    """One row of the table, its columns in order; `measured` is the column `count`."""

    ts: dt.datetime
    node: int
    stage: str
    venue: str
    channel: str
    interval_ms: int
    measured: int
    p50_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int


COLUMNS: Final = tuple("count" if name == "measured" else name for name in Row._fields)


class Probes:
    """Remembers the last reading of each key; keys are those of the configuration: few."""

    def __init__(self, node: int) -> None:
        self._node: Final = node
        self._before: dict[Key, Mapping[int, int]] = {}
        self._before_ns = 0

    def rows(self, readings: Iterable[Reading], *, wall_ns: int, mono_ns: int) -> list[Row]:
        """Return a row for each key with anything in the interval since the last call."""
        interval_ns = mono_ns - self._before_ns if self._before_ns else 0
        self._before_ns = mono_ns
        ts = _EPOCH + dt.timedelta(microseconds=wall_ns // 1_000)
        rows = []
        for reading in readings:
            now = dict(reading.counts)
            fresh = _difference(now, self._before.get(reading.key, {}))
            self._before[reading.key] = now
            if fresh:
                key, figures = reading.key, _figures(fresh, reading.max_ns)
                interval_ms = interval_ns // 1_000_000
                rows.append(Row(ts, self._node, *key, interval_ms, *figures))
        return rows


def _difference(now: Mapping[int, int], before: Mapping[int, int]) -> list[tuple[int, int]]:
    """Counts of the interval; all of `now` where it has begun anew, as a new process does."""
    if any(now.get(edge, 0) < count for edge, count in before.items()):
        before = {}
    fresh = ((edge, count - before.get(edge, 0)) for edge, count in sorted(now.items()))
    return [(edge, count) for edge, count in fresh if count]


def _figures(counts: Sequence[tuple[int, int]], max_ns: int) -> tuple[int, int, int, int, int]:
    """Count, p50, p99, p99.9 and maximum."""
    total = sum(count for _, count in counts)
    quantiles = [_quantile(counts, total, per_mille) for per_mille in (500, 990, 999)]
    top = counts[-1][0]
    # The largest since the start bounds the largest of the interval.
    top = min(top, max_ns) if max_ns else top
    p50, p99, p999 = (min(each, top) for each in quantiles)
    return total, p50, p99, p999, top


def _quantile(counts: Sequence[tuple[int, int]], total: int, per_mille: int) -> int:
    rank = max(1, -(-total * per_mille // 1_000))
    seen = 0
    for edge, count in counts:
        seen += count
        if seen >= rank:
            return edge
    raise AssertionError("a rank beyond the total")
