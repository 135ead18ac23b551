"""The control socket: one JSON object per line over a unix socket in the state directory.

It answers `tickd status` and the control commands of operators: the kernel says who asks, and only
the daemon's own user and root are heard. Answers that go on are made in `tickd/app/streaming.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final, NamedTuple

import orjson
import structlog

from tickd.app.asking import TIMEOUT_S, not_answered
from tickd.app.encoding import encode
from tickd.app.streaming import Streams
from tickd.errors import Action, TickdError

log = structlog.get_logger(__name__)

LINE_BYTES_MAX = 1 << 20
ANSWER_BYTES_MAX = 64 << 20
# A person asks one thing at a time; what asks more often is a program that has gone wrong.
CONNECTIONS_MAX: Final = 32
_ROOT: Final = 0
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Peer(NamedTuple):
    """The process that asks, as the kernel knows it; pid 0: of another pid namespace."""

    uid: int
    pid: int

    def __str__(self) -> str:
        return f"uid={self.uid} pid={self.pid}"


# Who asked for the command that runs in this task; None: nobody, it was called from within.
_asking: ContextVar[Peer | None] = ContextVar("asking", default=None)


def asking_peer() -> Peer | None:
    """Whose command this task runs, for the audit."""
    return _asking.get()


def signed(said: str) -> str:
    """Return `source` of an audit: what is said of it, and the process that asks, if one does."""
    peer = _asking.get()
    return said if peer is None else f"{said} {peer}"


Command = Callable[[Mapping[str, object]], Awaitable[object]]


def socket_path(state_dir: Path) -> Path:
    return state_dir / "control.sock"


class ControlServer:
    """Answers commands of local users who may open the socket (mode 0600), and are allowed to."""

    def __init__(
        self,
        state_dir: Path,
        commands: Mapping[str, Command],
        streams: Streams | None = None,
        *,
        allowed_uids: frozenset[int] | None = None,
    ) -> None:
        """`allowed_uids`: who may command; by default the daemon's own user and root."""
        self._path = socket_path(state_dir)
        self._commands = commands
        self._streams: Final = streams or Streams({})
        own = frozenset({os.geteuid(), _ROOT})
        self._allowed_uids: Final = own if allowed_uids is None else allowed_uids
        self._server: asyncio.Server | None = None
        self._open: Final[set[asyncio.StreamWriter]] = set()
        self.turned_away_total = 0  # there was no place
        self.refused_total = 0  # of users who may not command
        self.failures_total = 0  # commands that failed for a bug

    @property
    def connections_count(self) -> int:
        return len(self._open)

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
            for writer in tuple(self._open):
                if not writer.is_closing():
                    writer.transport.abort()
            await server.wait_closed()
            with contextlib.suppress(OSError):  # a read-only disk keeps it; the next start does not
                self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS_MAX:
            self.turned_away_total += 1
            writer.close()
            return
        self._open.add(writer)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                wanted = await self._heard(reader, writer)
            if wanted is not None:
                await self._streams.serve(wanted, reader, writer)
        except (TimeoutError, ConnectionError, ValueError):
            pass  # a client that stalls, leaves or sends too much concerns nobody else
        finally:
            self._open.discard(writer)
            writer.close()

    async def _heard(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Mapping[str, object] | None:
        """Answer who may ask, or return the stream that he asks for.

        Raises ValueError: the line is too long; ConnectionError.
        """
        peer = peer_of(writer)
        if peer.uid not in self._allowed_uids:
            self.refused_total += 1
            log.warning("command_refused", uid=peer.uid, pid=peer.pid)
            words = f"uid {peer.uid} may not command this daemon"
            hint = "as the user that it runs as, or as root"
            writer.write(encode({"error": words, "hint": hint}) + b"\n")
            await writer.drain()
            return None
        _asking.set(peer)  # of this connection's task
        line = await reader.readline()
        wanted = self._streams.wanted(line)
        if wanted is None:
            writer.write(await self._answer(line) + b"\n")
            await writer.drain()
        return wanted

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = orjson.loads(line)
            name = request["command"]
            command = self._commands[name]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return encode({"error": f"unknown command; known: {', '.join(sorted(self._commands))}"})
        try:
            return encode({"result": await command(request)})
        except TickdError as error:
            return encode({"error": str(error), "hint": error.hint})
        except TimeoutError:
            raise
        except Exception as error:  # what somebody asks for must not go unanswered for a bug
            self.failures_total += 1
            log.exception("command_failed", command=name)
            words = f"{name} failed: {type(error).__name__}"
            return encode({"error": words, "hint": "the log has more"})


def peer_of(writer: asyncio.StreamWriter) -> Peer:
    """Who is at the other end, as the kernel noted when it connected. Raises ConnectionError."""
    try:
        raw = writer.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
    except OSError as error:
        raise ConnectionError(f"the other end is not known: {error}") from error
    pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return Peer(uid=uid, pid=pid)


async def connected(path: Path, *, limit: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a daemon's socket at once or not at all. Raises OSError.

    BlockingIOError: its queue is full; asyncio's own way to connect takes that for a connection.
    """
    line = socket.socket(socket.AF_UNIX)
    try:
        line.setblocking(False)
        line.connect(str(path))
        return await asyncio.open_unix_connection(sock=line, limit=limit)
    except BaseException:
        line.close()
        raise


async def ask(state_dir: Path, command: str, **arguments: object) -> object:
    """Send one command to the daemon of `state_dir` and return its result.

    Raises TickdError(FATAL) when no daemon answers, it hangs, or it refuses the command.
    """
    path = socket_path(state_dir)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await connected(path, limit=ANSWER_BYTES_MAX)
            try:
                writer.write(orjson.dumps({"command": command, **arguments}) + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
    except OSError as error:
        raise not_answered(path, error) from error
    if not line:
        raise TickdError(
            f"the daemon at {path} closed the connection without an answer",
            action=Action.FATAL,
            hint="it ends, or too many ask at the same time: try again",
        )
    answer = orjson.loads(line)
    if "error" in answer:
        raise TickdError(str(answer["error"]), action=Action.FATAL, hint=answer.get("hint"))
    return answer["result"]
