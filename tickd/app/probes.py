"""The daemon's latency probes: which histograms are read, and the sink that stores them.

Part of the composition root. Without `[postgres] enabled` nothing of it runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, final

import structlog

from recorder.probes.postgres import require_library
from recorder.probes.rows import Key, Reading
from recorder.probes.sink import ProbeSink
from tickd.app.config import Config
from tickd.errors import TickdError
from tickd.native import Histogram
from tickd.telemetry.latency_bounds import BOUNDS_NS
from tickd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tickd.app.parts import Parts

__all__ = ["LatencyProbes", "declare_probes"]

log = structlog.get_logger(__name__)

# What is beyond the last bound; the largest value, which is known there, stands in its place.
BEYOND_NS: Final = 1 << 62


@final
class LatencyProbes:
    """The probes of a daemon, or that there are none."""

    def __init__(self, config: Config) -> None:
        """Raises nothing: without asyncpg they stay down, and all else works."""
        self._config: Final = config
        self.sink: ProbeSink | None = None
        self._fault: Final = _without_library() if config.postgres.enabled else None

    def join(self, parts: Parts) -> None:
        """Read the histograms of these parts from now on."""
        if self._config.postgres.enabled:
            self.sink = ProbeSink(
                self._config.postgres,
                node=self._config.node.id,
                read=Readings(parts),
                clock=parts.clock,
                random=random.random,
            )
            if self._fault is not None:
                self.sink.fault, self.sink.failures = self._fault, 1

    async def run(self) -> None:
        """Store until cancelled; nothing where that cannot be."""
        if self.sink is not None and self._fault is None:
            await self.sink.run()


def _without_library() -> str | None:
    """What is missing, in words that were logged, too; None: nothing."""
    try:
        require_library()
    except TickdError as error:
        log.error("probes_not_stored", words=str(error), hint=error.hint)  # noqa: TRY400
        return str(error)
    return None


class Readings:
    """One look at every latency histogram of a daemon, some 20 µs each."""

    def __init__(self, parts: Parts) -> None:
        self._parts: Final = parts
        self._topics_known = 0
        self._topics: Final[dict[tuple[str, str], list[int]]] = {}

    def __call__(self) -> Iterator[Reading]:
        parts = self._parts
        stages = {
            "recv_to_bus": parts.tap.publish_latency,
            "recv_to_raw": parts.raw_log.write_latency,
            "raw_fsync": parts.raw_log.fsync_latency,
            "recv_to_ack": parts.storage.sink.delivery.ack_latency,
            "loop_lag": parts.loop_lag,
        }
        for stage, histogram in stages.items():
            yield Reading(Key(stage), _edges(histogram), histogram.max)
        for group in parts.strategies.groups:
            report = group.report
            for config in group.strategies if report.delay_counts else ():
                counts = _paired(report.delay_counts)
                yield Reading(Key(f"recv_to_strategy.{config.name}"), counts, report.delay.max_ns)
        yield from self._by_channel()

    def _by_channel(self) -> Iterator[Reading]:
        decoder = self._parts.decoder
        while self._topics_known < decoder.topic_count:
            channel, venue, _ = decoder.topic_name(self._topics_known).split(".", 2)
            self._topics.setdefault((venue, channel), []).append(self._topics_known)
            self._topics_known += 1
        latency = self._parts.tap.topic_latency
        for (venue, channel), topics in self._topics.items():
            yield Reading(Key("recv_to_bus", venue, channel), latency.counts(topics))


def _edges(histogram: Histogram) -> list[tuple[int, int]]:
    return _paired(histogram.counts(BOUNDS_NS))


def _paired(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Counts by the upper edge of their interval."""
    edges = (*BOUNDS_NS, BEYOND_NS)
    return [(edge, count) for edge, count in zip(edges, counts, strict=True) if count]


def declare_probes(metrics: Metrics, probes: LatencyProbes) -> None:
    """Declare what tells about them; nothing where there are none."""
    sink = probes.sink
    if sink is None:
        return
    prefix = "tickd_recorder_probe"
    counters: dict[str, tuple[str, Callable[[], float]]] = {
        "rows": ("Rows that PostgreSQL took.", lambda: sink.rows_stored),
        "dropped_rows": ("Rows that found no room while it was away.", lambda: sink.rows_dropped),
        "failures": ("Attempts to connect, migrate or copy that failed.", lambda: sink.failures),
        "connects": ("Connections made.", lambda: sink.connects),
    }
    for name, (text, read) in counters.items():
        metrics.read_counter(f"{prefix}_{name}_total", text, read)
    metrics.read_gauge(
        f"{prefix}_waiting_rows", "Rows that wait for it.", lambda: sink.rows_waiting
    )
    metrics.read_gauge(f"{prefix}_up_state", "1 while connected.", lambda: int(sink.is_up))
