"""The alert rules: every one has a page and two scenarios, every metric in them is declared.

Whether they fire, `promtool` says (tests/proof/test_alert_rules.py); here is what needs no program.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULE_FILES = ("alerts.rules.yml", "slo.rules.yml")
SEVERITIES = {"page", "ticket", "none"}
METRIC = re.compile(r"\b(?:tickd|process)_[a-z0-9_]+")
# What Prometheus itself has.
OWN = {"up"}
HEADINGS = ("**Meaning.**", "**Impact.**", "## First look", "## What helps", "## Silence")
COMMAND = re.compile(r"^(\w[\w.-]*)", re.MULTILINE)
# Programs that a runbook may ask for, of packages that a server has or its README names.
PROGRAMS = {
    "amtool", "chronyc", "coredumpctl", "curl", "df", "du", "iostat", "journalctl", "ls",
    "promtool", "smartctl", "ss", "systemctl", "tickd", "timedatectl", "top",
}  # fmt: skip


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@cache
def rules() -> list[dict[str, Any]]:
    files = (read(PROMETHEUS / name) for name in RULE_FILES)
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def key_of(alert: dict[str, Any]) -> tuple[str, str]:
    return alert["alert"], alert["labels"]["severity"]


def scenarios() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each look at an alert of each scenario, with the scenario's name."""
    for path in sorted((PROMETHEUS / "tests").glob("*.yml")):
        for test in read(path)["tests"]:
            for look in test["alert_rule_test"]:
                yield test["name"], look


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: "-".join(key_of(alert)))
def test_an_alert_says_what_an_operator_needs(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    assert alert["labels"]["severity"] in SEVERITIES
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    page = (RUNBOOKS / f"{name}.md").read_text()
    for heading in HEADINGS:
        assert heading in page, f"{name}.md lacks {heading}"
    assert f"]({name}.md)" in (RUNBOOKS / "README.md").read_text()


def test_every_page_is_of_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == {
        alert["alert"] for alert in alerts()
    }


def test_an_alert_stands_once_per_severity() -> None:
    keys = [key_of(alert) for alert in alerts()]
    assert len(keys) == len(set(keys))


def test_every_alert_fires_in_one_scenario_and_is_silent_in_another() -> None:
    fires: set[tuple[str, str]] = set()
    silent: set[str] = set()
    for _, look in scenarios():
        if not look["exp_alerts"]:
            silent.add(look["alertname"])
        for expected in look["exp_alerts"]:
            fires.add((look["alertname"], expected["exp_labels"]["severity"]))
    wanted = {key_of(alert) for alert in alerts()}
    assert fires == wanted
    # The dead man's switch is never silent.
    assert silent == {name for name, _ in wanted} - {"Watchdog"}


def test_a_scenario_is_named_after_its_alert() -> None:
    for name, look in scenarios():
        verb = "fires" if look["exp_alerts"] else "is silent"
        assert name.startswith(f"{look['alertname']} {verb}: "), name


def test_a_threshold_has_its_reason() -> None:
    text = (PROMETHEUS / "alerts.rules.yml").read_text()
    for alert in re.finditer(r"^(.*)\n +- alert: (\w+)$", text, re.MULTILINE):
        assert alert[1].lstrip().startswith("# "), f"{alert[2]}: no reason stands before it"


def test_service_levels_are_as_generated(tmp_path: Path) -> None:
    program = (
        "import runpy, sys; from pathlib import Path;"
        "made = runpy.run_path(sys.argv[1]); Path(sys.argv[2]).write_text(made['text']())"
    )
    made = tmp_path / "slo.rules.yml"
    subprocess.run(
        [sys.executable, "-c", program, PROMETHEUS / "build_slo.py", made], check=True, timeout=60
    )
    assert made.read_text() == (PROMETHEUS / "slo.rules.yml").read_text(), (
        "run deploy/prometheus/build_slo.py"
    )


def names_in(expression: str) -> set[str]:
    """Metrics of an expression, histograms by their family."""
    found = set(METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))
    return {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in found}


def test_every_metric_of_a_rule_is_one_of_the_daemon() -> None:
    """By docs/metrics.md, which a test of its own compares with the declarations."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    declared = set(re.findall(r"^\| `((?:tickd|process)_[a-z0-9_]+)`", page, re.MULTILINE))
    used = set().union(*(names_in(rule["expr"]) for rule in rules()))
    assert len(used) > 40
    assert used <= declared, f"no daemon has {sorted(used - declared)}"


def test_recorded_names_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = set()
    for rule in rules():
        used |= set(re.findall(r"\b(?:slo|tickd):[a-z_]+:[a-z0-9_]+", rule["expr"]))
    assert used <= recorded, used - recorded


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_measures_behind_the_link(page: Path) -> None:
    """Under DynamicUser a state directory is a symbolic link, of which `du` alone says 0."""
    text = page.read_text()
    for directory in re.findall(r"^(?:du|find) .*?(/var/lib/\S+)", text, re.MULTILINE):
        assert directory.endswith("/"), f"{page.name}: {directory}"


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_asks_for_known_programs(page: Path) -> None:
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            match = COMMAND.match(line)
            assert match, f"{page.name}: {line}"
            assert match[1] in PROGRAMS, f"{page.name}: {line}"
