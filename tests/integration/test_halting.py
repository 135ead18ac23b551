"""A real daemon and real signals: killed while it starts, armed, killed, restarted, armed again.

It has no venue and no ClickHouse that answers; nothing of the kill switch needs them.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from risk.latch import read
from tests.harness.processes import Daemon, tickd, write_config

BLOCKED_USR1 = 1 << (signal.SIGUSR1 - 1)
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


def pid_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


def blocks_usr1(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(mask, 16) & BLOCKED_USR1)


def risk(daemon: Daemon, *words: str) -> str:
    done = tickd("risk", words[0], str(daemon.config), *words[1:])
    assert done.returncode == 0, f"{done.stderr}{daemon.tail()}"
    return done.stdout


def stop(daemon: Daemon) -> None:
    # 1: what waits for ClickHouse waits for the next start.
    assert daemon.stop() in (0, 1), daemon.tail()


def arm(daemon: Daemon) -> None:
    said = risk(daemon, "arm", "--operator", "ada", "--reason", "checked", "--json")
    assert "armed since" in risk(daemon, "arm", "--confirm", json.loads(said)["token"])


def halted_by_signal(status: dict[str, Any]) -> bool:
    state: dict[str, Any] = status["risk"]
    by_us = state["source"]["kind"] == "signal" and state["source"]["pid"] == os.getpid()
    return state["state"] == "halted" and by_us


def audited(daemon: Daemon) -> list[dict[str, Any]]:
    frames = tickd("inspect", str(daemon.state_dir), "--frames", check=True).stdout
    found = [line[line.index("{") :] for line in frames.splitlines() if '"kind":"audit"' in line]
    return [json.loads(line) for line in found]


def test_a_kill_while_the_daemon_is_still_importing_is_not_lost(daemon: Daemon) -> None:
    daemon.launch()
    deadline = time.monotonic() + DEADLINE_S
    while not blocks_usr1(pid_of(daemon)):
        assert time.monotonic() < deadline
    os.kill(pid_of(daemon), signal.SIGUSR1)
    assert not (daemon.state_dir / "risk").exists(), "it was up already"
    daemon.wait_for(halted_by_signal)
    assert not blocks_usr1(pid_of(daemon))
    latch = read(daemon.state_dir / "risk")
    assert (latch.state, latch.source.uid, latch.source.pid) == ("halted", os.getuid(), os.getpid())
    stop(daemon)
    (kill,) = audited(daemon)
    assert kill["action"] == "kill"
    assert kill["source"] == f"SIGUSR1 uid={os.getuid()} pid={os.getpid()}"


def test_a_kill_is_kept_over_a_restart_and_only_a_person_arms(daemon: Daemon) -> None:
    daemon.start()
    assert "halted since" in risk(daemon, "status")
    arm(daemon)
    os.kill(pid_of(daemon), signal.SIGUSR1)
    daemon.wait_for(halted_by_signal)
    at_ns = read(daemon.state_dir / "risk").wall_ns
    for number in (signal.SIGHUP, signal.SIGUSR1):  # neither a reload nor another kill arms
        os.kill(pid_of(daemon), number)
    daemon.wait_for(lambda status: status["risk"]["trips"] == 2)
    daemon.wait_for(lambda status: status["raw_log"]["synced"] >= 4)  # start, arm, kill, kill
    daemon.kill()
    daemon.start()
    state = daemon.wait_for(halted_by_signal)["risk"]
    assert state["since_ns"] >= at_ns
    arm(daemon)
    stop(daemon)
    actions = [record["action"] for record in audited(daemon)]
    assert actions == ["arm", "kill", "kill", "arm"]
    assert read(daemon.state_dir / "risk").reason == "the daemon stopped"


def test_a_daemon_that_died_armed_comes_back_halted_and_says_so(daemon: Daemon) -> None:
    daemon.start()
    arm(daemon)
    daemon.kill()
    assert read(daemon.state_dir / "risk").is_armed
    daemon.start()
    assert "did not stop cleanly while it was armed" in risk(daemon, "status")
    stop(daemon)


def test_a_daemon_whose_latch_is_gone_or_torn_comes_back_halted(daemon: Daemon) -> None:
    daemon.start()
    arm(daemon)
    stop(daemon)
    latch = daemon.state_dir / "risk" / "latch.json"
    latch.write_bytes(latch.read_bytes()[:-1])
    daemon.start()
    assert "damaged" in risk(daemon, "status")
    stop(daemon)
    latch.unlink()
    daemon.start()
    assert "no latch file" in risk(daemon, "status")
