"""Our text against prometheus_client: the same families written by both, read by its parser."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tickd.telemetry.exposition import (
    CONTENT_TYPE,
    KEPT_MAX,
    Buckets,
    Family,
    Series,
    Summary,
    number,
)

AWKWARD = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029", min_codepoint=9),
    max_size=12,
)
NUMBERS = st.floats() | st.integers(min_value=-(2**53), max_value=2**53)


class Ready(Collector):
    """Families that somebody built."""

    def __init__(self, *families: Metric) -> None:
        self.families = families

    def collect(self) -> tuple[Metric, ...]:
        return self.families


def theirs(*families: Metric) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ready(*families))
    return generate_latest(registry).decode()


def ours(*families: Family) -> str:
    return "".join(family.head + "".join(family.lines()) for family in families)


def read(text: str) -> list[tuple[object, ...]]:
    """Everything that a parser sees; NaN is made comparable."""
    return [
        (
            family.name,
            family.type,
            family.documentation,
            [
                (
                    sample.name,
                    sorted(sample.labels.items()),
                    "NaN" if math.isnan(sample.value) else float(sample.value),
                )
                for sample in family.samples
            ],
        )
        for family in text_string_to_metric_families(text)
    ]


@given(
    st.dictionaries(st.tuples(AWKWARD, AWKWARD), NUMBERS, max_size=5),
    st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20).map(str.strip),
)
def test_counters_and_gauges_read_as_those_of_the_client(
    values: dict[tuple[str, ...], float], description: str
) -> None:
    labels = ("venue", "reason")
    counter = CounterMetricFamily("tickd_a_b", description, labels=labels)
    gauge = GaugeMetricFamily("tickd_a_c", description, labels=labels)
    for key, value in values.items():
        counter.add_metric(key, value)
        gauge.add_metric(key, value)
    mine = ours(
        Family.of_values("tickd_a_b_total", "counter", description, labels, lambda: values),
        Family.of_values("tickd_a_c", "gauge", description, labels, lambda: values),
    )
    assert read(mine) == read(theirs(counter, gauge))


@given(st.lists(st.integers(0, 2**40), min_size=4, max_size=4), st.floats(0, 1e9))
def test_histograms_read_as_those_of_the_client(counts: list[int], sum_s: float) -> None:
    bounds = [16e-6, 0.25, 8.388608]
    mine = ours(Family.of_histogram("tickd_a_s", "h.", bounds, lambda: counts, lambda: sum_s))
    family = HistogramMetricFamily("tickd_a_s", "h.")
    cumulative = [sum(counts[: n + 1]) for n in range(4)]
    marks = [*(repr(bound) for bound in bounds), "+Inf"]
    family.add_metric([], list(zip(marks, cumulative, strict=True)), sum_s)
    by_name = {row[:2]: sorted(row[3]) for row in read(mine)}  # type: ignore[call-overload]
    assert by_name == {row[:2]: sorted(row[3]) for row in read(theirs(family))}  # type: ignore[call-overload]


@given(
    st.dictionaries(
        AWKWARD,
        st.tuples(st.lists(st.integers(0, 2**40), min_size=3, max_size=3), st.floats(0, 1e9)),
        max_size=4,
    )
)
def test_histograms_with_a_label_read_as_those_of_the_client(
    told: dict[str, tuple[list[int], float]],
) -> None:
    bounds = [64e-6, 0.5]
    read_all: dict[tuple[str, ...], Buckets] = {(name,): each for name, each in told.items()}
    mine = ours(Family.of_histograms("tickd_a_s", "h.", ("account",), bounds, lambda: read_all))
    family = HistogramMetricFamily("tickd_a_s", "h.", labels=("account",))
    for account, (counts, sum_s) in told.items():
        marks = [*(repr(bound) for bound in bounds), "+Inf"]
        cumulative = [sum(counts[: n + 1]) for n in range(3)]
        family.add_metric([account], list(zip(marks, cumulative, strict=True)), sum_s)
    by_name = {row[:2]: sorted(row[3]) for row in read(mine)}  # type: ignore[call-overload]
    assert by_name == {row[:2]: sorted(row[3]) for row in read(theirs(family))}  # type: ignore[call-overload]


def test_summaries_read_as_those_of_the_client() -> None:
    summary = Summary(4, 2_500_000_000, {"0.5": 250_000_000, "0.99": math.nan})
    mine = ours(
        Family.of_summaries("tickd_a_s", "s.", ("strategy",), lambda: {('o"n\\e\n',): summary})
    )
    family = SummaryMetricFamily("tickd_a_s", "s.", labels=("strategy",))
    family.add_metric(['o"n\\e\n'], 4, 2.5)
    for quantile, value in (("0.5", 0.25), ("0.99", math.nan)):
        family.add_sample("tickd_a_s", {"strategy": 'o"n\\e\n', "quantile": quantile}, value)

    def rows(text: str) -> list[str]:
        return sorted(str(row) for row in read(text)[0][3])  # type: ignore[attr-defined]

    assert rows(mine) == rows(theirs(family))
    assert read(mine)[0][:3] == read(theirs(family))[0][:3]


def test_the_content_type_is_that_of_the_format() -> None:
    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (True, "1"),
        (3.0, "3"),
        (-0.5, "-0.5"),
        (2**60, "1152921504606846976"),
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_written_as_the_format_has_them(value: float, text: str) -> None:
    assert number(value) == text


def test_texts_of_series_that_come_and_go_are_not_kept_for_ever() -> None:
    series = Series("tickd_a_b", ("topic",))
    for n in range(KEPT_MAX + 10):
        assert series.text((f"trade.v.S{n}",)) == f'tickd_a_b{{topic="trade.v.S{n}"}} '
    assert len(series._kept) == 10


def test_a_family_with_other_labels_than_declared_is_a_bug() -> None:
    with pytest.raises(ValueError, match="zip"):
        Series("tickd_a_b", ("venue",)).lines({("a", "b"): 1})
