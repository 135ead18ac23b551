"""The one way to talk to ClickHouse: HTTP, through clickhouse-connect's async client.

It sends blocks and questions and turns every failure into an error with an action. It never sends
anything twice: the library repeats bodies that it can rebuild when a connection breaks, even after
the server committed them, so bodies go out as generators, which it cannot. Whoever calls decides
about repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from clickhouse_connect import get_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError as LibraryError
from clickhouse_connect.driver.exceptions import Error as CodedError

from recorder.config import ClickHouseConfig
from recorder.errors import (
    AccessRefusedError,
    BlockRefusedError,
    ClickHouseError,
    SchemaRefusedError,
    ServerBusyError,
    ServerUnreachableError,
)
from tickd.native import Block, table_columns

__all__ = ["ClickHouse", "error_of"]

# A write of this size keeps the loop for well under 0.1 ms.
_PIECE_BYTES: Final = 256 << 10
_TEXT_MAX: Final = 500

_TOO_MANY_PARTS: Final = 252
_BUSY: Final = frozenset({202, 241, _TOO_MANY_PARTS})
_SCHEMA: Final = frozenset({16, 36, 47, 60, 62, 80, 81, 115})
_ACCESS: Final = frozenset({164, 192, 193, 194, 497, 516})
# Cannot parse, cut body, out of bound, incorrect data, overflow, constraint, type mismatch.
_DATA: Final = frozenset({6, 27, 33, 38, 41, 53, 69, 70, 72, 117, 307, 407, 457, 469})


def error_of(code: int | None, text: str) -> ClickHouseError:
    """Return the error for an answer of the server, by its own code: the HTTP status is no guide.

    An unknown code is retried: sending a block once more is harmless, throwing it away is not.
    """
    message = text[:_TEXT_MAX]
    if code in _SCHEMA:
        return SchemaRefusedError(message, code=code, hint="run: tickd migrate")
    if code in _ACCESS:
        return AccessRefusedError(message, code=code, hint="check clickhouse.user and its password")
    # One code for "slow down" and for "never": only the words differ.
    if code in _DATA or (code == _TOO_MANY_PARTS and "Too many partitions" in text):
        return BlockRefusedError(message, code=code)
    if code in _BUSY:
        return ServerBusyError(message, code=code)
    return ServerUnreachableError(message, code=code)


class ClickHouse:
    """One server, connected when first used and again whenever its address changes.

    Args: `address` returns the URL, or None while the server is known to be down.
    """

    def __init__(self, config: ClickHouseConfig, address: Callable[[], str | None]) -> None:
        self._config = config
        self._address = address
        self._client: AsyncClient | None = None
        self._connected_to: str | None = None
        self._connecting = asyncio.Lock()

    @property
    def database(self) -> str:
        return self._config.database

    @property
    def compression(self) -> str | None:
        return None if self._config.compression == "none" else self._config.compression

    async def insert_block(self, block: Block, token: str) -> None:
        """Insert one block. Raises ClickHouseError; without a code the outcome is unknown."""
        await self._insert(
            block.table,
            [name for name, _ in table_columns(block.table)],
            _pieces(memoryview(block)),
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
        body = b"\n".join(encoder.encode(dict(row)) for row in rows)
        await self._insert(
            table,
            list(rows[0]),
            _pieces(memoryview(body)),
            fmt="JSONEachRow",
            compression=None,
            settings={"insert_deduplication_token": token},
        )

    async def query(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[object, ...]]:
        """Return all rows of a small result. Raises ClickHouseError."""
        async with self._call(self._config.query_timeout_ms) as client:
            result = await client.query(sql, parameters=dict(parameters or {}))
            return [tuple(row) for row in result.result_rows]

    async def command(self, sql: str) -> None:
        """Run a statement without a result. Raises ClickHouseError."""
        async with self._call(self._config.query_timeout_ms) as client:
            await client.command(sql)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _insert(
        self,
        table: str,
        columns: Sequence[str],
        body: AsyncIterator[bytes],
        *,
        fmt: str,
        compression: str | None,
        settings: dict[str, str],
    ) -> None:
        async with self._call(self._config.insert_timeout_ms) as client:
            await client.raw_insert(
                f"{self._config.database}.{table}",
                column_names=columns,
                insert_block=body,
                # async_insert is on by default in current servers and would acknowledge early.
                settings={"async_insert": "0", **settings},
                fmt=fmt,
                compression=compression,
            )

    @asynccontextmanager
    async def _call(self, timeout_ms: int) -> AsyncIterator[AsyncClient]:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                yield await self._connection()
        except CodedError as error:
            raise error_of(error.code, str(error)) from error
        except (LibraryError, OSError) as error:
            raise ServerUnreachableError(f"{type(error).__name__}: {error}"[:_TEXT_MAX]) from error

    async def _connection(self) -> AsyncClient:
        address = self._address()
        if address is None:
            raise ServerUnreachableError("the server is not running")
        async with self._connecting:
            if self._client is not None and self._connected_to == address:
                return self._client
            await self.close()
            password = self._config.password
            self._client = await get_async_client(
                dsn=address,
                username=self._config.user,
                password="" if password is None else password.reveal(),
                connect_timeout=self._config.connect_timeout_ms // 1000 or 1,
                send_receive_timeout=self._config.insert_timeout_ms // 1000 or 1,
                autogenerate_session_id=False,
                compress=False,
                query_retries=0,
            )
            self._connected_to = address
            return self._client


async def _pieces(body: memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield bytes(body[start : start + _PIECE_BYTES])
