"""Shipping with proof against boto3 doing the same, to one S3 server (moto) on loopback.

tickd: a run of the shipper over sealed segments: hash the file, upload in parts to a staging key,
conditional copy, look, read everything back and hash it. boto3: `upload_file` (its own threads and
part size), then `download_fileobj` into xxh3; no staging, no copy, no manifest. The server is one
Python process and is most of the wall time; the CPU time is the client's alone.

Run: python benchmarks/bench_ship.py [--rounds 3]
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import harness
from boto3.s3.transfer import TransferConfig
from harness import Figure

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from tickd.app.shipping import offline_keeper, ship_parts
from tickd.clock import SystemClock
from tickd.native import Decoder, RawLog, Xxh3
from tickd.secrets import Secret

SEGMENTS = 4
SEGMENT_BYTES = 32 << 20
PART_BYTES = 8 << 20
# The server keeps every object in memory.
ROUNDS_MAX = 3


def record(directory: Path) -> None:
    """Sealed segments of bytes that do not compress."""
    for _ in range(SEGMENTS):
        log = RawLog(str(directory / "raw"), node=1)
        decoder = Decoder()
        log.restore_decoder(decoder)
        for _ in range(SEGMENT_BYTES >> 20):
            log.record(0, "B", os.urandom(1 << 20))
            log.end_burst(decoder)
        log.close()


def measured(work: Callable[[], int]) -> tuple[float, float]:
    """Bytes per wall second and CPU seconds per GiB of `work`, which returns its bytes."""
    wall, cpu = time.perf_counter(), time.process_time()
    size = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return size / wall, cpu / (size / 2**30)


def tickd(state_dir: Path, url: str, prefix: str) -> int:
    config = ShipConfig(
        url="s3://bench",
        prefix=prefix,
        options={"endpoint": url, "region": "us-east-1"},
        secrets={"access_key_id": Secret("a"), "secret_access_key": Secret("b")},
        part_bytes=PART_BYTES,
    )
    parts = ship_parts(
        config,
        node=1,
        state_dir=state_dir,
        keeper=offline_keeper(state_dir),
        clock=SystemClock(),
    )
    # Another prefix is no other store: the manifest calls the segments shipped already.
    for path in (state_dir / "raw" / "segments").iterdir():
        parts.shipper.doubt(f"segments/{path.name}")
    report = asyncio.run(parts.shipper.run())
    if not report.ok or len(report.shipped) != SEGMENTS:
        raise ShipError(f"the run failed: {report}", kind="unreachable")
    return report.shipped_bytes


def with_boto3(state_dir: Path, client: Any, prefix: str) -> int:
    transfer = TransferConfig(multipart_chunksize=PART_BYTES, max_concurrency=4)
    size = 0
    for path in sorted((state_dir / "raw" / "segments").iterdir()):
        key = f"{prefix}/{path.name}"
        client.upload_file(str(path), "bench", key, Config=transfer)
        sink = Hashing()
        client.download_fileobj("bench", key, sink, Config=TransferConfig(use_threads=False))
        whole = Xxh3()
        whole.update(path.read_bytes())
        if whole.hexdigest() != sink.hash.hexdigest():
            raise ShipError(f"{key} differs", kind="corrupted")
        size += path.stat().st_size
    return size


class Hashing:
    """A file object that keeps nothing but the hash."""

    def __init__(self) -> None:
        self.hash = Xxh3()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return len(data)


def figures(rounds: int) -> list[Figure]:
    server = Path(__file__).parents[1] / "tests/servers/object_store.py"
    best: dict[str, tuple[float, float]] = {}
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            [sys.executable, str(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        request = urllib.request.Request(f"{url}/bench", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="a",
            aws_secret_access_key="b",
            region_name="us-east-1",
        )
        state_dir = Path(directory)
        record(state_dir)
        for number in range(rounds):
            for name, work in (
                ("tickd", lambda n=number: tickd(state_dir, url, f"t{n}")),
                ("boto3", lambda n=number: with_boto3(state_dir, client, f"b{n}")),
            ):
                rate, cpu = measured(work)
                before = best.get(name, (0.0, float("inf")))
                best[name] = (max(before[0], rate), min(before[1], cpu))
        client.close()
        process.stdin.close()
        process.wait(20)
    (rate, cpu), (boto_rate, boto_cpu) = best["tickd"], best["boto3"]
    return [
        Figure("ship.bytes", rate / 1e6, "MB/s", "shipped and read back, wall time, loopback"),
        Figure("ship.cpu", cpu, "s/GiB", "the client's CPU per GiB shipped and read back"),
        Figure("ship.boto3_bytes", boto_rate / 1e6, "MB/s", "boto3: upload and read back"),
        Figure("ship.boto3_cpu", boto_cpu, "s/GiB", "boto3: the client's CPU"),
        Figure("ship.ratio", boto_cpu / cpu, "x", "client CPU of boto3 against tickd's shipper"),
    ]


def main() -> None:
    options = harness.arguments(__doc__, rounds=3).parse_args()
    harness.refuse_debug_build()
    rounds = min(options.rounds, ROUNDS_MAX)
    harness.show([] if options.checked else figures(rounds), as_json=options.json)


if __name__ == "__main__":
    main()
