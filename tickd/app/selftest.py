"""What this machine can do, measured with the daemon's own native parts and a simulated market.

Each stage works alone for its share of the time, one thread driving it as the daemon's loop does;
nothing listens, nothing leaves the machine, files are in a directory of their own that is gone
afterwards. Rates are of wall time: what else runs here counts against them, as it will in earnest.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from gateway.servers.text_frames import text_payloads
from tickd.app.event_loop import run as run_loop
from tickd.app.findings import Finding, Verdict
from tickd.bus import Bus
from tickd.bus_queue import WhenFull
from tickd.clock import SystemClock
from tickd.native import BlockBuilder, Decoder, EventBatch, RawLog, SimMarket

__all__ = ["Figure", "judge", "measure"]

START_NS: Final = 1_723_161_255_000_000_000
SYMBOL: Final = "BTCUSDT"
MESSAGES: Final = 24_000
RATE: Final = 10_000.0
# As many as a socket holds when the loop comes to it at a high rate.
BURST: Final = 64
# What a day at 150,000 messages a second asks of every stage, with as much again to spare.
REQUIRED: Final = 300_000.0
STAGES: Final = 5
_INSTRUMENT: Final = (
    b'{"kind":"instrument","venue":"binance-usdm","symbol":"BTCUSDT","asset_class":"perpetual",'
    b'"price_scale":2,"size_scale":3,"tick":10,"lot":1,"multiplier":"1"}'
)
_CONNECT: Final = b'{"kind":"connect","connection":7,"venue":"binance-usdm"}'
_ASKED: Final = b"GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000 200\n"

MonoNs = Callable[[], int]


class Figure(NamedTuple):
    """One measured number; `budget`: at least that, of latencies at most."""

    name: str
    value: float
    unit: str
    budget: float
    words: str


class Market(NamedTuple):
    """Messages of a simulated market, also as records and as the batches they decode to."""

    payloads: list[bytes]
    preamble: bytes
    bursts: list[bytes]


def measure(directory: Path, seconds: float) -> Iterator[Figure]:
    """Every stage, one after the other, in about so many seconds. Raises OSError."""
    clock = SystemClock()
    share = seconds / STAGES
    market = make_market()
    yield _decoding(market, share, clock.mono_ns)
    batches = _batches(market)
    yield _publishing(batches, share, clock)
    yield _recording(market, directory, share, clock.mono_ns)
    yield _encoding(batches, share, clock.mono_ns)
    yield from _waking(share, clock.mono_ns)


def judge(figure: Figure) -> Finding:
    """Beside its budget, and beside what the required rate needs."""
    latency = figure.unit == "µs"
    number = f"{figure.value:,.0f} {figure.unit}"
    bound = f"{'≤' if latency else '≥'} {figure.budget:,.0f}"
    words = f"{number} ({bound}): {figure.words}"
    met = figure.value <= figure.budget if latency else figure.value >= figure.budget
    if met:
        return Finding(figure.name, Verdict.OK, words)
    if not latency and figure.value < REQUIRED:
        remedy = f"less than {REQUIRED:,.0f}: another machine, or fewer symbols (plan.shard)"
        return Finding(figure.name, Verdict.FAIL, words, remedy)
    remedy = "what else runs here? node.loop_core, a core of its own, no power saving"
    return Finding(figure.name, Verdict.WARN, words, remedy)


def make_market() -> Market:
    """Trades, quotes and depth of one symbol, the same in every run."""
    market = SimMarket(1, [SYMBOL], RATE, START_NS, depth_levels=8.0)
    for channel in ("trade", "bookTicker", "depth@0ms"):
        market.subscribe(1, f"{SYMBOL.lower()}@{channel}")
    snapshot = market.snapshot(SYMBOL, 1_000)
    assert snapshot is not None, "the symbol is the market's own"
    market.advance(market.now_ns + int(MESSAGES / RATE * 1e9))
    payloads = list(text_payloads(market.take(1)))
    preamble = (
        _record(1, _INSTRUMENT, b"C") + _record(2, _CONNECT, b"C")
        + _record(3, _ASKED + snapshot, b"R")
    )  # fmt: skip
    records = [_record(number, each, b"W") for number, each in enumerate(payloads, 16)]
    bursts = [b"".join(records[at : at + BURST]) for at in range(0, len(records), BURST)]
    return Market(payloads, preamble, bursts)


def _record(number: int, payload: bytes, kind: bytes) -> bytes:
    """A record of the raw log (docs/formats/raw-log.md)."""
    stamps = b"%d %d" % (START_NS, number * 1_000)
    return b"%d %b 7 %b %d %b\n" % (number, stamps, kind, len(payload), payload)


def _decoding(market: Market, seconds: float, mono_ns: MonoNs) -> Figure:
    messages = events = 0
    spent_ns = 0
    while spent_ns < seconds * 1e9:
        decoder = Decoder()
        decoder.decode(market.preamble)
        began_ns = mono_ns()
        for burst in market.bursts:
            events += len(decoder.decode(burst))
        spent_ns += mono_ns() - began_ns
        messages += len(market.payloads)
    words = f"messages decoded, {events / spent_ns * 1e9:,.0f} events/s of them"
    return Figure("decode", messages / spent_ns * 1e9, "msg/s", 1_000_000, words)


def _batches(market: Market) -> list[EventBatch]:
    decoder = Decoder()
    decoder.decode(market.preamble)
    return [decoder.decode(burst) for burst in market.bursts]


def _publishing(batches: list[EventBatch], seconds: float, clock: SystemClock) -> Figure:
    bus = Bus(lambda number: f"trade.selftest.T{number}", clock)
    queues = [
        bus.subscribe("*", name=f"consumer {number}", when_full=WhenFull.DROP_OLDEST)
        for number in range(3)
    ]
    events = 0
    began_ns = clock.mono_ns()
    while (spent_ns := clock.mono_ns() - began_ns) < seconds * 1e9:
        for batch in batches:
            bus.publish(batch)
            for queue in queues:
                queue.take_now()
            events += len(batch)
    bus.close()
    words = "events published to three queues and taken"
    return Figure("bus", events / spent_ns * 1e9, "ev/s", 2_000_000, words)


def _recording(market: Market, directory: Path, seconds: float, mono_ns: MonoNs) -> Figure:
    """With the disk: the clock stops when the last frame is written."""
    frames = 0
    with tempfile.TemporaryDirectory(prefix=".selftest-", dir=directory) as scratch:
        log, decoder = RawLog(scratch, node=1, segment_bytes_max=64 << 20), Decoder()
        log.restore_decoder(decoder)
        connection = log.next_connection()
        began_ns = mono_ns()
        while mono_ns() - began_ns < seconds * 1e9:
            for at in range(0, len(market.payloads), BURST):
                for payload in market.payloads[at : at + BURST]:
                    log.frame(connection, payload)
                log.end_burst(decoder)
            frames += len(market.payloads)
            _wait_written(log)
        spent_ns = mono_ns() - began_ns
        log.close()
    words = "frames appended, decoded, compressed and written"
    return Figure("raw log", frames / spent_ns * 1e9, "msg/s", 700_000, words)


def _wait_written(log: RawLog) -> None:
    while log.written < log.next_frame_no - 1:
        log.write_now()
        select.select([log.wake_fd], [], [], 1.0)
        os.read(log.wake_fd, 8)


def _encoding(batches: list[EventBatch], seconds: float, mono_ns: MonoNs) -> Figure:
    rows = 0
    began_ns = mono_ns()
    while (spent_ns := mono_ns() - began_ns) < seconds * 1e9:
        builder = BlockBuilder(node=1)
        builder.define(_INSTRUMENT)
        for batch in batches:
            builder.push(batch)
        rows += sum(block.rows for block in builder.finish())
    words = "rows encoded for ClickHouse"
    return Figure("sink", rows / spent_ns * 1e9, "rows/s", 2_000_000, words)


def _waking(seconds: float, mono_ns: MonoNs) -> Iterator[Figure]:
    taken = sorted(run_loop(_wakes(seconds, mono_ns)))
    p50, p99 = taken[len(taken) // 2], taken[int(0.99 * len(taken))]
    words = f"p50, socket readable to handler; p99 {p99:,.0f} µs, worst {taken[-1]:,.0f} µs"
    yield Figure("loop latency", p50, "µs", 40, words)


async def _wakes(seconds: float, mono_ns: MonoNs) -> list[float]:
    """µs from a write to one end of a socket pair to the handler of the other end."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    taken: list[float] = []
    sent_ns = 0
    rung = asyncio.Event()

    def on_readable() -> None:
        taken.append((mono_ns() - sent_ns) / 1e3)
        far.recv(16)
        rung.set()

    loop.add_reader(far, on_readable)
    try:
        began_ns = mono_ns()
        while mono_ns() - began_ns < seconds * 1e9:
            rung.clear()
            sent_ns = mono_ns()
            near.send(b"x")
            await rung.wait()
            await asyncio.sleep(0.001)  # an idle loop, as in a quiet market
    finally:
        loop.remove_reader(far)
        near.close()
        far.close()
    return taken
