"""The shipped unit under a real systemd, with a simulated venue: its whole life.

Method: a machine of its own (`tests/harness/machine.py`) runs `deploy/systemd/tickd.service` as it
is shipped but for a shorter watchdog. The venue keeps a log of what it sent; what a hang or a kill
cost must be exactly what the GAP records name.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.harness.losses import unexplained
from tests.harness.machine import Machine
from tests.harness.processes import REPOSITORY, venue_of, write_config
from tests.harness.recording import Recording, recording_of, sent_by

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(1200),  # the first may wait for another machine's end
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

    def configure(
        self,
        more: str = "",
        *,
        sections: dict[str, dict[str, object]] | None = None,
        **venue: object,
    ) -> None:
        path = self.machine.out / "tickd.toml"
        table = venue_of(self.venue, **venue)
        write_config(path, state_dir=Path("/var/lib/tickd"), venues=[table], sections=sections)
        self.machine.write(CONFIG, path.read_text() + more)

    def start(self) -> None:
        """Returns with READY."""
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

    def risk(self, *words: str) -> str:
        return self.machine.run("tickd", "risk", *words, check=True).stdout

    def scrape(self) -> dict[str, float]:
        """What Prometheus would get: series without labels -> value."""
        port = self.status()["http_port"]
        program = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
        url = f"http://127.0.0.1:{port}/metrics"
        page = self.machine.run("/opt/tickd/bin/python", "-c", program, url, check=True).stdout
        lines = (line.split() for line in page.splitlines() if not line.startswith("#"))
        return {line[0]: float(line[1]) for line in lines if line}

    def strangers(self) -> list[str]:
        """What in the state directory is not of its owner."""
        state = self.machine.root / STATE
        owner = state.stat().st_uid
        assert owner != 0
        found = (path for path in state.rglob("*") if path.lstat().st_uid != owner)
        return sorted(str(path.relative_to(state)) for path in found)

    def command(self, *words: str) -> str:
        """Type a command as root."""
        return self.machine.run("tickd", *words, check=True, timeout=200).stdout

    def processes(self) -> dict[int, str]:
        """Those of the unit: pid -> command line."""
        group = self.machine.property("ControlGroup")
        procs = self.machine.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs", check=True).stdout
        lines = {}
        for pid in procs.split():
            try:
                said = (self.machine.root / "proc" / pid / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended meanwhile
            lines[int(pid)] = said.replace(b"\0", b" ").decode()
        return lines

    def clickhouse(self) -> int:
        """Its pid; the status may say that it lives before the kernel lists it."""

        def found() -> list[int]:
            return [pid for pid, line in self.processes().items() if "recorder.embedded" in line]

        self.machine.wait_until(lambda: len(found()) == 1, "not one ClickHouse")
        return found()[0]

    def fact(self, pid: int, name: str) -> str:
        """A line of /proc/PID/status."""
        lines = (self.machine.root / f"proc/{pid}/status").read_text().splitlines()
        return next(line for line in lines if line.startswith(f"{name}:")).split(":", 1)[1].strip()

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
    unit.start()
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


def test_ready_is_withheld_while_recovery_fails(unit: Unit) -> None:
    unit.start()
    unit.wait_for_frames(1_000)
    unit.stop()
    raw = unit.machine.root / STATE / "raw"
    owner = raw.stat()
    os.chown(raw, 0, 0)  # as after somebody ran tickd there as root
    raw.chmod(0o700)
    unit.cursor = unit.machine.now()
    started = unit.machine.run("systemctl", "start", "tickd")
    assert started.returncode != 0
    unit.machine.wait_until(lambda: unit.restarts >= 2, "not tried again")
    said = unit.said()
    assert "Permission denied" in said
    assert "Started tickd.service" not in said
    assert "daemon_ready" not in said
    os.chown(raw, owner.st_uid, owner.st_gid)
    # Nobody has to start it: it has not given up.
    unit.machine.wait_until(lambda: unit.is_active, "not ready once the log can be read")
    assert "daemon_ready" in unit.said()


def test_ready_without_a_venue_that_does_not_come(unit: Unit) -> None:
    nowhere = {"ws_url": "ws://127.0.0.1:1", "rest_url": "http://127.0.0.1:1"}
    unit.configure(sections={"node": {"venues_wait_seconds": 3}}, **nowhere)
    unit.start()
    assert "venues_degraded" in unit.said()
    assert "0/1 feeds live" in unit.machine.property("StatusText")


def test_kill_signal_halts_and_a_restart_does_not_arm(unit: Unit) -> None:
    unit.start()
    token = unit.risk("arm", CONFIG, "--operator", "ada", "--reason", "proof")
    unit.risk("arm", CONFIG, "--confirm", re.findall(r"--confirm (\w+)", token)[0])
    assert unit.status()["risk"]["state"] == "armed"
    unit.machine.wait_until(
        lambda: unit.machine.property("StatusText").endswith("armed"), "not in the status line"
    )
    unit.signal(signal.SIGUSR1)
    unit.machine.wait_until(
        lambda: unit.status()["risk"]["state"] == "halted", "not halted by the signal"
    )
    # The daemon lives on, and so does the halt: over a crash and over an ordinary restart.
    restarts = unit.restarts
    unit.signal(signal.SIGKILL)
    unit.wait_for_restart(restarts)
    assert "kill signal" in unit.risk("status", CONFIG)
    unit.machine.run("systemctl", "restart", "tickd", check=True)
    assert unit.status()["risk"]["state"] == "halted"
    assert unit.machine.property("StatusText").endswith("HALTED")


def test_hangup_takes_a_good_file_and_leaves_a_bad_one(unit: Unit) -> None:
    symbols = unit.venue["symbols"]["binance-usdm"]
    unit.start()
    before = unit.status()["venues"][0]["streams_count"]
    unit.configure(symbols=symbols[:2])
    unit.signal(signal.SIGHUP)
    unit.machine.wait_until(
        lambda: unit.status()["venues"][0]["streams_count"] < before, "the file was not read"
    )
    whole = (unit.machine.root / CONFIG.lstrip("/")).read_text()
    unit.machine.write(CONFIG, whole + "\n[nonsense]\n")
    pid = unit.pid
    unit.signal(signal.SIGHUP)
    unit.machine.wait_until(lambda: unit.status()["plan"]["reloads_refused"] == 1, "not refused")
    reloaded = unit.machine.run("systemctl", "reload", "tickd")
    assert reloaded.returncode != 0, "a reload that was refused looks done"
    assert "nonsense" in unit.said()
    unit.machine.write(CONFIG, whole)
    unit.machine.run("systemctl", "reload", "tickd", check=True)
    assert unit.pid == pid
    frames = unit.status()["raw_log"]["frames"]
    unit.wait_for_frames(frames + 100)


def test_signals_during_a_start_wait_until_the_daemon_stands(unit: Unit) -> None:
    """Sent as soon as it keeps USR1 waiting, which is its first line, before anything is loaded."""
    waiting = 1 << (signal.SIGUSR1 - 1)
    machine, restarts = unit.machine, unit.restarts
    machine.run("systemctl", "start", "--no-block", "tickd", check=True)
    machine.wait_until(lambda: unit.pid > 0, "not begun")
    pid = unit.pid
    machine.wait_until(lambda: bool(int(unit.fact(pid, "SigBlk"), 16) & waiting), "not begun")
    for number in (signal.SIGHUP, signal.SIGUSR2):
        unit.signal(number)
    assert not unit.is_active, "it was up already"
    machine.wait_until(lambda: unit.is_active, "not ready")
    assert (unit.pid, unit.restarts) == (pid, restarts), "a signal ended the start"
    assert unit.status()["plan"]["reloads"] == 1
    assert any((machine.root / STATE / "dumps").glob("*.json"))


def test_what_the_kernel_knows_of_processes_is_in_the_metrics(unit: Unit) -> None:
    """`ProcSubset=pid` leaves no file of /proc but those of processes."""
    unit.start()
    unit.machine.wait_until(lambda: unit.status()["sink"]["live"], "no ClickHouse")
    values = unit.scrape()
    for name in (
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
        "process_open_fds",
        "process_max_fds",
        "tickd_recorder_embedded_memory_bytes",
        "tickd_recorder_embedded_cpu_seconds_total",
    ):
        assert values.get(name, 0) > 0, name
    begun = unit.machine.run("stat", "--format=%Y", f"/proc/{unit.pid}", check=True).stdout
    assert values["process_start_time_seconds"] == pytest.approx(float(begun), abs=5)
    assert unit.scrape()["process_start_time_seconds"] == values["process_start_time_seconds"]


def test_commands_that_root_types_leave_a_daemon_that_starts(unit: Unit) -> None:
    """While it is down, with its own ClickHouse; then what is fetched back beside it."""
    shipping = '\n[ship]\nurl = "file:///var/lib/tickd/shipped"\nevery_s = 86400\n'
    unit.configure(shipping)
    unit.start()
    unit.wait_for_frames(1_000)
    unit.stop()
    unit.command("spool", "list", CONFIG)
    unit.command("spool", "retry", CONFIG, "--all")
    unit.command("rebuild", CONFIG)
    unit.command("rebuild", CONFIG, "--dry-run")
    unit.command("verify", CONFIG)
    unit.command("query", "--config", CONFIG, "SELECT count() FROM trades")
    unit.command("migrate", CONFIG)
    unit.command("ship", CONFIG)
    assert unit.strangers() == []
    unit.start()
    assert re.search(r"^OK +state directory", unit.said(), re.MULTILINE)
    unit.wait_for_frames(100)
    segments = unit.machine.root / STATE / "raw/segments"
    (shipped, *_) = sorted(segments.glob("*.tkraw"))
    shipped.unlink()
    unit.command("restore", "--config", CONFIG, "--to", "/var/lib/tickd")
    assert shipped.exists()
    assert unit.strangers() == []
    # A database that is made while the daemon is down is the daemon's, too.
    unit.stop()
    unit.machine.run("rm", "-rf", f"/{STATE}/clickhouse", check=True)
    unit.command("migrate", CONFIG)
    assert unit.strangers() == []
    unit.start()
    unit.machine.wait_until(lambda: unit.status()["sink"]["live"], "its database is not its own")


def test_doctor_names_what_a_stranger_left_and_its_remedy_mends_it(unit: Unit) -> None:
    unit.start()
    unit.wait_for_frames(100)
    unit.stop()
    plan = unit.machine.root / STATE / "sink/plan.jsonl"
    os.chown(plan, 0, 0)
    plan.chmod(0o600)
    assert unit.machine.run("systemctl", "start", "tickd").returncode != 0
    said = unit.said()
    assert re.search(r"^FAIL +state directory.*/sink/plan.jsonl", said, re.MULTILINE), said
    (remedy,) = set(re.findall(r"chown -R --reference=\S+ \S+", said))
    unit.machine.shell(remedy)
    unit.machine.wait_until(lambda: unit.is_active, "not started with the remedy")


def test_stop_drains_and_every_row_is_there(unit: Unit) -> None:
    unit.start()
    unit.wait_for_frames(3_000)
    unit.stop()
    said = unit.said()
    assert "daemon_stopped drained=True whole=True" in said
    assert unit.machine.property("Result") == "success"
    assert unit.machine.property("ExecMainStatus") == "0"
    assert not list((unit.machine.root / STATE / "raw").rglob("*.open"))
    verified = unit.machine.run("tickd", "verify", CONFIG, timeout=200)
    assert verified.returncode == 0, f"{verified.stdout}{verified.stderr}"


def test_credential_is_readable_and_a_missing_one_is_named(unit: Unit) -> None:
    unit.machine.write("/etc/tickd/credentials/clickhouse", "not-a-real-password\n", mode=0o600)
    unit.configure(sections={"clickhouse": {"password": {"credential": "clickhouse"}}})
    unit.start()
    unit.wait_for_frames(100)
    unit.stop()
    assert "not-a-real-password" not in unit.said()
    unit.configure(sections={"clickhouse": {"password": {"credential": "another"}}})
    assert unit.machine.run("systemctl", "start", "tickd").returncode != 0
    assert "credential another is not in" in unit.said()


def test_sandbox_holds_for_the_daemon_and_its_clickhouse(unit: Unit) -> None:
    unit.start()
    unit.machine.wait_until(lambda: unit.status()["sink"]["live"], "no ClickHouse")
    daemon, clickhouse = unit.pid, unit.clickhouse()
    for pid in (daemon, clickhouse):
        assert unit.fact(pid, "CapEff") == "0000000000000000"
        assert unit.fact(pid, "NoNewPrivs") == "1"
        assert unit.fact(pid, "Seccomp") == "2"
        assert 61_184 <= int(unit.fact(pid, "Uid").split()[0]) <= 65_519
        for path in ("/etc/tickd/x", "/usr/x", "/opt/x", "/var/x"):
            touched = unit.machine.run("nsenter", f"--target={pid}", "--mount", "touch", path)
            assert "Read-only file system" in touched.stderr, path
        hidden = unit.machine.run("nsenter", f"--target={pid}", "--mount", "ls", "/home")
        assert hidden.stdout == ""
    niceness = [
        int(unit.machine.run("ps", "-o", "ni=", "-p", str(pid), check=True).stdout)
        for pid in (daemon, clickhouse)
    ]
    assert niceness == [-5, 5], "the recorder comes first"


def test_clickhouse_is_started_again_and_never_outlives_the_unit(unit: Unit) -> None:
    unit.start()
    unit.machine.wait_until(lambda: unit.status()["sink"]["live"], "no ClickHouse")
    pid, first = unit.pid, unit.clickhouse()
    unit.machine.run("kill", "-KILL", str(first), check=True)
    unit.machine.wait_until(lambda: unit.status()["sink"]["restarts"] == 1, "not started again")
    unit.machine.wait_until(lambda: unit.status()["sink"]["live"], "not live again")
    assert unit.pid == pid, "its death is not the daemon's"
    second, restarts = unit.clickhouse(), unit.restarts
    unit.signal(signal.SIGKILL)
    unit.wait_for_restart(restarts)
    assert second not in unit.processes()
    unit.machine.wait_until(lambda: unit.status()["sink"]["caught_up"], "not live after the kill")
    unit.stop()
    assert unit.machine.run("pgrep", "-f", "recorder.embedded").stdout == ""


def test_second_user_signal_writes_the_state_down(unit: Unit) -> None:
    unit.start()
    dumps = unit.machine.root / STATE / "dumps"
    unit.signal(signal.SIGUSR2)
    unit.machine.wait_until(lambda: dumps.exists() and any(dumps.iterdir()), "nothing written")
    assert unit.is_active


def test_drop_in_for_trading_cancels_after_a_crash(unit: Unit) -> None:
    """That panic runs, inside the sandbox; what it does at venues is proved elsewhere."""
    machine, place = unit.machine, "/run/systemd/system/tickd.service.d/trading.conf"
    drop_in = REPOSITORY / "deploy/systemd/tickd.service.d/trading.conf"
    machine.write(place, drop_in.read_text())
    machine.run("systemctl", "daemon-reload", check=True)
    try:
        unit.start()
        restarts = unit.restarts
        unit.signal(signal.SIGKILL)
        unit.wait_for_restart(restarts)
        assert "no accounts: nothing was cancelled" in unit.said()
    finally:
        machine.run("rm", place, check=True)
        machine.run("systemctl", "daemon-reload", check=True)


def test_drop_in_for_trading_logs_in_after_ends_and_not_after_each_start_that_fails(
    unit: Unit,
) -> None:
    """At a stand-in of a venue, which lists nothing: whoever asks it says so."""
    machine, place = unit.machine, "/run/systemd/system/tickd.service.d/trading.conf"
    drop_in = REPOSITORY / "deploy/systemd/tickd.service.d/trading.conf"
    machine.write(place, drop_in.read_text())
    machine.run("systemctl", "daemon-reload", check=True)
    account = account_at_a_stand(machine)
    symbol = unit.venue["symbols"]["binance-usdm"][0]
    unit.configure(account.format(symbol=symbol))

    def asked() -> int:
        return unit.said().count("usdm: cancelled, nothing is left")

    def fail_thrice() -> None:
        """A file that is refused: restarts for ever, each with its ExecStopPost."""
        whole = (machine.root / CONFIG.lstrip("/")).read_text()
        machine.write(CONFIG, whole + "\n[nonsense]\n")
        before = unit.restarts
        machine.run("systemctl", "start", "--no-block", "tickd", check=True)
        if unit.is_active:
            unit.signal(signal.SIGKILL)
        machine.wait_until(lambda: unit.restarts >= before + 3, "not tried again")
        machine.write(CONFIG, whole)
        machine.wait_until(lambda: unit.is_active, "not started with the right file")

    def kill() -> None:
        before = unit.restarts
        unit.signal(signal.SIGKILL)
        unit.wait_for_restart(before)

    try:
        fail_thrice()
        assert "usdm: not asked: the daemon did not run" in unit.said()
        assert asked() == 0, "a start that failed logged in"
        kill()
        assert asked() == 1, f"an end was not followed by it: {unit.said()}"
        kill()
        assert asked() == 1, "a loop of crashes logs in each time"
        assert "usdm: not asked: nothing was left" in unit.said()
        machine.wait_until(lambda: not unit.status()["risk"]["blockers"], "cannot be armed")
        token = unit.risk("arm", CONFIG, "--operator", "ada", "--reason", "proof")
        unit.risk("arm", CONFIG, "--confirm", re.findall(r"--confirm (\w+)", token)[0])
        kill()
        assert asked() == 2, "orders may have left, and nobody looked"
        fail_thrice()
        # Its own end: the start between wrote down that the one before died armed.
        assert asked() == 3, "a start that failed logged in"
        unit.stop()
        assert asked() == 3
        assert unit.strangers() == [], "it was root that asked"
    finally:
        machine.run("rm", place, check=True)
        machine.run("systemctl", "daemon-reload", check=True)


def account_at_a_stand(machine: Machine) -> str:
    """A stand-in of Binance in the machine, and the table of an account there."""
    folder = "/etc/tickd/credentials"
    for name in ("stand-key", "stand-secret"):
        machine.write(f"{folder}/{name}", f"{name}-of-nobody\n", mode=0o600)
    process = machine.begin(
        *("/opt/tickd/bin/python", "-m", "risk.stands.binance", "--market", "usdm"),
        *("--api-key-file", f"{folder}/stand-key", "--secret-file", f"{folder}/stand-secret"),
        log="stand.log",
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (machine.out / "stand.log").read_text()[-2000:]
    stand = json.loads(line)
    urls = "".join(
        f'{name} = "{stand[name]}"\n' for name in ("ws_api_url", "rest_url", "stream_url")
    )
    return f"""
[[accounts]]
broker = "binance"
name = "usdm"
market = "usdm"
symbols = ["{{symbol}}"]
api_key = {{{{ credential = "stand-key" }}}}
secret_key = {{{{ credential = "stand-secret" }}}}
{urls}"""


def test_doctor_is_asked_and_finds_nothing_that_fails(unit: Unit) -> None:
    """What it sees is the sandbox's inside: credentials, rights, limits as the daemon has them."""
    unit.start()
    said = unit.said()
    assert re.search(r"^OK +state directory", said, re.MULTILINE)
    assert not re.search(r"^FAIL ", said, re.MULTILINE)
    assert "adjtimex may not be asked" not in said


def test_shard_of_a_template_runs_beside_the_others(unit: Unit) -> None:
    machine, shard = unit.machine, "tickd@0-2.service"
    machine.write("/etc/tickd/shard-0-2.env", "TICKD__NODE__ID=10\nTICKD__HTTP__PORT=0\n")
    unit.start()
    started = machine.run("systemctl", "start", shard)
    assert started.returncode == 0, machine.journal(shard)
    try:
        # Each has its part, its number, its directory.
        done = machine.run("tickd", "status", "/var/lib/tickd-0-2", "--json", check=True)
        status = json.loads(done.stdout)
        assert status["node"] == 10
        assert status["venues"][0]["shard"] == "0/2"
        assert 0 < status["venues"][0]["symbols_count"] < len(unit.venue["symbols"]["binance-usdm"])
    finally:
        machine.run("systemctl", "stop", shard, check=True)
    assert unit.is_active


def test_nightly_shipping_asks_the_daemon(unit: Unit) -> None:
    unit.configure('\n[ship]\nurl = "file:///var/lib/tickd/shipped"\nevery_s = 86400\n')
    unit.start()
    unit.wait_for_frames(100)
    unit.machine.run("systemctl", "restart", "tickd", check=True)  # a sealed segment to ship
    shipped = unit.machine.run("systemctl", "start", "tickd-ship.service")
    assert shipped.returncode == 0, unit.machine.journal("tickd-ship.service")
    assert unit.is_active
    assert any((unit.machine.root / STATE / "shipped").rglob("*.tkraw"))
