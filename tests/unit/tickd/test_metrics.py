"""Metrics: names, bounded series, histograms with the SLO on a boundary."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.errors import TickdError
from tickd.native import Histogram
from tickd.telemetry.bus_metrics import declare_bus_metrics
from tickd.telemetry.loop_lag import probe_loop_lag
from tickd.telemetry.metrics import OTHER, SERIES_MAX, VALUES_MAX, Metrics, Summary, buckets
from tickd.testing.batches import counted_batch
from tickd.testing.clock import ManualClock
from tickd.testing.loop import run_virtual


def lines(metrics: Metrics) -> dict[str, float]:
    rows = (line.rsplit(" ", 1) for line in metrics.text().decode().splitlines() if line[0] != "#")
    return {name: float(value) for name, value in rows}


def test_counter_sums_batches_by_label() -> None:
    metrics = Metrics()
    gaps = metrics.counter("tickd_gateway_gaps_total", "Gaps.", ("venue",))
    frames = metrics.counter("tickd_gateway_frames_total", "Frames.")
    gaps.add(2, "okx")
    gaps.add(3, "okx")
    frames.add(64)
    got = lines(metrics)
    assert got['tickd_gateway_gaps_total{venue="okx"}'] == 5
    assert got["tickd_gateway_frames_total"] == 64


def test_counter_without_values_shows_zero_so_that_rates_work_from_the_start() -> None:
    metrics = Metrics()
    metrics.counter("tickd_raw_faults_total", "Faults.")
    assert lines(metrics)["tickd_raw_faults_total"] == 0


def test_label_values_are_bounded_and_nothing_is_lost() -> None:
    metrics = Metrics()
    counter = metrics.counter("tickd_decode_refusals_total", "Refusals.", ("reason",))
    for n in range(VALUES_MAX + 50):
        counter.add(1, f"reason {n}")
    assert len(counter.read()) == VALUES_MAX + 1
    assert counter.read()[OTHER,] == 50


@pytest.mark.parametrize(
    "name",
    [
        "gateway_gaps_total",
        "tickd_gaps_total",
        "tickd_Gateway_gaps_total",
        "tickd_raw_lag_ms_total",
        "tickd_raw_open_count_total",
        "tickd_raw_lag_hours_total",
    ],
)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(TickdError, match="bad metric name"):
        Metrics().counter(name, "Bad.")


def test_kinds_labels_and_repeats_are_checked() -> None:
    metrics = Metrics()
    metrics.counter("tickd_a_b_total", "B.")
    with pytest.raises(TickdError, match="twice"):
        metrics.counter("tickd_a_b_total", "B.")
    with pytest.raises(TickdError, match="must end in _total"):
        metrics.counter("tickd_a_b", "B.")
    with pytest.raises(TickdError, match="must not end"):
        metrics.read_gauge("tickd_a_c_total", "C.", lambda: 1)
    with pytest.raises(TickdError, match="symbol"):
        metrics.counter("tickd_a_d_total", "D.", ("symbol",))
    with pytest.raises(TickdError, match="_seconds"):
        metrics.read_histogram("tickd_a_e", "E.", Histogram())


def test_scrape_is_capped_and_says_so() -> None:
    metrics = Metrics()
    metrics.read_gauge(
        "tickd_a_huge", "Huge.", lambda: {(str(n),): n for n in range(SERIES_MAX)}, ("topic",)
    )
    metrics.read_gauge("tickd_a_small", "Small.", lambda: 1)
    metrics.read_gauge(
        "tickd_a_more", "More.", lambda: {(str(n),): n for n in range(SERIES_MAX)}, ("topic",)
    )
    got = lines(metrics)
    assert len(got) == got["tickd_telemetry_series"] == 3
    assert got["tickd_telemetry_series_dropped"] == 2 * SERIES_MAX


def test_histogram_folds_nanoseconds_with_the_slo_as_an_exact_bound() -> None:
    metrics, histogram = Metrics(), Histogram()
    metrics.read_histogram("tickd_raw_written_seconds", "Written.", histogram, slo_s=(0.25,))
    for ms in (1, 1, 100, 300, 60_000):
        histogram.record(ms * 1_000_000)
    got = lines(metrics)
    assert got['tickd_raw_written_seconds_bucket{le="0.25"}'] == 3
    assert got['tickd_raw_written_seconds_bucket{le="+Inf"}'] == 5
    assert got["tickd_raw_written_seconds_count"] == 5
    assert got["tickd_raw_written_seconds_sum"] == pytest.approx(60.402, rel=0.01)


def test_buckets_double_and_carry_the_thresholds() -> None:
    bounds = buckets(slo_s=(0.001, 0.005, 0.25))
    assert {0.001, 0.005, 0.25} <= set(bounds)
    ratios = [after / before for before, after in pairwise(bounds)]
    assert all(1.2 < ratio < 3.2 for ratio in ratios)
    assert len(bounds) <= 24


def test_bus_metrics_show_sums_and_worst_topics_of_one_moment() -> None:
    clock, metrics = ManualClock(), Metrics()
    bus = Bus(lambda number: f"trade.sim.S{number}", clock)
    declare_bus_metrics(metrics, bus)
    bus.subscribe("*", name="slow", when_full=WhenFull.DROP_OLDEST, limits=Limits(records_max=3))
    for n in range(30):
        bus.publish(counted_batch(1 + 5 * n, {n: 5}, mono_ns=clock.mono_ns()))
    clock.move(2_000_000_000)
    got = lines(metrics)
    assert got["tickd_bus_published_events_total"] == 150
    assert got['tickd_bus_queue_records{subscription="slow"}'] == 90
    assert got['tickd_bus_dropped_events_total{subscription="slow"}'] == 60
    assert got['tickd_bus_queue_oldest_age_seconds{subscription="slow"}'] == 2
    assert sum(name.startswith("tickd_bus_worst_topic") for name in got) == 20


def test_loop_lag_is_recorded_per_probe() -> None:
    async def main() -> None:
        clock, histogram = ManualClock(), Histogram()
        task = asyncio.create_task(probe_loop_lag(clock, histogram), name="probe")
        await clock.advance(1.0)
        assert histogram.count == 10
        assert histogram.max == 0
        clock.move(350_000_000)  # the loop was blocked: the timer is due late
        await clock.advance(0)
        assert histogram.count == 11
        assert histogram.max >= 240_000_000
        task.cancel()

    run_virtual(main())


def test_summary_shows_quantiles_in_seconds_by_label() -> None:
    metrics = Metrics()
    summary = Summary(count=4, sum_ns=2_000_000_000, quantiles_ns={"0.5": 250_000_000, "0.99": 5})
    metrics.read_summary("tickd_test_wait_seconds", "w", lambda: {("a",): summary}, ("strategy",))
    lines = metrics.text().decode().splitlines()
    assert 'tickd_test_wait_seconds{strategy="a",quantile="0.5"} 0.25' in lines
    assert 'tickd_test_wait_seconds{strategy="a",quantile="0.99"} 5e-09' in lines
    assert 'tickd_test_wait_seconds_count{strategy="a"} 4' in lines
    assert 'tickd_test_wait_seconds_sum{strategy="a"} 2' in lines
    with pytest.raises(TickdError, match="_seconds"):
        metrics.read_summary("tickd_test_wait", "w", dict, ("strategy",))
