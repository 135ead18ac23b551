"""A daemon with a secret under every key: none is in anything that it writes, answers or shows.

Method: `tickd run` in a process of its own, with marked secrets and servers that are not there, so
that everything fails that can; then every surface is looked through. Another surface is another
line of `SURFACES`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.marked_secrets import MarkedSecrets
from tests.harness.processes import REPOSITORY, Daemon, tickd
from tickd.app.control import ask
from tickd.errors import TickdError

pytestmark = [pytest.mark.proof, pytest.mark.timeout(120)]


@dataclass
class Life:
    """A daemon at work."""

    secrets: MarkedSecrets
    config: Path
    daemon: Daemon
    status: dict[str, Any]

    @property
    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def said(self, *arguments: str) -> str:
        """What a command prints, and complains about."""
        ended = tickd(*arguments)
        return ended.stdout + ended.stderr

    def asked(self, command: str, **arguments: object) -> str:
        """The answer to a control command, or its refusal."""
        try:
            return str(asyncio.run(ask(self.daemon.state_dir, command, **arguments)))
        except TickdError as error:
            return f"{error} {error.hint}"

    def fetched(self, path: str) -> str:
        token = self.secrets.values["http.token"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.status['http_port']}{path}",
            headers={"Authorization": f"Bearer {token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return str(reply.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def files(self) -> bytes:
        """Everything in the state directory."""
        paths = sorted(path for path in self.daemon.state_dir.rglob("*") if path.is_file())
        return b"\n".join(path.read_bytes() for path in paths)


def _dumped(life: Life) -> bytes:
    os.kill(life.pid, signal.SIGUSR2)
    life.daemon.wait_for(lambda _: list((life.daemon.state_dir / "dumps").glob("*.json")))
    return b"".join(path.read_bytes() for path in (life.daemon.state_dir / "dumps").iterdir())


def _panicked(life: Life) -> bytes:
    """Cancelling all from a process of its own, at venues that are not there."""
    ended = subprocess.run(
        [sys.executable, "-m", "tickd", "panic", "--cancel-all", str(life.config)],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
    )
    assert ended.returncode
    return ended.stdout + ended.stderr


def _audited(life: Life) -> str:
    """Kills, arming that is refused, and all frames of the raw log."""
    said = life.asked("risk_kill", reason="a test", operator="ada")
    said += life.asked("risk_arm", reason="too early", operator="ada")
    said += life.asked("order_list", all=True) + life.asked("plan") + life.asked("nonsense")
    frames = life.said("inspect", str(life.daemon.state_dir), "--frames")
    assert '"kind":"audit"' in frames
    return said + frames


SURFACES: dict[str, Callable[[Life], str | bytes]] = {
    "status": lambda life: str(life.daemon.status(topics=True)),
    "screen": lambda life: life.said("status", str(life.config), "--topics"),
    "metrics": lambda life: life.fetched("/metrics"),
    "readiness": lambda life: life.fetched("/readyz"),
    "dump": _dumped,
    "audit": _audited,
    "panic": _panicked,
    "command line": lambda life: Path(f"/proc/{life.pid}/cmdline").read_bytes(),
    "environment": lambda life: Path(f"/proc/{life.pid}/environ").read_bytes(),
    # Last: what all of the above left behind.
    "log": lambda life: life.daemon.log.read_bytes(),
    "files": Life.files,
}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("redaction")
    secrets = MarkedSecrets(folder)
    config = folder / "tickd.toml"
    config.write_text(secrets.text(with_sdk=False) + '[log]\nlevel = "debug"\n')
    with Daemon(config, folder / "log") as daemon:
        # Everything has been tried and has failed once: venue, account, ClickHouse.
        status = daemon.wait_for(lambda _: all(each in daemon.tail() for each in FAILED))
        yield Life(secrets, config, daemon, status)


FAILED = ("migrate_failed", "instruments_failed", "binance_connect_failed", "ship_failed")


def test_nothing_shows_a_secret(life: Life) -> None:
    leaks: dict[str, set[str]] = {}
    for name, show in SURFACES.items():
        content = show(life)
        assert content, name
        if found := life.secrets.leaked(content):
            leaks[name] = found
    assert leaks == {}
