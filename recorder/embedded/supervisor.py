"""The supervisor of the embedded ClickHouse: starts the child, restarts it, stops it last.

A child that ends is started again, and one that lives and answers nothing is ended for it: asked on
a thread that no statement uses, so that a long query or merge is no hang.

The child has its own session (Ctrl-C of the terminal does not reach it), ignores INT, USR1, USR2
and HUP (a signal to the whole cgroup does), and ends by itself when the pipe to its stdin closes,
which happens however the daemon dies. This file speaks no SQL and knows nothing of the sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import structlog

from recorder.clickhouse.endpoint import Endpoint
from recorder.embedded.address import PULSE, Address, ping
from recorder.embedded.config import EmbeddedConfig
from recorder.embedded.errors import EmbeddedError, EmbeddedMissingError
from recorder.embedded.key import read_key
from tickd.secrets import Secret

__all__ = ["EmbeddedClickHouse"]

_log = structlog.get_logger(__name__)

_PING_EVERY_S: Final = 0.05
# Up this long, a death counts as the first of a new row of failures.
_HEALTHY_AFTER_S: Final = 30.0
# So many questions without an answer make a hang: one alone is also missed by a daemon that was
# itself stopped, or frozen together with the child.
_PULSES_MISSED_MAX: Final = 4
_LOG_TAIL_BYTES: Final = 2048
_LINE_BYTES_MAX: Final = 65_536


class EmbeddedClickHouse:
    """One embedded server under `directory` (created, mode 0700).

    Run `run()` as a task and cancel it to stop, last of all.
    Raises EmbeddedMissingError at once when chdb is not installed.
    """

    def __init__(self, directory: Path, config: EmbeddedConfig | None = None) -> None:
        if importlib.util.find_spec("chdb") is None:
            raise EmbeddedMissingError
        self._directory = directory.absolute()
        self._config = config or EmbeddedConfig()
        self._port: int = self._config.port  # the last one, so that the URL survives a restart
        self._address: Address | None = None  # of the child that answers now
        self._key = Secret("")
        self._ready = asyncio.Event()
        self._tried = asyncio.Event()  # a first start has succeeded or failed
        self._silent = False  # it lives, and the last question got no answer
        self.restarts: int = 0
        self.hangs: int = 0
        self.last_fault: str | None = None

    @property
    def endpoint(self) -> Endpoint | None:
        """The server while it answers, None while it is silent and until a restart is done."""
        if self._address is None or self._silent:
            return None
        return Endpoint(self._address.url, password=self._key, embedded=True)

    @property
    def pid(self) -> int | None:
        return self._address.pid if self._address is not None else None

    async def ready(self) -> Endpoint:
        """Wait for the server and return it; the caller sets the timeout."""
        while (endpoint := self.endpoint) is None:
            await self._ready.wait()
        return endpoint

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Endpoint]:
        """Run the server for a block and give it. A failed start is raised as it is."""
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(self.run(), name="embedded_clickhouse")
                try:
                    yield await self.ready()
                finally:
                    running.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise

    @contextlib.asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Run the server for a block that can do without it: no failure to start is raised."""
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.run(patient=True), name="embedded_clickhouse")
            try:
                await self._tried.wait()
                yield
            finally:
                running.cancel()

    async def run(self, *, patient: bool = False) -> None:
        """Keep the server running until cancelled; ends when the child has ended.

        Raises EmbeddedError when the *first* start fails, unless `patient`; a later failure is
        retried for ever.
        """
        loop = asyncio.get_running_loop()
        failures = 0
        first = True
        while True:
            started = well_until = loop.time()
            try:
                well_until = await self._one_life(first=first)
            except EmbeddedError as error:
                if first and not patient:
                    raise
                self.last_fault = str(error)
            first = False
            self._tried.set()
            failures = 0 if well_until - started > _HEALTHY_AFTER_S else failures + 1
            backoff_ms = min(
                self._config.backoff_ms_max,
                self._config.backoff_ms_min << min(failures, 16),
            )
            self.restarts += 1
            _log.error("embedded_clickhouse_died", fault=self.last_fault, backoff_ms=backoff_ms)
            await asyncio.sleep(backoff_ms / 1000)

    async def _one_life(self, *, first: bool) -> float:
        """Run one child to its end; return when it was last well, in the loop's time."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            child = await self._spawn()
        except OSError as error:
            raise EmbeddedError(f"the embedded server cannot be started: {error}") from error
        try:
            address = await self._start_up(child)
            self._key = read_key(self._directory)
            self._address, self._port = address, address.port
            self._ready.set()
            self._tried.set()
            _log.info("embedded_clickhouse_ready", url=address.url, pid=address.pid, first=first)
            return await self._attend(child, address)
        finally:
            self._address = None
            self._silent = False
            self._ready.clear()
            await self._stop(child)

    async def _attend(self, child: asyncio.subprocess.Process, address: Address) -> float:
        """Wait for the end of a child, which is ours where it hangs."""
        hangs = self.hangs
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(child, address), name="embedded_pulse")
            code = await child.wait()
            watching.cancel()
        if self.hangs == hangs:
            self.last_fault = f"the server ended with {_exit_text(code)}: {self._log_tail()}"
            return asyncio.get_running_loop().time()
        silence_ms = self._config.hang_timeout_ms
        self.last_fault = f"the server gave no answer for {silence_ms / 1000:g} s and was killed"
        return asyncio.get_running_loop().time() - silence_ms / 1000

    async def _watch(self, child: asyncio.subprocess.Process, address: Address) -> None:
        """Ask for ever; kill the child, which hears nothing else, when it hangs."""
        loop = asyncio.get_running_loop()
        each_s = self._config.hang_timeout_ms / 1000 / _PULSES_MISSED_MAX
        missed = 0
        while missed < _PULSES_MISSED_MAX:
            asked = loop.time()
            answered = await ping(address, timeout_s=each_s, path=PULSE)
            missed = 0 if answered else missed + 1
            self._hear(answered, address)
            # A refusal comes at once, and takes as long as silence to count.
            await asyncio.sleep(max(0.0, asked + each_s - loop.time()))
        self.hangs += 1
        with contextlib.suppress(ProcessLookupError):
            child.kill()

    def _hear(self, answered: bool, address: Address) -> None:  # noqa: FBT001 - what `ping` said
        if self._silent != answered:
            return
        self._silent = not answered
        if answered:
            self._ready.set()
            _log.info("embedded_clickhouse_answers", pid=address.pid)
        else:
            self._ready.clear()
            _log.warning("embedded_clickhouse_silent", pid=address.pid)

    async def _spawn(self) -> asyncio.subprocess.Process:
        config = self._config
        arguments = [
            f"--directory={self._directory}",
            f"--port={self._port}",
            f"--workers={config.workers}",
            f"--nice={config.nice}",
            f"--memory-bytes-max={config.memory_bytes_max}",
            f"--query-memory-bytes-max={config.query_memory_bytes_max}",
            f"--body-bytes-max={config.body_bytes_max}",
            f"--lock-timeout-ms={config.lock_timeout_ms}",
        ]
        # -P: the daemon's working directory must not shadow modules of the child.
        # stderr goes to a file, which cannot fill up a pipe that nobody reads.
        with (self._directory / "server.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "recorder.embedded.server",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                limit=_LINE_BYTES_MAX,
            )

    async def _start_up(self, child: asyncio.subprocess.Process) -> Address:
        """Follow the child's lines (`waiting`, `starting`, `ready`, `refused`), then ping it."""
        try:
            async with asyncio.timeout(self._config.lock_timeout_ms / 1000 + 10) as limit:
                while True:
                    said = await self._next_line(child)
                    match said.get("state"):
                        case "waiting":
                            _log.warning("embedded_lock_waiting", holder=said.get("holder"))
                        case "starting":
                            until = asyncio.get_running_loop().time()
                            limit.reschedule(until + self._config.ready_timeout_ms / 1000)
                        case "refused":
                            raise EmbeddedError(str(said.get("reason")), hint=str(said.get("hint")))
                        case "ready":
                            address = Address("127.0.0.1", int(str(said["port"])), child.pid)
                            while not await ping(address):  # noqa: ASYNC110 - another process
                                await asyncio.sleep(_PING_EVERY_S)
                            return address
                        case _:
                            raise EmbeddedError(f"the embedded server said {said!r}")
        except TimeoutError:
            raise EmbeddedError(
                f"the embedded server did not answer in time: {self._log_tail()}",
                hint=f"look into {self._directory / 'server.log'}",
            ) from None

    async def _next_line(self, child: asyncio.subprocess.Process) -> dict[str, object]:
        assert child.stdout is not None
        line = await child.stdout.readline()
        if not line:
            code = await child.wait()
            raise EmbeddedError(
                f"the embedded server ended with {_exit_text(code)} before it was ready:"
                f" {self._log_tail()}",
                hint=f"look into {self._directory / 'server.log'}; chdb needs AVX2",
            )
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise EmbeddedError(f"the embedded server said {line[:200]!r}")
        return said

    async def _stop(self, child: asyncio.subprocess.Process) -> None:
        """Close the pipe, which lets running statements finish; kill after the time limit."""
        if child.returncode is not None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            async with asyncio.timeout(self._config.stop_timeout_ms / 1000):
                await child.wait()
        except TimeoutError:
            _log.error("embedded_clickhouse_killed", stop_timeout_ms=self._config.stop_timeout_ms)
        finally:
            # A second cancel means at once; what was acknowledged is on disk either way.
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()

    def _log_tail(self) -> str:
        try:
            text = (self._directory / "server.log").read_bytes()[-_LOG_TAIL_BYTES:]
        except OSError:
            return "no log"
        lines = text.decode("utf-8", "backslashreplace").strip().splitlines()
        return lines[-1][:400] if lines else "it wrote nothing"


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
