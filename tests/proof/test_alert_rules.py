"""Prometheus' own judgement of the rules: they parse, they fire, they stay silent.

Method: `promtool` checks and unit-tests what lies in deploy/prometheus, `amtool` the routes. That
every alert has both kinds of scenario, tests/test_alert_rules.py proves.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def run(program: str, *arguments: str | Path) -> tuple[int, str]:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed (Debian: prometheus, prometheus-alertmanager)")
    done = subprocess.run(
        [path, *map(str, arguments)],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def test_rules_are_clean() -> None:
    files = sorted(PROMETHEUS.glob("*.rules.yml"))
    code, said = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *files)
    assert code == 0, said


def test_prometheus_takes_its_configuration() -> None:
    code, said = run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert code == 0, said


def test_alertmanager_takes_its_configuration() -> None:
    code, said = run("amtool", "check-config", PROMETHEUS / "alertmanager.yml")
    assert code == 0, said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=TickdDown", "severity=page"), "page"),
        (("alertname=TickdGapOpen", "severity=ticket"), "ticket"),
        (("alertname=Watchdog", "severity=none"), "watchdog"),
    ],
)
def test_an_alert_goes_where_it_should(labels: tuple[str, ...], receiver: str) -> None:
    file = f"--config.file={PROMETHEUS / 'alertmanager.yml'}"
    code, said = run("amtool", "config", "routes", "test", file, *labels)
    assert (code, said.strip()) == (0, receiver)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenarios", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent(scenarios: Path) -> None:
    code, said = run("promtool", "test", "rules", scenarios)
    assert code == 0, said


def test_a_wrong_threshold_is_seen(tmp_path: Path) -> None:
    """The scenarios can fail: a rule whose threshold was lost breaks them."""
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    rules = tmp_path / "prometheus" / "alerts.rules.yml"
    text = rules.read_text()
    changed = re.sub(r"tickd_bus_queue_oldest_age_seconds\{[^}]*\}\) > 5", "\\g<0>000", text)
    assert changed != text
    rules.write_text(changed)
    code, said = run("promtool", "test", "rules", tmp_path / "prometheus" / "tests" / "flow.yml")
    assert code != 0
    assert "TickdBusBacklog" in said
