"""Inserts through clickhouse-connect, and what the library does not tell about their answers.

One client per endpoint, made when first used. The library repeats bodies that it can rebuild when a
connection breaks, even after the server committed them; bodies therefore go out as generators,
which it cannot. Redirects are refused: they would turn an insert into a question. It decides about
no repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from clickhouse_connect import get_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError as LibraryError
from clickhouse_connect.driver.exceptions import Error as CodedError

from recorder.clickhouse.answers import TEXT_MAX, code_of, error_of, retry_after_s
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.errors import ServerUnreachableError

__all__ = ["IDLE_SECONDS", "Inserter"]

# A write of this size keeps the loop for well under 0.1 ms.
_PIECE_BYTES: Final = 256 << 10
# Below the 10 s after which a server closes idle connections: a POST on a dead one is not repeated.
IDLE_SECONDS: Final = 8.0
_PORTS: Final = {"http": 80, "https": 443}
# Setting of 26.2 and later that decides about tokens before `insert_deduplicate` does.
_NEW_SWITCH: Final = "deduplicate_insert"


class _Heard:
    """The answer to one request, beside its text."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after_s: float | None = None


# Who asks is known only by the task: the library hands nothing through to the connection.
_heard: ContextVar[_Heard | None] = ContextVar("tickd_insert_heard", default=None)


class Inserter:
    """Sends the bodies of inserts to whichever endpoint a call names; close it at the end."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._client: AsyncClient | None = None
        self._leads_to: Endpoint | None = None
        self._connecting = asyncio.Lock()
        self._trace = aiohttp.TraceConfig()
        self._trace.on_request_end.append(_remember)
        self._trace.on_request_redirect.append(_refuse_redirect)
        self._trace.freeze()

    async def insert(
        self,
        endpoint: Endpoint,
        table: str,
        columns: Sequence[str],
        body: memoryview,
        *,
        fmt: str,
        encoding: str | None,
        settings: Mapping[str, str],
        deduplicate: bool,
    ) -> None:
        """Send one insert, once. Raises ClickHouseError."""
        heard = _Heard()
        token = _heard.set(heard)
        try:
            async with asyncio.timeout(self._config.insert_timeout_ms / 1000):
                client = await self._connected(endpoint)
                switches = _switches(client, deduplicate=deduplicate)
                summary = await client.raw_insert(
                    table,
                    column_names=columns,
                    insert_block=_pieces(body),
                    settings={**settings, **switches},
                    fmt=fmt,
                    compression=encoding,
                )
        except CodedError as error:
            raise _error(error, heard) from error
        except (LibraryError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ServerUnreachableError(f"{type(error).__name__}: {error}"[:TEXT_MAX]) from error
        finally:
            _heard.reset(token)
        if "written_rows" not in summary.summary:
            # A portal or a wrong port says 200 to anything: only ClickHouse counts what it wrote.
            raise ServerUnreachableError(
                f"the answer of {endpoint.url} to an insert is not ClickHouse's",
                hint="is clickhouse.url right, and does a proxy keep X-ClickHouse-Summary?",
            )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self, endpoint: Endpoint) -> AsyncClient:
        """The client of an endpoint; a new one when the last call went elsewhere."""
        async with self._connecting:
            if self._client is None or self._leads_to != endpoint:
                await self.close()
                self._client = await self._connect(endpoint)
                self._leads_to = endpoint
            # The library makes a new session now and then and has no place for a trace.
            session = self._client._session  # noqa: SLF001
            if session is not None and self._trace not in session.trace_configs:
                session.trace_configs.append(self._trace)
            return self._client

    async def _connect(self, endpoint: Endpoint) -> AsyncClient:
        config, tls = self._config, endpoint.tls
        url = urlsplit(endpoint.url)
        return await get_async_client(
            interface=url.scheme,
            host=url.hostname,
            port=url.port or _PORTS[url.scheme],
            proxy_path=url.path.rstrip("/"),
            username=endpoint.user,
            password=endpoint.password.reveal(),
            verify=tls.verify,
            ca_cert=tls.ca_file,
            client_cert=tls.cert_file,
            client_cert_key=tls.key_file,
            # With a certificate alone the library says so; with a password it must be told.
            tls_mode="strict" if tls.cert_file and not endpoint.by_certificate else None,
            connect_timeout=config.connect_timeout_ms // 1000 or 1,
            send_receive_timeout=config.insert_timeout_ms // 1000 or 1,
            keepalive_timeout=IDLE_SECONDS,
            autogenerate_session_id=False,
            compress=False,
            query_retries=0,
        )


def _switches(client: AsyncClient, *, deduplicate: bool) -> dict[str, str]:
    """The settings that turn tokens on or off; an older server knows only the first."""
    switches = {"insert_deduplicate": "1" if deduplicate else "0"}
    if _NEW_SWITCH in client.server_settings:
        switches[_NEW_SWITCH] = "enable" if deduplicate else "disable"
    return switches


def _error(error: CodedError, heard: _Heard) -> Exception:
    text = str(error)
    code = error.code if error.code is not None else code_of(text, None)
    if code is None and heard.status is None:
        # No answer at all. Only a connection that never stood proves that nothing was sent.
        refused = isinstance(error.__cause__, aiohttp.ClientConnectorError)
        return ServerUnreachableError(
            text[:TEXT_MAX],
            hint="is the server running, and is clickhouse.url right?" if refused else None,
            outcome="refused" if refused else "unknown",
        )
    return error_of(code, text, status=heard.status, retry_after_s=heard.retry_after_s)


async def _remember(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, end: aiohttp.TraceRequestEndParams
) -> None:
    heard = _heard.get()
    if heard is not None:
        heard.status = end.response.status
        heard.retry_after_s = retry_after_s(end.response.headers)


async def _refuse_redirect(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    redirect: aiohttp.TraceRequestRedirectParams,
) -> None:
    if _heard.get() is not None:
        status = redirect.response.status
        raise error_of(None, f"a redirect of {redirect.url}", status=status)


async def _pieces(body: memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield bytes(body[start : start + _PIECE_BYTES])
