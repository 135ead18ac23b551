"""The ClickHouse HTTP interface in front of the engine: requests in, streams of rows out.

Speaks what the documented interface of ClickHouse speaks and clients use: /ping, GET and POST,
`query`, `database`, `default_format`, `param_*`, settings, packed bodies and replies,
X-ClickHouse-* headers, exceptions in ClickHouse's words. There is one user, `default`, whose
password is the directory's key. Refused with a clear code: external data, native-protocol
compression. Sessions are accepted and not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from recorder.embedded.address import PING, PULSE
from recorder.embedded.encoding import BAD_DATA, accepted, packer, unpacker
from recorder.embedded.engine import Engine, EngineError, Request, Summary
from recorder.embedded.key import USER, credentials
from recorder.embedded.statement import Statement, StatementError, parse_statement
from tickd.durable import write_all
from tickd.secrets import Secret

__all__ = ["make_app"]

# What the HTTP layer consumes itself; every other name in the URL is a setting of the engine.
_TRANSPORT: Final = frozenset(
    {
        "query", "database", "default_format", "session_id", "session_timeout", "session_check",
        "query_id", "user", "password", "compress", "decompress", "enable_http_compression",
        "http_zlib_compression_level", "wait_end_of_query", "buffer_size", "quota_key",
        "client_protocol_version", "role", "send_progress_in_http_headers",
        "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close",
        "http_response_buffer_size", "add_http_cors_header",
        "http_write_exception_in_output_format",
    }
)  # fmt: skip
# HTTP status by code as ClickHouse 26 sends it; 500 otherwise. Clients must look at the code.
_STATUS: Final = {
    **dict.fromkeys((36, 6, 26, 27, 38, 41, 43, 44, 53, 62, 69, 70, 72, 117, 457), 400),
    **dict.fromkeys((46, 47, 60, 81, 115), 404),
    **dict.fromkeys((497, 516), 403),
    159: 408,
    307: 413,
}
_NAME_MAX: Final = 64
_PREFIX_BYTES: Final = 262_144  # the head of an insert must fit
_QUERY_BYTES_MAX: Final = 16 << 20  # of statements without data
_FIRST_BYTES: Final = 1 << 20  # results up to this leave with exact headers, larger ones stream
_PIECE_BYTES: Final = 262_144
_WAITING_MAX: Final = 64
_CANCEL_AGAIN_S: Final = 0.5
_F_SETPIPE_SZ: Final = 1031


@dataclass(slots=True)
class _Call:
    """One request on its way: what the URL said, and the headers of its reply."""

    request: Request
    wait_end: bool
    coding: str | None
    headers: dict[str, str] = field(default_factory=dict)


def make_app(engine: Engine, *, key: Secret, body_bytes_max: int) -> web.Application:
    """Return the application; it does not own the engine."""
    interface = _Interface(engine, key=key, body_bytes_max=body_bytes_max)
    app = web.Application()
    app.router.add_get(PING, interface.ping)
    app.router.add_get(PULSE, interface.pulse)
    app.router.add_get("/replicas_status", interface.ping)
    app.router.add_route("*", "/", interface.handle)
    return app


class _Interface:
    def __init__(self, engine: Engine, *, key: Secret, body_bytes_max: int) -> None:
        self._engine = engine
        self._key = key
        self._body_bytes_max = body_bytes_max
        self._waiting = 0  # requests between arrival and reply
        self._pulse: asyncio.Future[None] | None = None  # the one on its way

    async def pulse(self, request: web.Request) -> web.Response:
        """As `ping`, once the engine has answered, too; without the key, as it tells nothing."""
        if self._pulse is None or self._pulse.done():
            loop = asyncio.get_running_loop()
            self._pulse = loop.run_in_executor(self._engine.pulses, self._engine.pulse)
        await asyncio.shield(self._pulse)
        return await self.ping(request)

    async def ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n", headers={"X-Tickd-Pid": str(os.getpid())})

    async def handle(self, http: web.Request) -> web.StreamResponse:
        call = _call(http)
        self._waiting += 1
        try:
            return await self._answer(http, call)
        except (EngineError, StatementError) as error:
            return self._refusal(error, call)
        except ConnectionResetError:
            return web.Response()  # the client has gone: nobody reads this
        finally:
            self._waiting -= 1

    async def _answer(self, http: web.Request, call: _Call) -> web.StreamResponse:
        self._check(http)
        if http.method != "POST" and "query" not in http.query:
            return web.Response(text="Ok.\n", headers=call.headers)
        body = _Body(http, bytes_max=self._body_bytes_max)
        text = http.query.get("query", "").encode()
        text += (b"\n" if text else b"") + await body.prefix()
        statement = parse_statement(text)
        if http.method != "POST" and statement.kind != "read":
            raise StatementError(
                164,
                "READONLY",
                "Cannot execute query in readonly mode: method GET implies readonly",
            )
        if statement.kind == "insert":
            return self._done(await self._insert(statement, text, body, call), call)
        if not body.ended:
            statement = parse_statement(text + await body.rest(_QUERY_BYTES_MAX))
        if statement.kind == "read":
            return await self._read(http, statement, call)
        run = self._engine.other
        loop = asyncio.get_running_loop()
        return self._done(
            await loop.run_in_executor(self._engine.reads, run, statement, call.request), call
        )

    def _check(self, http: web.Request) -> None:
        """Refuse what is never served, and who has no key. Raises StatementError."""
        user, password = credentials(http.headers, http.query)
        right = secrets.compare_digest(password.encode(), self._key.reveal().encode())
        if user != USER or not right:
            raise StatementError(
                516,
                "AUTHENTICATION_FAILED",
                f"{user[:_NAME_MAX]}: Authentication failed: password is incorrect, or there is "
                "no user with such name",
            )
        if self._waiting > _WAITING_MAX:
            limit = f"Too many simultaneous queries. Maximum: {_WAITING_MAX}"
            raise StatementError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", limit)
        if "Origin" in http.headers:  # a web page in the user's browser must not reach his data
            raise StatementError(497, "ACCESS_DENIED", "Requests of web pages are refused")
        if http.method not in {"GET", "HEAD", "POST"}:
            raise StatementError(48, "NOT_IMPLEMENTED", f"Method {http.method} is not supported")
        if http.content_type == "multipart/form-data":
            raise StatementError(
                48, "NOT_IMPLEMENTED", "External data is not supported by the embedded server"
            )
        if "1" in (http.query.get("compress"), http.query.get("decompress")):
            raise StatementError(
                48, "NOT_IMPLEMENTED", "Native compression is not supported: use Content-Encoding"
            )

    async def _insert(self, statement: Statement, text: bytes, body: _Body, call: _Call) -> Summary:
        """Collect the data in a memory file first: a body cut on the way changes nothing."""
        data_fd = os.memfd_create("tickd-insert")
        try:
            write_all(data_fd, memoryview(text)[statement.data_start :])
            del text
            await body.pour(data_fd)
            loop = asyncio.get_running_loop()
            run = self._engine.insert
            # Shielded: the file must live until the engine has ended, even when the client has
            # gone.
            return await _finished(
                loop.run_in_executor(self._engine.inserts, run, statement, call.request, data_fd)
            )
        finally:
            os.close(data_fd)

    async def _read(
        self, http: web.Request, statement: Statement, call: _Call
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        in_fd, out_fd = os.pipe()
        _widen(out_fd)
        reader = asyncio.StreamReader(limit=_FIRST_BYTES)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(in_fd, "rb", 0)
        )
        mark = uuid.uuid4().hex
        read = self._engine.read
        job = self._engine.reads.submit(read, statement, call.request, out_fd, mark)
        running = asyncio.wrap_future(job)
        try:
            call.headers["X-ClickHouse-Format"] = statement.format or call.request.default_format
            first = bytearray()
            ended = False
            while not ended and (call.wait_end or len(first) < _FIRST_BYTES):
                piece = await reader.read(_PIECE_BYTES)
                ended = not piece
                first += piece
            if ended:
                return self._done(await running, call, bytes(first))
            return await self._stream(http, bytes(first), reader, running, call)
        finally:
            transport.close()
            # The job is asked, not its asyncio face, which says yes to a cancel in any case.
            if not job.done() and job.cancel():
                os.close(out_fd)  # it never began, so nobody else closes the pipe
            while not job.done():
                # The engine goes on after a broken pipe. Again, as it may not be listed yet.
                await loop.run_in_executor(self._engine.inserts, self._engine.cancel, mark)
                await asyncio.wait([running], timeout=_CANCEL_AGAIN_S)
            if running.done() and not running.cancelled():
                running.exception()  # seen: the reader has gone

    async def _stream(
        self,
        http: web.Request,
        first: bytes,
        reader: asyncio.StreamReader,
        running: asyncio.Future[Summary],
        call: _Call,
    ) -> web.StreamResponse:
        tag = secrets.token_hex(8)
        headers = call.headers | {"X-ClickHouse-Exception-Tag": tag}
        pack: Callable[[bytes], bytes] = bytes
        flush: Callable[[], bytes] = bytes
        if call.coding is not None:
            headers["Content-Encoding"] = call.coding
            stream = packer(call.coding)
            pack, flush = stream.compress, stream.flush
        reply = web.StreamResponse(headers=headers)
        await reply.prepare(http)
        piece = first
        while piece:
            await reply.write(pack(piece))
            piece = await reader.read(_PIECE_BYTES)
        try:
            await running
        except EngineError as error:
            # The status has left: ClickHouse marks the exception in the body and breaks the
            # transfer off.
            text = self._worded(error)
            marked = f"\r\n__exception__\r\n{tag}\r\n{text}{len(text)} {tag}\r\n__exception__\r\n"
            await reply.write(pack(marked.encode()) + flush())
            if http.transport is not None:
                http.transport.close()
            return reply
        await reply.write(flush())
        await reply.write_eof()
        return reply

    def _done(self, summary: Summary, call: _Call, body: bytes | None = None) -> web.Response:
        body = summary.output if body is None else body
        fields = {
            "read_rows": summary.read_rows,
            "read_bytes": summary.read_bytes,
            "written_rows": summary.written_rows,
            "written_bytes": summary.written_bytes,
            "total_rows_to_read": "0",
            "result_rows": summary.result_rows,
            "result_bytes": len(body),
            "elapsed_ns": summary.elapsed_ns,
        }
        headers = call.headers
        headers["X-ClickHouse-Summary"] = json.dumps({k: str(v) for k, v in fields.items()})
        if call.coding is not None and body:
            stream = packer(call.coding)
            body = stream.compress(body) + stream.flush()
            headers["Content-Encoding"] = call.coding
        return web.Response(body=body, headers=headers, content_type="application/octet-stream")

    def _refusal(self, error: EngineError | StatementError, call: _Call) -> web.Response:
        code = error.code if isinstance(error, EngineError) else EngineError(str(error)).code
        headers = {k: v for k, v in call.headers.items() if k != "Content-Encoding"}
        return web.Response(
            status=_STATUS.get(code, 500),
            text=self._worded(error),
            headers=headers | {"X-ClickHouse-Exception-Code": str(code)},
        )

    def _worded(self, error: Exception) -> str:
        text = str(error)
        version = f"(version {self._engine.version}"
        return f"{text}\n" if version in text else f"{text} {version} (chdb))\n"


class _Body:
    """A request body, unpacked on the way: a prefix to find the statement, then the rest."""

    def __init__(self, http: web.Request, *, bytes_max: int) -> None:
        self._source = http.content
        self._unpacker = unpacker(http.headers.get("Content-Encoding", "").lower().strip())
        self._bytes_max = bytes_max
        self._count = 0
        self.ended = False

    async def prefix(self) -> bytes:
        found = bytearray()
        while not self.ended and len(found) < _PREFIX_BYTES:
            found += await self._next()
        return bytes(found)

    async def rest(self, bytes_max: int) -> bytes:
        found = bytearray()
        while not self.ended:
            found += await self._next()
            if len(found) > bytes_max:
                raise StatementError(
                    62, "SYNTAX_ERROR", f"Max query size exceeded ({bytes_max} bytes)"
                )
        return bytes(found)

    async def pour(self, data_fd: int) -> None:
        while not self.ended:
            write_all(data_fd, await self._next())

    async def _next(self) -> bytes:
        packed = await self._source.readany()
        try:
            if not packed:
                self.ended = True
                self._unpacker.finish()
                return b""
            plain = self._unpacker.decompress(packed)
        except BAD_DATA as error:
            text = f"Cannot decompress the request body: {error}"
            raise StatementError(354, "ZLIB_INFLATE_FAILED", text) from None
        self._count += len(plain)
        if self._count > self._bytes_max:
            raise StatementError(
                307, "TOO_MANY_BYTES", f"Request body above {self._bytes_max} bytes"
            )
        return plain


def _call(http: web.Request) -> _Call:
    query = http.query
    named = {k: v for k, v in query.items() if k not in _TRANSPORT}
    coding = accepted(http.headers.get("Accept-Encoding", ""))
    return _Call(
        Request(
            database=query.get("database")
            or http.headers.get("X-ClickHouse-Database")
            or "default",
            settings={k: v for k, v in named.items() if not k.startswith("param_")},
            parameters={k[6:]: v for k, v in named.items() if k.startswith("param_")},
            default_format=query.get("default_format")
            or http.headers.get("X-ClickHouse-Format")
            or "TabSeparated",
        ),
        wait_end=query.get("wait_end_of_query") == "1",
        coding=coding if query.get("enable_http_compression") == "1" else None,
        headers={
            "X-ClickHouse-Query-Id": query.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Server-Display-Name": "tickd-embedded",
            "X-ClickHouse-Timezone": "UTC",
        },
    )


async def _finished(running: asyncio.Future[Summary]) -> Summary:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _widen(pipe_fd: int) -> None:
    """Ask for a pipe of 1 MiB: fewer switches; a refusal does not matter."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe_fd, _F_SETPIPE_SZ, _FIRST_BYTES)
