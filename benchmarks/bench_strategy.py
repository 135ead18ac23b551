"""Strategies: ticks to a Python handler, per event and per batch; the cache of last values.

Dispatch: trades of one instrument, in batches, through `StrategyHost.feed`: last values, the
handler's call with a view, isolation and a stamp per call are in it. The handler counts; "reads"
also reads price and size; "watched" also says in shared memory, per call, since when it runs, as
in a process of its own, so that the daemon sees which callback hangs. "asyncio.Queue" hands over
one ready object per event.

Like is compared with like. Where each event comes alone, the consumer of a queue is woken for each
("a wake-up per event"), and dispatch gets batches of one: a handover of one event to a handler,
which is what the tenfold is asked of. Where events come in bursts a queue is not empty while it is
awaited, and dispatch gets batches of 64: that ratio is printed without a bound. Tenfold there would
leave 19 ns beside the call of the handler ("the call alone" is 34 of the queue's 530 ns) for last
values, view, isolation and stamp, which take twice that. A strategy that takes batches is far
beyond both.

NautilusTrader is its live data path as it ships (LiveDataEngine.process → asyncio.Queue → cache →
message bus → a handler that counts) in a child process; it does more per tick than dispatch.

Cache: one update is a trade of the market and news of an order that is over at the next one. The
dictionary cache is shaped as LuminaQuant's runtime cache: copies of dictionaries, open orders by
id; bounded here (an order that is over goes), as ours is.

Run: python benchmarks/bench_strategy.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import harness
import numpy as np
import peer
from harness import Cost, Figure, least, rate

from strategy_runner.config import StrategyConfig
from strategy_runner.runner import StrategyHost
from strategy_runner.strategy import Strategy
from tickd.clock import SystemClock
from tickd.events import EVENT, Flag, Kind, OrderState, Side, as_array
from tickd.native import EventBatch, LastValues, Quote, RingReader, Trade

TICKS = 256_000
BATCH = 64
INSTRUMENT = 11
TICKS_LEAST = 3e6
RATIO_LEAST = 10.0
CACHE_RATIO_LEAST = 2.0
DEFINITION = (
    b'{"venue":"binance-usdm","symbol":"BTCUSDT","asset_class":"perpetual","price_scale":2,'
    b'"size_scale":3,"tick":10,"lot":1,"multiplier":"1"}'
)


class Counts(Strategy):
    def on_start(self) -> None:
        self.count = 0

    def on_trade(self, _trade: Trade) -> None:
        self.count += 1


class Reads(Strategy):
    def on_start(self) -> None:
        self.count = self.volume = 0

    def on_trade(self, trade: Trade) -> None:
        self.count += 1
        self.volume += trade.price * trade.size


class CountsQuotes(Strategy):
    def on_start(self) -> None:
        self.count = 0

    def on_quote(self, _quote: Quote) -> None:
        self.count += 1


class Columns(Strategy):
    def on_start(self) -> None:
        self.count = self.volume = 0

    def on_batch(self, events: EventBatch) -> None:
        columns = as_array(events)
        self.count += len(columns)
        self.volume += int(columns["size"].sum())


def trades(batch: int) -> list[EventBatch]:
    events = np.zeros(TICKS, EVENT)
    events["seq"] = np.arange(1, TICKS + 1)
    events["ts_recv"] = 1_795_219_199_000_000_000 + np.arange(TICKS) * 1_000
    events["kind"], events["side"], events["flags"] = Kind.TRADE, Side.BID, Flag.LAST
    events["price"], events["size"], events["instrument"] = 6_000_000, 5, INSTRUMENT
    return cut(events, batch)


def quotes(batch: int) -> list[EventBatch]:
    events = np.zeros(2 * TICKS, EVENT)
    events["seq"] = np.arange(1, 2 * TICKS + 1)
    events["ts_recv"] = 1_795_219_199_000_000_000
    events["kind"], events["price"], events["size"] = Kind.QUOTE, 6_000_000, 5
    events["side"][::2], events["side"][1::2] = Side.BID, Side.ASK
    events["flags"][1::2] = Flag.LAST
    events["instrument"] = INSTRUMENT
    return cut(events, 2 * batch)


def cut(events: Any, batch: int) -> list[EventBatch]:
    parts = [events[at : at + batch] for at in range(0, len(events), batch)]
    return [EventBatch.from_events(part.tobytes(), [(0, 0, len(part))]) for part in parts]


def nothing(*_arguments: object) -> None:
    """What a benchmark does with records."""


def dispatch(
    kinds: list[type[Strategy]], batches: list[EventBatch], *, watched: bool = False
) -> Cost:
    made: list[Any] = []
    module = sys.modules["bench_classes"] = ModuleType("bench_classes")
    configs = []
    for number, kind in enumerate(kinds):

        class Noted(kind):  # type: ignore[valid-type,misc]
            def on_start(self) -> None:
                super().on_start()
                made.append(self)

        setattr(module, f"Kind{number}", Noted)
        configs.append(StrategyConfig(name=f"s{number}", class_=f"bench_classes:Kind{number}"))
    host = StrategyHost(
        configs, record=nothing, clock=SystemClock(), state_dir=None, on_stopped=nothing
    )
    host.define(INSTRUMENT, DEFINITION)
    if watched:
        host.tell(RingReader(1_024))
    host.start()
    feed = host.feed
    began = time.process_time_ns()
    for batch in batches:
        feed(batch)
    spent = time.process_time_ns() - began
    host.stop("measured")
    assert [each.count for each in made] == [TICKS] * len(kinds)
    return Cost(spent, TICKS)


class Tick:
    """A ready object per event, as a Python gateway passes them."""

    __slots__ = ("price", "size")

    def __init__(self, price: int, size: int) -> None:
        self.price = price
        self.size = size


def queue_of_events(how: str) -> Cost:
    """One asyncio.Queue, one item per event.

    `wakes`: each event finds the consumer asleep, as on an idle socket; `awaits`: it awaits each,
    and is woken when the queue is full; `drains`: bursts of 64, taken without awaiting.
    """
    ticks = [Tick(6_000_000, 5)] * TICKS

    async def run() -> Cost:
        queue: asyncio.Queue[Tick | None] = asyncio.Queue(1024)
        count = 0

        def handler(_tick: Tick) -> None:
            nonlocal count
            count += 1

        async def consume() -> None:
            while (tick := await queue.get()) is not None:
                handler(tick)

        began = time.process_time_ns()
        if how != "drains":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(consume(), name="consumer")
                for tick in ticks:
                    await queue.put(tick)
                    if how == "wakes":
                        await asyncio.sleep(0)
                await queue.put(None)
        else:
            for start in range(0, TICKS, BATCH):
                for tick in ticks[start : start + BATCH]:
                    queue.put_nowait(tick)
                while not queue.empty():
                    handler(queue.get_nowait())
        spent = time.process_time_ns() - began
        assert count == TICKS
        return Cost(spent, TICKS)

    with asyncio.Runner() as runner:
        return runner.run(run())


def call_alone() -> Cost:
    """A bound method that counts, called from a loop in Python: the floor of any dispatch."""

    class Counting:
        count = 0

        def on_trade(self, _tick: Tick) -> None:
            self.count += 1

    handler, tick = Counting().on_trade, Tick(6_000_000, 5)
    began = time.process_time_ns()
    for _ in range(TICKS):
        handler(tick)
    return Cost(time.process_time_ns() - began, TICKS)


def market_and_orders() -> EventBatch:
    """A trade, an order that rests, a trade, the same order filled, …"""
    events = np.zeros(TICKS * 2, EVENT)
    events["seq"] = np.arange(1, TICKS * 2 + 1)
    events["kind"][::2], events["kind"][1::2] = Kind.TRADE, Kind.ORDER
    events["flags"], events["side"], events["instrument"] = Flag.LAST, Side.BID, INSTRUMENT
    events["price"], events["size"] = 6_000_000, 5
    events["id"][1::4] = events["id"][3::4] = np.arange(TICKS // 2)
    events["aux"][1::4], events["aux"][3::4] = OrderState.ACCEPTED, OrderState.FILLED
    return EventBatch.from_events(events.tobytes(), [(0, 0, len(events))])


def native_cache(batches: list[EventBatch]) -> Cost:
    values = LastValues()
    update = values.update
    began = time.process_time_ns()
    for batch in batches:
        update(batch)
    spent = time.process_time_ns() - began
    assert (values.trade(INSTRUMENT) is not None, values.open_orders(0)) == (True, [])
    return Cost(spent, TICKS)


class DictCache:
    """The common shape of a Python runtime cache: a copied dictionary per update."""

    def __init__(self) -> None:
        self.market: dict[str, dict[str, object]] = {}
        self.orders: dict[str, dict[str, object]] = {}
        self.open_orders: dict[str, dict[str, object]] = {}

    def update_market(self, symbol: str, payload: dict[str, object]) -> None:
        self.market[str(symbol)] = dict(payload)

    def update_order(self, payload: dict[str, object]) -> None:
        number = str(payload["client_id"])
        copy = dict(payload)
        if copy["state"] in ("FILLED", "CANCELED", "REJECTED", "EXPIRED"):
            self.open_orders.pop(number, None)
        else:
            self.open_orders[number] = copy


def dict_cache() -> Cost:
    cache = DictCache()
    tick: dict[str, object] = {"price": 60_000.0, "size": 0.005, "ts": 1, "side": "buy"}
    orders: list[dict[str, object]] = [
        {"client_id": number // 2, "state": ("ACCEPTED", "FILLED")[number % 2], "size": 0.005}
        for number in range(TICKS)
    ]
    began = time.process_time_ns()
    for order in orders:
        cache.update_market("BTCUSDT", tick)
        cache.update_order(order)
    spent = time.process_time_ns() - began
    assert not cache.open_orders
    return Cost(spent, TICKS)


def cases() -> dict[str, Callable[[], Cost]]:
    small, large, pairs = trades(BATCH), trades(4096), quotes(BATCH)
    mixed = market_and_orders()
    order_parts = [mixed.slice(at, at + 2 * BATCH) for at in range(0, len(mixed), 2 * BATCH)]
    return {
        "on_trade, batches of 64": partial(dispatch, [Counts], small),
        "on_trade, batches of 64, watched": partial(dispatch, [Counts], small, watched=True),
        "on_trade, batches of 1": partial(dispatch, [Counts], trades(1)),
        "on_trade, batches of 4,096": partial(dispatch, [Counts], large),
        "on_trade that reads price and size": partial(dispatch, [Reads], small),
        "on_trade of 3 strategies": partial(dispatch, [Counts, Counts, Counts], small),
        "on_quote, batches of 64 quotes": partial(dispatch, [CountsQuotes], pairs),
        "on_batch of 64, sums a column": partial(dispatch, [Columns], small),
        "on_batch of 4,096, sums a column": partial(dispatch, [Columns], large),
        "the call alone": call_alone,
        "asyncio.Queue, a wake-up per event": partial(queue_of_events, "wakes"),
        "asyncio.Queue per event": partial(queue_of_events, "awaits"),
        "asyncio.Queue per event, drained in bursts": partial(queue_of_events, "drains"),
        "cache: native": partial(native_cache, order_parts),
        "cache: dictionaries": dict_cache,
    }


# (key, case, against, least ratio or None)
NAUTILUS = "NautilusTrader, live data path"
RATIOS = [
    ("nautilus", "on_trade, batches of 64", NAUTILUS, RATIO_LEAST),
    ("wake_up", "on_trade, batches of 1", "asyncio.Queue, a wake-up per event", RATIO_LEAST),
    ("queue", "on_trade, batches of 64", "asyncio.Queue per event", None),
    ("queue_columns", "on_batch of 4,096, sums a column", "asyncio.Queue per event", RATIO_LEAST),
    ("queue_burst", "on_trade, batches of 64", "asyncio.Queue per event, drained in bursts", None),
    ("cache", "cache: native", "cache: dictionaries", CACHE_RATIO_LEAST),
]
RATES_LEAST = {"on_trade, batches of 64": TICKS_LEAST}


def figures(rounds: int) -> list[Figure]:
    with peer.nautilus(TICKS) as nautilus:
        ns = least({**cases(), NAUTILUS: nautilus}, rounds)
    out = [
        Figure(
            f"strategy.{name}",
            rate(cost),
            "update/s" if name.startswith("cache") else "tick/s",
            name,
            least=RATES_LEAST.get(name),
        )
        for name, cost in ns.items()
    ]
    for key, case, against, bound in RATIOS:
        out.append(
            Figure(
                f"strategy.ratio.{key}",
                ns[against] / ns[case],
                "x",
                f"{case} against {against}",
                least=bound,
                checked=True,
            )
        )
    return out


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
