"""docs/metrics.md is what the declarations say, and tells where a metric is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tickd.app.metrics_page import declared, page
from tickd.telemetry.exposition import Family

ROOT = Path(__file__).parents[3]


def family(name: str) -> Family:
    return Family.of_values(name, "gauge", "Something.", ("venue",), dict)


async def test_the_page_is_what_the_declarations_say() -> None:
    pytest.importorskip("obstore", reason="extra ship")
    pytest.importorskip("chdb", reason="extra embedded")
    pytest.importorskip("asyncpg", reason="extra postgres")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="extra tracing")
    families = await declared()
    assert page(families) == (ROOT / "docs" / "metrics.md").read_text(), (
        "make it again: python -m tickd.app.metrics_page docs/metrics.md"
    )
    assert len({each.name for each in families}) == len(families) > 200


def test_uses_are_found_in_rules_and_dashboards_and_nowhere_by_half_a_name(tmp_path: Path) -> None:
    rules, dashboards = tmp_path / "deploy" / "prometheus" / "rules", tmp_path / "dashboards"
    rules.mkdir(parents=True)
    dashboards.mkdir()
    (rules / "one.yml").write_text("expr: rate(tickd_gateway_lag_seconds_bucket[5m]) > 1\n")
    (dashboards / "one.json").write_text('"expr": "tickd_bus_queue_depth_other"')
    names = ("tickd_gateway_lag_seconds", "tickd_bus_queue_depth", "process_open_fds")
    rows = page(map(family, names), tmp_path).splitlines()
    used = {row.split("|")[1].strip(" `"): row.split("|")[-2].strip() for row in rows if "|" in row}
    assert used["tickd_gateway_lag_seconds"] == "alert"
    assert used["tickd_bus_queue_depth"] == used["process_open_fds"] == "operator"
    sections = [row for row in rows if row.startswith("## ")]
    assert sections == ["## Process", "## Gateway", "## Bus"]


def test_units_are_told_by_the_name() -> None:
    units = {
        "tickd_gateway_last_event_timestamp_seconds": "s since 1970",
        "tickd_bus_lag_seconds": "s",
        "tickd_recorder_free_bytes": "bytes",
        "tickd_gateway_open_gaps": "count",
    }
    text = page(map(family, units))
    for name, unit in units.items():
        assert f"| `{name}` | gauge | `venue` | {unit} | Something. |" in text
