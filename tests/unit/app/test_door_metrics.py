"""What a configuration leaves open is named by `tickd check` and by a metric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.app.conftest import Ended
from tickd.app.config import Config
from tickd.app.control import ControlServer
from tickd.app.credentials import Credentials
from tickd.app.door_metrics import declare_doors, declare_flight, insecure_of
from tickd.app.flight import FlightKeeper
from tickd.app.http import HttpServer
from tickd.config import parse
from tickd.telemetry.flight import FlightRing
from tickd.telemetry.metrics import Metrics
from tickd.testing.clock import ManualClock

OPEN = '[http]\nhost = "0.0.0.0"\ninsecure = true\n'
PASSWORD = 'password = { env = "P" }\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", set()),
        (OPEN, {"http"}),
        (OPEN + "enabled = false\n", set()),
        ('[http]\nhost = "::1"\ninsecure = true\n', set()),
        ('[clickhouse]\nurl = "https://h:1"\nverify = false\n', {"clickhouse_unverified"}),
        ('[clickhouse]\nurl = "https://h:1"\n' + PASSWORD, set()),
        ('[clickhouse]\nurl = "http://h:1"\n' + PASSWORD, {"clickhouse_password_in_clear"}),
        ('[clickhouse]\nurl = "http://127.0.0.1:1"\n' + PASSWORD, set()),
        ('[clickhouse]\nurl = "http://h:1"\nverify = false\n', set()),
    ],
)
def test_what_is_open_is_named(text: str, named: set[str]) -> None:
    config = parse(text.encode(), Config, environment={"P": "secret"})
    assert {name for (name,), is_open in insecure_of(config).items() if is_open} == named


def test_check_warns_of_it(tmp_path: Path, command: Callable[..., Ended]) -> None:
    path = tmp_path / "tickd.toml"
    path.write_text(OPEN)
    ended = command("check", path)
    assert ended.code == 0
    assert "# warning: http is insecure, see docs/security.md\n" in ended.out
    path.write_text(OPEN.replace("true", "false"))
    ended = command("check", path)
    assert ended.code == 2
    assert "can be reached by others and has no token and no TLS" in ended.err


def test_doors_and_credentials_are_metrics(tmp_path: Path) -> None:
    config = parse(OPEN.encode(), Config)
    metrics = Metrics()
    http = HttpServer(config.http, metrics=metrics, ready=str)
    credentials = Credentials(config, clock=ManualClock())
    credentials.ends = {"http": 1_800_000_000.0}
    credentials.faults = {"main": "gone"}
    control = ControlServer(tmp_path, {})
    declare_doors(metrics, config, http=http, control=control, credentials=credentials)
    lines = (line.rsplit(" ", 1) for line in metrics.text().decode().splitlines())
    shown = {name: float(value) for name, value in lines if name.startswith("tickd_app_")}
    assert shown['tickd_app_insecure_state{kind="http"}'] == 1
    assert shown['tickd_app_insecure_state{kind="clickhouse_unverified"}'] == 0
    assert shown['tickd_app_door_refused_total{door="control"}'] == 0
    assert shown['tickd_app_door_turned_away_total{door="http"}'] == 0
    assert shown['tickd_app_credential_expiry_timestamp_seconds{kind="http"}'] == 1_800_000_000
    assert shown['tickd_app_credential_unreadable_state{kind="main"}'] == 1


def test_dumps_of_the_flight_recorder_are_a_metric_from_the_beginning(tmp_path: Path) -> None:
    clock = ManualClock()
    flight = FlightKeeper(FlightRing(clock.wall_ns), tmp_path, mono_ns=clock.mono_ns)
    metrics = Metrics()
    declare_flight(metrics, flight)
    for cause in ("signal", "error"):
        assert f'tickd_app_flight_dumps_total{{cause="{cause}"}} 0' in metrics.text().decode()
    with flight.recording():
        flight.dump("signal")
        flight.ring.note("raw_log_failed", "error")
        flight.ring.note("gate_failed", "critical")
    text = metrics.text().decode()
    assert 'tickd_app_flight_dumps_total{cause="signal"} 1' in text
    assert 'tickd_app_flight_dumps_total{cause="error"} 2' in text
