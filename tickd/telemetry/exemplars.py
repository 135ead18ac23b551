"""Exemplars: of each latency histogram the last traced value per bucket, for OpenMetrics.

Filled when a trace is finished, a few times a second; the histograms themselves know nothing of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple, final

from tickd.telemetry.latency_bounds import BOUNDS_NS

__all__ = ["Exemplar", "Exemplars"]


class Exemplar(NamedTuple):
    """One value and the trace that tells about it."""

    value_ns: int
    trace_id: int
    wall_ns: int

    @property
    def labels(self) -> dict[str, str]:
        """As an exposition shows it; OpenMetrics allows 128 characters."""
        return {"trace_id": f"{self.trace_id:032x}"}


@final
class Exemplars:
    """By the name of the histogram's metric; `note` what was traced, ask `of` on scrape."""

    def __init__(self) -> None:
        # Metric -> index into BOUNDS_NS -> the last one there: bounded by both.
        self._kept: Final[dict[str, dict[int, Exemplar]]] = {}

    def note(self, metric: str, value_ns: int, trace_id: int, wall_ns: int) -> None:
        """Keep a value as the last of its bucket."""
        kept = self._kept.setdefault(metric, {})
        kept[bisect_left(BOUNDS_NS, value_ns)] = Exemplar(value_ns, trace_id, wall_ns)

    def of(self, metric: str, bounds_ns: Sequence[int]) -> list[Exemplar | None]:
        """Return the newest one of each interval (bound before, bound], and one for the rest."""
        found: list[Exemplar | None] = [None] * (len(bounds_ns) + 1)
        for each in self._kept.get(metric, {}).values():
            place = bisect_left(bounds_ns, each.value_ns)
            known = found[place]
            if known is None or known.wall_ns <= each.wall_ns:
                found[place] = each
        return found
