"""Answers on the control socket that go on: one request, then pieces until either end leaves.

A stream writes; how fast its reader takes that is the stream's affair, never the loop's. This file
knows no stream by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import orjson

from tickd.errors import TickdError

__all__ = ["Stream", "Streams", "Write"]

# A reader that takes nothing for so long has gone, whatever the socket says.
STALL_S: Final = 10.0

Write = Callable[[bytes], Awaitable[None]]
Stream = Callable[[Mapping[str, object], Write], Awaitable[None]]


class Streams:
    """The streams of one daemon by the name of their command; each serves many readers."""

    def __init__(self, named: Mapping[str, Stream]) -> None:
        self._named = named
        self._open: set[asyncio.StreamWriter] = set()

    def wanted(self, line: bytes) -> Mapping[str, object] | None:
        """The request in `line` if it asks for a stream, else None."""
        try:
            request = orjson.loads(line)
            return request if request["command"] in self._named else None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None

    async def serve(
        self,
        request: Mapping[str, object],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Write until the stream ends or its reader leaves; a refusal is one line."""
        self._open.add(writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                streaming = tasks.create_task(self._stream(request, writer), name="stream")
                leaving = tasks.create_task(_leaving(reader), name="stream's reader")
                await asyncio.wait({streaming, leaving}, return_when=asyncio.FIRST_COMPLETED)
                streaming.cancel()
                leaving.cancel()
        finally:
            self._open.discard(writer)

    async def _stream(self, request: Mapping[str, object], writer: asyncio.StreamWriter) -> None:
        async def write(data: bytes) -> None:
            writer.write(data)
            async with asyncio.timeout(STALL_S):
                await writer.drain()

        with suppress(ConnectionError, TimeoutError):  # who leaves or stalls concerns nobody else
            try:
                await self._named[str(request["command"])](request, write)
            except TickdError as error:
                await write(orjson.dumps({"error": str(error), "hint": error.hint}) + b"\n")

    def close(self) -> None:
        """Hang up on every reader; their streams end with the next piece."""
        for writer in self._open:
            writer.close()


async def _leaving(reader: asyncio.StreamReader) -> None:
    """Ends with the connection: a reader says nothing behind its request."""
    with suppress(ConnectionError):
        await reader.read(1)
