"""The one way to talk to ClickHouse: its HTTP interface, embedded or not.

It sends blocks, statements and questions and turns every failure into an error with an action.
Blocks go through clickhouse-connect's async client, statements (any format, streamed, an exception
in the middle included) through plain POSTs. Nothing is ever sent twice: the library repeats bodies
that it can rebuild when a connection breaks, even after the server committed them, so bodies go out
as generators, which it cannot. Whoever calls decides about repeats. It keeps no rows and knows no
table but by name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from clickhouse_connect import get_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError as LibraryError
from clickhouse_connect.driver.exceptions import Error as CodedError

from recorder.config import ClickHouseConfig
from recorder.endpoint import NO_PASSWORD, Endpoint
from recorder.errors import (
    AccessRefusedError,
    BlockRefusedError,
    ClickHouseError,
    SchemaRefusedError,
    ServerBusyError,
    ServerUnreachableError,
)
from tickd.native import Block, table_columns

__all__ = ["ClickHouse", "configured", "error_of"]

# A write of this size keeps the loop for well under 0.1 ms.
_PIECE_BYTES: Final = 256 << 10
_TEXT_MAX: Final = 500
_ERROR_BYTES_MAX: Final = 4_096
# Below the 10 s after which a server closes idle connections: a POST on a dead one is not repeated.
_IDLE_SECONDS: Final = 8.0
_CODE: Final = re.compile(r"Code: (\d+)")
_MARK: Final = "__exception__\r\n"

_TOO_MANY_PARTS: Final = 252
_BUSY: Final = frozenset({202, 241, _TOO_MANY_PARTS})
_SCHEMA: Final = frozenset({16, 36, 47, 60, 62, 80, 81, 115})
_ACCESS: Final = frozenset({164, 192, 193, 194, 497, 516})
# Cannot parse, cut body, out of bound, incorrect data, overflow, constraint, type mismatch.
_DATA: Final = frozenset({6, 27, 33, 38, 41, 53, 69, 70, 72, 117, 307, 407, 457, 469})
# No such column, table or database: the tables are of another version, or not there yet.
_NOT_MIGRATED: Final = frozenset({16, 60, 81})
_LACKS_RIGHT: Final = 497


def error_of(code: int | None, text: str) -> ClickHouseError:
    """Return the error for an answer of the server, by its own code: the HTTP status is no guide.

    An unknown code is retried: sending a block once more is harmless, throwing it away is not.
    """
    message = text.strip()[:_TEXT_MAX]
    if code in _SCHEMA:
        hint = "run: tickd migrate" if code in _NOT_MIGRATED else None
        return SchemaRefusedError(message, code=code, hint=hint)
    if code in _ACCESS:
        hint = "check clickhouse.user and its password"
        if code == _LACKS_RIGHT:
            hint = "this user lacks a right"
        return AccessRefusedError(message, code=code, hint=hint)
    # One code for "slow down" and for "never": only the words differ.
    if code in _DATA or (code == _TOO_MANY_PARTS and "Too many partitions" in text):
        return BlockRefusedError(message, code=code)
    if code in _BUSY:
        return ServerBusyError(message, code=code)
    return ServerUnreachableError(message, code=code)


class ClickHouse:
    """One server, connected when first used; close it at the end.

    Args: `endpoint` is asked for each call and returns None while the server is known to be down.
    """

    def __init__(self, config: ClickHouseConfig, endpoint: Callable[[], Endpoint | None]) -> None:
        self._config = config
        self._endpoint = endpoint
        self._http: aiohttp.ClientSession | None = None
        self._inserter: AsyncClient | None = None
        self._inserts_to: Endpoint | None = None
        self._connecting = asyncio.Lock()

    @property
    def database(self) -> str:
        return self._config.database

    @property
    def compression(self) -> str | None:
        return None if self._config.compression == "none" else self._config.compression

    @property
    def endpoint(self) -> Endpoint:
        """Where the next call goes. Raises ServerUnreachableError."""
        endpoint = self._endpoint()
        if endpoint is None:
            raise ServerUnreachableError("the server is not running")
        return endpoint

    async def insert_block(self, block: Block, token: str) -> None:
        """Insert one block. Raises ClickHouseError; without a code the outcome is unknown."""
        await self._insert(
            block.table,
            [name for name, _ in table_columns(block.table)],
            memoryview(block),
            fmt="Native",
            compression=block.encoding,
            settings={"insert_deduplication_token": token, "insert_deduplicate": "1"},
        )

    async def insert_rows(
        self, table: str, rows: Sequence[Mapping[str, object]], token: str
    ) -> None:
        """Insert a few rows of a slow table as JSONEachRow. Raises as `insert_block`."""
        if not rows:
            return
        encoder = msgspec.json.Encoder()
        await self._insert(
            table,
            list(rows[0]),
            memoryview(b"\n".join(encoder.encode(dict(row)) for row in rows)),
            fmt="JSONEachRow",
            compression=None,
            settings={"insert_deduplication_token": token},
        )

    async def query(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a small result. Raises ClickHouseError.

        `{name:Type}` in the statement takes `parameters`; times come as text.
        """
        settings = {
            "default_format": "JSONCompactEachRow",
            "output_format_json_quote_64bit_integers": "0",
        }
        reply = await self.command(sql, parameters=parameters, settings=settings)
        return [tuple(msgspec.json.decode(line)) for line in reply.splitlines()]

    async def command(
        self,
        sql: str,
        *,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a statement and return its reply, after it has ended. Raises ClickHouseError."""
        query = {"wait_end_of_query": "1", **(settings or {}), **_parameters(parameters)}
        async with self._calling(self._config.query_timeout_ms, query, sql.encode()) as reply:
            return await reply.read()

    async def stream(
        self,
        sql: str,
        *,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> AsyncIterator[bytes]:
        """Run a statement and give its reply as it comes, however long that takes.

        Raises ClickHouseError, also in the middle: what came before is then incomplete.
        """
        query = {**(settings or {}), **_parameters(parameters)}
        ended = b""  # the last bytes, where an exception is written once the status has left
        async with self._calling(None, query, sql.encode()) as reply:
            tag = reply.headers.get("X-ClickHouse-Exception-Tag", "")
            try:
                async for piece in reply.content.iter_chunked(_PIECE_BYTES):
                    ended = (ended + piece)[-_ERROR_BYTES_MAX:]
                    _raise_marked(ended, tag)
                    yield piece
            except aiohttp.ClientError:
                _raise_marked(ended, tag)
                raise

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()
        await self._close_inserter()

    async def _insert(
        self,
        table: str,
        columns: Sequence[str],
        body: memoryview,
        *,
        fmt: str,
        compression: str | None,
        settings: dict[str, str],
    ) -> None:
        try:
            async with asyncio.timeout(self._config.insert_timeout_ms / 1000):
                client = await self._connected()
                await client.raw_insert(
                    f"{self.database}.{table}",
                    column_names=columns,
                    insert_block=_pieces(body),
                    # async_insert is on by default in current servers and acknowledges early.
                    settings={"async_insert": "0", "wait_end_of_query": "1", **settings},
                    fmt=fmt,
                    compression=compression,
                )
        except CodedError as error:
            raise error_of(error.code, str(error)) from error
        except (LibraryError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ServerUnreachableError(f"{type(error).__name__}: {error}"[:_TEXT_MAX]) from error

    async def _connected(self) -> AsyncClient:
        """The client of where the next call goes; a new one when that has changed."""
        endpoint = self.endpoint
        async with self._connecting:
            if self._inserter is not None and self._inserts_to == endpoint:
                return self._inserter
            await self._close_inserter()
            self._inserter = await get_async_client(
                dsn=endpoint.url,
                username=endpoint.user,
                password=endpoint.password.reveal(),
                connect_timeout=self._config.connect_timeout_ms // 1000 or 1,
                send_receive_timeout=self._config.insert_timeout_ms // 1000 or 1,
                autogenerate_session_id=False,
                compress=False,
                query_retries=0,
            )
            self._inserts_to = endpoint
            return self._inserter

    async def _close_inserter(self) -> None:
        client, self._inserter = self._inserter, None
        if client is not None:
            await client.close()

    @asynccontextmanager
    async def _calling(
        self,
        timeout_ms: int | None,
        query: Mapping[str, str],
        body: bytes,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the reply of one POST whose status says yes."""
        endpoint = self.endpoint
        try:
            async with (
                asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000),
                self._session().post(
                    endpoint.url,
                    params=query,
                    data=body,
                    headers=endpoint.headers,
                    allow_redirects=False,
                ) as reply,
            ):
                if reply.status != 200:
                    raise await _refusal(reply)
                yield reply
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ServerUnreachableError(
                f"no answer from ClickHouse at {endpoint.url}: {error or type(error).__name__}"[
                    :_TEXT_MAX
                ],
                hint="is the server running, and is clickhouse.url right?",
            ) from error

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            connect_s = self._config.connect_timeout_ms / 1000
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=_IDLE_SECONDS, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
            )
        return self._http


def configured(config: ClickHouseConfig) -> Endpoint:
    """Return the server that a configuration names by its URL."""
    return Endpoint(config.url, user=config.user, password=config.password or NO_PASSWORD)


async def _pieces(body: memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield bytes(body[start : start + _PIECE_BYTES])


def _parameters(values: Mapping[str, object] | None) -> dict[str, str]:
    """Return parameters as ClickHouse reads them in a URL: TSV escapes."""
    escapes = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})
    given = (values or {}).items()
    return {f"param_{name}": str(value).translate(escapes) for name, value in given}


async def _refusal(reply: aiohttp.ClientResponse) -> ClickHouseError:
    text = (await reply.content.read(_ERROR_BYTES_MAX)).decode("utf-8", "replace").strip()
    named = reply.headers.get("X-ClickHouse-Exception-Code", "")
    return _error(text or f"HTTP status {reply.status} without a text", named)


def _raise_marked(ended: bytes, tag: str) -> None:
    """Raise the exception that ClickHouse writes into a reply whose status has left."""
    start = ended.find(f"{_MARK}{tag}\r\n".encode()) if tag else -1
    if start >= 0:
        text = ended[start + len(_MARK) + len(tag) + 2 :].decode("utf-8", "replace")
        raise _error(text.split("\n", 1)[0], "")


def _error(text: str, named: str) -> ClickHouseError:
    found = _CODE.search(text)
    code = int(named) if named.isdecimal() else int(found[1]) if found else None
    return error_of(code, text)
