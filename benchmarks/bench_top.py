"""What somebody who watches with `tickd top` costs the daemon, at 1,000 topics.

A daemon's parts are wired in this process, over a directory that is gone afterwards; a simulated
market of 334 symbols has given each topic events, books included, and three consumers of everything
hold queues for them. The page is then drawn step by step, as the loop would, and each step timed:
CPU of all steps once a second is the share of a core, the longest step is what the loop is held.
Beside it `tickd status --topics`, which draws everything at once. Sending the answer is not in it.

Run: python benchmarks/bench_top.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import harness
import messages
import orjson
from harness import Figure

from gateway.servers.text_frames import text_payloads
from tickd.app.config import Config, NodeConfig
from tickd.app.parts import Parts
from tickd.app.picture import Picture
from tickd.app.top import Top
from tickd.app.wiring import wire
from tickd.bus_queue import WhenFull
from tickd.native import SimMarket

SYMBOLS = [f"S{number:03d}USDT" for number in range(334)]
CHANNELS = ("trade", "bookTicker", "depth@0ms")
TOPICS_LEAST = 1_000
SHARE_MOST = 1.0  # % of a core
STEP_US_MOST = 500.0
# Room for every symbol of the simulated market.
SCALES = b'"price_scale":8,"size_scale":8'
START_NS = 1_723_161_255_000_000_000
PER_ROUND = 20


def feed(parts: Parts) -> None:
    """Give every topic events, on the bus and in three queues."""
    for number in range(3):
        parts.bus.subscribe("*", name=f"consumer {number}", when_full=WhenFull.DROP_OLDEST)
    market = SimMarket(1, SYMBOLS, 20_000.0, START_NS, depth_levels=2.0)
    for symbol in SYMBOLS:
        for channel in CHANNELS:
            market.subscribe(1, f"{symbol.lower()}@{channel}")
    fine = messages.INSTRUMENT.replace(b'"price_scale":2,"size_scale":3', SCALES)
    definitions = [fine.replace(b"BTCUSDT", each.encode()) for each in SYMBOLS]
    for number, definition in enumerate([*definitions, messages.CONNECT], 1):
        parts.decoder.decode(messages.record(number, definition, kind=b"C"))
    market.advance(market.now_ns + 4_000_000_000)
    for burst in messages.bursts(list(text_payloads(market.take(1))), 64, first=1_000):
        parts.bus.publish(parts.decoder.decode(burst))


def steps(top: Top, request: Mapping[str, object]) -> tuple[list[int], int]:
    """Nanoseconds of each step of one answer, and the bytes of it."""
    taken = []
    drawing = top.answer(request)
    while True:
        began = time.thread_time_ns()
        try:
            drawing.send(None)
        except StopIteration as ended:
            taken.append(time.thread_time_ns() - began)
            return taken, len(orjson.dumps(ended.value))
        taken.append(time.thread_time_ns() - began)


async def measure(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tickd-bench-") as scratch:
        config = Config(node=NodeConfig(state_dir=str(Path(scratch) / "state")))
        parts = wire(config)
        try:
            return await compare(parts, rounds)
        finally:
            await parts.put_away()


async def compare(parts: Parts, rounds: int) -> list[Figure]:
    feed(parts)
    topics = len(parts.decoder.topic_stats())
    assert topics >= TOPICS_LEAST, f"{topics} topics only"
    picture = Picture(parts)
    top = Top(parts, picture)
    request = {"page": "topics", "sort": "lag", "rows": 200}
    whole = longest = at_once = float("inf")
    size = 0
    for _ in range(rounds):
        for _ in range(PER_ROUND):
            taken, size = steps(top, request)
            whole, longest = min(whole, sum(taken)), min(longest, max(taken))
            began = time.thread_time_ns()
            picture.draw(topics=True)
            at_once = min(at_once, time.thread_time_ns() - began)
        await asyncio.sleep(0)
    return [
        Figure(
            "top.share",
            whole / 1e9 * 100,
            "% core",
            f"in the daemon, one page of {size / 1e3:.0f} KB a second, {topics:,} topics",
            most=SHARE_MOST,
        ),
        Figure(
            "top.step_us",
            longest / 1e3,
            "µs",
            "longest step, so long the event loop is held",
            most=STEP_US_MOST,
        ),
        Figure(
            "top.against_status",
            at_once / longest,
            "x",
            f"shorter held than by status --topics, {at_once / 1e3:,.0f} µs at once",
        ),
    ]


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    figures: list[Figure] = []

    async def run() -> None:
        figures.extend(await measure(options.rounds))

    harness.run_loop(run)
    harness.show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
