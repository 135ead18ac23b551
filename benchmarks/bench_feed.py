"""The hop from the daemon to a strategy process, against the queues of Python's library.

Method: one process hands over 64-byte events, another counts them; nothing is lost, the one waits
for the other when the ring is full. Wall time from the first batch to the count, because two
processes share the work; the least of interleaved rounds. The baselines carry the same bytes:
multiprocessing.Queue by batch and by event, asyncio.Queue by event inside one process. The handler
does nothing: this is the hop alone.

Run: python benchmarks/bench_feed.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.queues import Queue

import harness
import numpy as np
from harness import Cost, Figure, least, rate

from tickd.events import EVENT, EVENT_BYTES, Flag, Kind
from tickd.native import EventBatch, FeedWriter, RingReader

SLOTS = 1 << 15
EVENTS = 1 << 20
QUEUE_BATCH_EVENTS = 1 << 18
QUEUE_EVENTS = 1 << 15
ASYNC_EVENTS = 1 << 17
IDLE_EVENTS = 1_000
PORTION = 4_096
LIMIT = 1 << 20


def batch_of(count: int) -> EventBatch:
    events = np.zeros(count, EVENT)
    events["seq"] = np.arange(1, count + 1)
    events["kind"], events["flags"] = Kind.TRADE, Flag.LAST
    return EventBatch.from_events(events.tobytes(), [(0, 0, count)], 1)


def child(memory: int, doorbell: int) -> None:
    """Count events; after each `EVENTS` of them write a byte."""
    reader = RingReader.open(memory, doorbell)
    os.write(1, b".")
    left = EVENTS
    while True:
        batch = reader.take(PORTION)
        if isinstance(batch, EventBatch):
            if len(batch) == 1:
                os.write(1, b".")
                continue
            left -= len(batch)
            if not left:
                os.write(1, b".")
                left = EVENTS
        elif batch is None and reader.wait(1_000, 0)[1]:
            return


@contextmanager
def counting(feed: FeedWriter) -> Iterator[subprocess.Popen[bytes]]:
    descriptors = feed.descriptors()
    with subprocess.Popen(
        [sys.executable, __file__, "--child", *map(str, descriptors)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=descriptors,
        bufsize=0,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield process


def ring(feed: FeedWriter, process: subprocess.Popen[bytes], batch: EventBatch) -> Cost:
    assert process.stdout is not None
    room = SLOTS - len(batch) - 1
    publish = feed.publish
    began = time.perf_counter_ns()
    for _ in range(EVENTS // len(batch)):
        while feed.ring_depth >= room:
            os.sched_yield()
        publish(batch)
    process.stdout.read(1)
    assert not feed.waiting
    return Cost(time.perf_counter_ns() - began, EVENTS)


def idle(feed: FeedWriter, process: subprocess.Popen[bytes], batch: EventBatch) -> list[float]:
    """Microseconds from an event to the byte that a sleeping process answers with."""
    assert process.stdout is not None
    taken = []
    for _ in range(IDLE_EVENTS):
        time.sleep(0.001)  # it falls asleep
        began = time.perf_counter_ns()
        feed.publish(batch)
        process.stdout.read(1)
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return sorted(taken)


def count(queue: Queue[bytes | None], done: Queue[int]) -> None:
    events = 0
    while True:
        payload = queue.get()
        if payload is None:
            done.put(events)
            events = 0
        else:
            events += len(payload) // EVENT_BYTES


def multiprocessing_queue(
    queue: Queue[bytes | None], done: Queue[int], payload: bytes, events: int
) -> Cost:
    puts = events * EVENT_BYTES // len(payload)
    began = time.perf_counter_ns()
    for _ in range(puts):
        queue.put(payload)
    queue.put(None)
    assert done.get() == events
    return Cost(time.perf_counter_ns() - began, events)


def asyncio_queue(events: list[bytes]) -> Cost:
    async def run() -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue(SLOTS)

        async def consume() -> None:
            for _ in events:
                await queue.get()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consume(), name="consumer")
            for event in events:
                await queue.put(event)

    began = time.perf_counter_ns()
    asyncio.run(run())
    return Cost(time.perf_counter_ns() - began, len(events))


def figures(rounds: int) -> list[Figure]:
    feed = FeedWriter(
        lambda _: ("trade.x.Y", "disconnect"), capacity=SLOTS, records=LIMIT, records_total=LIMIT
    )
    context = multiprocessing.get_context("spawn")
    queue, done = context.Queue(maxsize=1_000), context.Queue()
    other = context.Process(target=count, args=(queue, done), daemon=True)
    other.start()
    event = bytes(EVENT_BYTES)
    with counting(feed) as process:
        cases = {
            "ring, batches of 64": partial(ring, feed, process, batch_of(64)),
            "ring, batches of 512": partial(ring, feed, process, batch_of(512)),
            "multiprocessing.Queue, batches of 64": partial(
                multiprocessing_queue, queue, done, event * 64, QUEUE_BATCH_EVENTS
            ),
            "multiprocessing.Queue, batches of 512": partial(
                multiprocessing_queue, queue, done, event * 512, QUEUE_BATCH_EVENTS
            ),
            "multiprocessing.Queue, events": partial(
                multiprocessing_queue, queue, done, event, QUEUE_EVENTS
            ),
            "asyncio.Queue, events, one process": partial(asyncio_queue, [event] * ASYNC_EVENTS),
        }
        ns = least(cases, rounds)
        waits = idle(feed, process, batch_of(1))
        assert process.stdin is not None
        process.stdin.close()
    other.terminate()
    other.join()
    out = [Figure(f"feed.{name}", rate(cost), "ev/s", name) for name, cost in ns.items()]
    for quantile in (0.5, 0.99):
        us = waits[int(quantile * len(waits))]
        text = f"idle: one event to a sleeping process and a byte back, p{quantile * 100:g}"
        out.append(Figure(f"feed.idle.p{quantile * 100:g}", us, "µs", text))
    for size in (64, 512):
        for against in (
            f"multiprocessing.Queue, batches of {size}",
            "multiprocessing.Queue, events",
            "asyncio.Queue, events, one process",
        ):
            case = f"ring, batches of {size}"
            out.append(
                Figure(
                    f"feed.ratio.{size}.{against}",
                    ns[against] / ns[case],
                    "x",
                    f"{case} against {against}",
                )
            )
    return out


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), int(sys.argv[3]))
        return
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
