"""Metrics: native counters and histograms read on scrape, Python counters added per batch.

One registry per daemon, passed to the stages; no globals. Names are
`tickd_<stage>_<noun>_<unit>[_total]`, labels come from a short list and have few values. It writes
no text (`exposition.py`) and serves no HTTP.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar, final

from tickd.errors import TickdError
from tickd.native import Histogram, HistogramWindow
from tickd.telemetry.exposition import Buckets, Family, Summary, Values

__all__ = ["LABELS", "SERIES_MAX", "Counter", "Metrics", "Summary", "Values", "buckets"]

SERIES_MAX: Final = 2_000
# A scrape stands between two bursts of the loop: longer than this it is felt.
SLO_SCRAPE_S: Final = 0.01
# What a summary tells beside the buckets, of the last 30 to 60 seconds.
QUANTILES: Final = (0.5, 0.99, 0.999)
WINDOW_HALF_NS: Final = 30_000_000_000
# Prometheus' own names for what every process has: stock dashboards and alerts look for them.
STANDARD: Final = frozenset(
    {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
    }
)
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
        "generation",
        "credential",
        "door",
        "handler",
        "hash",
        "kind",
        "line",
        "market",
        "node",
        "outcome",
        "place",
        "policy",
        "python",
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
# Other units than the base ones, and suffixes that belong to histograms: promtool refuses them.
_BAD_UNIT: Final = re.compile(
    r"_(ms|us|ns|millis|micros|nanos|minutes|hours|days|kb|mb|kib|mib|count|sum|bucket)(_|$)"
)

T = TypeVar("T")


def buckets(*, slo_s: Iterable[float] = (), first_s: float = 16e-6, count: int = 20) -> list[float]:
    """Return bounds in seconds, each twice the one before, with every SLO threshold among them.

    A quantile is then wrong by at most one bucket, and `bucket{le=threshold} / count` is the share
    within it; the fine histogram is exact to 3 %, and in doubt counts a value as above.
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
class Metrics:
    """Every metric of a daemon, in the order of declaration. Loop thread only."""

    def __init__(self, mono_ns: Callable[[], int] | None = None) -> None:
        """Args: `mono_ns`: measures scrapes and ends quantiles' windows; None: neither."""
        self._mono_ns = mono_ns
        self._scrapes = 0
        self._families: dict[str, Family] = {}
        self._windows: list[HistogramWindow] = []
        self._turned_ns = 0 if mono_ns is None else mono_ns()
        self.series = 0
        """Series of the last scrape."""
        self.series_dropped = 0
        """Series left out of it because of SERIES_MAX."""
        self.scrape_time = Histogram()
        # They tell of the scrape that they end.
        self._last: Final = (
            Family.of_values(
                "tickd_telemetry_series",
                "gauge",
                "Series of this scrape.",
                (),
                lambda: self.series,
            ),
            Family.of_values(
                "tickd_telemetry_series_dropped",
                "gauge",
                "Series left out of this scrape because of the limit.",
                (),
                lambda: self.series_dropped,
            ),
        )
        if mono_ns is not None:
            self.read_histogram(
                "tickd_telemetry_scrape_seconds",
                "Duration of earlier scrapes.",
                self.scrape_time,
                slo_s=(SLO_SCRAPE_S,),
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
        self._declare(Family.of_values(name, "counter", description, labels, read))

    def read_gauge(
        self, name: str, description: str, read: Callable[[], Values], labels: Sequence[str] = ()
    ) -> None:
        """Declare a value that is read on scrape. Raises as `counter`."""
        if name.endswith("_total"):
            raise TickdError(f"gauge {name} must not end in _total")
        self._declare(Family.of_values(name, "gauge", description, labels, read))

    def read_histogram(
        self,
        name: str,
        description: str,
        source: Histogram,
        *,
        slo_s: Iterable[float] = (),
        bounds_s: Sequence[float] = (),
    ) -> None:
        """Declare a histogram of seconds, folded from a fine one on scrape. Raises as `counter`.

        Beside it stand exact quantiles of the last minute, as `…_quantile_seconds`.
        bounds_s: instead of the usual ones, which `slo_s` is put among.
        """
        bounds_s = bounds_s or buckets(slo_s=slo_s)
        self.read_histograms(name, description, {(): source}, (), bounds_s=bounds_s)

    def read_histograms(
        self,
        name: str,
        description: str,
        sources: Mapping[tuple[str, ...], Histogram],
        labels: Sequence[str],
        *,
        bounds_s: Sequence[float],
    ) -> None:
        """Declare several under one name, by label values; as `read_histogram`."""
        stem = _stem(name, "histogram")
        bounds_ns = [round(bound * 1e9) for bound in bounds_s]

        def read() -> Mapping[tuple[str, ...], Buckets]:
            return {key: (each.counts(bounds_ns), each.sum / 1e9) for key, each in sources.items()}

        self.read_buckets(name, description, read, labels, bounds_s=bounds_s)
        windows = {key: each.window() for key, each in sources.items()}
        self._windows += windows.values()

        def summary(source: Histogram, window: HistogramWindow) -> Summary:
            found: Sequence[float] = window.quantiles(QUANTILES) or (math.nan,) * len(QUANTILES)
            quantiles = {f"{q:g}": ns for q, ns in zip(QUANTILES, found, strict=True)}
            return Summary(source.count, source.sum, quantiles)

        self.read_summary(
            f"{stem}_quantile_seconds",
            f"{description} Quantiles of the last minute.",
            lambda: {key: summary(each, windows[key]) for key, each in sources.items()},
            labels,
        )

    def read_buckets(
        self,
        name: str,
        description: str,
        read: Callable[[], Mapping[tuple[str, ...], Buckets]],
        labels: Sequence[str],
        *,
        bounds_s: Iterable[float],
    ) -> None:
        """Declare histograms of seconds that somebody else counted. Raises as `counter`."""
        _stem(name, "histogram")
        self._declare(Family.of_histograms(name, description, labels, bounds_s, read))

    def read_summary(
        self,
        name: str,
        description: str,
        read: Callable[[], Mapping[tuple[str, ...], Summary]],
        labels: Sequence[str],
    ) -> None:
        """Declare quantiles of seconds, read on scrape. Raises as `counter`."""
        _stem(name, "summary")
        self._declare(Family.of_summaries(name, description, labels, read))

    def text(self) -> bytes:
        """Return the exposition text of one scrape.

        Beyond SERIES_MAX series families are left out, and counted.
        """
        began_ns = 0 if self._mono_ns is None else self._mono_ns()
        self._scrapes += 1
        if self._mono_ns is not None and began_ns - self._turned_ns >= WINDOW_HALF_NS:
            self._turned_ns = began_ns
            for window in self._windows:
                window.turn()
        out: list[str] = []
        series, dropped = len(self._last), 0
        for family in self._families.values():
            lines = family.lines()
            if series + len(lines) > SERIES_MAX:
                dropped += len(lines)
                continue
            series += len(lines)
            out.append(family.head)
            out += lines
        self.series, self.series_dropped = series, dropped
        for family in self._last:
            out.append(family.head)
            out += family.lines()
        text = "".join(out).encode()
        if self._mono_ns is not None:
            self.scrape_time.record(self._mono_ns() - began_ns)
        return text

    @property
    def families(self) -> tuple[Family, ...]:
        """Everything declared, for the page that explains it."""
        return (*self._families.values(), *self._last)

    @property
    def names(self) -> tuple[str, ...]:
        """Names declared, for the tests of dashboards and rules."""
        return tuple(family.name for family in self.families)

    def _declare(self, family: Family) -> None:
        name = family.name
        if name not in STANDARD and (
            not _NAME.fullmatch(name.removesuffix("_total")) or _BAD_UNIT.search(name)
        ):
            raise TickdError(
                f"bad metric name {name}", hint="tickd_<stage>_<noun>_<unit>[_total], base units"
            )
        if unknown := set(family.labels) - LABELS:
            raise TickdError(
                f"metric {name}: labels {sorted(unknown)} are not in the list of bounded ones"
            )
        if name in self._families:
            raise TickdError(f"metric {name} is declared twice")
        self._families[name] = family


def _stem(name: str, kind: str) -> str:
    """The name without its unit. Raises TickdError(FATAL) for another unit than seconds."""
    if not name.endswith("_seconds"):
        raise TickdError(f"{kind} {name} must end in _seconds")
    return name.removesuffix("_seconds")
