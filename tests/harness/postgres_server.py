"""A real PostgreSQL server in a directory of its own, on loopback, to be killed and started again.

It refuses to run as root; started by root it runs as the user `postgres` that its package makes.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

PASSWORD = "a proof's own"
START_S_MAX = 30.0


def binaries() -> Path | None:
    """The newest server that is installed; None: none is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


class PostgresServer:
    """`start` after `kill` is a restart over the same data."""

    def __init__(self, directory: Path) -> None:
        folder = binaries()
        assert folder is not None
        self._binaries = folder
        self._data = directory / "data"
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def create(self) -> None:
        """Make the cluster, a user `tickd` with a password, and its database."""
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb",
            *("-D", str(self._data), "-U", "postgres", "-E", "UTF8", "--no-sync"),
            *("--auth-local=trust", "--auth-host=scram-sha-256"),
        )
        self.start()
        self.ask(f"CREATE ROLE tickd LOGIN PASSWORD '{PASSWORD.replace(chr(39), 2 * chr(39))}'")
        self.ask("CREATE DATABASE tickd OWNER tickd")

    def start(self) -> None:
        command = self._as_owner(
            "postgres",
            *("-D", str(self._data), "-k", str(self.directory), "-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        )
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                self.ask("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                assert time.monotonic() < deadline, (self.directory / "server.log").read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """kill -9; its children end by themselves when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def ask(self, sql: str, *, database: str = "postgres") -> list[dict[str, Any]]:
        """Rows of a question, asked as superuser through the socket."""

        async def asked() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(
                host=str(self.directory), port=self.port, user="postgres", database=database
            )
            try:
                return [dict(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        return asyncio.run(asked())

    def _as_owner(self, program: str, *arguments: str) -> Sequence[str]:
        command = [str(self._binaries / program), *arguments]
        if os.getuid() == 0:
            return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        return command

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            self._as_owner(program, *arguments), check=True, capture_output=True, timeout=60
        )


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running one; its directory is short, as paths of sockets must be, and goes with it."""
    directory = Path(tempfile.mkdtemp(prefix="tickd-pg-"))
    server = PostgresServer(directory)
    try:
        server.create()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)
