"""What the simulated venue costs: generation on one core, delivery to a trivial client on loopback.

Run: PYTHONPATH=. python benchmarks/bench_sim.py [--rate 300000] [--seconds 10]

Prints messages/s, CPU-seconds per million messages of the server and of the client, and how late
the server was. The client subscribes everything and counts frames; it parses nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tickd.native import BUILD_PROFILE, SimMarket

CHANNELS = ("trade", "bookTicker", "depth@0ms")


def generation(symbols: int, *, log: bool, messages: int = 3_000_000) -> None:
    market = SimMarket(1, symbols, 1_000_000.0, 1_700_000_000_000_000_000, log=log)
    for symbol in market.symbols():
        for channel in CHANNELS:
            market.subscribe(1, f"{symbol.lower()}@{channel}")
    at_ns, sent_bytes = market.now_ns, 0
    started = time.process_time()
    while market.messages < messages:
        at_ns += 1_000_000
        market.advance(at_ns)
        sent_bytes += len(market.take(1))
        market.take_log()
    spent = time.process_time() - started
    print(
        f"generation, {symbols:4d} symbols, log {'on ' if log else 'off'}: "
        f"{market.messages / spent / 1e6:6.2f} M msg/s, "
        f"{spent / market.messages * 1e6:.3f} CPU-s per million, "
        f"{sent_bytes / market.messages:.0f} bytes per message"
    )


class Counter(WSListener):
    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.gone = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.frames += 1
            self.bytes += frame.payload_size
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        self.gone.set()


def fetch(url: str) -> dict:
    with urllib.request.urlopen(url) as reply:
        return json.load(reply)


async def receive(ws_url: str, rest_url: str, seconds: float) -> tuple[Counter, dict, float, float]:
    info = await asyncio.to_thread(fetch, f"{rest_url}/fapi/v1/exchangeInfo")
    names = [entry["symbol"].lower() for entry in info["symbols"]]
    streams = "/".join(f"{name}@{channel}" for name in names for channel in CHANNELS)
    started, cpu = time.monotonic(), time.process_time()
    counter = Counter()
    url = f"{ws_url}/public/stream?streams={streams}"
    transport, _ = await ws_connect(lambda: counter, url)
    stats: dict = {}
    while not stats.get("done") or counter.frames < stats["messages"]:
        await asyncio.sleep(min(0.2, seconds / 4))
        stats = await asyncio.to_thread(fetch, f"{rest_url}/_stats")
    elapsed, cpu = time.monotonic() - started, time.process_time() - cpu
    transport.disconnect()
    await counter.gone.wait()
    return counter, stats, elapsed, cpu


def delivery(rate: float, seconds: float, symbols: int) -> None:
    command = [
        sys.executable,
        "-m",
        "tickd",
        "sim",
        "--rate",
        str(rate),
        "--seconds",
        str(seconds),
    ]
    with subprocess.Popen(
        [*command, "--symbols", str(symbols)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    ) as server:
        assert server.stdout is not None
        where = json.loads(server.stdout.readline())
        venue = "binance-usdm"
        try:
            counter, stats, elapsed, cpu = uvloop.run(
                receive(where["ws"][venue], where["rest"][venue], seconds)
            )
        finally:
            server.terminate()
    million = counter.frames / 1e6
    print(
        f"delivery, {symbols} symbols, {rate:,.0f} msg/s ordered: {counter.frames:,} of "
        f"{stats['messages']:,} messages in {elapsed:.1f} s; CPU-s per million: server "
        f"{stats['cpu_s'] / million:.2f} (its start included), client {cpu / million:.2f}; "
        f"late mean {stats['late_ms_mean']:.2f} ms, max {stats['late_ms_max']:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--symbols", type=int, default=20)
    options = parser.parse_args()
    if BUILD_PROFILE != "release":
        raise SystemExit("refused: the native module is a debug build")
    for symbols, log in ((1, False), (20, False), (300, False), (20, True)):
        generation(symbols, log=log)
    for rate in options.rate or [150_000.0, 300_000.0]:
        delivery(rate, options.seconds, options.symbols)


if __name__ == "__main__":
    main()
