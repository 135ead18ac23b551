"""Frame → raw log: messages per second of one core, Python side included, on a capture.

Usage: python benchmarks/raw_log.py [--messages N] [--burst N] [--directory DIR]
Prints CPU nanoseconds per message for the tap (the calling thread: `frame` and `end_burst`) and
for the writer thread (compression and writing), and their sum as messages per second of one core.
Decoding happens inside `end_burst`; its cost is measured apart on the same records and taken off,
because it has its own budget.
"""

from __future__ import annotations

import argparse
import gzip
import os
import select
import tempfile
import time
from pathlib import Path

from tickd.native import BUILD_PROFILE, Decoder, RawLog, RawLogReader

BUDGET_PER_S = 1_500_000


def load(path: Path) -> list[bytes]:
    with gzip.open(path, "rb") as lines:
        return [line.rstrip(b"\n").partition(b" ")[2] for line in lines]


def wait_written(log: RawLog) -> None:
    while log.written < log.next_frame_no - 1:
        log.write_now()
        select.select([log.wake_fd], [], [], 1.0)
        os.read(log.wake_fd, 8)


def run(messages: list[bytes], total: int, burst: int, directory: str) -> None:
    log = RawLog(directory, node=1, pending_bytes_max=1 << 40)
    decoder = Decoder()
    log.restore_decoder(decoder)
    log.end_burst(decoder)
    connection = log.next_connection()
    frame, end_burst = log.frame, log.end_burst
    sent = 0
    in_frame = 0
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    while sent < total:
        part = messages[: min(len(messages), total - sent)]
        for at in range(0, len(part), burst):
            before = time.perf_counter_ns()
            for message in part[at : at + burst]:
                frame(connection, message)
            in_frame += time.perf_counter_ns() - before
            end_burst(decoder)
        sent += len(part)
        tap = time.thread_time_ns() - cpu
        wait_written(log)
        cpu = time.thread_time_ns() - tap
    wait_written(log)
    elapsed = time.perf_counter_ns() - wall
    stats = log.stats()
    log.close()

    decode = 0
    twin = Decoder()
    for _, records in RawLogReader(directory):
        before = time.thread_time_ns()
        twin.decode(records)
        decode += time.thread_time_ns() - before

    writer = stats["writer_cpu_ns"]

    def per(ns: int) -> float:
        return ns / sent

    whole = per(tap - decode + writer)
    raw, packed = stats["raw_bytes"], stats["compressed_bytes"]
    print(f"messages            {sent:,} in bursts of {burst}, {raw / sent:.0f} B/record")
    print(f"frame() wall        {per(in_frame):8.1f} ns/msg (loop included)")
    print(f"tap CPU             {per(tap):8.1f} ns/msg, of which decoding {per(decode):.1f}")
    print(f"writer CPU          {per(writer):8.1f} ns/msg")
    print(f"frame to raw log    {whole:8.1f} ns/msg = {1e9 / whole:,.0f} msg/s of one core")
    print(f"ratio to the budget {1e9 / whole / BUDGET_PER_S:8.2f}")
    print(f"wall, two threads   {sent / elapsed * 1e9:,.0f} msg/s, {raw / elapsed * 1e3:,.0f} MB/s")
    print(f"compression         {raw / packed:.2f}, {stats['chunks']:,} chunks")
    print(
        f"received to written p50 {log.write_latency.quantile(0.5) / 1e6:.2f} ms, "
        f"p99 {log.write_latency.quantile(0.99) / 1e6:.2f} ms; "
        f"fsync p50 {log.fsync_latency.quantile(0.5) / 1e6:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    captures = os.environ.get("TICKD_CAPTURES", "../shared/data")
    parser.add_argument(
        "--capture", type=Path, default=Path(captures) / "wire/binance/usdm_btcusdt_20240808.gz"
    )
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--burst", type=int, default=64)
    parser.add_argument("--directory", default=None)
    arguments = parser.parse_args()
    if BUILD_PROFILE != "release":
        raise SystemExit("a debug build measures nothing")
    messages = load(arguments.capture)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        run(messages, arguments.messages, arguments.burst, directory)


if __name__ == "__main__":
    main()
