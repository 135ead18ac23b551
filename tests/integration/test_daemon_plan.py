"""Orders and reloads of a running daemon from the command line; patterns against a real list."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.processes import Daemon, server, tickd, venue_of, write_config
from tests.harness.recording import recording_of, venue_stats

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

VENUE = "binance-usdm"
SYMBOLS = 6


@dataclass
class Stage:
    """A venue, its file, a daemon that follows it."""

    sim: dict[str, Any]
    config: Path
    daemon: Daemon

    @property
    def names(self) -> list[str]:
        return sorted(self.sim["symbols"][VENUE])

    def write(self, symbols: list[str], groups: str = "", **settings: object) -> None:
        table = venue_of(self.sim, symbols=symbols, channels=["trade"], **settings)
        write_config(self.config, state_dir=self.config.parent / "state", venues=[table])
        self.config.write_text(self.config.read_text() + groups)

    def carries(self, streams: int) -> dict[str, Any]:
        """Wait until the venue sends so many streams; the daemon's picture after that."""
        rest_url = self.sim["rest"][VENUE]

        def there(_: dict[str, Any]) -> bool:
            carried = venue_stats(rest_url)["connections"]
            return sum(each["streams"] for each in carried) == streams

        self.daemon.wait_for(there, timeout=30)
        return self.daemon.status()

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return tickd(command, str(self.config), *arguments)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("plan")
    market = ("--rate", "600", "--symbols", str(SYMBOLS), "--seed", "3")
    with server("sim", *market, log=folder / "sim.log") as sim:
        config = folder / "tickd.toml"
        stage = Stage(sim, config, Daemon(config, folder / "daemon.log"))
        stage.write(stage.names[:2])
        with stage.daemon:
            stage.carries(2)
            yield stage


def test_a_running_daemon_takes_orders_and_follows_its_file(stage: Stage) -> None:
    """One life: each step builds on the one before."""
    stage.write(stage.names[:2])
    assert stage.run("reload").returncode == 0
    before = stage.carries(2)["plan"]
    ended = stage.run("subscribe", f"{VENUE}:*@trade", "--priority", "10")
    assert (ended.returncode, ended.stdout) == (0, f"{VENUE}: 4 streams more, 0 less\n")
    stage.carries(SYMBOLS)
    ended = stage.run("unsubscribe", f"{VENUE}:{stage.names[0]}@*")
    assert ended.stdout == f"{VENUE}: 0 streams more, 1 less\n"
    stage.carries(SYMBOLS - 1)
    ended = stage.run("subscribe", f"{VENUE}:*NOPE*@trade")
    assert ended.returncode == 1
    assert "selects none of the 6 symbols" in ended.stderr

    groups = f'[[subscriptions]]\nname = "all"\npatterns = ["{VENUE}:*@quote"]\npriority = 10\n'
    stage.write(stage.names[:3], groups, backoff_cap_seconds=30.0)
    ended = stage.run("reload")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        f"{VENUE}: 7 streams more, 3 less",
        f"waits for a restart: venues {VENUE}.backoff_cap_seconds",
    ]
    stage.carries(SYMBOLS + 3)

    stage.config.write_text("node = [")
    assert stage.daemon.process is not None
    stage.daemon.process.send_signal(signal.SIGHUP)
    status = stage.daemon.wait_for(lambda s: s["plan"]["reloads_refused"] == 1)
    assert status["plan"]["reloads"] == before["reloads"] + 1
    assert status["venues"][0]["streams_count"] == SYMBOLS + 3
    assert "reload_refused" in stage.daemon.tail()

    stage.write(stage.names[:1])
    stage.daemon.process.send_signal(signal.SIGHUP)
    status = stage.carries(1)
    assert status["venues"][0]["symbols_count"] == 1
    assert "not" not in stage.run("status").stderr


def test_metrics_tell_of_connections_and_limits(stage: Stage) -> None:
    stage.write(stage.names[:2])
    assert stage.run("reload").returncode == 0
    stage.carries(2)
    port = stage.daemon.status()["http_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))
    venue = f'venue="{VENUE}"'
    per_line = {name: float(value) for name, value in values.items() if 'line="' in name}
    assert sum(v for k, v in per_line.items() if "line_received_bytes_total" in k) > 0
    assert sum(v for k, v in per_line.items() if "line_streams{" in k) == 2
    assert sum(v for k, v in per_line.items() if "line_tries_total" in k) >= 1
    limits = [v for k, v in per_line.items() if "line_messages_max{" in k]
    assert set(limits) == {10.0}
    remaining = float(values[f'tickd_gateway_limit_remaining{{{venue},kind="connects"}}'])
    used = float(values[f'tickd_gateway_limit_used{{{venue},kind="connects"}}'])
    assert used + remaining == 300
    assert float(values[f'tickd_gateway_streams{{{venue},state="planned"}}']) == 2


def test_plan_asks_the_venue_for_what_patterns_can_select(stage: Stage) -> None:
    groups = (
        f'[[subscriptions]]\nname = "all"\npatterns = ["{VENUE}:*@trade", "{VENUE}:Q*@trade"]\n'
    )
    stage.write([], groups)
    ended = stage.run("plan", "--json")
    (plan,) = json.loads(ended.stdout)
    assert plan["streams"] == SYMBOLS
    assert "selects none of the 6 symbols" in plan["notes"][0]
    ended = stage.run("plan", "--symbols")
    assert ended.stdout.splitlines() == [f"{VENUE}:{name}" for name in stage.names]


def test_a_plan_that_a_list_makes_too_large_ends_the_start_before_any_connection(
    stage: Stage, tmp_path: Path
) -> None:
    table = venue_of(
        stage.sim, symbols=[], channels=["trade"], streams_per_connection=2, connections_max=3
    )
    config = write_config(tmp_path / "tickd.toml", state_dir=tmp_path / "state", venues=[table])
    group = f'[[subscriptions]]\nname = "all"\npatterns = ["{VENUE}:*@trade"]\n'
    config.write_text(config.read_text() + group)
    ended = tickd("run", str(config))
    assert ended.returncode == 2
    assert "6 streams need 3 connections of at most 2 streams, 2 are possible" in ended.stderr
    assert "nearest legal plan: the 4 streams of highest priority" in ended.stderr
    records = recording_of(tmp_path / "state").records
    kinds = {json.loads(record.payload)["kind"] for record in records if record.kind == "C"}
    assert "start" in kinds
    assert "connect" not in kinds
