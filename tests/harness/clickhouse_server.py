"""A ClickHouse server as a process of its own that may be killed and started again where it was.

`real` is the server library of `scripts/libchdb.sh` (or $TICKD_LIBCHDB), `embedded` the child that
the daemon otherwise starts itself. The port stays the same over restarts, as it would in a
deployment.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self

import pytest

from recorder.embedded.key import read_key

REPOSITORY = Path(__file__).resolve().parents[2]
HTTP_TIMEOUT_S = 120
END_TIMEOUT_S = 30
Kind = Literal["real", "embedded"]


def library() -> Path | None:
    """$TICKD_LIBCHDB or what `scripts/libchdb.sh` left, None when there is neither."""
    named = os.environ.get("TICKD_LIBCHDB")
    found = [Path(named)] if named else sorted((REPOSITORY / "build/libchdb").glob("*/libchdb.so"))
    return next((path for path in found if path.exists()), None)


def require(kind: Kind) -> None:
    """Skip the running test where this kind of server cannot be had."""
    if kind == "embedded" and find_spec("chdb") is None:
        pytest.skip("chdb is not installed: tickd[embedded]")
    if kind == "real" and library() is None:
        pytest.skip("no libchdb.so: run `scripts/libchdb.sh` or set TICKD_LIBCHDB")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ClickHouseServer:
    """One server over one directory; `kill` is SIGKILL, `start` after it is a restart.

    It ends with its parent: both kinds live until their standard input closes.
    """

    def __init__(self, kind: Kind, directory: Path, *, config: Path | None = None) -> None:
        """`config`: a config.xml for the real one."""
        assert config is None or kind == "real"
        self.kind = kind
        self._config = config
        self.directory = directory
        self.port = free_port()
        self.kills = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def key_file(self) -> Path | None:
        """What a config names as the password; the real server has a user without one."""
        return self.directory / "http.key" if self.kind == "embedded" else None

    def settings(self, url: str | None = None) -> dict[str, object]:
        """The section `[clickhouse]` of a daemon that uses it, directly or through `url`."""
        section: dict[str, object] = {"url": url or self.url}
        if self.key_file is not None:
            section["password"] = {"file": str(self.key_file)}
        return section

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._process is None, "it runs"
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if said.get("http") or said.get("port"):
                return
        code = self._end()
        raise AssertionError(f"the {self.kind} server did not start: exit code {code}")

    def kill(self) -> None:
        """Kill it as a crash does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.kills += 1
        self._end()

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._end()

    def ask(self, sql: str, **settings: str) -> str:
        """Run one statement; HTTPError on a refusal, OSError when it is not there."""
        query = urllib.parse.urlencode({"wait_end_of_query": "1", **settings})
        headers = {"X-ClickHouse-User": "default"}
        if key := read_key(self.directory).reveal():
            headers["X-ClickHouse-Key"] = key
        request = urllib.request.Request(f"{self.url}/?{query}", sql.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as reply:
                return str(reply.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                error.add_note(error.read().decode(errors="replace")[:500])
            raise

    def number(self, sql: str, **settings: str) -> int:
        """The one integer that a question has for an answer."""
        return int(self.ask(sql, **settings))

    def _command(self) -> list[str]:
        if self.kind == "embedded":
            module = ["-m", "recorder.embedded.server", f"--directory={self.directory}"]
            return [sys.executable, *module, f"--port={self.port}"]
        program = REPOSITORY / "tests/servers/libchdb.py"
        found = library()
        assert found is not None, "no libchdb.so: run `scripts/libchdb.sh` or set TICKD_LIBCHDB"
        own = [] if self._config is None else [str(self._config)]
        return [sys.executable, str(program), str(found), str(self.directory), str(self.port), *own]

    def _end(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        try:
            code = process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait(END_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
