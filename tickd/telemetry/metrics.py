"""Metrics: native counters and histograms read on scrape, Python counters added per batch.

One registry per daemon, passed to the stages; no globals. Names are
`tickd_<stage>_<noun>_<unit>[_total]`, labels come from a short list and have few values: a scrape
holds the GIL for about 10 ms per 1,000 series. It serves no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from tickd.errors import TickdError
from tickd.native import Histogram

__all__ = [
    "LABELS",
    "SERIES_MAX",
    "Counter",
    "HistogramSource",
    "Metrics",
    "Summary",
    "Values",
    "buckets",
]

SERIES_MAX: Final = 2_000
# Label values of one counter; the next ones are counted together as "other".
VALUES_MAX: Final = 64
OTHER: Final = "other"
# Bounded by what they name: venues configured, channels known, reasons in an enum, worst 20 topics,
# the first connections of a venue.
LABELS: Final = frozenset(
    {
        "account",
        "build",
        "cause",
        "channel",
        "credential",
        "door",
        "handler",
        "kind",
        "line",
        "market",
        "node",
        "outcome",
        "place",
        "policy",
        "queue",
        "reason",
        "scope",
        "state",
        "strategy",
        "subscription",
        "table",
        "topic",
        "universe",
        "venue",
        "verdict",
        "version",
    }
)
_NAME: Final = re.compile(r"tickd(_[a-z][a-z0-9]*){2,}")
_BAD_UNIT: Final = re.compile(r"_(ms|us|ns|millis|micros|nanos|kb|mb|kib|mib)(_total)?$")

T = TypeVar("T")

# What a reader returns: one number, or numbers by label values.
Values = float | Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Summary:
    """Quantiles that somebody else measured; by the text of the quantile, ns."""

    count: int
    sum_ns: int
    quantiles_ns: Mapping[str, int]


class HistogramSource(Protocol):
    """A fine histogram of nanoseconds; the native `Histogram` is one."""

    def counts(self, bounds: Sequence[int], /) -> list[int]:
        """Counts per interval (bound before, bound], and one more for the rest."""
        ...

    @property
    def sum(self) -> int:
        """Sum of all values, ns."""
        ...


def buckets(*, slo_s: Iterable[float] = (), first_s: float = 16e-6, count: int = 20) -> list[float]:
    """Return bounds in seconds, each twice the one before, with every SLO threshold among them.

    A quantile is then wrong by at most one bucket, and `bucket{le=threshold} / count` is exact.
    """
    bounds = {first_s * 2**power for power in range(count)}
    for threshold in slo_s:
        # A neighbour closer than a fifth adds a series and no knowledge.
        bounds = {bound for bound in bounds if not 0.8 < bound / threshold < 1.25}
        bounds.add(threshold)
    return sorted(bounds)


@final
class Counter:
    """A sum kept in Python; `add` once per batch, never per event."""

    __slots__ = ("_labels_count", "_name", "_values")

    def __init__(self, name: str, labels_count: int) -> None:
        self._name = name
        self._labels_count = labels_count
        self._values: dict[tuple[str, ...], int | float] = {} if labels_count else {(): 0}

    def add(self, amount: float = 1, *labels: str) -> None:
        """Add; label values stand in the order of the declaration."""
        if labels not in self._values:
            assert len(labels) == self._labels_count, f"{self._name} has other labels: {labels}"
            if len(self._values) >= VALUES_MAX:
                labels = (OTHER,) * self._labels_count
        self._values[labels] = self._values.get(labels, 0) + amount

    def read(self) -> Mapping[tuple[str, ...], float]:
        """Return the sums by label values."""
        return self._values


@final
class Metrics(Collector):
    """Every metric of a daemon, in the order of declaration."""

    def __init__(self, mono_ns: Callable[[], int] | None = None) -> None:
        """Args: `mono_ns`: measures how long scrapes take; None: they are not measured."""
        self._mono_ns = mono_ns
        self._scrapes = 0
        self._families: dict[str, Callable[[], Metric]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self.series_dropped = 0
        """Series left out of the last scrape because of SERIES_MAX."""
        self.scrape_time = Histogram()
        if mono_ns is not None:
            self.read_histogram(
                "tickd_telemetry_scrape_seconds", "Duration of earlier scrapes.", self.scrape_time
            )

    def once_per_scrape(self, read: Callable[[], T]) -> Callable[[], T]:
        """Return `read` with one result per scrape: families that share it show one moment."""
        kept: list[tuple[int, T]] = []

        def read_once() -> T:
            if not kept or kept[0][0] != self._scrapes:
                kept[:] = [(self._scrapes, read())]
            return kept[0][1]

        return read_once

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Counter:
        """Declare a counter kept in Python. Raises TickdError(FATAL) for a bad or taken name."""
        counter = Counter(name, len(labels))
        self.read_counter(name, description, counter.read, labels)
        return counter

    def read_counter(
        self, name: str, description: str, read: Callable[[], Values], labels: Sequence[str] = ()
    ) -> None:
        """Declare a counter that is read on scrape; it must never fall. Raises as `counter`."""
        if not name.endswith("_total"):
            raise TickdError(f"counter {name} must end in _total")

        def collect() -> Metric:
            family = CounterMetricFamily(name.removesuffix("_total"), description, labels=labels)
            for values, number in _pairs(read()):
                family.add_metric(values, number)
            return family

        self._declare(name, labels, collect)

    def read_gauge(
        self, name: str, description: str, read: Callable[[], Values], labels: Sequence[str] = ()
    ) -> None:
        """Declare a value that is read on scrape. Raises as `counter`."""
        if name.endswith("_total"):
            raise TickdError(f"gauge {name} must not end in _total")

        def collect() -> Metric:
            family = GaugeMetricFamily(name, description, labels=labels)
            for values, number in _pairs(read()):
                family.add_metric(values, number)
            return family

        self._declare(name, labels, collect)

    def read_histogram(
        self,
        name: str,
        description: str,
        source: HistogramSource,
        *,
        slo_s: Iterable[float] = (),
    ) -> None:
        """Declare a histogram of seconds, folded from a fine one on scrape. Raises as `counter`."""
        if not name.endswith("_seconds"):
            raise TickdError(f"histogram {name} must end in _seconds")
        bounds_s = buckets(slo_s=slo_s)
        bounds_ns = [round(bound * 1e9) for bound in bounds_s]
        marks = [*(f"{bound:.9g}" for bound in bounds_s), "+Inf"]

        def collect() -> Metric:
            family = HistogramMetricFamily(name, description)
            cumulative, rows = 0, []
            for mark, count in zip(marks, source.counts(bounds_ns), strict=True):
                cumulative += count
                rows.append((mark, cumulative))
            family.add_metric([], rows, source.sum / 1e9)
            return family

        self._declare(name, (), collect)

    def read_summary(
        self,
        name: str,
        description: str,
        read: Callable[[], Mapping[tuple[str, ...], Summary]],
        labels: Sequence[str],
    ) -> None:
        """Declare quantiles of seconds, read on scrape. Raises as `counter`."""
        if not name.endswith("_seconds"):
            raise TickdError(f"summary {name} must end in _seconds")

        def collect() -> Metric:
            family = SummaryMetricFamily(name, description, labels=labels)
            for values, summary in read().items():
                family.add_metric(values, summary.count, summary.sum_ns / 1e9)
                for quantile, ns in summary.quantiles_ns.items():
                    of = dict(zip(labels, values, strict=True))
                    family.add_sample(name, {**of, "quantile": quantile}, ns / 1e9)
            return family

        self._declare(name, labels, collect)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; beyond SERIES_MAX samples families are left out, and counted."""
        self._scrapes += 1
        series, self.series_dropped = 0, 0
        for read in self._families.values():
            family = read()
            if series + len(family.samples) > SERIES_MAX:
                self.series_dropped += len(family.samples)
                continue
            series += len(family.samples)
            yield family
        yield GaugeMetricFamily(
            "tickd_telemetry_series_dropped_count",
            "Series left out of this scrape because of the limit.",
            value=self.series_dropped,
        )

    def text(self) -> bytes:
        """Return the exposition text of one scrape."""
        if self._mono_ns is None:
            return generate_latest(self._registry)
        started_ns = self._mono_ns()
        text = generate_latest(self._registry)
        self.scrape_time.record(self._mono_ns() - started_ns)
        return text

    @property
    def names(self) -> tuple[str, ...]:
        """Names declared, for the tests of dashboards and rules."""
        return tuple(self._families)

    def _declare(self, name: str, labels: Sequence[str], collect: Callable[[], Metric]) -> None:
        if not _NAME.fullmatch(name.removesuffix("_total")) or _BAD_UNIT.search(name):
            raise TickdError(
                f"bad metric name {name}", hint="tickd_<stage>_<noun>_<unit>[_total], base units"
            )
        if unknown := set(labels) - LABELS:
            raise TickdError(
                f"metric {name}: labels {sorted(unknown)} are not in the list of bounded ones"
            )
        if name in self._families:
            raise TickdError(f"metric {name} is declared twice")
        self._families[name] = collect


def _pairs(values: Values) -> Iterable[tuple[tuple[str, ...], float]]:
    if isinstance(values, Mapping):
        # A copy: a reader may hand out the dictionary it goes on filling.
        return list(values.items())
    return [((), float(values))]
