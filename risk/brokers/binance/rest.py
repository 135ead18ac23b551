"""REST of one account: signed requests, the venue's clock, its allowance, typed refusals.

It asks, stamps and counts; it parses nothing but refusals and the time. Questions are asked again
when an answer fails to come; a cancel is sent once a call, and waits for no allowance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from risk.brokers.binance.config import BinanceConfig
from risk.brokers.binance.errors import (
    CLOCK,
    RefusedError,
    UnclearError,
    refusal_of,
    retry_after_seconds,
    vendor_text,
)
from risk.brokers.binance.signing import Key, escaped
from risk.brokers.binance.wire import Query, Wire
from tickd.ports import Clock

__all__ = ["Allowance", "Rest"]

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
BODY_BYTES_MAX: Final = 16 << 20
_PIECE_BYTES: Final = 64 << 10
# Questions leave this share of the venue's weight to cancels and order requests.
QUESTIONS_SHARE: Final = 0.8
USED_HEADER: Final = "X-MBX-USED-WEIGHT-1M"


class _Time(msgspec.Struct, rename="camel"):
    server_time: int


class Allowance:
    """The weight of the venue's current minute, as it counts it, and a ban's end."""

    def __init__(self, per_minute_max: int) -> None:
        self._max: Final = per_minute_max
        self._minute = -1
        self.used = 0
        self._blocked_until_ns = 0

    def wait_s(self, weight: int, *, server_ns: int, mono_ns: int) -> float:
        """Seconds until a question of `weight` is welcome; 0: now. Minutes are the venue's."""
        if mono_ns < self._blocked_until_ns:
            return (self._blocked_until_ns - mono_ns) / NS_PER_S
        self._turn(server_ns)
        if self.used + weight <= self._max * QUESTIONS_SHARE or self.used == 0:
            return 0.0
        return 60.0 - server_ns % (60 * NS_PER_S) / NS_PER_S

    def take(self, weight: int, *, server_ns: int) -> None:
        self._turn(server_ns)
        self.used += weight

    def adopt(self, used: str | None, *, server_ns: int) -> None:
        """Take the venue's own count, which other users of this address add to."""
        if used is not None and used.isascii() and used.isdigit():
            self._turn(server_ns)
            self.used = max(self.used, int(used[:9]))

    def block(self, seconds: float, *, mono_ns: int) -> None:
        self._blocked_until_ns = mono_ns + round(seconds * NS_PER_S)

    def _turn(self, server_ns: int) -> None:
        minute = server_ns // (60 * NS_PER_S)
        if minute > self._minute:
            self._minute, self.used = minute, 0


class Rest:
    """The REST side of one account."""

    def __init__(
        self,
        config: BinanceConfig,
        key: Key,
        wire: Wire,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        ssl_context: SSLContext | None = None,
    ) -> None:
        self._config = config
        self._key = key
        self._wire = wire
        self._clock = clock
        self._jitter = jitter
        self._ssl = ssl_context
        self._base = config.endpoints.rest
        self._http: aiohttp.ClientSession | None = None
        self._users = 0  # of the session
        # Server time minus our monotonic clock: a step of the wall clock changes nothing.
        self._offset_ns = clock.wall_ns() - clock.mono_ns()
        self.synced_mono_ns: int | None = None
        self.allowance = Allowance(config.weight_max)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Requests may be made within; may be entered by several tasks."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None), headers={"Accept": "application/json"}
            )
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                http, self._http = self._http, None
                await http.close()

    # The venue's clock ----------------------------------------------------------------------

    @property
    def server_ns(self) -> int:
        return self._clock.mono_ns() + self._offset_ns

    @property
    def timestamp_ms(self) -> int:
        """What a signed request says."""
        return self.server_ns // NS_PER_MS

    async def sync_time(self) -> None:
        """Raises RefusedError, UnclearError."""
        before_ns = self._clock.mono_ns()
        body = await self.ask(self._wire.server_time())
        after_ns = self._clock.mono_ns()
        try:
            server_ms = msgspec.json.decode(body, type=_Time).server_time
        except msgspec.MsgspecError as error:
            raise UnclearError(f"no server time: {vendor_text(str(error))}") from error
        self._offset_ns = server_ms * NS_PER_MS - (before_ns + after_ns) // 2
        self.synced_mono_ns = after_ns

    # Requests -------------------------------------------------------------------------------

    async def ask(self, query: Query) -> bytes:
        """Return the answer to a question, asked up to `query_tries` times.

        Raises RefusedError (RETRY; FATAL: credentials), UnclearError.
        """
        tries = self._config.query_tries
        for number in range(1, tries + 1):
            wait_s = self.allowance.wait_s(
                query.weight, server_ns=self.server_ns, mono_ns=self._clock.mono_ns()
            )
            if wait_s:
                raise UnclearError(f"{query.path}: not asked, allowance returns in {wait_s:.1f} s")
            try:
                return await self.send(query)
            except UnclearError:
                if number == tries:
                    raise
            pause_s = self._config.backoff_first_s * 2 ** (number - 1)
            await self._clock.sleep(pause_s * (0.5 + self._jitter() / 2))
        raise AssertionError("query_tries is at least 1")

    async def send(self, query: Query) -> bytes:
        """One exchange, whatever the allowance says. Raises as `ask`."""
        what = f"{query.method} {query.path}"
        self.allowance.take(query.weight, server_ns=self.server_ns)
        try:
            async with asyncio.timeout(self._config.query_timeout_s):
                status, body, retry_after = await self._exchange(query)
        except TimeoutError as error:
            raise UnclearError(f"{what}: no answer in {self._config.query_timeout_s} s") from error
        except (aiohttp.ClientError, OSError) as error:
            # Their words may hold the address, which holds the signature.
            raise UnclearError(f"{what}: {type(error).__name__}") from error
        if status == 200:
            return body
        refusal = refusal_of(status, body)
        said = f"{what}: {status} {refusal.code} {refusal.words}"
        if not 400 <= status < 500:
            raise UnclearError(said)
        wait_s = 0.0
        if status in {418, 429}:
            wait_s = retry_after_seconds(retry_after)
            self.allowance.block(wait_s, mono_ns=self._clock.mono_ns())
        elif refusal.code == CLOCK:
            self.synced_mono_ns = None
        raise RefusedError(said, refusal, retry_after_s=wait_s)

    async def _exchange(self, query: Query) -> tuple[int, bytes, str | None]:
        assert self._http is not None, "outside of session()"
        headers = {}
        if query.security != "open":
            headers["X-MBX-APIKEY"] = self._key.api_key.reveal()
        text = escaped(query.params)
        if query.security == "signed":
            text = self._key.query(
                {
                    **query.params,
                    "recvWindow": self._config.recv_window_ms,
                    "timestamp": self.timestamp_ms,
                }
            )
        url = URL(f"{self._base}{query.path}{'?' if text else ''}{text}", encoded=True)
        async with self._http.request(
            query.method, url, allow_redirects=False, headers=headers, ssl=self._ssl or True
        ) as reply:
            pieces = bytearray()
            async for piece in reply.content.iter_chunked(_PIECE_BYTES):
                pieces += piece
                if len(pieces) > BODY_BYTES_MAX:
                    raise UnclearError(f"{query.path}: answer exceeds {BODY_BYTES_MAX} bytes")
            used = reply.headers.get(USED_HEADER)
            self.allowance.adopt(used, server_ns=self.server_ns)
            return reply.status, bytes(pieces), reply.headers.get("Retry-After")
