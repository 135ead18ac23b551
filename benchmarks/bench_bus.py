"""The bus against a dictionary bus and asyncio.Queue: same process, payload and handler.

Prints rates by CPU time, medians of interleaved rounds, and ratios. Budgets: ARCHITECTURE.md §6.
Run: python benchmarks/bench_bus.py [--rounds 9] [--check]
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import statistics
import sys
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.clock import SystemClock
from tickd.events import EVENT, Flag, Kind
from tickd.native import BUILD_PROFILE, EventBatch

TOPICS = [f"trade.binance-usdm.S{number:04d}USDT" for number in range(1000)]
BURST = 64


class DictBus:
    """The common shape of a Python bus: a dictionary of handler lists, statistics, no isolation.

    The loop is that of hoky1227/LuminaQuant (MIT) as its own benchmark drives it: str(topic), two
    counters per publish, no wildcards, one raising handler stops the others.
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


class SpreadQueues:
    """The bus's queueing in plain Python: what the native accounting is measured against."""

    def __init__(self, subscribers: int) -> None:
        self.queues: list[dict[int, deque[EventBatch]]] = [{} for _ in range(subscribers)]

    def publish(self, batch: EventBatch) -> None:
        for topic, start, stop in batch.topics:
            part = batch.slice(start, stop)
            for queues in self.queues:
                queue = queues.get(topic)
                if queue is None:
                    queue = queues[topic] = deque(maxlen=1024)
                queue.append(part)

    def drain(self) -> int:
        count = 0
        for queues in self.queues:
            for queue in queues.values():
                while queue:
                    count += len(queue.popleft())
        return count


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


async def bus_zipf() -> tuple[int, float]:
    """Bursts over 1,000 Zipf topics to three queues, each drained by its own task."""
    bus, bursts = new_bus(), zipf_bursts(2000)
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
    tasks = [
        asyncio.Task(consume(number, each), name=f"consumer {number}")
        for number, each in enumerate(subscriptions)
    ]
    await asyncio.sleep(0)
    begin = time.process_time()
    for burst in bursts:
        bus.publish(burst)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    elapsed = time.process_time() - begin
    bus.close()
    for task in tasks:
        await task
    assert counts == [len(bursts) * BURST] * 3, counts
    return len(bursts) * BURST, elapsed


async def python_zipf() -> tuple[int, float]:
    queues, bursts = SpreadQueues(3), zipf_bursts(2000)
    total = 0
    begin = time.process_time()
    for burst in bursts:
        queues.publish(burst)
        total += queues.drain()
    elapsed = time.process_time() - begin
    assert total == 3 * len(bursts) * BURST
    return len(bursts) * BURST, elapsed


async def bus_one_topic() -> tuple[int, float]:
    """Batches of 64 on one topic through a queue.

    The consumer takes what is there, batch by batch.
    """
    bus = new_bus()
    mono = time.monotonic_ns()
    batches = [make_batch(1 + n * BURST, [0] * BURST, mono) for n in range(20_000)]
    subscription = bus.subscribe(TOPICS[0], name="one", when_full=WhenFull.DROP_OLDEST)
    total = 0
    begin = time.process_time()
    for batch in batches:
        bus.publish(batch)
        for _topic, events in subscription.take_now():
            total += len(events)
    elapsed = time.process_time() - begin
    assert total == len(batches) * BURST
    return total, elapsed


def singles(count: int = 200_000) -> list[EventBatch]:
    """One and the same batch again and again.

    A live one has just been decoded and lies in the cache.
    """
    return [make_batch(1, [0], 0)] * count


def bus_single(
    handlers: int, pattern: str, *, many: bool = False
) -> Callable[[], Awaitable[tuple[int, float]]]:
    """Batches of one to Python handlers: the per-event path, with isolation and counters.

    `many`: published as the decoder's bursts are, 64 per call of publish_many; else one call each.
    """

    async def run() -> tuple[int, float]:
        bus, sink, batches = new_bus(), {"count": 0}, singles()

        def handler(_topic: str, payload: EventBatch) -> None:
            _ = payload
            sink["count"] += 1

        for number in range(handlers):
            bus.handle(pattern, handler, name=f"handler {number}")
        bursts = [batches[start : start + BURST] for start in range(0, len(batches), BURST)]
        begin = time.process_time()
        if many:
            for burst in bursts:
                bus.publish_many(burst)
        else:
            for batch in batches:
                bus.publish(batch)
        elapsed = time.process_time() - begin
        assert sink["count"] == handlers * len(batches)
        return len(batches), elapsed

    return run


def dict_single(handlers: int) -> Callable[[], Awaitable[tuple[int, float]]]:
    async def run() -> tuple[int, float]:
        bus, sink, batches = DictBus(), {"count": 0}, singles()

        def handler(payload: EventBatch) -> None:
            _ = payload
            sink["count"] += 1

        for _number in range(handlers):
            bus.subscribe(TOPICS[0], handler)
        topic = TOPICS[0]
        begin = time.process_time()
        for batch in batches:
            bus.publish(topic, batch)
        elapsed = time.process_time() - begin
        assert sink["count"] == handlers * len(batches)
        return len(batches), elapsed

    return run


async def queue_single() -> tuple[int, float]:
    """asyncio.Queue, bounded, one event per item: put_nowait, get_nowait in bursts of 64."""
    queue: asyncio.Queue[EventBatch] = asyncio.Queue(1024)
    batches = singles()
    sink = {"count": 0}
    begin = time.process_time()
    for start in range(0, len(batches), BURST):
        for batch in batches[start : start + BURST]:
            queue.put_nowait(batch)
        while not queue.empty():
            queue.get_nowait()
            sink["count"] += 1
    elapsed = time.process_time() - begin
    assert sink["count"] == len(batches)
    return len(batches), elapsed


CASES: dict[str, Callable[[], Awaitable[tuple[int, float]]]] = {
    "zipf x3: bus": bus_zipf,
    "zipf x3: python deques, no limits of bytes or age": python_zipf,
    "64 on one topic, queue and take, nobody looks inside": bus_one_topic,
    "single, 1 handler: publish_many of 64": bus_single(1, TOPICS[0], many=True),
    "single, 1 handler: publish_many of 64, wildcard": bus_single(1, "trade.*.*", many=True),
    "single, 1 handler: publish": bus_single(1, TOPICS[0]),
    "single, 1 handler: dict bus": dict_single(1),
    "single, 3 handlers: publish_many of 64": bus_single(3, TOPICS[0], many=True),
    "single, 3 handlers: publish": bus_single(3, TOPICS[0]),
    "single, 3 handlers: dict bus": dict_single(3),
    "single: asyncio.Queue": queue_single,
}

DICT_1 = "single, 1 handler: dict bus"
DICT_3 = "single, 3 handlers: dict bus"
# (case, against or None for M ev/s, least value; 0 = printed only)
BUDGETS: list[tuple[str, str | None, float]] = [
    ("zipf x3: bus", None, 2.0),
    ("64 on one topic, queue and take, nobody looks inside", None, 25.0),
    ("single, 1 handler: publish_many of 64", DICT_1, 1.5),
    ("single, 1 handler: publish", DICT_1, 0),
    ("single, 3 handlers: publish_many of 64", DICT_3, 0),
    ("single, 3 handlers: publish", DICT_3, 0),
    ("single, 1 handler: publish", "single: asyncio.Queue", 1.5),
]


async def measure(rounds: int) -> dict[str, float]:
    """Million events per CPU second, by case.

    The cases take turns, so that a busy moment hits all alike.
    """
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    for _round in range(rounds):
        for name, case in CASES.items():
            events, elapsed = await case()
            rates[name].append(events / elapsed / 1e6)
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--check", action="store_true", help="exit 1 when a budget is missed")
    arguments = parser.parse_args()
    if BUILD_PROFILE != "release":
        sys.exit("the native module is a debug build: numbers would mean nothing")
    rates = asyncio.run(measure(arguments.rounds))
    print(f"Python {platform.python_version()}, {arguments.rounds} interleaved rounds, CPU time")
    for name, rate in rates.items():
        print(f"{rate:8.2f} M ev/s  {name}")
    missed = False
    for name, against, least in BUDGETS:
        value = rates[name] / rates[against] if against else rates[name]
        missed |= value < least
        what = f"x {against}" if against else "M ev/s"
        print(
            f"{'ok  ' if value >= least else 'MISS'} {value:6.2f} {what} (budget {least}): {name}"
        )
    return int(missed and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
