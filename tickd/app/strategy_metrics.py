"""The strategies' metrics: how long callbacks take, what came, what was merged, who was restarted.

What a strategy measured is what its process said last. Read on scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from tickd.app.strategies import Strategies
from tickd.app.strategy_wire import Latency
from tickd.telemetry.latency_bounds import BOUNDS_NS
from tickd.telemetry.metrics import Metrics, Summary, Values

_BY: Final = ("strategy",)
# 16 µs to 8.4 s, every octave of what a strategy's process tells by: no count is split.
_OCTAVE: Final = 8
_LOWEST: Final = 2 * _OCTAVE
_BOUNDS_S: Final = [ns / 1e9 for ns in BOUNDS_NS[_LOWEST:-1:_OCTAVE]]


def declare_strategies(metrics: Metrics, strategies: Strategies) -> None:
    """Per strategy; nothing where there is none."""
    if not strategies.groups:
        return
    drawn = metrics.once_per_scrape(strategies.draw)

    def field(name: str) -> Callable[[], Values]:
        return lambda: {(each["name"],): each[name] for each in drawn()}

    for name, key, text in (
        ("events", "events", "Events given to a strategy."),
        ("offered_events", "offered", "Events that its group wants."),
        ("dropped_events", "dropped", "Of them, dropped because it was too slow."),
        ("merged_events", "merged", "Of them, merged or replaced because it was too slow."),
        ("undelivered_events", "undelivered", "Of them, on their way when its process ended."),
        ("intents", "intents", "Orders it asked for."),
        ("restarts", "restarts", "Times that it, or the process of its group, was made again."),
    ):
        metrics.read_counter(f"tickd_strategy_{name}_total", text, field(key), _BY)
    metrics.read_gauge(
        "tickd_strategy_running",
        "Whether a strategy runs.",
        lambda: {(each["name"],): each["state"] == "running" for each in drawn()},
        _BY,
    )
    metrics.read_gauge("tickd_strategy_waiting", "Events that wait for it.", field("waiting"), _BY)
    metrics.read_gauge(
        "tickd_strategy_memory_bytes", "Memory of its process.", field("rss_bytes"), _BY
    )
    _declare_times(metrics, strategies)


def _declare_times(metrics: Metrics, strategies: Strategies) -> None:
    metrics.read_summary(
        "tickd_strategy_callback_seconds",
        "How long its callbacks take.",
        lambda: {
            (name,): _summary(said.latency)
            for group in strategies.groups
            for name, said in group.report.strategies.items()
        },
        _BY,
    )
    metrics.read_buckets(
        "tickd_strategy_delay_seconds",
        "Socket to strategy; the oldest event of a portion speaks for all of it.",
        lambda: {
            (config.name,): (folded(group.report.delay_counts), group.report.delay.sum_ns / 1e9)
            for group in strategies.groups
            for config in group.strategies
        },
        _BY,
        bounds_s=_BOUNDS_S,
    )
    metrics.read_summary(
        "tickd_strategy_delay_quantile_seconds",
        "Socket to strategy; quantiles since the start of its process.",
        lambda: {
            (config.name,): _summary(group.report.delay)
            for group in strategies.groups
            for config in group.strategies
        },
        _BY,
    )
    metrics.read_counter(
        "tickd_strategy_gc_pause_seconds_total",
        "Time in which Python's garbage collector stopped the process.",
        lambda: {
            (config.name,): group.report.gc.get("sum_ns", 0) / 1e9
            for group in strategies.groups
            for config in group.strategies
        },
        _BY,
    )
    metrics.read_gauge(
        "tickd_strategy_gc_pause_max_seconds",
        "The longest such pause.",
        lambda: {
            (config.name,): group.report.gc.get("max_ns", 0) / 1e9
            for group in strategies.groups
            for config in group.strategies
        },
        _BY,
    )


def folded(counts: Sequence[int]) -> Sequence[int]:
    """Fold counts by `BOUNDS_NS`, one more than bounds, into those by octaves.

    Before a process has told anything there are none.
    """
    if not counts:
        return [0] * (len(_BOUNDS_S) + 1)
    edges = [0, *range(_LOWEST + 1, len(BOUNDS_NS), _OCTAVE), len(counts)]
    return [sum(counts[first:end]) for first, end in pairwise(edges)]


def _summary(latency: Latency) -> Summary:
    quantiles = {"0.5": latency.p50_ns, "0.99": latency.p99_ns, "0.999": latency.p999_ns}
    return Summary(latency.count, latency.sum_ns, quantiles)
