"""Prometheus' text format 0.0.4: families whose unchanging text is made once, and their numbers.

A scrape holds the loop, so nothing here is done twice: heads, names and labels are kept, only
numbers are written. It knows no registry and no HTTP; the parser of prometheus_client is the
tests' judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

__all__ = ["CONTENT_TYPE", "Buckets", "Family", "Kind", "Series", "Summary", "Values", "number"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Texts of series that one family keeps. More come and go only where topics are named: the worst
# twenty of all; then the texts are made anew.
KEPT_MAX: Final = 1_024

Kind = Literal["counter", "gauge", "histogram", "summary"]
# Counts per interval of a histogram, one more than bounds, and the sum of what was counted.
Buckets = tuple[Sequence[int], float]
# What a reader returns: one number, or numbers by label values.
Values = float | Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Summary:
    """Quantiles that somebody else measured; by the text of the quantile, ns."""

    count: int
    sum_ns: int
    quantiles_ns: Mapping[str, float]


def number(value: float) -> str:
    """Return `value` as the format has it; whole numbers without a fraction."""
    if type(value) is int:
        return str(value)
    value = float(value)
    if math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def head(name: str, kind: Kind, description: str) -> str:
    """The two lines that a family begins with."""
    text = description.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


@final
class Series:
    """The series of one name: their texts up to the number, by label values."""

    __slots__ = ("_kept", "_labels", "_name")

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        self._name = name
        self._labels = tuple(labels)
        self._kept: dict[tuple[str, ...], str] = {}

    def text(self, values: tuple[str, ...]) -> str:
        """Everything before the number; label values stand in the order of the declaration."""
        kept = self._kept.get(values)
        return self._make(values) if kept is None else kept

    def _make(self, values: tuple[str, ...]) -> str:
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        pairs = ",".join(
            f'{label}="{_escaped(value)}"'
            for label, value in zip(self._labels, values, strict=True)
        )
        text = f"{self._name}{{{pairs}}} " if pairs else f"{self._name} "
        self._kept[values] = text
        return text

    def lines(self, read: Values) -> list[str]:
        """One line per number."""
        if isinstance(read, Mapping):
            # A copy: a reader may hand out the dictionary it goes on filling.
            return [f"{self.text(key)}{number(value)}\n" for key, value in list(read.items())]
        return [f"{self.text(())}{number(read)}\n"]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: what is said of it, and what writes its lines."""

    name: str
    kind: Kind
    description: str
    labels: tuple[str, ...]
    lines: Callable[[], list[str]]
    head: str

    @classmethod
    def of_values(
        cls,
        name: str,
        kind: Literal["counter", "gauge"],
        description: str,
        labels: Sequence[str],
        read: Callable[[], Values],
    ) -> Family:
        """Numbers that are read."""
        series = Series(name, labels)
        return cls(
            name,
            kind,
            description,
            tuple(labels),
            lambda: series.lines(read()),
            head(name, kind, description),
        )

    @classmethod
    def of_histogram(
        cls,
        name: str,
        description: str,
        bounds_s: Iterable[float],
        counts: Callable[[], Sequence[int]],
        sum_s: Callable[[], float],
    ) -> Family:
        """Counts per interval, one more than bounds; they are added up here."""
        return cls.of_histograms(name, description, (), bounds_s, lambda: {(): (counts(), sum_s())})

    @classmethod
    def of_histograms(
        cls,
        name: str,
        description: str,
        labels: Sequence[str],
        bounds_s: Iterable[float],
        read: Callable[[], Mapping[tuple[str, ...], Buckets]],
    ) -> Family:
        """Return several under one name, by label values."""
        buckets = Series(f"{name}_bucket", (*labels, "le"))
        sums, totals = Series(f"{name}_sum", labels), Series(f"{name}_count", labels)
        marks = [*(f"{bound:.9g}" for bound in bounds_s), "+Inf"]

        def lines() -> list[str]:
            out = []
            for values, (counts, sum_s) in list(read().items()):
                cumulative = 0
                for mark, count in zip(marks, counts, strict=True):
                    cumulative += count
                    out.append(f"{buckets.text((*values, mark))}{cumulative}\n")
                out.append(f"{sums.text(values)}{number(sum_s)}\n")
                out.append(f"{totals.text(values)}{cumulative}\n")
            return out

        return cls(
            name,
            "histogram",
            description,
            tuple(labels),
            lines,
            head(name, "histogram", description),
        )

    @classmethod
    def of_summaries(
        cls,
        name: str,
        description: str,
        labels: Sequence[str],
        read: Callable[[], Mapping[tuple[str, ...], Summary]],
    ) -> Family:
        """Quantiles in seconds, by label values; those of nothing are NaN."""
        quantiles = Series(name, (*labels, "quantile"))
        sums, counts = Series(f"{name}_sum", labels), Series(f"{name}_count", labels)

        def lines() -> list[str]:
            out = []
            for values, summary in list(read().items()):
                out += [
                    f"{quantiles.text((*values, quantile))}{number(ns / 1e9)}\n"
                    for quantile, ns in summary.quantiles_ns.items()
                ]
                out.append(f"{sums.text(values)}{number(summary.sum_ns / 1e9)}\n")
                out.append(f"{counts.text(values)}{summary.count}\n")
            return out

        return cls(
            name, "summary", description, tuple(labels), lines, head(name, "summary", description)
        )
