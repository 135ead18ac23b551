"""The control socket: one JSON object per line over a unix socket in the state directory.

It answers `tickd status` and control commands of operators; answers that go on are made in
`tickd/app/streaming.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import orjson
import structlog

from tickd.app.encoding import encode
from tickd.app.streaming import Streams
from tickd.errors import Action, TickdError

log = structlog.get_logger(__name__)

LINE_BYTES_MAX = 1 << 20
ANSWER_BYTES_MAX = 64 << 20
TIMEOUT_S = 10.0

Command = Callable[[Mapping[str, object]], Awaitable[object]]


def socket_path(state_dir: Path) -> Path:
    return state_dir / "control.sock"


class ControlServer:
    """Answers commands of local users who may open the socket (mode 0600)."""

    def __init__(
        self, state_dir: Path, commands: Mapping[str, Command], streams: Streams | None = None
    ) -> None:
        self._path = socket_path(state_dir)
        self._commands = commands
        self._streams = streams or Streams({})
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # The raw log's lock proves that no other daemon owns this directory.
            self._path.unlink()
        previous = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, self._path, limit=LINE_BYTES_MAX
            )
        finally:
            os.umask(previous)

    async def keep(self) -> None:
        """Open the socket unless it is open and in its place. Raises nothing.

        A daemon records without it: on a disk that was full at the start, or when somebody deleted
        the state directory.
        """
        if self._server is not None and self._path.exists():
            return
        try:
            await self.stop()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            await self.start()
        except OSError as error:
            log.warning("control_socket_failed", path=str(self._path), words=str(error))

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self._streams.close()
            await server.wait_closed()
            with contextlib.suppress(OSError):  # a read-only disk keeps it; the next start does not
                self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                line = await reader.readline()
                wanted = self._streams.wanted(line)
                if wanted is None:
                    writer.write(encode(await self._answer(line)) + b"\n")
                    await writer.drain()
            if wanted is not None:
                await self._streams.serve(wanted, reader, writer)
        except (TimeoutError, ConnectionError, ValueError):
            pass  # a client that stalls, leaves or sends too much concerns nobody else
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = orjson.loads(line)
            name = request["command"]
            command = self._commands[name]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return {"error": f"unknown command; known: {', '.join(sorted(self._commands))}"}
        try:
            return {"result": await command(request)}
        except TickdError as error:
            return {"error": str(error), "hint": error.hint}


async def ask(state_dir: Path, command: str, **arguments: object) -> object:
    """Send one command to the daemon of `state_dir` and return its result.

    Raises TickdError(FATAL) when no daemon answers or it refuses the command.
    """
    path = socket_path(state_dir)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_BYTES_MAX)
            writer.write(orjson.dumps({"command": command, **arguments}) + b"\n")
            await writer.drain()
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError) as error:
        raise TickdError(
            f"no daemon answers at {path}: {error}",
            action=Action.FATAL,
            hint="start one with: tickd run CONFIG",
        ) from error
    answer = orjson.loads(line)
    if "error" in answer:
        raise TickdError(str(answer["error"]), action=Action.FATAL, hint=answer.get("hint"))
    return answer["result"]
