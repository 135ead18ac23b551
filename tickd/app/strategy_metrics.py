"""The strategies' metrics: how long callbacks take, what came, what was merged, who was restarted.

What a strategy measured is what its process said last. Read on scrape; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tickd.app.strategies import Strategies
from tickd.app.strategy_wire import Latency
from tickd.telemetry.metrics import Metrics, Summary, Values

_BY: Final = ("strategy",)


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
    metrics.read_summary(
        "tickd_strategy_delay_seconds",
        "Socket to strategy; the oldest event of a portion speaks for all of it.",
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


def _summary(latency: Latency) -> Summary:
    quantiles = {"0.5": latency.p50_ns, "0.99": latency.p99_ns, "0.999": latency.p999_ns}
    return Summary(latency.count, latency.sum_ns, quantiles)
