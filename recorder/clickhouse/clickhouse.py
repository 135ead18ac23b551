"""The one way to talk to ClickHouse: its HTTP interface, embedded or not.

It sends blocks, statements and questions and turns every failure into an error with an action.
Blocks go through clickhouse-connect, statements (any format, streamed, an exception in the middle
included) through plain POSTs. Nothing is ever sent twice by itself: whoever calls decides about
repeats. It keeps no rows and knows no table but by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import aiohttp
import msgspec

from recorder.clickhouse.answers import TEXT_MAX, code_of, error_of, retry_after_s
from recorder.clickhouse.blocks import BlockBytes, BlockFormat
from recorder.clickhouse.endpoint import Endpoint
from recorder.clickhouse.failover import Failover, configured
from recorder.clickhouse.inserter import IDLE_SECONDS, Inserter
from recorder.clickhouse.json_rows import json_body
from recorder.clickhouse.same_tables import SameTables
from recorder.clickhouse.settings import insert_settings, said
from recorder.clickhouse.tls import Tls
from recorder.config import ClickHouseConfig, SchemaConfig
from recorder.errors import ClickHouseError, ServerUnreachableError
from tickd.native import table_columns

__all__ = ["ClickHouse"]

# A read of this size keeps the loop for well under 0.1 ms.
_PIECE_BYTES: Final = 256 << 10
_ERROR_BYTES_MAX: Final = 4_096
_MARK: Final = "__exception__\r\n"


class ClickHouse:
    """One server, or several that hold the same tables; connected when first used.

    Args: `endpoint` is asked for each call and returns None while the server is known to be down;
    without it the configured URLs are meant, and a call goes to the one that worked last.
    Raises ConfigError when a file of the TLS configuration is unusable.
    """

    def __init__(
        self, config: ClickHouseConfig, endpoint: Callable[[], Endpoint | None] | None = None
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self.failover = None if endpoint is not None else Failover(configured(config))
        self._insert_settings = insert_settings(config.settings)
        self._query_settings = {n: said(value) for n, value in config.query_settings.items()}
        self._http: aiohttp.ClientSession | None = None
        self._tls = Tls(config.ca_file, config.cert_file, config.key_file, config.verify).context()
        self._inserter = Inserter(config)
        self._same = SameTables(config)

    @property
    def moves(self) -> int:
        """How often another server took over."""
        return 0 if self.failover is None else self.failover.moves

    @property
    def database(self) -> str:
        return self._config.database

    @property
    def schema(self) -> SchemaConfig:
        """How the tables are to be made."""
        return self._config.schema

    @property
    def block_format(self) -> BlockFormat:
        """What the worker is to make of its rows."""
        return "RowBinary" if self._config.format == "row_binary" else "Native"

    @property
    def compression(self) -> str | None:
        """What the worker is to pack bodies with; JSON is packed when it is made."""
        if self._config.compression == "none" or self._config.format == "json":
            return None
        return self._config.compression

    @property
    def endpoint(self) -> Endpoint:
        """Where the next call goes. Raises ServerUnreachableError."""
        if self._endpoint is None:
            assert self.failover is not None
            return self.failover.current
        endpoint = self._endpoint()
        if endpoint is None:
            raise ServerUnreachableError("the server is not running", outcome="refused")
        return endpoint

    @asynccontextmanager
    async def each(self, *, alone: bool = False) -> AsyncIterator[list[ClickHouse]]:
        """Give a connection to every configured server by itself; `alone`: only this one."""
        endpoints = () if alone or self.failover is None else self.failover.endpoints
        if len(endpoints) < 2:
            yield [self]
            return
        servers = [ClickHouse(self._config, partial(_itself, each)) for each in endpoints]
        try:
            yield servers
        finally:
            for server in servers:
                await server.close()

    async def insert_block(
        self, block: BlockBytes, token: str, *, deduplicate: bool = True, into: str | None = None
    ) -> None:
        """Insert one block, once. Raises ClickHouseError; its `outcome` says what may be done.

        Args: `token`: names these rows and no others; `deduplicate`: False stores them even where
        the server remembers the token, for rows that were deleted before; `into`: another table of
        the same columns.
        """
        body, fmt, encoding = block.body, block.format, block.encoding
        if self._config.format == "json":
            compression = self._config.compression
            made = await asyncio.to_thread(json_body, block, compression)
            if made is not None:
                fmt, body = "JSONEachRow", memoryview(made)
                encoding = None if compression == "none" else compression
        await self._insert(
            into or block.table,
            [name for name, _ in table_columns(block.table)],
            body,
            fmt=fmt,
            encoding=encoding,
            token=token,
            deduplicate=deduplicate,
        )

    async def insert_rows(
        self, table: str, rows: Sequence[Mapping[str, object]], token: str
    ) -> None:
        """Insert a few rows of a slow table as JSONEachRow. Raises as `insert_block`."""
        if not rows:
            return
        encoder = msgspec.json.Encoder()
        lines = [encoder.encode(dict(row)) for row in rows]
        await self.insert_lines(table, list(rows[0]), lines, token)

    async def insert_lines(
        self, table: str, columns: Sequence[str], lines: Sequence[bytes], token: str
    ) -> None:
        """Insert rows that are JSON objects of these columns already. Raises as `insert_block`."""
        await self._insert(
            table,
            columns,
            memoryview(b"\n".join(lines)),
            fmt="JSONEachRow",
            encoding=None,
            token=token,
            deduplicate=True,
        )

    async def query(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a small result. Raises ClickHouseError.

        `{name:Type}` in the statement takes `parameters`; times come as text.
        """
        return await self._query(self.endpoint, sql, parameters)

    async def running(self, *, mark: str = "", token: str = "") -> int:
        """How many statements run on the server, whether or not their sender still lives.

        Args: `mark`: only those with this in their text; `token`: only inserts whose deduplication
        token begins so. Raises ClickHouseError.
        """
        rows = await self.query(
            "SELECT count() FROM system.processes WHERE position(query, {mark:String}) > 0 "
            "AND startsWith(Settings['insert_deduplication_token'], {token:String})"
            " AND query_id != queryID()",
            {"mark": mark, "token": token},
        )
        return int(rows[0][0])

    async def command(
        self,
        sql: str,
        *,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a statement and return its reply, after it has ended. Raises ClickHouseError."""
        return await self._command(self.endpoint, sql, parameters, settings)

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
        query = {**self._query_settings, **(settings or {}), **_parameters(parameters)}
        ended = b""  # the last bytes, where an exception is written once the status has left
        async with self._calling(self.endpoint, None, query, sql.encode()) as reply:
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
        await self._inserter.close()

    async def _insert(
        self,
        table: str,
        columns: Sequence[str],
        body: memoryview,
        *,
        fmt: str,
        encoding: str | None,
        token: str,
        deduplicate: bool,
    ) -> None:
        endpoint = self.endpoint
        with self._noting(endpoint):
            await self._same.check(endpoint, self._query)
            await self._inserter.insert(
                endpoint,
                f"{self.database}.{table}",
                columns,
                body,
                fmt=fmt,
                encoding=encoding,
                settings={
                    **self._insert_settings,
                    "wait_end_of_query": "1",
                    "insert_deduplication_token": token,
                },
                deduplicate=deduplicate,
            )

    async def _query(
        self, endpoint: Endpoint, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        settings = {
            "default_format": "JSONCompactEachRow",
            "output_format_json_quote_64bit_integers": "0",
        }
        reply = await self._command(endpoint, sql, parameters, settings)
        return [tuple(msgspec.json.decode(line)) for line in reply.splitlines()]

    async def _command(
        self,
        endpoint: Endpoint,
        sql: str,
        parameters: Mapping[str, object] | None,
        settings: Mapping[str, str] | None,
    ) -> bytes:
        query = {
            "wait_end_of_query": "1",
            **self._query_settings,
            **(settings or {}),
            **_parameters(parameters),
        }
        timeout_ms = self._config.query_timeout_ms
        async with self._calling(endpoint, timeout_ms, query, sql.encode()) as reply:
            return await reply.read()

    @contextmanager
    def _noting(self, endpoint: Endpoint) -> Iterator[None]:
        """Let a failed call decide where the next one goes. Nothing is sent again by itself."""
        try:
            yield
        except ClickHouseError as error:
            if self.failover is not None:
                self.failover.failed(endpoint, error)
            raise
        if self.failover is not None:
            self.failover.worked()

    @asynccontextmanager
    async def _calling(
        self,
        endpoint: Endpoint,
        timeout_ms: int | None,
        query: Mapping[str, str],
        body: bytes,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the reply of one POST whose status says yes."""
        with self._noting(endpoint):
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
                said_so = error or type(error).__name__
                raise ServerUnreachableError(
                    f"no answer from ClickHouse at {endpoint.url}: {said_so}"[:TEXT_MAX],
                    hint="is the server running, and is clickhouse.url right?",
                ) from error

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            connect_s = self._config.connect_timeout_ms / 1000
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    keepalive_timeout=IDLE_SECONDS, limit=0, ssl=self._tls
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
            )
        return self._http


def _itself(endpoint: Endpoint) -> Endpoint:
    return endpoint


def _parameters(values: Mapping[str, object] | None) -> dict[str, str]:
    """Return parameters as ClickHouse reads them in a URL: TSV escapes."""
    escapes = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})
    given = (values or {}).items()
    return {f"param_{name}": str(value).translate(escapes) for name, value in given}


async def _refusal(reply: aiohttp.ClientResponse) -> ClickHouseError:
    text = (await reply.content.read(_ERROR_BYTES_MAX)).decode("utf-8", "replace").strip()
    code = code_of(text, reply.headers.get("X-ClickHouse-Exception-Code"))
    pause_s = retry_after_s(reply.headers)
    return error_of(code, text or "no text", status=reply.status, retry_after_s=pause_s)


def _raise_marked(ended: bytes, tag: str) -> None:
    """Raise the exception that ClickHouse writes into a reply whose status has left."""
    start = ended.find(f"{_MARK}{tag}\r\n".encode()) if tag else -1
    if start >= 0:
        text = ended[start + len(_MARK) + len(tag) + 2 :].decode("utf-8", "replace")
        line = text.split("\n", 1)[0]
        raise error_of(code_of(line, None), line)
