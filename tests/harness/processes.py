"""Real processes for tests: the daemon and the loopback venues, started, asked and ended by pid."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from tickd.app.config import load_config
from tickd.app.control import ask
from tickd.errors import TickdError

REPOSITORY = Path(__file__).resolve().parents[2]
CAPTURES = Path(os.environ.get("TICKD_CAPTURES", REPOSITORY.parent / "shared" / "data"))
POLL_S = 0.05
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def with_its_parent() -> None:
    """A `preexec_fn`: the child gets TERM when the *thread* that started it ends, even by KILL."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def tickd(
    *arguments: str, timeout: float = 120, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run one `tickd` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tickd", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=check,
        cwd=REPOSITORY,
    )


@contextmanager
def server(
    *arguments: str, log: Path, preexec_fn: Callable[[], None] | None = None
) -> Iterator[dict[str, Any]]:
    """A loopback venue: yields what it printed at start (`ws`, `rest`, `pid`)."""
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tickd", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=REPOSITORY,
            preexec_fn=preexec_fn,  # noqa: PLW1509 - the callers have one thread
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"the server printed nothing: {log.read_text()[-2000:]}"
            yield json.loads(line)
        finally:
            stop(process)
            if process.stdout is not None:
                process.stdout.close()


def stop(process: subprocess.Popen[bytes], timeout: float = 30) -> int:
    """End a process by SIGTERM, by SIGKILL after `timeout` seconds; return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(10)


class Daemon:
    """`tickd run CONFIG` as a child; may be killed and started again."""

    def __init__(
        self, config: Path, log: Path, *, preexec_fn: Callable[[], None] | None = None
    ) -> None:
        self.config = config
        self.log = log
        self._preexec_fn = preexec_fn
        self._stderr: IO[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.state_dir = Path()

    def start(self, *, ready_timeout: float = 60) -> None:
        """Start and wait until it answers."""
        self.launch()
        self.wait_for(lambda _: True, timeout=ready_timeout)

    def launch(self) -> None:
        """Start, and wait for nothing."""
        self.state_dir = load_config(self.config).state_dir
        self._stderr = self._stderr or self.log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickd", "run", str(self.config)],
            stderr=self._stderr,
            cwd=REPOSITORY,
            preexec_fn=self._preexec_fn,  # noqa: PLW1509 - the callers have one thread
        )

    def clickhouse_pid(self) -> int:
        """The embedded server, a child of the daemon."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task")  # any thread may have started it
        children = [
            child for path in tasks.glob("*/children") for child in path.read_text().split()
        ]
        for child in children:
            if b"recorder.embedded" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        raise AssertionError(f"no embedded server among {children}: {self.tail()}")

    def status(self, **arguments: object) -> dict[str, Any]:
        result: Any = asyncio.run(ask(self.state_dir, "status", **arguments))
        return dict(result)

    def histogram_p99_ms(self, *names: str) -> dict[str, float]:
        """The bound, in ms, below which 99 % of each histogram lie since the start."""
        answer: Any = asyncio.run(ask(self.state_dir, "histograms"))
        found = {}
        for name in names:
            counts, bounds = answer[name], [*answer["bounds_ns"], float("inf")]
            wanted, seen = 0.99 * sum(counts), 0
            for bound, count in zip(bounds, counts, strict=True):
                seen += count
                if seen >= wanted:
                    found[name] = bound / 1e6
                    break
        return found

    def wait_for(self, condition: Any, *, timeout: float = 60) -> dict[str, Any]:
        """Poll the status until `condition(status)` holds; return that status."""
        deadline = time.monotonic() + timeout
        last: dict[str, Any] = {}
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended: {self.tail()}")
            try:
                last = self.status()
                if condition(last):
                    return last
            except TickdError:
                pass
            time.sleep(POLL_S)
        raise AssertionError(f"condition not met in {timeout} s: {last}\n{self.tail()}")

    def wait_until_quiet(self, *, frames_min: int, timeout: float = 60) -> dict[str, Any]:
        """Poll until at least so many frames are there and no more come."""
        seen = (0, 0)  # frames, polls without a new one

        def quiet(status: dict[str, Any]) -> bool:
            nonlocal seen
            frames = status["raw_log"]["frames"]
            seen = (frames, seen[1] + 1 if frames == seen[0] else 0)
            return bool(frames >= frames_min and seen[1] >= 20)

        return self.wait_for(quiet, timeout=timeout)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End whatever still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self._stderr is not None:
            self._stderr.close()

    def stop(self) -> int:
        assert self.process is not None
        return stop(self.process, timeout=60)


def venue_of(server: dict[str, Any], **settings: object) -> dict[str, object]:
    """The config table that records everything of a served USD-M market."""
    name = "binance-usdm"
    return {
        "name": name,
        "symbols": server["symbols"][name],
        "channels": ["trade", "quote", "depth"],
        "depth_interval_ms": 0,
        "ws_url": server["ws"][name],
        "rest_url": server["rest"][name],
        **settings,
    }


def query(config: Path, sql: str) -> list[dict[str, Any]]:
    """The rows of an SQL question to the ClickHouse of `config`."""
    result = tickd("query", "--config", str(config), "--format", "json", sql, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def write_config(
    path: Path,
    *,
    state_dir: Path,
    venues: list[dict[str, object]],
    sections: dict[str, dict[str, object]] | None = None,
) -> Path:
    """A config file for loopback venues, embedded ClickHouse and any free HTTP port."""
    given = dict(sections or {})
    tables: dict[str, dict[str, object]] = {
        "node": {"state_dir": str(state_dir), **given.pop("node", {})},
        "http": {"port": 0, **given.pop("http", {})},
        # Many small daemons: a ballast of each would fill the disk of the tests.
        "disk_guard": {"ballast_bytes": 0, **given.pop("disk_guard", {})},
        **given,
    }
    lines = []
    for name, values in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
    for venue in venues:
        lines.append("[[venues]]")
        lines += [f"{key} = {_toml(value)}" for key, value in venue.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
