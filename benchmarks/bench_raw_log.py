"""Frame → raw log, Python side included, against cryptofeed's raw callback on the same messages.

tickd: `RawLog.frame` per message and `end_burst` per 64, and the writer thread (compression,
writing, syncs); decoding happens inside `end_burst` and is measured apart on the same records and
taken off, because it has its own figures. cryptofeed: `AsyncFileCallback`, which writes plain text
every 10,000 messages. The market is a capture's mix as received. CPU time of all
threads. The frame callback of a connection (picows' frame → leg → raw log) is shown as well.

Run: python benchmarks/bench_raw_log.py [--rounds 10]
"""

from __future__ import annotations

import asyncio
import os
import select
import tempfile
import time
from functools import partial

import harness
import messages
import peer
from harness import Cost, Figure, least, rate
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from gateway.leg import Leg
from gateway.status import Counters
from gateway.subscriptions.plan import ConnectionPlan
from gateway.venues.registry import find
from tickd.clock import SystemClock
from tickd.native import Decoder, RawLog

BURST = 64
RATE_LEAST = 1.5e6
CALLBACK_FRAMES = 100_000


class Parts:
    """What the last rounds cost, part by part; the least of each counts."""

    def __init__(self) -> None:
        self.frame = self.end_burst = self.writer = float("inf")

    def note(self, frame: float, end_burst: float, writer: float) -> None:
        self.frame = min(self.frame, frame)
        self.end_burst = min(self.end_burst, end_burst)
        self.writer = min(self.writer, writer)


def wait_written(log: RawLog) -> None:
    while log.written < log.next_frame_no - 1:
        log.write_now()
        select.select([log.wake_fd], [], [], 1.0)
        os.read(log.wake_fd, 8)


def record(lines: list[bytes], parts: Parts) -> Cost:
    with tempfile.TemporaryDirectory() as directory:
        log, decoder = RawLog(directory, node=1, pending_bytes_max=1 << 40), Decoder()
        log.restore_decoder(decoder)
        log.end_burst(decoder)
        connection = log.next_connection()
        frame, end_burst, clock = log.frame, log.end_burst, time.thread_time_ns
        in_frame = 0
        process, began = time.process_time_ns(), clock()
        for at in range(0, len(lines), BURST):
            before = clock()
            for line in lines[at : at + BURST]:
                frame(connection, line)
            in_frame += clock() - before
            end_burst(decoder)
        tap = clock() - began
        wait_written(log)
        log.close()
        spent = time.process_time_ns() - process
        writer = log.stats()["writer_cpu_ns"]
    count = len(lines)
    parts.note(in_frame / count, (tap - in_frame) / count, writer / count)
    return Cost(spent, count)


def decode(bursts: list[bytes], units: int) -> Cost:
    """What the raw log's decoder does with the same records: it knows no instrument either."""
    decoder = Decoder()
    began = time.process_time_ns()
    for burst in bursts:
        decoder.decode(burst)
    return Cost(time.process_time_ns() - began, units)


class NoTap:
    """A tap that does nothing."""

    def frame(self, connection: int, payload: object) -> None: ...


def callback(tap: object, message: bytes) -> Cost:
    """The frame callback of a leg on this tap, bursts ended outside the measured time."""
    leg = Leg(
        find("binance-usdm"),
        ConnectionPlan("public", "ws://127.0.0.1", ()),
        tap=tap,  # type: ignore[arg-type]
        clock=SystemClock(),
        counters=Counters(),
        news=asyncio.Event(),
        on_snapshot_wanted=lambda _symbol, _connection: None,
        handover=None,
    )
    leg.connection = 1
    call = leg.on_ws_frame
    frame = _make_test_ws_frame(WSMsgType.TEXT, message, True, False)
    began = time.process_time_ns()
    for _ in range(CALLBACK_FRAMES):
        call(None, frame)  # type: ignore[arg-type]
    return Cost(time.process_time_ns() - began, CALLBACK_FRAMES)


def callback_logged(message: bytes) -> Cost:
    with tempfile.TemporaryDirectory() as directory:
        log, decoder = RawLog(directory, node=1, pending_bytes_max=1 << 40), Decoder()
        log.restore_decoder(decoder)
        cost = callback(log, message)
        log.end_burst(decoder)
        log.close()
    return cost


def figures(rounds: int, *, quick: bool = False) -> list[Figure]:
    wire = messages.load()
    mix = wire.lines
    parts = Parts()
    cases = {
        "tickd": partial(record, mix, parts),
        "decode": partial(decode, messages.bursts(mix, BURST), len(mix)),
    }
    with peer.cryptofeed() as theirs:
        theirs.load(wire.snapshot, {"mix": mix})
        cases["cryptofeed"] = partial(theirs.record, "mix")
        if not quick:
            quote = next(line for line in mix if b"@bookTicker" in line)
            cases["callback"] = partial(callback, NoTap(), quote)
            cases["callback and frame"] = partial(callback_logged, quote)
        ns = least(cases, rounds)
    whole = ns["tickd"] - ns["decode"]
    size = sum(map(len, mix)) / len(mix)
    out = [
        Figure(
            "raw_log.tickd",
            rate(whole),
            "msg/s",
            f"frame → raw log, all threads: {whole:,.0f} ns/msg of {size:.0f} B, of which frame "
            f"{parts.frame:.0f}, writer thread {parts.writer:.0f}; {wire.origin}",
            least=RATE_LEAST,
        ),
        Figure(
            "raw_log.tap",
            rate(whole - parts.writer),
            "msg/s",
            "the event loop's part alone (frame and end_burst)",
        ),
        Figure(
            "raw_log.cryptofeed",
            rate(ns["cryptofeed"]),
            "msg/s",
            f"cryptofeed's raw callback: {ns['cryptofeed']:,.0f} ns/msg, uncompressed",
        ),
        Figure(
            "raw_log.ratio",
            ns["cryptofeed"] / whole,
            "x",
            "frame → compressed, checksummed raw log against cryptofeed's raw callback",
            checked=True,
        ),
    ]
    if not quick:
        for name in ("callback", "callback and frame"):
            text = {"callback": "frame callback of a leg, no tap"}.get(
                name, "frame callback of a leg and RawLog.frame"
            )
            out.append(
                Figure(f"raw_log.{name.replace(' ', '_')}", rate(ns[name]), "frames/s", text)
            )
    return out


def main() -> None:
    options = harness.arguments(__doc__).parse_args()
    harness.refuse_debug_build()
    harness.show(figures(options.rounds, quick=options.checked), as_json=options.json)


if __name__ == "__main__":
    main()
