"""The bus against a dictionary bus and asyncio.Queue: same process, payload and handler.

The dictionary bus is the loop of hoky1227/LuminaQuant (MIT) as its own benchmark drives it: one
exact topic, a handler that counts; no wildcards, no isolation of errors. tickd's bus isolates and
counts. "64 on one topic" is queue and take of whole batches, nobody looks inside; the asyncio.Queue
of batches does the same.

Run: python benchmarks/bench_bus.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import harness
import numpy as np
from harness import Cost, Figure, least, rate

from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.clock import SystemClock
from tickd.events import EVENT, Flag, Kind
from tickd.native import EventBatch

TOPICS = [f"trade.binance-usdm.S{number:04d}USDT" for number in range(1000)]
BURST = 64
ZIPF_BURSTS = 2_000
SINGLES = 200_000
BATCHES = 20_000


class DictBus:
    """The common shape of a Python bus: a dictionary of handler lists, statistics, no isolation.

    str(topic) and two counters per publish, one raising handler stops the others.
    """

    def __init__(self) -> None:
        self.topics: dict[str, list[Callable[[Any], Any]]] = defaultdict(list)
        self.published = 0
        self.delivered = 0

    def subscribe(self, topic: str, handler: Callable[[Any], Any]) -> None:
        self.topics[str(topic)].append(handler)

    def publish(self, topic: str, payload: Any) -> int:
        handlers = self.topics.get(str(topic), [])
        self.published += 1
        delivered = 0
        for handler in handlers:
            handler(payload)
            delivered += 1
        self.delivered += delivered
        return delivered


def make_batch(seq: int, topics: list[int], mono_ns: int) -> EventBatch:
    """A batch with one event per entry of `topics`, grouped by topic."""
    order = sorted(topics)
    events = np.zeros(len(order), EVENT)
    events["seq"] = np.arange(seq, seq + len(order))
    events["kind"] = Kind.TRADE
    events["flags"] = Flag.LAST
    ranges: list[tuple[int, int, int]] = []
    for at, topic in enumerate(order):
        if ranges and ranges[-1][0] == topic:
            ranges[-1] = (topic, ranges[-1][1], at + 1)
        else:
            ranges.append((topic, at, at + 1))
    return EventBatch.from_events(events.tobytes(), ranges, mono_ns)


def zipf_bursts(count: int) -> list[EventBatch]:
    draw = random.Random(7)
    weights = [1 / rank for rank in range(1, len(TOPICS) + 1)]
    mono = time.monotonic_ns()
    return [
        make_batch(1 + n * BURST, draw.choices(range(len(TOPICS)), weights, k=BURST), mono)
        for n in range(count)
    ]


def new_bus() -> Bus:
    return Bus(TOPICS.__getitem__, SystemClock())


def bus_zipf(bursts: list[EventBatch]) -> Cost:
    """Bursts over 1,000 Zipf topics to three subscriptions, each drained by its own task."""

    async def run() -> Cost:
        bus = new_bus()
        counts = [0, 0, 0]

        async def consume(number: int, subscription: Any) -> None:
            while slices := await subscription.take():
                for _topic, events in slices:
                    counts[number] += len(events)

        patterns = ("*", "trade.*.*", "*.binance-usdm.*")
        subscriptions = [
            bus.subscribe(pattern, name=pattern, when_full=WhenFull.DROP_OLDEST, limits=Limits())
            for pattern in patterns
        ]
        async with asyncio.TaskGroup() as tasks:
            for number, each in enumerate(subscriptions):
                tasks.create_task(consume(number, each), name=f"consumer {number}")
            await asyncio.sleep(0)
            began = time.process_time_ns()
            for burst in bursts:
                bus.publish(burst)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            spent = time.process_time_ns() - began
            bus.close()
        assert counts == [len(bursts) * BURST] * 3, counts
        return Cost(spent, len(bursts) * BURST)

    return on_loop(run)


def bus_batches(batches: list[EventBatch]) -> Cost:
    """Batches of 64 on one topic through a queue, one by one."""
    bus = new_bus()
    subscription = bus.subscribe(TOPICS[0], name="one", when_full=WhenFull.DROP_OLDEST)
    total = 0
    began = time.process_time_ns()
    for batch in batches:
        bus.publish(batch)
        for _topic, events in subscription.take_now():
            total += len(events)
    spent = time.process_time_ns() - began
    assert total == len(batches) * BURST
    return Cost(spent, total)


def queue_batches(batches: list[EventBatch]) -> Cost:
    """The same batches through an asyncio.Queue."""

    async def run() -> Cost:
        queue: asyncio.Queue[EventBatch] = asyncio.Queue(1024)
        total = 0
        began = time.process_time_ns()
        for batch in batches:
            queue.put_nowait(batch)
            while not queue.empty():
                total += len(queue.get_nowait())
        spent = time.process_time_ns() - began
        assert total == len(batches) * BURST
        return Cost(spent, total)

    return on_loop(run)


def bus_singles(batches: list[EventBatch], handlers: int, pattern: str, *, many: bool) -> Cost:
    """Batches of one to Python handlers: the per-event path, with isolation and counters.

    `many`: 64 per call of publish_many; else one call each.
    """
    bus, sink = new_bus(), {"count": 0}

    def handler(_topic: str, payload: EventBatch) -> None:
        _ = payload
        sink["count"] += 1

    for number in range(handlers):
        bus.handle(pattern, handler, name=f"handler {number}")
    bursts = [batches[start : start + BURST] for start in range(0, len(batches), BURST)]
    began = time.process_time_ns()
    if many:
        for burst in bursts:
            bus.publish_many(burst)
    else:
        for batch in batches:
            bus.publish(batch)
    spent = time.process_time_ns() - began
    assert sink["count"] == handlers * len(batches)
    return Cost(spent, len(batches))


def dict_singles(batches: list[EventBatch], handlers: int) -> Cost:
    bus, sink = DictBus(), {"count": 0}

    def handler(payload: EventBatch) -> None:
        _ = payload
        sink["count"] += 1

    for _number in range(handlers):
        bus.subscribe(TOPICS[0], handler)
    topic = TOPICS[0]
    began = time.process_time_ns()
    for batch in batches:
        bus.publish(topic, batch)
    spent = time.process_time_ns() - began
    assert sink["count"] == handlers * len(batches)
    return Cost(spent, len(batches))


def queue_singles(batches: list[EventBatch]) -> Cost:
    """asyncio.Queue, bounded, one event per item, put and got in bursts of 64: no task switch."""

    async def run() -> Cost:
        queue: asyncio.Queue[EventBatch] = asyncio.Queue(1024)
        sink = {"count": 0}
        began = time.process_time_ns()
        for start in range(0, len(batches), BURST):
            for batch in batches[start : start + BURST]:
                queue.put_nowait(batch)
            while not queue.empty():
                queue.get_nowait()
                sink["count"] += 1
        spent = time.process_time_ns() - began
        assert sink["count"] == len(batches)
        return Cost(spent, len(batches))

    return on_loop(run)


def on_loop(run: Callable[[], Coroutine[Any, Any, Cost]]) -> Cost:
    with asyncio.Runner() as runner:
        return runner.run(run())


# (key, case, against, least ratio or None): the ratios
RATIOS = [
    ("1_handler.publish_many", "1 handler: publish_many of 64", "1 handler: dict bus", 1.5),
    ("1_handler.wildcard", "1 handler: publish_many of 64, wildcard", "1 handler: dict bus", None),
    ("1_handler.publish", "1 handler: publish", "1 handler: dict bus", None),
    ("3_handlers.publish_many", "3 handlers: publish_many of 64", "3 handlers: dict bus", None),
    ("3_handlers.publish", "3 handlers: publish", "3 handlers: dict bus", None),
    ("many", "1 handler: publish_many of 64", "1 handler: publish", None),
    ("queue.single", "1 handler: publish", "asyncio.Queue", 1.5),
    ("queue.batch", "64 on one topic: bus", "64 on one topic: asyncio.Queue", None),
]
RATES_LEAST = {"1,000 Zipf topics x 3 subscribers: bus": 2e6, "64 on one topic: bus": 25e6}


def figures(rounds: int) -> list[Figure]:
    # A live batch has just been decoded and lies in the cache: one and the same, again and again.
    singles = [make_batch(1, [0], 0)] * SINGLES
    mono = time.monotonic_ns()
    batches = [make_batch(1 + n * BURST, [0] * BURST, mono) for n in range(BATCHES)]
    one = partial(bus_singles, singles, 1)
    three = partial(bus_singles, singles, 3)
    cases = {
        "1,000 Zipf topics x 3 subscribers: bus": partial(bus_zipf, zipf_bursts(ZIPF_BURSTS)),
        "64 on one topic: bus": partial(bus_batches, batches),
        "64 on one topic: asyncio.Queue": partial(queue_batches, batches),
        "1 handler: publish_many of 64": partial(one, TOPICS[0], many=True),
        "1 handler: publish_many of 64, wildcard": partial(one, "trade.*.*", many=True),
        "1 handler: publish": partial(one, TOPICS[0], many=False),
        "1 handler: dict bus": partial(dict_singles, singles, 1),
        "3 handlers: publish_many of 64": partial(three, TOPICS[0], many=True),
        "3 handlers: publish": partial(three, TOPICS[0], many=False),
        "3 handlers: dict bus": partial(dict_singles, singles, 3),
        "asyncio.Queue": partial(queue_singles, singles),
    }
    ns = least(cases, rounds)
    out = [
        Figure(f"bus.{name}", rate(cost), "ev/s", name, least=RATES_LEAST.get(name))
        for name, cost in ns.items()
    ]
    for key, case, against, bound in RATIOS:
        out.append(
            Figure(
                f"bus.ratio.{key}",
                ns[against] / ns[case],
                "x",
                f"{case} against {against}",
                least=bound,
                checked=key != "many",  # falls when publish alone gets faster
            )
        )
    return out


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
