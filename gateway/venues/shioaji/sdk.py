"""The one place that touches Shioaji's SDK: login, contracts, subscriptions, callbacks.

Both clients of the SDK are driven here, the blocking one on threads of ours, the async one on the
loop. What is called back goes into the queue as it is; nothing is read here. Secrets are passed on
and kept out of every message.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final

import structlog

from gateway.callbacks.venue import Contract, LoginRests, Put, SdkClient, SessionEvent, Usage
from gateway.config import SdkConfig
from gateway.errors import ConnectFailedError, LoginFullError, QueryFailedError, vendor_text
from gateway.venue import Figures, Stream
from gateway.venues.shioaji.contracts import contract_of
from gateway.venues.shioaji.limits import RESTS
from gateway.venues.shioaji.wire import FEEDS, ODD_SUFFIX, VENUE
from tickd.calls import in_thread

log = structlog.get_logger(__name__)

# The SDK's module, and the extra that installs it.
PACKAGE: Final = "shioaji"
# One setter each; all take the callback only and call it with one object.
DATA_CALLBACKS: Final = (
    "tick_stk_v1",
    "bidask_stk_v1",
    "tick_fop_v1",
    "bidask_fop_v1",
    "quote_stk_v1",
    "quote_fop_v1",
    "quote_idx_v1",
)
# What patterns select from, as `contracts.list` names it. Warrants hang on what is under them.
KINDS: Final = ("STK", "FUT", "OPT", "IND")
# Of stocks. The most that a scanner gives is 200.
SCANNERS: Final = {
    "volume": "VolumeRank",
    "turnover": "AmountRank",
    "volatility": "DayRangeRank",
    "trades": "TickCountRank",
}
SCANNER_COUNT: Final = 200
# How long a logout may take before the session goes on without it.
LOGOUT_SECONDS: Final = 5.0
# In the words of the refusal, as a third party has seen it.
FULL: Final = "max num subscriptions"
# By the names of the SDK's own exceptions: they exist only once it is imported.
SUSPENDED: Final = frozenset({"SystemMaintenance", "ServerError"})
REFUSED: Final = frozenset({"AuthError", "TokenError", "AccountNotSignError", "ShioajiValueError"})

Factory = Callable[[bool], Any]


def installed(client: str) -> Factory:
    """The SDK's own class, imported now and not before."""
    sdk = import_module(PACKAGE)
    kind = sdk.ShioajiAsync if client == "async" else sdk.Shioaji
    return lambda simulation: kind(simulation=simulation)


class ShioajiClient:
    """The `SdkClient` of Shioaji. `factory` makes the SDK's client; the default imports it."""

    def __init__(
        self,
        config: SdkConfig,
        put: Put,
        factory: Factory | None = None,
        rests: LoginRests = RESTS,
    ) -> None:
        self._config = config
        self._put = put
        self._factory = factory
        self._rests = rests
        self._api: Any = None  # an object of the SDK, or of its stand-in
        self._secrets = tuple(
            secret.reveal() for secret in (config.api_key, config.secret_key) if secret is not None
        )

    async def open(self) -> None:
        """Log in and register the callbacks, that of session events first: it tells of the login.

        The SDK refuses data callbacks before the login ("Not authenticated", 1.7.9); no data comes
        before a subscription, so that nothing is missed.
        """
        factory = self._factory or installed(self._config.client)
        api_key, secret_key = self._secrets
        try:
            # The constructor alone took 0.6 s: it starts threads.
            self._api = await self._in_thread(lambda: factory(self._config.simulation), "construct")
            self._api.set_event_callback(self._event_callback())
            await self._call("login", api_key, secret_key, subscribe_trade=False)
            for name in DATA_CALLBACKS:
                getattr(self._api, f"set_on_{name}_callback")(self._data_callback())
        except TimeoutError as error:
            raise ConnectFailedError(
                f"{VENUE}: no login within {self._config.call_timeout_seconds} s", venue=VENUE
            ) from error
        except self._errors() as error:
            raise self._login_failed(error) from error

    async def contracts(self, symbols: Sequence[str]) -> tuple[Contract, ...]:
        found: dict[str, Contract] = {}
        for symbol in symbols:
            code = symbol.removesuffix(ODD_SUFFIX)
            info = await self._query(f"contract {code}", partial(self._contract, code))
            contract = contract_of(symbol, info) if info is not None else None
            if contract is not None:
                found[symbol] = contract
        return tuple(found.values())

    async def listing(self) -> tuple[str, ...]:
        codes: dict[str, None] = {}
        for kind in KINDS:
            listed = await self._query(f"list {kind}", partial(self._listed, kind))
            codes.update((str(each.code), None) for each in listed)
        return tuple(codes)

    async def subscribe(self, stream: Stream, contract: Contract) -> None:
        await self._query(
            f"subscribe {stream.name}", lambda: self._change("subscribe", stream, contract)
        )

    async def unsubscribe(self, stream: Stream, contract: Contract) -> None:
        await self._query(
            f"unsubscribe {stream.name}", lambda: self._change("unsubscribe", stream, contract)
        )

    async def ticks(self, contract: Contract, date: str) -> object:
        return await self._query(
            f"ticks {contract.code} {date}",
            lambda: self._api.ticks(contract.handle, date=date, query_type="AllDay"),
        )

    async def bars(self, contract: Contract, date: str) -> object:
        return await self._query(
            f"kbars {contract.code} {date}",
            lambda: self._api.kbars(contract.handle, start=date, end=date),
        )

    async def scan(self, rank: str) -> tuple[Figures, ...]:
        # Third parties do not agree on which way "ascending" is: both ends hold the best.
        found: dict[str, Any] = {}
        for ascending in (True, False):
            items = await self._query(
                f"scanner {rank}", partial(self._scanned, SCANNERS[rank], ascending)
            )
            found.update((str(item.code), item) for item in items)
        return tuple(
            Figures(
                code,
                volume_f=float(item.total_volume),
                turnover_f=float(item.total_amount),
                volatility_f=(item.high - item.low) / item.close if item.close > 0 else None,
                trades=float(item.rank_value) if rank == "trades" else None,
            )
            for code, item in found.items()
        )

    async def usage(self) -> Usage:
        said = await self._query("usage", self._api.usage)
        return Usage(
            connections=int(said.connections),
            bytes_used=int(said.bytes),
            bytes_max=int(said.limit_bytes),
            bytes_left=int(said.remaining_bytes),
        )

    async def close(self) -> None:
        api, self._api = self._api, None
        if api is None:
            return
        try:
            await self._await_or_run(api.logout, "logout", LOGOUT_SECONDS)
        except TimeoutError:
            log.warning("logout_late", venue=VENUE, waited_s=LOGOUT_SECONDS)
        except self._errors() as error:
            log.info("logout_failed", venue=VENUE, words=self._words(error))

    # The SDK's threads --------------------------------------------------------------------------

    # Plain functions with the arguments that the SDK documents: it looks at the signature and
    # falls back to its old two-argument form.

    def _data_callback(self) -> Callable[[object], object]:
        put = self._put

        def on_data(item: object) -> None:
            put(item)

        async def on_data_async(item: object) -> None:
            put(item)

        return on_data_async if self._config.client == "async" else on_data

    def _event_callback(self) -> Callable[[int, int, str, str], object]:
        put = self._put

        def on_event(resp_code: int, event_code: int, info: str, event: str) -> None:
            put(SessionEvent(int(resp_code), int(event_code), str(info), str(event)))

        async def on_event_async(resp_code: int, event_code: int, info: str, event: str) -> None:
            on_event(resp_code, event_code, info, event)

        return on_event_async if self._config.client == "async" else on_event

    # Calls --------------------------------------------------------------------------------------

    def _contract(self, code: str) -> Any:
        return self._api.contracts.get(code)

    def _scanned(self, scanner: str, ascending: bool) -> Any:  # noqa: FBT001 - the SDK's
        return self._api.scanners(scanner_type=scanner, ascending=ascending, count=SCANNER_COUNT)

    def _listed(self, kind: str) -> Any:
        return self._api.contracts.list(kind)

    def _change(self, method: str, stream: Stream, contract: Contract) -> Any:
        call = getattr(self._api, method)
        return call(
            contract.handle,
            quote_type=FEEDS[stream.channel].quote_type,
            intraday_odd=contract.market == "odd",
        )

    async def _query(self, what: str, call: Callable[[], Any]) -> Any:
        """Raises QueryFailedError."""
        try:
            return await self._await_or_run(call, what, self._config.call_timeout_seconds)
        except TimeoutError as error:
            raise QueryFailedError(
                f"{VENUE}: {what}: no answer within {self._config.call_timeout_seconds} s",
                venue=VENUE,
            ) from error
        except self._errors() as error:
            words = self._words(error)
            kind = LoginFullError if FULL in words.lower() else QueryFailedError
            raise kind(f"{VENUE}: {what}: {words}", venue=VENUE) from error

    async def _call(self, method: str, *arguments: object, **options: object) -> Any:
        bound = getattr(self._api, method)
        return await self._await_or_run(
            lambda: bound(*arguments, **options), method, self._config.call_timeout_seconds
        )

    async def _await_or_run(self, call: Callable[[], Any], name: str, seconds: float) -> Any:
        """The async client returns awaitables at once, the other one blocks."""
        if self._config.client == "async":
            result = call()
            return await _bounded(result, seconds) if inspect.isawaitable(result) else result
        return await in_thread(call, name=f"{VENUE} {name}", seconds=seconds)

    async def _in_thread(self, call: Callable[[], Any], name: str) -> Any:
        return await in_thread(
            call, name=f"{VENUE} {name}", seconds=self._config.call_timeout_seconds
        )

    # Errors -------------------------------------------------------------------------------------

    def _errors(self) -> tuple[type[Exception], ...]:
        """What the SDK raises. Its own base class is known once it is imported."""
        sdk = import_module(PACKAGE)
        return (sdk.ShioajiError, OSError, ValueError, RuntimeError)

    def _words(self, error: Exception) -> str:
        """What the SDK said, without our secrets."""
        words = str(error) or type(error).__name__
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return vendor_text(words)

    def _login_failed(self, error: Exception) -> ConnectFailedError:
        names = {kind.__name__ for kind in type(error).__mro__}
        at_least = 0.0
        if names & SUSPENDED:
            at_least = self._rests.suspended_seconds
        elif names & REFUSED:
            at_least = self._rests.refused_seconds
            log.error(
                "login_refused",
                venue=VENUE,
                words=self._words(error),
                hint="check api_key and secret_key, and that the key may be used from here",
            )
        return ConnectFailedError(
            f"{VENUE}: login: {type(error).__name__}: {self._words(error)}",
            venue=VENUE,
            retry_after_seconds=at_least,
        )


async def _bounded(result: Awaitable[Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await result


def client(config: SdkConfig, put: Put) -> SdkClient:
    """A client of the installed SDK."""
    return ShioajiClient(config, put)
