"""The one way to talk to ClickHouse: its HTTP interface, embedded or not.

It sends blocks, statements and questions and turns every failure into an error with an action.
Blocks go through clickhouse-connect, statements (any format, streamed, an exception in the middle
included) through plain POSTs. Nothing is ever sent twice by itself: whoever calls decides about
repeats. It keeps no rows and knows no table but by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec

from recorder.answers import TEXT_MAX, code_of, error_of, retry_after_s
from recorder.blocks import BlockBytes
from recorder.config import ClickHouseConfig
from recorder.endpoint import NO_PASSWORD, Endpoint
from recorder.errors import ClickHouseError, ServerUnreachableError
from recorder.inserter import IDLE_SECONDS, Inserter
from tickd.native import table_columns

__all__ = ["ClickHouse", "configured"]

# A read of this size keeps the loop for well under 0.1 ms.
_PIECE_BYTES: Final = 256 << 10
_ERROR_BYTES_MAX: Final = 4_096
_MARK: Final = "__exception__\r\n"

# On by default in current servers: it acknowledges early and cuts blocks anew.
# Views: a repeat must reach the bars that its first attempt did not, and no bar twice.
_INSERT_SETTINGS: Final = {
    "async_insert": "0",
    "wait_end_of_query": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
}


class ClickHouse:
    """One server, connected when first used; close it at the end.

    Args: `endpoint` is asked for each call and returns None while the server is known to be down.
    """

    def __init__(self, config: ClickHouseConfig, endpoint: Callable[[], Endpoint | None]) -> None:
        self._config = config
        self._endpoint = endpoint
        self._http: aiohttp.ClientSession | None = None
        self._inserter = Inserter(config)

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

    async def insert_block(
        self, block: BlockBytes, token: str, *, deduplicate: bool = True
    ) -> None:
        """Insert one block, once. Raises ClickHouseError; its `outcome` says what may be done.

        Args: `token`: names these rows and no others; `deduplicate`: False stores them even where
        the server remembers the token, for rows that were deleted before.
        """
        await self._insert(
            block.table,
            [name for name, _ in table_columns(block.table)],
            block.body,
            fmt=block.format,
            encoding=block.encoding,
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
        await self._insert(
            table,
            list(rows[0]),
            memoryview(b"\n".join(encoder.encode(dict(row)) for row in rows)),
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
        await self._inserter.insert(
            self.endpoint,
            f"{self.database}.{table}",
            columns,
            body,
            fmt=fmt,
            encoding=encoding,
            settings={**_INSERT_SETTINGS, "insert_deduplication_token": token},
            deduplicate=deduplicate,
        )

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
                    :TEXT_MAX
                ],
                hint="is the server running, and is clickhouse.url right?",
            ) from error

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            connect_s = self._config.connect_timeout_ms / 1000
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=IDLE_SECONDS, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
            )
        return self._http


def configured(config: ClickHouseConfig) -> Endpoint:
    """Return the server that a configuration names by its URL."""
    return Endpoint(config.url, user=config.user, password=config.password or NO_PASSWORD)


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
