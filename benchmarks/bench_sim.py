"""What the load generator costs: generation on one core, delivery to a client on loopback.

The client subscribes everything and counts frames; it parses nothing. Delivery shows what the
simulated venue can send at most and how late it was, so that no other figure is the generator's.

Run: python benchmarks/bench_sim.py [--rounds 3] [--rate 300000] [--seconds 5]
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from functools import partial
from typing import Any

import harness
import uvloop
from harness import Cost, Figure, least, rate
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tickd.native import SimMarket

CHANNELS = ("trade", "bookTicker", "depth@0ms")
GENERATED = 1_000_000
VENUE = "binance-usdm"


def generate(symbols: int, *, log: bool) -> Cost:
    market = SimMarket(1, symbols, 1_000_000.0, 1_700_000_000_000_000_000, log=log)
    for symbol in market.symbols():
        for channel in CHANNELS:
            market.subscribe(1, f"{symbol.lower()}@{channel}")
    at_ns = market.now_ns
    began = time.process_time_ns()
    while market.messages < GENERATED:
        at_ns += 1_000_000
        market.advance(at_ns)
        market.take(1)
        market.take_log()
    return Cost(time.process_time_ns() - began, market.messages)


class Counter(WSListener):
    def __init__(self) -> None:
        self.frames = 0
        self.gone = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.frames += 1
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self.gone.set()


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)


async def receive(ws_url: str, rest_url: str, seconds: float) -> tuple[Counter, Any, float]:
    info = await asyncio.to_thread(fetch, f"{rest_url}/fapi/v1/exchangeInfo")
    names = [entry["symbol"].lower() for entry in info["symbols"]]
    streams = "/".join(f"{name}@{channel}" for name in names for channel in CHANNELS)
    cpu = time.process_time()
    transport, counter = await ws_connect(Counter, f"{ws_url}/public/stream?streams={streams}")
    stats: dict[str, Any] = {}
    async with asyncio.timeout(10 * seconds + 30):
        while not stats.get("done"):
            await asyncio.sleep(min(0.5, seconds / 4))
            stats = await asyncio.to_thread(fetch, f"{rest_url}/_stats")
        while counter.frames < stats["messages"]:
            await asyncio.sleep(0.01)
    cpu = time.process_time() - cpu
    transport.disconnect()
    await counter.gone.wait()
    return counter, stats, cpu


def deliver(rate_wanted: float, seconds: float, symbols: int) -> list[Figure]:
    command = [sys.executable, "-m", "tickd", "sim", "--symbols", str(symbols)]
    command += ["--rate", str(rate_wanted), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        where = json.loads(server.stdout.readline())
        try:
            ws_url, rest_url = where["ws"][VENUE], where["rest"][VENUE]
            counter, stats, cpu = uvloop.run(receive(ws_url, rest_url, seconds))
        finally:
            server.terminate()
    million = counter.frames / 1e6
    text = (
        f"delivered of {rate_wanted:,.0f} msg/s asked for, {counter.frames:,} of "
        f"{stats['messages']:,} messages; late mean {stats['late_ms_mean']:.2f} ms, max "
        f"{stats['late_ms_max']:.0f} ms"
    )
    key = f"sim.delivery.{rate_wanted / 1000:g}k"
    return [
        Figure(key, counter.frames / seconds, "msg/s", text),
        Figure(f"{key}.server", stats["cpu_s"] / million, "CPU-s/M", "of the venue"),
        Figure(f"{key}.client", cpu / million, "CPU-s/M", "of a client that only counts"),
    ]


def main() -> None:
    parser = harness.arguments(__doc__, rounds=3)
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--symbols", type=int, default=20)
    options = parser.parse_args()
    harness.refuse_debug_build()
    cases = {
        f"{symbols} symbols, log {'on' if log else 'off'}": partial(generate, symbols, log=log)
        for symbols, log in ((1, False), (20, False), (300, False), (20, True))
    }
    figures = [
        Figure(f"sim.{name}", rate(ns), "msg/s", f"generation on one core, {name}")
        for name, ns in least(cases, min(options.rounds, 3)).items()
    ]
    harness.show(figures, as_json=options.json)
    for wanted in options.rate or [500_000.0]:
        harness.show(deliver(wanted, options.seconds, options.symbols), as_json=options.json)


if __name__ == "__main__":
    main()
