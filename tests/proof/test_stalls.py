"""Two stalls under load: a disk that takes long for every call, a ClickHouse that never answers.

The first pauses the sockets and nothing else: what is in the file goes on to ClickHouse. The second
pauses nothing: blocks go to the spool. Either way nothing is dropped anywhere, and in the end
ClickHouse holds what the raw log holds. The disk is slowed down with strace, ClickHouse with
SIGSTOP: its sockets accept, and nobody answers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from tests.harness.clickhouse_server import ClickHouseServer, require
from tests.harness.processes import Daemon, server, tickd, venue_of, write_config
from tickd.app.control import ask

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(240)]

RATE, SYMBOLS = 8_000, 5
PHASE_S = 6.0
# Of one call on the raw log's files, µs.
SLOW_US = 1_500_000


@contextmanager
def under_load(folder: Path, sections: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """A daemon that records a market into a ClickHouse of its own, caught up."""
    require("embedded")
    clickhouse = ClickHouseServer("embedded", folder / "clickhouse")
    clickhouse.start()
    arguments = ["sim", "--rate", str(RATE), "--symbols", str(SYMBOLS)]
    try:
        with server(*arguments, log=folder / "sim.log") as sim:
            config = write_config(
                folder / "tickd.toml",
                state_dir=folder / "state",
                venues=[venue_of(sim)],
                sections={"clickhouse": clickhouse.settings(), **sections},
            )
            with Daemon(config, folder / "daemon.log") as daemon:
                daemon.wait_for(lambda s: s["sink"]["caught_up"] and s["sink"]["rows_committed"])
                yield daemon, clickhouse
                status = daemon.wait_for(lambda s: s["sink"]["caught_up"], timeout=120)
                dropped = {name: queue["dropped"] for name, queue in queues(status).items()}
                assert dropped == dict.fromkeys(("frames", "batches", "blocks", "in_flight"), 0)
                assert status["decoder"].get("gaps", 0) == 0
                assert daemon.stop() == 0, daemon.tail()
        verified = tickd("verify", str(config))
        assert verified.returncode == 0, verified.stdout + verified.stderr
    finally:
        clickhouse.stop()


def queues(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = status["sink"]["queues"]
    return found


def write_latency(daemon: Daemon) -> tuple[list[int], list[int]]:
    """(bounds, counts) of the time from socket to file since the start."""
    answer = asyncio.run(ask(daemon.state_dir, "histograms"))
    return answer["bounds_ns"], answer["recv_to_raw"]


def p99_ms(bounds: list[int], before: list[int], after: list[int]) -> float:
    counts = [b - a for a, b in zip(before, after, strict=True)]
    total = list(accumulate(counts))
    assert total[-1] > 1_000, "too few frames to tell"
    at = bisect_left(total, 0.99 * total[-1])
    return bounds[min(at, len(bounds) - 1)] / 1e6


def spend(seconds: float) -> None:
    """Let the market play on."""
    time.sleep(seconds)


def test_a_clickhouse_that_never_answers_pauses_no_socket_and_slows_no_write(
    tmp_path: Path,
) -> None:
    # Little memory, so that the spool is needed soon.
    sink = {"pending_bytes_max": 2 << 20, "block_bytes_max": 1 << 20, "backoff_ms_max": 500}
    with under_load(tmp_path, {"sink": sink}) as (daemon, clickhouse):
        bounds, begin = write_latency(daemon)
        spend(PHASE_S)
        _, healthy = write_latency(daemon)
        os.kill(clickhouse.pid, signal.SIGSTOP)
        try:
            spooled = daemon.wait_for(lambda s: s["sink"]["spool"]["blocks"] > 3)
            _, stalled_from = write_latency(daemon)
            spend(PHASE_S)
            _, stalled_to = write_latency(daemon)
            stalled = daemon.status()
        finally:
            os.kill(clickhouse.pid, signal.SIGCONT)
        assert stalled["raw_log"]["pauses"] == 0
        assert stalled["sink"]["state"] == "live"
        assert stalled["sink"]["pending_bytes"] <= 4 << 20
        assert stalled["raw_log"]["frames"] > spooled["raw_log"]["frames"] + RATE * PHASE_S / 2
        without, within = p99_ms(bounds, begin, healthy), p99_ms(bounds, stalled_from, stalled_to)
        # A group waits up to 250 ms for its write; a machine's noise is of that size, too.
        assert within <= 2 * without + 250, f"{without:.0f} ms without, {within:.0f} ms with it"


@contextmanager
def slow_disk(daemon: Daemon) -> Iterator[None]:
    """Every write and sync of the raw log's open segment takes long."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    (segment,) = (daemon.state_dir / "raw" / "segments").glob("*.open")
    calls = "write,pwrite64,fdatasync,fsync"
    assert daemon.process is not None
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(daemon.process.pid)]
    command += ["-P", str(segment), "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:delay_enter={SLOW_US}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        try:
            yield
        finally:
            tracer.terminate()
            tracer.wait(30)


def test_a_slow_disk_pauses_the_sockets_and_nothing_else(tmp_path: Path) -> None:
    raw_log = {"pending_bytes_max": 1 << 20, "group_bytes": 64 << 10}
    with under_load(tmp_path, {"raw_log": raw_log}) as (daemon, _):
        with slow_disk(daemon):
            paused = daemon.wait_for(lambda s: s["raw_log"]["paused"])
            assert queues(paused)["frames"]["enqueue_timeouts"] >= 1
            # What is in the file is not held up by what is not.
            daemon.wait_for(lambda s: s["sink"]["blocks_waiting"] == 0)
            rows = paused["sink"]["rows_committed"]
            going = daemon.wait_for(lambda s: s["sink"]["rows_committed"] > rows, timeout=90)
            assert going["sink"]["circuit"] == "closed"
            assert going["raw_log"]["pending_bytes"] <= 2 << 20
        after = daemon.wait_for(lambda s: not s["raw_log"]["paused"])
        assert after["raw_log"]["fault"] is None
