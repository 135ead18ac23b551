"""A real daemon that hears HUP and USR2 while it still starts: they wait, and count afterwards.

It has no venue and no ClickHouse that answers; what it starts with is enough.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.processes import Daemon, write_config

DEADLINE_S = 50.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    config = write_config(
        tmp_path / "tickd.toml",
        state_dir=tmp_path / "state",
        venues=[],
        sections={
            "clickhouse": {"url": "http://127.0.0.1:9"},
            "node": {"shutdown_timeout_ms": 1_000},
        },
    )
    made = Daemon(config, tmp_path / "daemon.log")
    yield made
    made.close()


def blocked(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return int(mask, 16)


def waits(pid: int, number: signal.Signals) -> bool:
    return bool(blocked(pid) & 1 << (number - 1))


def test_hangup_and_dump_wait_for_a_daemon_that_starts(daemon: Daemon) -> None:
    daemon.launch()
    assert daemon.process is not None
    pid = daemon.process.pid
    deadline = time.monotonic() + DEADLINE_S
    while not waits(pid, signal.SIGUSR1):  # its first line; the program is not even imported
        assert time.monotonic() < deadline
    for number in (signal.SIGHUP, signal.SIGUSR2):
        os.kill(pid, number)
    assert not (daemon.state_dir / "risk").exists(), "it was up already"
    status = daemon.wait_for(lambda status: status["plan"]["reloads"] == 1)
    assert status["plan"]["reloads_refused"] == 0
    dumps = daemon.state_dir / "dumps"
    daemon.wait_for(lambda _: dumps.exists() and any(dumps.glob("*.json")))
    # Those alone: what the tests' own process blocks, a daemon that it starts inherits.
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        assert not waits(pid, number), f"{number.name} would wait for ever"
    assert daemon.process.poll() is None, daemon.tail()


def test_file_that_became_wrong_during_the_start_changes_nothing(daemon: Daemon) -> None:
    daemon.launch()
    assert daemon.process is not None
    pid = daemon.process.pid
    deadline = time.monotonic() + DEADLINE_S
    while not (daemon.state_dir / "risk").exists():  # the file was read
        assert time.monotonic() < deadline
    daemon.config.write_text(daemon.config.read_text() + "\n[nonsense]\n")
    os.kill(pid, signal.SIGHUP)
    daemon.wait_for(lambda status: status["plan"]["reloads_refused"] == 1)
    assert daemon.process.pid == pid
    assert daemon.process.poll() is None, daemon.tail()
