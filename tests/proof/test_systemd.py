"""The shipped unit under a real systemd, with a simulated venue: its whole life.

Method: a machine of its own (`tests/harness/machine.py`) runs `deploy/systemd/tickd.service` as it
is shipped but for a shorter watchdog. The venue keeps a log of what it sent; what a hang or a kill
cost must be exactly what the GAP records name.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.harness.losses import unexplained
from tests.harness.machine import Machine
from tests.harness.processes import venue_of, write_config
from tests.harness.recording import Recording, recording_of, sent_by

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(300),
]

CONFIG = "/etc/tickd/tickd.toml"
STATE = "var/lib/private/tickd"
DROP_IN = "/run/systemd/system/tickd.service.d/proof.conf"
WATCHDOG_S = 3
HANGING = '''
"""Blocks the event loop of the daemon it lives in, once."""
import os
from pathlib import Path

from strategy_runner.strategy import Strategy


class Hanging(Strategy):
    def on_trade(self, trade):
        flag = Path(os.environ["STATE_DIRECTORY"], "hung")
        if not flag.exists() and Path("/etc/tickd/hang-now").exists():
            flag.touch()
            while True:
                pass
'''
HANGS = """
[[strategies]]
name = "hanging"
class = "/etc/tickd/hanging.py:Hanging"
isolation = "inproc"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, dict[str, Any]]]:
    """A machine and its venue, which plays from the first subscription on."""
    options = ("--rate", "4000", "--symbols", "3", "--sent-log", "/mnt/out/sent.log")
    with Machine(tmp_path_factory.mktemp("machine") / "m") as machine:
        machine.write(DROP_IN, f"[Service]\nWatchdogSec={WATCHDOG_S}\n")
        machine.write("/etc/tickd/hanging.py", HANGING)
        machine.run("systemctl", "daemon-reload", check=True)
        yield machine, machine.venue(*options)


@pytest.fixture
def unit(place: tuple[Machine, dict[str, Any]]) -> Iterator[Unit]:
    unit = Unit(*place)
    unit.forget()
    yield unit
    unit.stop()


class Unit:
    """`tickd.service` on the machine."""

    def __init__(self, machine: Machine, venue: dict[str, Any]) -> None:
        self.machine = machine
        self.venue = venue
        self.cursor = ""

    def forget(self) -> None:
        """Begin with an empty state directory and a file for the venue."""
        self.stop()
        machine = self.machine
        machine.run("systemctl", "reset-failed", "tickd")
        machine.run("rm", "-rf", f"/{STATE}", "/etc/tickd/hang-now", check=True)
        self.configure()
        self.cursor = machine.now()

    def configure(self, more: str = "", **venue: object) -> None:
        path = self.machine.out / "tickd.toml"
        table = venue_of(self.venue, **venue)
        write_config(path, state_dir=Path("/var/lib/tickd"), venues=[table])
        self.machine.write(CONFIG, path.read_text() + more)

    def start(self) -> None:
        self.machine.run("systemctl", "start", "tickd", check=True)

    def stop(self) -> None:
        self.machine.run("systemctl", "stop", "tickd", check=True)

    @property
    def pid(self) -> int:
        return int(self.machine.property("MainPID"))

    @property
    def restarts(self) -> int:
        return int(self.machine.property("NRestarts"))

    @property
    def is_active(self) -> bool:
        return self.machine.property("ActiveState") == "active"

    def said(self) -> str:
        return self.machine.journal(cursor=self.cursor)

    def status(self) -> dict[str, Any]:
        done = self.machine.run("tickd", "status", "/var/lib/tickd", "--json")
        status: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return status

    def wait_for_frames(self, count: int) -> None:
        self.machine.wait_until(
            lambda: self.status().get("raw_log", {}).get("frames", 0) > count, "not recorded"
        )

    def wait_for_restart(self, before: int) -> None:
        self.machine.wait_until(
            lambda: self.restarts > before and self.is_active, "not started again"
        )

    def signal(self, number: signal.Signals) -> None:
        self.machine.run(
            "systemctl", "kill", "--kill-whom=main", f"--signal={number.name}", "tickd", check=True
        )

    def recording(self) -> Recording:
        return recording_of(self.machine.root / STATE)


def prove_gaps(unit: Unit) -> None:
    """Of each symbol, the ids in GAP records are those that the log lacks, to the number."""
    unit.stop()
    recording = unit.recording()
    sent = sent_by(unit.machine.out / "sent.log")
    known = recording.market_frames()
    first = min(frames[0] for frames in known.values())
    # The venue plays through all tests; this daemon's life began with the first it recorded.
    begin = next(number for number, each in enumerate(sent) if each.payload == first)
    lost = unexplained(sent[begin:], recording)
    assert not lost, f"{len(lost)} sent, not recorded and in no gap: {lost[:3]}"
    missing = {}
    for symbol in unit.venue["symbols"]["binance-usdm"]:
        missing[symbol] = recording.lost_trade_ids(symbol)
        assert recording.gap_trade_ids(symbol) == missing[symbol], symbol
    assert any(missing.values()), "nothing was lost: there was no interruption"
    assert {gap.cause for gap in recording.gaps() if gap.channel == "trade"} == {"RESTART"}


def test_start_is_ready_once_the_venue_is_live(unit: Unit) -> None:
    unit.start()  # returns with READY
    assert unit.is_active
    assert "daemon_ready" in unit.said()
    venue = unit.status()["venues"][0]
    assert [line["state"] for line in venue["lines"]] == ["streaming"]
    assert "1/1 feeds live" in unit.machine.property("StatusText")
    assert unit.machine.property("StatusText").endswith("HALTED")


def test_hang_ends_by_the_watchdog_and_costs_exactly_its_gap(unit: Unit) -> None:
    unit.configure(HANGS)
    unit.start()
    unit.wait_for_frames(2_000)
    restarts, pid = unit.restarts, unit.pid
    unit.machine.write("/etc/tickd/hang-now", "")
    unit.wait_for_restart(restarts)
    said = unit.said()
    assert f"Watchdog timeout (limit {WATCHDOG_S}s)!" in said
    assert "Fatal Python error: Aborted" in said, "no stack of what hung"
    assert "hanging.py" in said
    assert unit.pid != pid
    unit.wait_for_frames(1_000)
    prove_gaps(unit)


def test_kill_restarts_and_costs_exactly_its_gap(unit: Unit) -> None:
    unit.start()
    unit.wait_for_frames(2_000)
    restarts = unit.restarts
    unit.signal(signal.SIGKILL)
    unit.wait_for_restart(restarts)
    unit.wait_for_frames(1_000)
    prove_gaps(unit)
