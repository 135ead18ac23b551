"""The strategies' delay as buckets: folded from what their processes tell, without a split."""

from __future__ import annotations

from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from strategy_runner.config import StrategyConfig
from tickd.app.strategies import Strategies
from tickd.app.strategy_metrics import declare_strategies, folded
from tickd.app.strategy_wire import Latency, Report
from tickd.native import Histogram
from tickd.telemetry.latency_bounds import BOUNDS_NS
from tickd.telemetry.metrics import Metrics, buckets

BOUNDS_S = buckets()


class Group:
    """What a group of strategies has told."""

    def __init__(self, name: str, report: Report) -> None:
        self.strategies = (StrategyConfig(name=name, class_="m:C", topics=("*",)),)
        self.report = report


class Told:
    """Strategies, as the metrics look at them."""

    def __init__(self, *groups: Group) -> None:
        self.groups = groups

    def draw(self) -> list[dict[str, object]]:
        return []


@pytest.mark.parametrize("ns", [1, 16_000, 16_001, 5_000_000, 8_388_608_000, 9 * 10**9, 10**12])
def test_what_is_folded_is_what_a_histogram_with_these_bounds_says(ns: int) -> None:
    histogram = Histogram()
    histogram.record(ns, 3)
    bounds_ns = [round(bound * 1e9) for bound in BOUNDS_S]
    assert folded(histogram.counts(BOUNDS_NS)) == histogram.counts(bounds_ns)


def test_every_count_is_in_one_bucket() -> None:
    counts = list(range(1, len(BOUNDS_NS) + 2))
    assert sum(folded(counts)) == sum(counts)
    assert len(folded(counts)) == len(BOUNDS_S) + 1
    assert list(folded(())) == [0] * (len(BOUNDS_S) + 1)


def test_the_delay_is_shown_by_strategy_in_buckets_that_add_up() -> None:
    delays = Histogram()
    for ms in (1, 1, 40):
        delays.record(ms * 1_000_000)
    report = Report(
        delay=Latency(count=delays.count, sum_ns=delays.sum, p99_ns=41_000_000),
        delay_counts=tuple(delays.counts(BOUNDS_NS)),
    )
    told = Told(Group("quick", report), Group("new", Report()))
    metrics = Metrics()
    declare_strategies(metrics, cast("Strategies", told))
    families = {f.name: f for f in text_string_to_metric_families(metrics.text().decode())}
    found = {
        (sample.name.removeprefix("tickd_strategy_delay_seconds_"), *sample.labels.values()): (
            sample.value
        )
        for sample in families["tickd_strategy_delay_seconds"].samples
    }
    assert found["count", "quick"] == 3
    assert found["sum", "quick"] == 0.042
    assert found["bucket", "quick", "0.001024"] == 2
    assert found["bucket", "quick", "0.032768"] == 2
    assert found["bucket", "quick", "0.065536"] == 3
    assert found["bucket", "quick", "+Inf"] == 3
    assert found["count", "new"] == 0
    quantiles = families["tickd_strategy_delay_quantile_seconds"].samples
    assert [
        each.value for each in quantiles if each.labels == {"strategy": "quick", "quantile": "0.99"}
    ] == [0.041]
