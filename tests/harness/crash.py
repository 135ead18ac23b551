"""Lives of a small daemon that are ended on purpose, and what must hold of all of them together.

Starts `tests/servers/crash_nursery.py`, orders lives, kills them, and compares the raw log that
they left with what each life had promised before it died. It does not know why a life ended.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.harness.clickhouse_server import ClickHouseServer
from tests.harness.processes import REPOSITORY, tickd, write_config
from tests.reference.raw_log import Record, read_log
from tickd.native import EVENT_TABLES

NATIVE = REPOSITORY / "native"
POLL_S = 0.002
# Nobody listens there; memory for a few blocks and a spool for some: both are soon full.
OUTAGE = {
    "TICKD__CLICKHOUSE__URL": "http://127.0.0.1:9",
    "TICKD__SINK__BLOCK_BYTES_MAX": "65536",
    "TICKD__SINK__PENDING_BYTES_MAX": "131072",
    "TICKD__SINK__SPOOL_BYTES_MAX": "800000",
}
# Quick: a group every few milliseconds, a segment every few hundred.
LOG = {"group_ms": 5, "fsync_ms": 10, "segment_bytes_max": 20_000}


def failpoint_module() -> Path:
    """The native module with places to die at; built when the sources are newer."""
    target = NATIVE / "target" / "failpoints"
    command = ["cargo", "build", "--locked", "--quiet", "--package", "tickd-py"]
    command += ["--features", "failpoints", "--target-dir", str(target)]
    subprocess.run(["nice", *command], cwd=NATIVE, check=True, timeout=900)
    return target / "debug" / "libtickd_native.so"


@dataclass
class Said:
    """What one life promised."""

    frame_next: int = 0
    written: int = 0
    synced: list[tuple[int, int]] = field(default_factory=list)  # (frame, monotonic ns)
    rebuilt_differently: int = 0
    spilled: int = 0
    stored: int = 0
    behind: int = 0
    live: bool = False
    drained: bool = False

    @property
    def frame_synced(self) -> int:
        return self.synced[-1][0] if self.synced else 0


def drawn_seed() -> int:
    """$TICKD_SEED or a new one; pytest shows it with a failure."""
    seed = int(os.environ.get("TICKD_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
    sys.stdout.write(f"TICKD_SEED={seed}\n")
    return seed


class Nursery:
    """The process that lives are forked from."""

    def __init__(self, folder: Path, native: Path | None = None) -> None:
        self.log = folder / "lives.log"
        command = [sys.executable, "-m", "tests.servers.crash_nursery"]
        if native is not None:
            command.append(str(native))
        with self.log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )
        self.pid: int | None = None

    def begin(self, order: dict[str, Any]) -> None:
        assert self.pid is None, "one life at a time"
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        self.pid = int(self._line()["pid"])

    def ended(self, timeout: float) -> int | None:
        """The exit code of the life, negative for a signal; None when it lives on."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            return None
        self.pid = None
        return int(self._line()["code"])

    def signal(self, number: int) -> None:
        if self.pid is not None:
            # A life that was asked to end may be gone before it is killed.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the nursery ended: {self.tail()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(30)


class Node:
    """One state directory and its lives, one after the other."""

    def __init__(
        self,
        folder: Path,
        nursery: Nursery,
        *,
        clickhouse: dict[str, object],
        sink: dict[str, object] | None = None,
        sections: dict[str, dict[str, object]] | None = None,
        state_dir: Path | None = None,
        log: dict[str, int] | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.database = str(clickhouse.get("database", "tickd"))
        self.nursery = nursery
        self.state_dir = state_dir or folder / "state"
        quick: dict[str, object] = {
            "rows_max": 2_000,
            "age_ms_max": 20,
            "backoff_ms_min": 1,
            "backoff_ms_max": 50,
            "drain_timeout_ms": 120_000,
        }
        self.config = write_config(
            folder / "tickd.toml",
            state_dir=self.state_dir,
            venues=[],
            sections={
                "clickhouse": clickhouse,
                "sink": {**quick, **(sink or {})},
                **(sections or {}),
            },
        )
        self.log = log or {}
        self.hits = folder / "hits.log"
        self.lives = 0

    @property
    def raw(self) -> Path:
        return self.state_dir / "raw"

    def says(self, life: int) -> Path:
        return self.folder / f"life-{life:04}.log"

    def begin(self, points: str | None = None, *, outage: bool = False, **log: int) -> None:
        """Start a life; `outage`: one that cannot reach its ClickHouse."""
        environment = dict(OUTAGE) if outage else {}
        if points is not None:
            environment["TICKD_FAILPOINTS"] = points
            environment["TICKD_FAILPOINT_HITS"] = str(self.hits)
        self.nursery.begin(
            {
                "config": str(self.config),
                "seed": self.lives,
                "says": str(self.says(self.lives)),
                "log": {**LOG, **self.log, **log},
                "environment": environment,
            }
        )
        self.lives += 1

    def dies_at(
        self,
        points: str,
        *,
        stopping: bool = False,
        outage: bool = False,
        timeout: float = 60,
        **log: int,
    ) -> None:
        """One life that must end at an ordered place; `stopping`: one that is passed at its end."""
        self.begin(points, outage=outage, **log)
        if stopping:
            self.wait_for(lambda said: said.live)
            self.nursery.signal(signal.SIGTERM)
        code = self.nursery.ended(timeout)
        if code is None:
            self.kill()
        assert code == -signal.SIGKILL, f"{points}: {code}, never came there\n{self.nursery.tail()}"

    def kill(self) -> None:
        self.nursery.signal(signal.SIGKILL)
        assert self.nursery.ended(10) is not None

    def wait_for(self, condition: Callable[[Said], bool], *, timeout: float = 30) -> Said:
        """Poll until what the running life has said is so."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            said = self.said(self.lives - 1)
            if condition(said):
                return said
            time.sleep(POLL_S)
        raise AssertionError(f"not said in {timeout} s: {self.nursery.tail()}")

    def finish(self, points: str | None = None) -> None:
        """One last life that becomes live, drains and stops in order."""
        self.begin(points)
        self.wait_for(lambda said: said.live and not said.spilled, timeout=120)
        self.nursery.signal(signal.SIGTERM)
        code = self.nursery.ended(150)
        assert code == 0, f"exit code {code}: {self.nursery.tail()}"
        assert self.said(self.lives - 1).drained, self.nursery.tail()

    def said(self, life: int) -> Said:
        said = Said()
        path = self.says(life)
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        for line in lines:
            word, *rest = line.decode().split(" ")
            match word:
                case "next":
                    said.frame_next = int(rest[0])
                case "written":
                    said.written = int(rest[0])
                case "synced":
                    said.synced.append((int(rest[0]), int(rest[1])))
                case "rebuilt_differently" | "spilled" | "stored" | "behind":
                    setattr(said, word, int(rest[0]))
                case "live" | "drained":
                    setattr(said, word, True)
        return said

    def all_said(self) -> Iterator[Said]:
        return map(self.said, range(self.lives))

    def passes(self) -> list[str]:
        return self.hits.read_text().split() if self.hits.exists() else []


def prove_rows(node: Node, server: ClickHouseServer) -> None:
    """ClickHouse has the rows of the raw log, each once, in blocks as they were planned."""
    assert not any(said.rebuilt_differently for said in node.all_said())
    for table in EVENT_TABLES:
        name = f"{node.database}.{table}"
        twice = server.number(f"SELECT count() - uniqExact(node, seq) FROM {name}")
        assert twice == 0, f"{name}: {twice} rows twice"
    verified = tickd("verify", str(node.config), timeout=300)
    assert verified.returncode == 0, f"{verified.stdout}{verified.stderr}"


def holes(records: list[Record]) -> list[tuple[int, int]]:
    """Ranges of frame numbers that no record has taken, between the first and the last one."""
    found, expected = [], 1
    for record in records:
        assert record.frame_no >= expected, f"frame {record.frame_no} is not above the one before"
        if record.frame_no > expected:
            found.append((expected, record.frame_no - 1))
        expected = record.frame_last + 1
    return found


def announced(records: list[Record]) -> list[tuple[int, int]]:
    """The ranges that gap records name, in their order."""
    control = (json.loads(record.payload) for record in records if record.kind == "C")
    gaps = [each for each in control if each["kind"] == "gap"]
    return [(gap["from_frame"], gap["to_frame"]) for gap in gaps]


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in as few ranges as possible."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def prove_log(
    node: Node, *, damaged: tuple[tuple[int, int], ...] = (), power_cut: bool = False
) -> list[Record]:
    """Everything promised is there; every hole has its gap record and every gap record its hole.

    Args: `damaged`: frames that the test itself destroyed; `power_cut`: what was not synced may be
    missing.
    """
    records = read_log(node.raw)
    found = holes(records)
    gaps = announced(records)
    assert len(gaps) == len(set(gaps)), f"announced twice: {gaps}"
    assert joined(found) == joined(gaps), f"holes {found}, gap records {gaps}"
    lost = [
        (first, last)
        for first, last in found
        for said in node.all_said()
        if said.frame_next and last >= said.frame_next
        if first <= (said.frame_synced if power_cut else said.written)
    ]
    for first, last in lost:
        assert any(low <= first and last <= high for low, high in damaged), (
            f"frames {first} to {last} were promised and are not there"
        )
    return records
