"""A stand-in for Shioaji's broker and SDK client: the real data classes, foreign threads, faults.

`StandIn` is the broker; `StandIn.client` makes what `shioaji.Shioaji` makes, with the methods that
tickd calls and the SDK's own exceptions. Callbacks come one after the other on a thread of the
stand-in, as a slow one then holds up all behind it. No order, no money, no network.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, final

import shioaji

from tickd.clock import SystemClock
from tickd.testing.shioaji_market import (
    Fault,
    Listing,
    PastBars,
    PastTicks,
    Trading,
    UsageFigures,
)

__all__ = ["Fault", "Listing", "StandIn", "StandInAsyncClient", "StandInClient", "UsageFigures"]

# The SDK's names of its callbacks.
DATA: Final = (
    "tick_stk_v1",
    "bidask_stk_v1",
    "tick_fop_v1",
    "bidask_fop_v1",
    "quote_stk_v1",
    "quote_fop_v1",
    "quote_idx_v1",
)
PACE_S: Final = 0.001


@final
@dataclass
class StandIn(Trading):
    """The broker. All its figures may be read at any time."""

    subscriptions_max: int = 200
    faults: Sequence[Fault] = ()
    rejected: frozenset[str] = frozenset()  # codes whose subscriptions are declined
    login_faults: deque[Exception] = field(default_factory=deque)
    clients: list[StandInClient] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clock = SystemClock()
        self.logins = 0
        self.logouts = 0
        self.keys: list[tuple[str, str]] = []
        self.delivered: Counter[str] = Counter()  # by class
        self.unseen = 0  # market events that were not delivered
        self.lots_delivered: Counter[str] = Counter()
        self.slowest_callback_ns = 0
        self.tick_queries: list[tuple[str, str]] = []  # code and date
        self.bar_queries: list[tuple[str, str]] = []
        self.bars = PastBars()

    def client(self, simulation: bool = False) -> StandInClient:  # noqa: FBT001, FBT002 - the SDK's
        made = StandInClient(self, simulation=simulation)
        self.clients.append(made)
        return made

    def async_client(self, simulation: bool = False) -> StandInAsyncClient:  # noqa: FBT001, FBT002
        made = StandInAsyncClient(self, simulation=simulation)
        self.clients.append(made)
        return made

    @property
    def newest(self) -> StandInClient:
        return self.clients[-1]

    def close(self) -> None:
        """End the threads of all clients."""
        for client in self.clients:
            client.thread.shutdown(wait=True, cancel_futures=True)


class _Contracts:
    """What `api.contracts` is."""

    def __init__(self, client: StandInClient) -> None:
        self._client = client

    def get(self, code: str) -> Any:
        self._client.refuse_strangers()
        broker = self._client.broker
        if not broker.has_allowance():
            return None
        listing = broker.by_code.get(code)
        return listing.info() if listing is not None else None

    def list(self, kind: str) -> list[Any]:
        self._client.refuse_strangers()
        broker = self._client.broker
        if not broker.has_allowance():
            return []
        return [each.info() for each in broker.listings if each.kind == kind]


class StandInClient:
    """What `shioaji.Shioaji` makes. One thread calls back, one callback after the other."""

    def __init__(self, broker: StandIn, *, simulation: bool) -> None:
        self.broker = broker
        self.simulation = simulation
        self.logged_in = False
        self.up = False
        self.subscriptions: dict[tuple[str, str, bool], None] = {}
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="stand-in")
        self._on: dict[str, Callable[..., object]] = {}
        self._lock = Lock()
        self._faults = deque(sorted(broker.faults)) if not broker.clients else deque[Fault]()
        self._last: tuple[str, Any] | None = None
        self._keys: list[tuple[str, str, bool]] = []
        self._turn = 0
        self._silent = 0
        self.count = 0

    # The SDK's methods --------------------------------------------------------------------------

    def login(
        self,
        api_key: str,
        secret_key: str,
        subscribe_trade: bool = True,  # noqa: FBT001, FBT002 - the SDK's
        receive_window: int = 30_000,
        force_refresh: bool = False,  # noqa: FBT001, FBT002 - the SDK's
    ) -> list[Any]:
        del subscribe_trade, receive_window, force_refresh
        if len(api_key) < 10:
            raise shioaji.ShioajiValueError(
                f"login validation error: api_key must be at least 10 characters: {len(api_key)}"
            )
        self.broker.logins += 1
        self.broker.keys.append((api_key, secret_key))
        if self.broker.login_faults:
            raise self.broker.login_faults.popleft()
        self.logged_in = self.up = True
        self.say(0, "")
        return []

    def logout(self) -> None:
        self.refuse_strangers()
        self.logged_in = self.up = False
        self.broker.logouts += 1
        self.deafen()

    def usage(self) -> UsageFigures:
        self.refuse_strangers()
        return self.broker.usage

    def ticks(self, contract: Any, date: str, query_type: str = "AllDay") -> PastTicks:
        """Past trades of a day; beyond the traffic limit nothing, and no error."""
        self.refuse_strangers()
        assert query_type == "AllDay"
        self.broker.tick_queries.append((str(contract.code), date))
        has = self.broker.has_allowance()
        return self.broker.past(str(contract.code), date) if has else PastTicks()

    def kbars(self, contract: Any, start: str, end: str) -> PastBars:
        """Minute bars of past days, which the broker keeps for longer than trades."""
        self.refuse_strangers()
        assert start == end
        self.broker.bar_queries.append((str(contract.code), start))
        return self.broker.bars

    def scanners(self, scanner_type: str, ascending: bool, count: int) -> list[Any]:  # noqa: FBT001 - the SDK's
        """Stocks by their running volume, whatever is asked for."""
        shioaji.ScannerType(scanner_type)  # pyright: ignore[reportArgumentType] - any text may come
        self.refuse_strangers()
        if not self.broker.has_allowance():
            return []
        items = self.broker.scanned()
        return sorted(items, key=lambda item: item.total_volume, reverse=not ascending)[:count]

    @property
    def contracts(self) -> _Contracts:
        return _Contracts(self)

    def set_event_callback(self, callback: Callable[[int, int, str, str], object]) -> None:
        self._on["event"] = callback

    def __getattr__(self, name: str) -> Any:
        """`set_on_tick_stk_v1_callback` and its sisters."""
        kind = name.removeprefix("set_on_").removesuffix("_callback")
        if kind not in DATA or name != f"set_on_{kind}_callback":
            raise AttributeError(name)

        def setter(callback: Callable[[Any], object], bind: bool = False) -> None:  # noqa: FBT001, FBT002
            assert not bind
            self.refuse_strangers()
            self._on[kind] = callback

        return setter

    def subscribe(self, contract: Any, quote_type: str, intraday_odd: bool = False) -> None:  # noqa: FBT001, FBT002
        self.refuse_strangers()
        key = (str(contract.code), quote_type, intraday_odd)
        topic = self._topic(key)
        with self._lock:
            full = len(self.subscriptions) >= self.broker.subscriptions_max
            if full or key[0] in self.broker.rejected:
                self.say(4, topic)
                words = "Max Num Subscriptions Exceeded" if full else "Subscription ACL Denied"
                raise shioaji.SubscribeError(f"{topic}: {words}")
            self.subscriptions[key] = None
        self.say(16, topic)

    def unsubscribe(self, contract: Any, quote_type: str, intraday_odd: bool = False) -> None:  # noqa: FBT001, FBT002
        self.refuse_strangers()
        key = (str(contract.code), quote_type, intraday_odd)
        with self._lock:
            self.subscriptions.pop(key, None)
        self.say(16, self._topic(key))

    def refuse_strangers(self) -> None:
        if not self.logged_in:
            raise shioaji.AuthError("Not authenticated")

    def _topic(self, key: tuple[str, str, bool]) -> str:
        code, quote_type, odd = key
        listing = self.broker.by_code[code]
        prefix = {"tick": "TIC/v1", "bid_ask": "QUO/v1", "quote": "QUO/v2"}[quote_type]
        kind = {"STK": "ODD" if odd else "STK", "IND": "IND"}.get(listing.kind, "FOP")
        if kind == "IND":
            prefix = "QUO/v1"
        place = "TSE" if listing.exchange == "TSE" else "TFE"
        return f"{prefix}/{kind}/*/{place}/{listing.target_code or code}"

    def deafen(self) -> None:
        """Forget all callbacks: objects are made and nobody is told (benchmarks)."""
        self._on.clear()

    # The thread that calls back -----------------------------------------------------------------

    def say(self, code: int, info: str, words: str = "") -> None:
        """Session event `code`, behind what is being delivered."""
        self.thread.submit(self.say_now, code, info, words)

    def say_now(self, code: int, info: str, words: str = "") -> None:
        self._call(
            "event", 200 if code in (0, 13, 16) else 503, code, info, words or f"event {code}"
        )

    def feed(self, count: int, *, per_second: float | None = None) -> Future[int]:
        """Deliver `count` callbacks of data over the subscriptions in turn, on the thread.

        The future's result is how many were delivered: fewer after `session_down` or a logout.
        """
        return self.thread.submit(self._feed, count, per_second)

    def _feed(self, count: int, per_second: float | None) -> int:
        began_ns = self.broker.clock.mono_ns()
        done = 0
        while done < count and self.logged_in:
            due = count
            if per_second is not None:
                due = min(count, int((self.broker.clock.mono_ns() - began_ns) * per_second / 1e9))
                if due <= done:
                    time.sleep(PACE_S)  # the SDK's thread waits without the GIL, too
                    continue
            for _ in range(due - done):
                done += 1
                self._next()
        return done

    def _next(self) -> None:
        while self._faults and self._faults[0].after <= self.count:
            self._fault(self._faults.popleft())
        with self._lock:
            keys = list(self.subscriptions) if self._turn == 0 else None
        if keys is not None:
            self._keys = keys
        if not self._keys:
            self.count += 1
            return
        key = self._keys[self._turn]
        self._turn = (self._turn + 1) % len(self._keys)
        item = self.broker.event(key)
        self.count += 1
        if not self.up or self._silent > 0:
            self._silent = max(0, self._silent - 1)
            self.broker.unseen += 1
            return
        self.deliver(item, lots_of=key[0] if key[1] == "tick" else None)

    def deliver(self, item: Any, *, lots_of: str | None = None) -> None:
        """Call back with `item`, on the thread that asks."""
        kind = {
            "TickSTKv1": "tick_stk_v1",
            "BidAskSTKv1": "bidask_stk_v1",
            "TickFOPv1": "tick_fop_v1",
            "BidAskFOPv1": "bidask_fop_v1",
            "QuoteSTKv1": "quote_stk_v1",
            "QuoteFOPv1": "quote_fop_v1",
            "QuoteIdxV1": "quote_idx_v1",
        }[type(item).__name__]
        self._last = (kind, item)
        self.broker.delivered[kind] += 1
        if lots_of is not None:
            self.broker.lots_delivered[lots_of] += 1
        began_ns = self.broker.clock.mono_ns()
        self._call(kind, item)
        self.broker.slowest_callback_ns = max(
            self.broker.slowest_callback_ns, self.broker.clock.mono_ns() - began_ns
        )

    def _call(self, kind: str, *arguments: object) -> None:
        callback = self._on.get(kind)
        if callback is not None:
            callback(*arguments)

    def _fault(self, fault: Fault) -> None:
        happens: dict[str, Callable[[int], None]] = {
            "event": self._event,
            "duplicate": self._again,
            "jump": self._jump,
            "silence": self._silence,
            "stall": lambda milliseconds: time.sleep(milliseconds / 1e3),
            "trial": self._trials,
        }
        happens[fault.kind](fault.value)

    def _event(self, code: int) -> None:
        self.say_now(code, "")
        if code in (1, 2, 12):
            self.up = False
        elif code in (0, 13):
            self.up = True

    def _again(self, times: int) -> None:
        assert self._last is not None
        for _ in range(times):
            self._call(*self._last)

    def _jump(self, lots: int) -> None:
        for market in self.broker.markets.values():
            market.trade(self.broker.now, lots)

    def _silence(self, events: int) -> None:
        self._silent = events

    def _trials(self, count: int) -> None:
        """Trial matches of every stock that is subscribed, as before an auction."""
        broker = self.broker
        for code, quote_type, odd in self._keys:
            if quote_type == "tick" and not odd and broker.by_code[code].kind == "STK":
                for _ in range(count):
                    self._call("tick_stk_v1", broker.trial(code))


class StandInAsyncClient(StandInClient):
    """What `shioaji.ShioajiAsync` makes: awaitable methods, callbacks are coroutine functions."""

    def __init__(self, broker: StandIn, *, simulation: bool) -> None:
        super().__init__(broker, simulation=simulation)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def login(self, *arguments: Any, **options: Any) -> list[Any]:  # type: ignore[override]
        self._loop = asyncio.get_running_loop()
        return super().login(*arguments, **options)

    async def logout(self) -> None:  # type: ignore[override]
        super().logout()

    async def usage(self) -> UsageFigures:  # type: ignore[override]
        return super().usage()

    async def ticks(self, *arguments: Any, **options: Any) -> PastTicks:  # type: ignore[override]
        return super().ticks(*arguments, **options)

    async def kbars(self, *arguments: Any, **options: Any) -> PastBars:  # type: ignore[override]
        return super().kbars(*arguments, **options)

    async def subscribe(self, *arguments: Any, **options: Any) -> None:  # type: ignore[override]
        super().subscribe(*arguments, **options)

    async def unsubscribe(self, *arguments: Any, **options: Any) -> None:  # type: ignore[override]
        super().unsubscribe(*arguments, **options)

    def _call(self, kind: str, *arguments: object) -> None:
        callback: Any = self._on.get(kind)
        if callback is not None and self._loop is not None:
            asyncio.run_coroutine_threadsafe(callback(*arguments), self._loop)
