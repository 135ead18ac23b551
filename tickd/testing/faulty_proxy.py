"""A TCP proxy in front of an HTTP server that breaks chosen requests, as networks do.

Faults are armed one by one and used up in order, each by the first request whose head contains its
text. It understands just enough HTTP to see where a request begins; it changes a byte only where a
fault says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Literal, NamedTuple, final
from urllib.parse import unquote_plus

__all__ = ["Fault", "FaultyProxy"]

_READ_BYTES: Final = 1 << 16
_HEAD_BYTES_MAX: Final = 1 << 16


class Fault(NamedTuple):
    """What happens to one request.

    `cut_before`: the connection dies before the server sees the request. `cut_after`: the server
    answers (so it has committed), then the connection dies and the client never learns.
    `cut_inside`: the server sees half of the body. `delay`: the answer waits for `release`.
    `flip`: the last bit of the body arrives as another one.
    `answer`: the server sees nothing, the client gets these bytes, head included, as from a proxy.
    """

    mode: Literal["cut_before", "cut_after", "cut_inside", "delay", "answer", "flip"]
    match: str = "INSERT"
    answer: bytes = b""


@final
class FaultyProxy:
    """`async with FaultyProxy("127.0.0.1", port) as proxy`: listens on `proxy.url`."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._faults: deque[Fault] = deque()
        self._server: asyncio.Server | None = None
        self._released = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self.refusing = False
        self.refused_count = 0
        self.requests: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def faults_left(self) -> int:
        return len(self._faults)

    def arm(self, *faults: Fault) -> None:
        self._faults.extend(faults)

    def release(self) -> None:
        """Let delayed answers through."""
        self._released.set()

    def refuse(self, *, refusing: bool) -> None:
        """Refuse new connections and cut the existing ones, or accept again."""
        self.refusing = refusing
        if refusing:
            for writer in self._open:
                writer.transport.abort()

    def seen(self, text: str) -> int:
        """How many request heads contained `text`."""
        return sum(text in head for head in self.requests)

    async def __aenter__(self) -> FaultyProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_READ_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.refuse(refusing=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.refusing:
                self.refused_count += 1
                writer.transport.abort()
                return
            async with self._connected() as (up_reader, up_writer):
                while await self._one_request(reader, writer, up_reader, up_writer):
                    pass
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # either side went away: so do we
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(*self._upstream, limit=_READ_BYTES)
        self._open.add(writer)
        try:
            yield reader, writer
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _one_request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> bool:
        """Pass one request and its answer; False when the connection is to end."""
        head = await reader.readuntil(b"\r\n\r\n")
        body = await _body(reader, head)
        text = unquote_plus(head.split(b"\r\n", 1)[0].decode("latin-1"))
        text += " " + body[:512].decode("latin-1")
        self.requests.append(text)
        fault = self._take(text)
        if fault is not None and fault.mode == "cut_before":
            return False
        if fault is not None and fault.mode == "answer":
            writer.write(fault.answer)
            await writer.drain()
            return False
        if fault is not None and fault.mode == "cut_inside":
            up_writer.write(head + body[: len(body) // 2])
            await up_writer.drain()
            return False
        if fault is not None and fault.mode == "flip":
            body = body[:-1] + bytes([body[-1] ^ 1])
        up_writer.write(head + body)
        await up_writer.drain()
        answer_head = await up_reader.readuntil(b"\r\n\r\n")
        # The answer to a HEAD names the length of a body that does not follow.
        body = b"" if head.startswith(b"HEAD ") else await _body(up_reader, answer_head)
        answer = answer_head + body
        if fault is not None and fault.mode == "cut_after":
            return False
        if fault is not None and fault.mode == "delay":
            await self._released.wait()
        writer.write(answer)
        await writer.drain()
        return True

    def _take(self, text: str) -> Fault | None:
        if self._faults and self._faults[0].match.lower() in text.lower():
            return self._faults.popleft()
        return None


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """Read the body that belongs to a head, as it is on the wire."""
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        parts: list[bytes] = []
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            parts += [line, await reader.readexactly(size + 2)]
            if size == 0:
                return b"".join(parts)
    return await reader.readexactly(int(headers.get(b"content-length", b"0")))
