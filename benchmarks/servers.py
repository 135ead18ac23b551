"""ClickHouse servers for the benchmarks: the embedded one, and a real one where its library is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recorder.clickhouse.endpoint import Endpoint
from recorder.embedded.key import read_key

ROOT = Path(__file__).resolve().parents[1]


def kinds() -> list[str]:
    """The servers that can be had here."""
    return ["embedded", "real"] if library() is not None else ["embedded"]


def library() -> Path | None:
    """$TICKD_LIBCHDB or what `scripts/libchdb.sh` left."""
    named = os.environ.get("TICKD_LIBCHDB")
    if named:
        return Path(named)
    return next(iter(sorted((ROOT / "build" / "libchdb").glob("*/libchdb.so"))), None)


@contextmanager
def serving(kind: str) -> Iterator[Endpoint]:
    """An empty server of that kind."""
    with tempfile.TemporaryDirectory(prefix="tickd-bench-") as scratch:
        directory = Path(scratch) / "clickhouse"
        if kind == "embedded":
            command = [sys.executable, "-m", "recorder.embedded.server", f"--directory={directory}"]
        else:
            program = str(ROOT / "tests/servers/libchdb.py")
            command = [sys.executable, program, str(library()), str(directory)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                url = f"http://127.0.0.1:{_port(process.stdout)}"
                embedded = kind == "embedded"
                yield Endpoint(url, password=read_key(directory), embedded=embedded)
            finally:
                process.stdin.close()  # both kinds end with their input
                process.wait(timeout=30)


def _port(lines: Iterator[bytes]) -> int:
    for line in lines:
        said = json.loads(line)
        port = said.get("http") or said.get("port")
        if port is not None:
            return int(port)
    raise SystemExit("the server did not start")
