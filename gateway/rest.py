"""A small REST client: one venue's allowance, timeouts, bounded replies, typed errors.

It asks and counts; it retries nothing and parses nothing.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from gateway.errors import RateLimitedError, RestFailedError, RestRefusedError, vendor_text
from gateway.limits import NS_PER_SECOND, RollingLimit, retry_after_seconds
from gateway.status import Counters
from gateway.venue import RestRequest, Venue
from tickd.ports import Clock
from tickd.secrets import Secret

# A record's payload ends there (`native/core/src/record.rs`); no known reply exceeds 20 MB.
BODY_BYTES_MAX = 64 << 20
_PIECE_BYTES = 256 << 10


class RestClient:
    """GET requests to one venue. Use as an async context manager."""

    def __init__(
        self,
        venue: Venue,
        base_url: str,
        *,
        timeout_seconds: float,
        clock: Clock,
        counters: Counters,
        api_key: Secret | None = None,
    ) -> None:
        self._venue = venue
        self._api_key = api_key
        self._base = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._counters = counters
        self._weight = RollingLimit(venue.limits.rest_weight)
        self._strikes = 0  # 429 and 418 in a row
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), headers={"Accept": "application/json"}
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    @property
    def weight_used(self) -> int:
        """Weight taken in the venue's window that ends now."""
        return self._weight.used(self._clock.mono_ns())

    async def get(self, request: RestRequest) -> bytes:
        """Return the body of a 200 reply, after waiting for the allowance.

        Raises RateLimitedError (429, 418), RestRefusedError (other 4xx), RestFailedError (else).
        """
        while wait_ns := self._weight.wait_ns(self._clock.mono_ns(), request.weight):
            await self._clock.sleep(wait_ns / NS_PER_SECOND)
        self._weight.take(self._clock.mono_ns(), request.weight)
        self._counters.rest_requests += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(request)
        except TimeoutError as error:
            raise RestFailedError(
                f"GET {request.target} took longer than {self._timeout_seconds} s",
                venue=self._venue.name,
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise RestFailedError(
                f"GET {request.target}: {vendor_text(str(error) or type(error).__name__)}",
                venue=self._venue.name,
            ) from error

    async def _exchange(self, request: RestRequest) -> bytes:
        assert self._http is not None, "the client is not open"
        url = URL(self._base + request.target, encoded=True)
        headers = self._headers(request)
        async with self._http.get(url, allow_redirects=False, headers=headers) as reply:
            self._adopt(reply.headers.get(self._venue.limits.weight_header or ""))
            body = await self._read(reply, request)
            if reply.status == 200:
                self._strikes = 0
                return body
            raise self._refusal(request, reply.status, reply.headers.get("Retry-After"), body)

    def _headers(self, request: RestRequest) -> dict[str, str]:
        """The key goes only where it is asked for, and never into a record."""
        name = self._venue.limits.key_header
        if not request.keyed or name is None or self._api_key is None:
            return {}
        return {name: self._api_key.reveal()}

    async def _read(self, reply: aiohttp.ClientResponse, request: RestRequest) -> bytes:
        pieces = bytearray()
        async for piece in reply.content.iter_chunked(_PIECE_BYTES):
            pieces += piece
            if len(pieces) > BODY_BYTES_MAX:
                raise RestFailedError(
                    f"GET {request.target}: reply exceeds {BODY_BYTES_MAX} bytes",
                    venue=self._venue.name,
                )
        return bytes(pieces)

    def _adopt(self, used: str | None) -> None:
        if used is not None and used.isascii() and used.isdigit():
            self._weight.adopt(self._clock.mono_ns(), int(used[:9]))

    def _refusal(
        self, request: RestRequest, status: int, retry_after: str | None, body: bytes
    ) -> RestFailedError | RestRefusedError:
        said = f"GET {request.target}: {status} {vendor_text(body)}"
        if status in {418, 429}:
            seconds = retry_after_seconds(status, retry_after, self._strikes, self._clock.wall_ns())
            self._strikes += 1
            self._counters.rest_throttled += 1
            self._weight.block(self._clock.mono_ns(), seconds)
            return RateLimitedError(
                said, venue=self._venue.name, status=status, retry_after_seconds=seconds
            )
        if 400 <= status < 500:
            return RestRefusedError(said, venue=self._venue.name, status=status)
        return RestFailedError(said, venue=self._venue.name)


def record_of(request: RestRequest, body: bytes) -> bytes:
    """The payload of the R record of a 200 reply."""
    return b"GET %s 200\n%s" % (request.target.encode(), body)
