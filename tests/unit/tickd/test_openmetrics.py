"""OpenMetrics made of the plain text; the judge is prometheus_client's strict parser."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tickd.native import Histogram
from tickd.telemetry.exemplars import Exemplars
from tickd.telemetry.metrics import Metrics
from tickd.telemetry.openmetrics import openmetrics_of

NAME = "tickd_gateway_publish_latency_seconds"
WALL_NS = 1_767_225_600_123_000_000


def exposition() -> str:
    metrics = Metrics(None)
    metrics.counter("tickd_app_things_total", 'Things "so" called\nand more.', ("kind",)).add(
        3, "a"
    )
    metrics.read_gauge("tickd_app_state", "How.", lambda: 1.5)
    histogram = Histogram()
    for ns in (20_000, 3_000_000, 10**12):
        histogram.record(ns)
    metrics.read_histogram(NAME, "Socket to bus.", histogram, slo_s=(0.001, 0.005))
    return metrics.text().decode()


def test_every_family_is_there_for_a_strict_parser() -> None:
    families = {
        f.name: f for f in text_string_to_metric_families(openmetrics_of(exposition(), Exemplars()))
    }
    assert families["tickd_app_things"].type == "counter"
    assert families["tickd_app_things"].documentation == 'Things "so" called\nand more.'
    assert [s.name for s in families["tickd_app_things"].samples] == ["tickd_app_things_total"]
    assert families["tickd_app_state"].samples[0].value == 1.5
    assert families[NAME].samples[-1].value == 3


def test_exemplars_stand_behind_the_buckets_that_hold_them() -> None:
    kept = Exemplars()
    kept.note(NAME, 3_000_000, 0xABC, WALL_NS)
    kept.note(NAME, 10**12, 0xDEF, WALL_NS)
    kept.note("tickd_app_other_seconds", 5, 1, WALL_NS)
    families = {
        f.name: f for f in text_string_to_metric_families(openmetrics_of(exposition(), kept))
    }
    shown = {s.labels["le"]: s.exemplar for s in families[NAME].samples if s.exemplar is not None}
    assert set(shown) == {"0.005", "+Inf"}
    middle = shown["0.005"]
    assert middle.labels == {"trace_id": f"{0xABC:032x}"}
    assert middle.value == 0.003
    assert float(middle.timestamp) == 1_767_225_600.123
    assert shown["+Inf"].labels == {"trace_id": f"{0xDEF:032x}"}


def test_a_text_that_ends_with_buckets_or_with_nothing_is_whole() -> None:
    assert openmetrics_of("", Exemplars()) == "# EOF\n"
    text = '# TYPE a_b_seconds histogram\na_b_seconds_bucket{le="+Inf"} 0\n'
    assert openmetrics_of(text, Exemplars()).endswith('{le="+Inf"} 0\n# EOF\n')
