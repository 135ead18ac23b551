"""Strategies & indicators: do they run, do they keep up, what do they ask for, what do they say."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row, labels_variable
from dashboards.queries import Query, per, prom, rate, total
from dashboards.vocabulary import (
    GOOD,
    UNWANTED,
    PanelBuilder,
    count,
    graph,
    heat_graph,
    latency,
    number,
    timeline,
)

_DELAY_P99: Final = (
    "histogram_quantile(0.99, sum by (strategy, le)"
    " (rate(tickd_strategy_delay_seconds_bucket{strategy}[$__rate_interval])))"
)


def board() -> Board:
    return Board(
        name="strategies",
        title="tickd / Strategies & indicators",
        description="Per strategy: running, callbacks, delay, what it missed; what indicators say.",
        rows=[
            Row("At a glance", _glance()),
            Row("Running", _running()),
            Row("Time", _time()),
            Row("Flow", _flow()),
            Row("Indicators", _indicators()),
        ],
        variables=[labels_variable("strategy", "Strategy", "tickd_strategy_events_total")],
    )


def per_second(metric: str, legend: str = "") -> Query:
    """The rate of a counter per strategy."""
    return per("strategy", metric, legend)


def _glance() -> list[PanelBuilder]:
    return [
        count(
            "Running",
            "Strategies that run.",
            total("tickd_strategy_running{strategy}", "running"),
            ((None, "red"), (1, GOOD)),
        ),
        number(
            "Events",
            "Events given to strategies.",
            rate("tickd_strategy_events_total{strategy}", "events"),
            "eps",
        ),
        number(
            "Delay, p99",
            "Socket to strategy of the slowest one, lately.",
            prom(f"max({_DELAY_P99})", "p99"),
            "s",
            ((None, GOOD), (0.005, "orange"), (0.05, "red")),
        ),
        count(
            "Events not given",
            "Dropped, merged or under way at an end, in the chosen time: a strategy was too slow.",
            prom(
                "sum(increase(tickd_strategy_dropped_events_total{strategy}[$__range])"
                " + increase(tickd_strategy_merged_events_total{strategy}[$__range])"
                " + increase(tickd_strategy_undelivered_events_total{strategy}[$__range]))",
                "not given",
            ),
            UNWANTED,
        ),
        count(
            "Restarts",
            "Of strategies or their processes, in the chosen time.",
            prom("sum(increase(tickd_strategy_restarts_total{strategy}[$__range]))", "restarts"),
            ((None, GOOD), (1, "orange"), (5, "red")),
        ),
        number(
            "Signals",
            "Values of indicators that were published.",
            rate("tickd_strategy_runner_signals_total", "signals"),
            "cps",
        ),
    ]


def _running() -> list[PanelBuilder]:
    return [
        timeline(
            "Running",
            "Stopped: it ended, was stopped for hanging or growing, or waits to be started again; "
            "`tickd status` has the reason.",
            {1: ("runs", GOOD), 0: ("STOPPED", "red")},
            prom("max by (strategy) (tickd_strategy_running{strategy})", "{{strategy}}"),
            width=12,
        ),
        graph(
            "Orders asked for",
            "Intents, before the risk gate.",
            "cps",
            per_second("tickd_strategy_intents_total"),
            width=12,
            height=6,
        ),
    ]


def _time() -> list[PanelBuilder]:
    def quantiles(metric: str) -> Query:
        return prom(
            f"max by (strategy, quantile) ({metric}{{strategy}})", "{{strategy}} p{{quantile}}"
        )

    return [
        graph(
            "Callbacks",
            "How long a callback takes: p50, p99 and p99.9 since the start of the strategy.",
            "s",
            quantiles("tickd_strategy_callback_seconds"),
            is_log=True,
        ),
        graph(
            "Socket to strategy",
            "The oldest event of a portion speaks for all of it: p50, p99, p99.9 since the start.",
            "s",
            quantiles("tickd_strategy_delay_quantile_seconds"),
            is_log=True,
        ),
        heat_graph(
            "Socket to strategy, distribution",
            "Of the strategies chosen, lately; buckets add up over strategies and daemons.",
            "tickd_strategy_delay_seconds",
            labels="{strategy}",
            width=8,
        ),
        latency(
            "Socket to strategy, quantiles",
            "Over the strategies chosen, lately: unlike those since the start they forget.",
            "tickd_strategy_delay_seconds",
            labels="{strategy}",
            width=8,
        ),
        graph(
            "Socket to strategy, p99",
            "Lately: one event in a hundred is later.",
            "s",
            prom(_DELAY_P99, "{{strategy}}"),
            is_log=True,
            width=8,
        ),
        graph(
            "Callbacks, mean",
            "Mean of the last minutes: unlike the quantiles it forgets.",
            "s",
            prom(
                "sum by (strategy)"
                " (rate(tickd_strategy_callback_seconds_sum{strategy}[$__rate_interval]))"
                " / sum by (strategy)"
                " (rate(tickd_strategy_callback_seconds_count{strategy}[$__rate_interval]))",
                "{{strategy}}",
            ),
            width=8,
        ),
        graph(
            "Garbage collection",
            "Share of the time in which Python's collector stopped the process.",
            "percentunit",
            per_second("tickd_strategy_gc_pause_seconds_total"),
            width=8,
        ),
        graph(
            "Longest pause of it",
            "Since the start of the strategy.",
            "s",
            prom(
                "max by (strategy) (tickd_strategy_gc_pause_max_seconds{strategy})", "{{strategy}}"
            ),
            width=8,
        ),
    ]


def _flow() -> list[PanelBuilder]:
    return [
        graph(
            "Events offered and given",
            "The distance between the two is what was dropped or merged.",
            "eps",
            per_second("tickd_strategy_offered_events_total", "offered"),
            per_second("tickd_strategy_events_total", "given"),
        ),
        graph(
            "Events not given",
            "Dropped or merged as the strategy was too slow, or under way as its process ended.",
            "eps",
            per_second("tickd_strategy_dropped_events_total", "dropped"),
            per_second("tickd_strategy_merged_events_total", "merged"),
            per_second("tickd_strategy_undelivered_events_total", "undelivered"),
        ),
        graph(
            "Events that wait",
            "For a strategy.",
            "short",
            prom("max by (strategy) (tickd_strategy_waiting{strategy})", "{{strategy}}"),
        ),
        graph(
            "Memory",
            "Of the process of a strategy; those of a group share one.",
            "bytes",
            prom("max by (strategy) (tickd_strategy_memory_bytes{strategy})", "{{strategy}}"),
        ),
    ]


def _indicators() -> list[PanelBuilder]:
    return [
        graph(
            "Values and signals",
            "Values that indicators said, those published, those that ClickHouse took.",
            "cps",
            rate("tickd_strategy_runner_values_total", "values"),
            rate("tickd_strategy_runner_signals_total", "signals"),
            rate("tickd_recorder_signals_rows_total", "rows"),
        ),
        graph(
            "What went wrong",
            "Events of instruments that nobody defined, and signals that ClickHouse refused.",
            "cps",
            rate("tickd_strategy_runner_undefined_events_total", "undefined"),
            rate("tickd_recorder_signals_lost_rows_total", "lost rows"),
        ),
    ]


__all__ = ["board"]
