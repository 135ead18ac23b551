"""What /metrics says of the time that orders take is what router and outbox have counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.gates import ACCOUNT
from tests.harness.order_world import MS, World
from tickd.app.order_metrics import declare_orders
from tickd.telemetry.metrics import Metrics

ALERTS = Path(__file__).parents[3] / "deploy" / "prometheus" / "alerts.rules.yml"
STEMS = ("tickd_risk_decision_latency", "tickd_risk_outbox_latency", "tickd_risk_ack_latency")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


def shown(metrics: Metrics) -> dict[str, Metric]:
    text = metrics.text().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(family: Metric, sample: str, **labels: str) -> float:
    (found,) = (
        each.value
        for each in family.samples
        if each.name == f"{family.name}{sample}" and each.labels == labels
    )
    return found


def test_three_stretches_are_buckets_and_quantiles(world: World) -> None:
    metrics = Metrics(world.clock.mono_ns)
    declare_orders(metrics, world.router)
    for ms in (20, 300, 700):
        world.submit(price=9_000 + 5 * ms)
        world.clock.move(ms * MS)
        world.venue.process()
        world.venue.deliver_all()
    assert world.denied(world.request(size=0)) == "BAD_QTY"
    families = shown(metrics)
    assert {families[f"{stem}_seconds"].type for stem in STEMS} == {"histogram"}
    assert {families[f"{stem}_quantile_seconds"].type for stem in STEMS} == {"summary"}
    assert value(families[f"{STEMS[0]}_seconds"], "_count") == 4
    assert value(families[f"{STEMS[1]}_seconds"], "_count") == 3
    ack = families["tickd_risk_ack_latency_seconds"]
    assert value(ack, "_count", account=ACCOUNT) == 3
    assert value(ack, "_sum", account=ACCOUNT) == 1.02
    assert value(ack, "_bucket", account=ACCOUNT, le="0.032768") == 1
    assert value(ack, "_bucket", account=ACCOUNT, le="0.5") == 2
    assert value(ack, "_bucket", account=ACCOUNT, le="+Inf") == 3
    quantiles = families["tickd_risk_ack_latency_quantile_seconds"]
    assert value(quantiles, "", account=ACCOUNT, quantile="0.5") == pytest.approx(0.3, rel=0.04)
    assert value(quantiles, "", account=ACCOUNT, quantile="0.999") == pytest.approx(0.7, rel=0.04)


def test_an_account_without_orders_is_shown_with_none(world: World) -> None:
    metrics = Metrics()
    declare_orders(metrics, world.router)
    ack = shown(metrics)["tickd_risk_ack_latency_seconds"]
    assert value(ack, "_count", account=ACCOUNT) == 0


def test_the_bound_of_the_alert_is_a_bound_of_the_buckets(world: World) -> None:
    """A whole number is none: Prometheus 3 writes it with a fraction, where no rule finds it."""
    metrics = Metrics()
    declare_orders(metrics, world.router)
    ack = shown(metrics)["tickd_risk_ack_latency_seconds"]
    bounds = {each.labels["le"] for each in ack.samples if "le" in each.labels} - {"+Inf"}
    (rule,) = (
        rule
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "TickdAckSlow"
    )
    assert '{le="0.5"}' in rule["expr"]
    assert "> 0.5\n" in rule["expr"]
    assert "0.5" in bounds
    assert [bound for bound in bounds if float(bound).is_integer()] == []
