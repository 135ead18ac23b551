"""Statements over HTTP: what `migrate` and `query` send to ClickHouse, embedded or not.

It inserts no events. One request per statement, no retries: whoever calls decides. Errors carry
ClickHouse's own code.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Final, Self

import aiohttp

from tickd.errors import Action, TickdError
from tickd.secrets import Secret

__all__ = ["ServerError", "Statements"]

_CONNECT_S: Final = 10.0
_PIECE_BYTES: Final = 262_144
_ERROR_BYTES_MAX: Final = 4_096
_CODE: Final = re.compile(r"Code: (\d+)")
_TAG: Final = "__exception__\r\n"


class ServerError(TickdError):
    """ClickHouse refused a statement (`code`), or could not be reached (`code` is None)."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None,
        action: Action = Action.FATAL,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, action=action, hint=hint)
        self.code = code


class Statements:
    """A connection to one ClickHouse. Use as an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        user: str = "default",
        password: Secret | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        self.url = url.rstrip("/")
        self.user = user
        self.password = password or Secret("")
        self._timeout_s = timeout_s
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # In headers, not in the URL: URLs end up in logs.
        headers = {"X-ClickHouse-User": self.user}
        if self.password:
            headers["X-ClickHouse-Key"] = self.password.reveal()
        self._http = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=_CONNECT_S, sock_read=self._timeout_s
            ),
        )
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def run(self, sql: str, *, settings: Mapping[str, str] | None = None) -> bytes:
        """Send one statement and return its whole reply, after it has ended. Raises ServerError."""
        query = {"wait_end_of_query": "1", **(settings or {})}
        return b"".join([piece async for piece in self.stream(sql, settings=query)])

    async def stream(
        self,
        sql: str,
        *,
        settings: Mapping[str, str] | None = None,
    ) -> AsyncIterator[bytes]:
        """Send one statement and give its reply as it comes. Raises ServerError, even midway."""
        assert self._http is not None, "used outside `async with`"
        ended = b""  # the last bytes, where an exception is written once the status has left
        tag: str | None = None
        try:
            async with self._http.post(self.url, params=settings or {}, data=sql.encode()) as reply:
                tag = reply.headers.get("X-ClickHouse-Exception-Tag")
                if reply.status != 200:
                    text = (await reply.content.read(_ERROR_BYTES_MAX)).decode("utf-8", "replace")
                    raise _refusal(
                        text, reply.headers.get("X-ClickHouse-Exception-Code"), reply.status
                    )
                async for piece in reply.content.iter_chunked(_PIECE_BYTES):
                    ended = (ended + piece)[-_ERROR_BYTES_MAX:]
                    if tag is not None and _marked(ended, tag) is not None:
                        raise _refusal(_marked(ended, tag) or "", None, reply.status)
                    yield piece
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            said = _marked(ended, tag) if tag is not None else None
            if said is not None:
                raise _refusal(said, None, 200) from None
            raise ServerError(
                f"no answer from ClickHouse at {self.url}: {error or type(error).__name__}",
                code=None,
                action=Action.RETRY,
                hint="is the server running, and is clickhouse.url right?",
            ) from None


def _marked(ended: bytes, tag: str) -> str | None:
    """Return the exception that ClickHouse writes into a reply whose status has left."""
    start = ended.find(f"{_TAG}{tag}\r\n".encode())
    if start < 0:
        return None
    text = ended[start + len(_TAG) + len(tag) + 2 :].decode("utf-8", "replace")
    return text.split("\n", 1)[0]


def _refusal(text: str, code_header: str | None, status: int) -> ServerError:
    found = _CODE.search(text)
    if code_header is not None and code_header.isdecimal():
        code: int | None = int(code_header)
    else:
        code = int(found[1]) if found else None
    text = text.strip() or f"HTTP status {status} without a text"
    return ServerError(text, code=code, hint=_HINTS.get(code or 0))


_HINTS: Final = {
    60: "are the tables there? run `tickd migrate`",
    81: "is the database there? run `tickd migrate`",
    194: "check clickhouse.user and its password",
    516: "check clickhouse.user and its password",
    497: "this user lacks a right",
}
