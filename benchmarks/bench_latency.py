"""Idle latency: a quote arrives on a quiet socket; how long until the handler on the bus runs?

A child process writes one bookTicker every few milliseconds to a loopback WebSocket and puts the
monotonic time of the write into its update id; the handler's first act is to read the clock. So the
figure includes the write, the kernel and the wake-up. tickd: picows → leg → raw log → decoder → bus
→ handler, the daemon's own pieces in one process. Compared: picows → asyncio.Queue → consumer task
→ msgspec → handler, without a raw log; and the bare frame callback. Runs alternate; the best of
each quantile counts.

Run: python benchmarks/bench_latency.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import gc
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import harness
import messages
import msgspec
from harness import Figure
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from gateway.leg import Leg
from gateway.status import Counters
from gateway.subscriptions.plan import ConnectionPlan
from gateway.venues.registry import find
from tickd.app.logs import LogConfig, configure_logging
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, RawLog

SENDER = str(Path(__file__).with_name("quote_sender.py"))
MESSAGES = 400
WARM_UP = 50
PAUSE_S = 0.002
TIMEOUT_S = 20.0
P50_MOST_US = 40.0
ID_OFFSET = 24  # of `id` in an event


class Ticker(msgspec.Struct):
    s: str
    u: int
    b: str
    B: str
    a: str
    A: str
    T: int


class Combined(msgspec.Struct):
    data: Ticker


class QueueListener(WSListener):
    """The usual way: each message into a queue."""

    def __init__(self, queue: asyncio.Queue[bytes]) -> None:
        self._queue = queue

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        del transport
        if frame.msg_type is WSMsgType.TEXT:
            self._queue.put_nowait(frame.get_payload_as_bytes())


Latencies = list[int]


async def by_tickd(url: str) -> Latencies:
    latencies: Latencies = []
    full = asyncio.Event()
    seen = 0

    def handler(_topic: str, events: EventBatch) -> None:
        nonlocal seen
        now_ns = time.monotonic_ns()
        (sent_ns,) = struct.unpack_from("<Q", events, ID_OFFSET)
        latencies.append(now_ns - sent_ns)
        seen += len(events) // 2  # a quote is two events; a late turn of the loop sees several
        if seen >= MESSAGES + WARM_UP:
            full.set()

    clock, decoder = SystemClock(), Decoder()
    with tempfile.TemporaryDirectory() as directory:
        raw = RawLog(directory, node=1)
        raw.restore_decoder(decoder)
        bus = Bus(decoder.topic_name, clock)
        bus.handle("quote.*.*", handler, name="handler")
        tap = Tap(raw, decoder, bus, clock=clock)
        tap.record(0, "C", messages.INSTRUMENT)
        leg = Leg(
            find("binance-usdm"),
            ConnectionPlan("public", url, ()),
            tap=tap,
            clock=clock,
            counters=Counters(),
            news=asyncio.Event(),
            on_snapshot_wanted=lambda _symbol, _connection: None,
            handover=None,
        )
        transport, _ = await ws_connect(lambda: leg, url)
        await full.wait()
        transport.disconnect(graceful=False)
        await leg.reap()
        tap.finish()
        tap.detach()
        raw.close()
    return latencies


async def by_queue(url: str) -> Latencies:
    latencies: Latencies = []
    queue: asyncio.Queue[bytes] = asyncio.Queue(1024)
    decode = msgspec.json.Decoder(Combined).decode

    def handler(ticker: Ticker) -> None:
        now_ns = time.monotonic_ns()
        latencies.append(now_ns - ticker.u)

    async def consume() -> None:
        while len(latencies) < MESSAGES + WARM_UP:
            handler(decode(await queue.get()).data)

    transport, _ = await ws_connect(lambda: QueueListener(queue), url)
    await consume()
    transport.disconnect(graceful=False)
    return latencies


async def by_nothing(url: str) -> Latencies:
    """The floor: the frame callback itself, before anything is done with the frame."""
    latencies: Latencies = []
    full = asyncio.Event()

    class Reader(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            del transport
            now_ns = time.monotonic_ns()
            payload = frame.get_payload_as_bytes()
            start = payload.index(b'"u":') + 4
            latencies.append(now_ns - int(payload[start : payload.index(b",", start)]))
            if len(latencies) == MESSAGES + WARM_UP:
                full.set()

    transport, _ = await ws_connect(Reader, url)
    await full.wait()
    transport.disconnect(graceful=False)
    return latencies


def run(way: Callable[[str], Awaitable[Latencies]]) -> Latencies:
    command = [sys.executable, "-S", SENDER, str(MESSAGES + WARM_UP), str(PAUSE_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        found: list[Latencies] = []

        async def main() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                found.append(await way(url))

        gc.collect()
        gc.disable()
        try:
            url = f"ws://127.0.0.1:{int(child.stdout.readline())}/stream"
            harness.run_loop(main)
        finally:
            gc.enable()
            child.kill()
    return sorted(found[0][WARM_UP:])


def figures(rounds: int) -> list[Figure]:
    ways: dict[str, Any] = {
        "tickd": by_tickd,
        "asyncio.Queue": by_queue,
        "frame callback": by_nothing,
    }
    best: dict[str, list[float]] = {name: [float("inf")] * 2 for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            sample = run(way)
            now = [sample[len(sample) // 2] / 1000, sample[len(sample) * 99 // 100] / 1000]
            best[name] = [min(old, new) for old, new in zip(best[name], now, strict=True)]
    path = {
        "tickd": "write → socket → raw log → decode → bus → handler",
        "asyncio.Queue": "write → socket → asyncio.Queue → task → msgspec → handler",
        "frame callback": "write → socket → picows' frame callback: what no design can save",
    }
    out = [
        Figure(
            f"latency.{name}",
            p50,
            "µs p50",
            f"{path[name]}; p99 {p99:.0f} µs, one message every {PAUSE_S * 1000:.0f} ms",
            most=P50_MOST_US if name == "tickd" else None,
        )
        for name, (p50, p99) in best.items()
    ]
    ratio = best["asyncio.Queue"][0] / best["tickd"][0]
    out.append(Figure("latency.ratio", ratio, "x", "p50 of a per-event asyncio.Queue hop to ours"))
    return out


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    configure_logging(LogConfig(level="error"))
    harness.show(figures(options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
