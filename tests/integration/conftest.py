"""ClickHouse servers for integration tests, embedded and real, as processes to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from recorder.clickhouse.endpoint import Endpoint
from recorder.embedded.key import read_key

ROOT = Path(__file__).resolve().parents[2]


class ServerProcess:
    """One server over one data directory; `kill` is kill -9, `start` after it is a restart."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        self.url = ""

    @property
    def key(self) -> str:
        """Empty for the real server, which has a user without a password."""
        return read_key(self._directory).reveal()

    @property
    def endpoint(self) -> Endpoint:
        key = read_key(self._directory)
        return Endpoint(self.url, password=key, embedded=bool(key))

    def start(self) -> None:
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._process = process
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            port = said.get("http") or said.get("port")
            if port is not None:
                self.url = f"http://127.0.0.1:{port}"
                return
        pytest.fail(f"server did not start: {self._command}, exit code {process.wait()}")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.wait(timeout=15)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def post(self, sql: str, data: bytes = b"", **settings: str) -> bytes:
        """Run one statement; HTTPError on a refusal, OSError when the server has gone."""
        query = urllib.parse.urlencode({"query": sql, "wait_end_of_query": "1", **settings})
        request = urllib.request.Request(
            f"{self.url}/?{query}", data=data, headers=self.endpoint.headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=15) as reply:
            return bytes(reply.read())

    def refusal(self, sql: str, data: bytes = b"", **settings: str) -> tuple[int, str]:
        """Return (code, text) of a statement that must be refused."""
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.post(sql, data, **settings)
        with caught.value as reply:
            return int(reply.headers["X-ClickHouse-Exception-Code"]), reply.read().decode()


def libchdb_path() -> Path | None:
    """Return $TICKD_LIBCHDB or what `scripts/libchdb.sh` left, None when there is neither."""
    named = os.environ.get("TICKD_LIBCHDB")
    if named:
        return Path(named)
    return next(iter(sorted((ROOT / "build" / "libchdb").glob("*/libchdb.so"))), None)


def _command(kind: str, directory: Path) -> list[str]:
    if kind == "embedded":
        if find_spec("chdb") is None:
            pytest.skip("chdb is not installed: tickd[embedded]")
        return [sys.executable, "-m", "recorder.embedded.server", f"--directory={directory}"]
    library = libchdb_path()
    if library is None or not library.exists():
        pytest.skip("no libchdb.so: run `scripts/libchdb.sh` or set TICKD_LIBCHDB")
    return [sys.executable, str(ROOT / "tests/servers/libchdb.py"), str(library), str(directory)]


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.embedded),
        pytest.param("real", marks=pytest.mark.server),
    ]
)
def clickhouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """An empty server that answers, twice: embedded and real."""
    directory = tmp_path / "clickhouse"
    server = ServerProcess(_command(request.param, directory), directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()
