"""The operator's terminal tools against a daemon at work: one market, one daemon, every tool."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import ioctl
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest

from tests.harness.processes import REPOSITORY, Daemon, server, tickd, venue_of, write_config
from tickd.app.control import ask

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(90),
]

VENUE = "binance-usdm"
SYMBOLS = 4


@dataclass
class Running:
    """A daemon that records a market which goes on."""

    config: Path
    state_dir: Path
    daemon: Daemon
    symbols: list[str]

    def ask(self, command: str, **arguments: object) -> Any:
        return asyncio.run(ask(self.state_dir, command, **arguments))

    def tickd(self, command: str, *arguments: str) -> str:
        done = tickd(command, str(self.config), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("tools")
    market = ("--rate", "400", "--symbols", str(SYMBOLS), "--seed", "5")
    with server("sim", *market, log=folder / "sim.log") as sim:
        config = write_config(
            folder / "tickd.toml",
            state_dir=folder / "state",
            venues=[venue_of(sim)],
        )
        with Daemon(config, folder / "daemon.log") as daemon:
            daemon.wait_for(
                lambda s: s["decoder"].get("events", 0) > 1_000 and s["sink"]["state"] == "live"
            )
            yield Running(config, folder / "state", daemon, sim["symbols"][VENUE])
            daemon.stop()


class Terminal:
    """A program on a pty of 100 x 30, read as what it printed."""

    def __init__(self, *arguments: str) -> None:
        self._near, far = pty.openpty()
        ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickd", *arguments],
            stdin=far,
            stdout=far,
            stderr=far,
            cwd=REPOSITORY,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            start_new_session=True,
        )
        os.close(far)
        self.text = ""

    def press(self, keys: str) -> None:
        self.text = ""
        os.write(self._near, keys.encode())

    def wait_for(self, pattern: str, timeout: float = 30) -> str:
        """Read until `pattern` was printed. What was printed before a `press` does not count."""
        until = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            assert time.monotonic() < until, f"no {pattern!r} in {self.text[-3000:]!r}"
            if select.select([self._near], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self._near, 65_536).decode(errors="replace")
                except OSError:  # the program has gone
                    break
        assert re.search(pattern, self.text), self.text[-3000:]
        return self.text

    def end(self) -> int:
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._near)


def test_top_prints_one_page_into_a_pipe(running: Running) -> None:
    page = running.tickd("top", "--once")
    assert "recording" in page
    assert f"trade.{VENUE}.{running.symbols[0]}" in page
    assert "\x1b[" not in page


def test_top_tells_rates_and_obeys_order_and_filter(running: Running) -> None:
    answer = json.loads(running.tickd("top", "--json", "--sort", "topic", "--filter", "TRADE."))
    names = [row["topic"] for row in answer["rows"]]
    assert names == sorted(names)
    assert len(names) == SYMBOLS
    assert sum(row["rate"] for row in answer["rows"]) > 0
    fewer = running.ask("top", sort="events", rows=2)["rows"]
    assert len(fewer) == 2
    assert fewer[0]["events"] >= fewer[1]["events"]


def test_top_pages_answer(running: Running) -> None:
    name = f"quote.{VENUE}.{running.symbols[0]}"
    assert running.ask("top", page="topic", topic=name)["topic"]["events"] > 0
    assert running.ask("top", page="topic", topic="trade.no.SUCH")["topic"] is None
    assert len(running.ask("top", page="gaps")["gaps"]) == running.ask("gaps")["open"]
    assert running.ask("top", page="risk")["risk"]["state"] == "halted"
    assert running.ask("top", page="nonsense")["page"] == "topics"


def test_top_on_a_terminal_is_driven_by_keys(running: Running) -> None:
    with Terminal("top", str(running.config), "--interval", "0.3") as terminal:
        assert "\x1b[?1049h" in terminal.wait_for(r"rate.*▾")  # the alternate screen
        terminal.press("s")
        terminal.wait_for(r"events.*▾")
        terminal.press("/quote.\r")
        terminal.wait_for(r"only topics with.*'quote\.'")
        terminal.press("\r")
        terminal.wait_for(r"queue of")
        terminal.press("\x1b")
        terminal.wait_for(r"to bus p99")
        terminal.press("r")
        terminal.wait_for(r"trading .*halted")
        terminal.press("kno\r")
        terminal.wait_for(r"nothing was halted")
        before = running.ask("risk_status")["trips"]
        terminal.press("kkill\r")
        terminal.wait_for(r"all orders are halted")
        # The word is tripped by then; the loop counts it when the latch thread rings.
        running.daemon.wait_for(lambda _: running.ask("risk_status")["trips"] == before + 1)
        terminal.press("q")
        terminal.wait_for(re.escape("\x1b[?1049l"))
        assert terminal.end() == 0


def test_ctrl_c_leaves_top_cleanly(running: Running) -> None:
    with Terminal("top", str(running.config)) as terminal:
        terminal.wait_for(r"rate.*▾")
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for(re.escape("\x1b[?1049l"))
        assert terminal.end() in (0, 130)
        assert "Traceback" not in terminal.text


def test_tail_prints_live_events_in_natural_units(running: Running) -> None:
    pattern = f"trade.{VENUE}.*"
    lines = running.tickd("tail", pattern, "--json", "--count", "20").splitlines()
    events = [json.loads(line) for line in lines]
    assert len(events) == 20
    assert {event["kind"] for event in events} == {"TRADE"}
    assert all(float(event["price"]) > 0 and "." in event["price"] for event in events)
    text = running.tickd("tail", pattern, "--count", "3")
    assert text.count(" TRADE ") == 3


def test_a_fifth_watcher_and_a_bad_pattern_are_refused(running: Running) -> None:
    done = tickd("tail", str(running.config), "trade.")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)

    async def five() -> list[bytes]:
        lines = []
        writers = []
        for _ in range(5):
            reader, writer = await asyncio.open_unix_connection(running.state_dir / "control.sock")
            writer.write(b'{"command":"tail","topics":["status.*.*"]}\n')
            writers.append(writer)
            lines.append(await reader.readline())
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        return lines

    answers = [json.loads(line) for line in asyncio.run(five())]
    assert [sorted(each) for each in answers] == [["tail"]] * 4 + [["error", "hint"]]


def test_a_slow_watcher_hurts_only_itself_and_is_told(running: Running) -> None:
    """It reads nothing for seconds, while small socket buffers fill."""

    async def watch() -> int:
        reader, writer = await asyncio.open_unix_connection(
            running.state_dir / "control.sock", limit=1_024
        )
        writer.write(b'{"command":"tail","topics":["*"]}\n')
        await asyncio.sleep(5)
        dropped = 0
        until = time.monotonic() + 20
        while not dropped and time.monotonic() < until:
            said = json.loads(await reader.readline())
            dropped = said.get("dropped", 0)
            await reader.readexactly(said.get("records", 0) * 64)
        writer.close()
        await writer.wait_closed()
        return dropped

    before = running.daemon.status()["raw_log"]["frames"]
    dropped = asyncio.run(watch())
    status = running.daemon.wait_for(lambda s: s["raw_log"]["frames"] > before)
    assert dropped > 0
    assert status["state"] == "recording"
    frames = tickd("inspect", str(running.state_dir), "--frames", "--limit", "1000000").stdout
    assert frames
    assert '"kind":"drop"' not in frames


def test_flight_recorder_shows_connects_and_dumps_on_usr2(running: Running) -> None:
    events = [json.loads(line) for line in running.tickd("flight", "--json").splitlines()]
    names = {each["event"] for each in events}
    assert {"flight_began", "connection_opened", "state_changed"} <= names
    assert any(each.get("now") == "recording" for each in events)
    process = running.daemon.process
    assert process is not None
    process.send_signal(signal.SIGUSR2)
    listed = ""
    for _ in range(200):
        listed = running.tickd("flight", "--dumps")
        if "signal.jsonl" in listed:
            break
    assert "signal.jsonl" in listed


def test_gap_history_asks_the_tables(running: Running) -> None:
    done = tickd("gaps", "history", str(running.config), "--json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)


def test_support_bundle_has_what_the_daemon_says(running: Running, tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.gz"
    running.tickd("support-bundle", "--quick", "--out", str(out))
    with tarfile.open(out) as archive:
        names = {member.name.partition("/")[2] for member in archive}
    assert names >= {"status.json", "metrics.txt", "gaps.json", "doctor.json", "manifest.jsonl"}
    assert not [name for name in names if name.endswith(".error.txt")]


def tail_of(config: Path) -> subprocess.Popen[bytes]:
    """A watcher that has a queue by now."""
    process = subprocess.Popen([sys.executable, "-m", "tickd", "tail", str(config)], cwd=REPOSITORY)
    state_dir = config.parent / "state"
    until = time.monotonic() + 20
    while True:
        status: Any = asyncio.run(ask(state_dir, "status"))
        if any(each["subscription"] == "tail 1" for each in status["bus"]["queues"]):
            return process
        assert time.monotonic() < until, "no queue of a watcher"


def test_a_killed_daemon_leaves_its_last_events(running: Running, tmp_path: Path) -> None:
    """Of a daemon of its own: kill -9, then the next start finds what it left."""
    config = tmp_path / "tickd.toml"
    config.write_text(
        f'[node]\nstate_dir = "{tmp_path}/state"\n[http]\nport = 0\n'
        '[disk_guard]\nballast_bytes = 0\n[clickhouse]\nurl = "http://127.0.0.1:9"\n'
    )
    with Daemon(config, tmp_path / "daemon.log") as daemon:
        watching = tail_of(config)
        daemon.kill()
        assert watching.wait(20) == 0  # a watcher ends with its daemon
        left = (tmp_path / "state/flight/current.jsonl").read_text()
        assert "flight_began" in left
        assert "flight_ended" not in left
        daemon.start()
        watching = tail_of(config)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        assert watching.wait(20) == 0
    (kept,) = (tmp_path / "state/dumps").glob("flight-*-sudden-end.jsonl")
    assert kept.read_text() == left
    assert "last_life_ended_suddenly" in daemon.tail()


def test_a_fatal_signal_leaves_every_threads_stack(tmp_path: Path) -> None:
    config = tmp_path / "tickd.toml"
    config.write_text(
        f'[node]\nstate_dir = "{tmp_path}/state"\n[http]\nport = 0\n'
        '[disk_guard]\nballast_bytes = 0\n[clickhouse]\nurl = "http://127.0.0.1:9"\n'
    )
    with Daemon(config, tmp_path / "daemon.log") as daemon:
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSEGV)
        assert daemon.process.wait(20) == -signal.SIGSEGV
    (stacks,) = (tmp_path / "state/dumps").glob("fatal-*.txt")
    assert "Segmentation fault" in stacks.read_text()
    assert "event_loop.py" in stacks.read_text()


def test_doctor_finds_the_venue_on_loopback(running: Running) -> None:
    done = tickd("doctor", str(running.config), "--json")
    found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert found[f"network {VENUE}"]["verdict"] == "OK"
    assert found["clickhouse"]["verdict"] == "OK"
    assert "p99" in found["fsync"]["words"]
