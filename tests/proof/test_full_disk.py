"""A raw log that cannot be written: reading stops, visibly, and goes on without a loss.

The disk is full in earnest (a tmpfs of its own, which needs root), or the daemon's files may not
grow any more (a resource limit set and lifted from outside).
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.processes import Daemon, server, tickd, venue_of, write_config
from tests.harness.recording import recording_of, sent_by, sent_frames, venue_stats
from tickd.app.exit_codes import ExitCode

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(180)]

SMALL_BYTES = 1 << 20
LARGE_BYTES = 256 << 20
SECONDS = 8
RATE = 8_000
# A small bound makes the pause come soon: four groups of 64 KiB, paused from half of it on.
RAW_LOG = {"group_bytes": 65_536, "group_ms": 50, "pending_bytes_max": 262_144}


@dataclass
class Disk:
    """Where a daemon's raw log lies; `fill` ends its space, `free` gives it back."""

    words: str  # of the fault
    fill: Callable[[Daemon], None]
    free: Callable[[Daemon], None]


def _limit(daemon: Daemon, size: int) -> None:
    assert daemon.process is not None
    if daemon.process.poll() is not None:  # the limit has gone with the process
        return
    hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "limit":
        yield Disk(
            words="File too large",
            fill=lambda daemon: _limit(daemon, SMALL_BYTES),
            free=lambda daemon: _limit(daemon, resource.RLIM_INFINITY),
        )
        return
    if os.geteuid() != 0:
        pytest.skip("a tmpfs needs root; the limit stands in for it")
    raw = tmp_path / "state" / "raw"
    raw.mkdir(parents=True)
    size = f"size={SMALL_BYTES}"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(raw)], check=False, capture_output=True
    )
    if made.returncode != 0:
        pytest.skip(f"no tmpfs here: {made.stderr.decode().strip()}; the limit stands in for it")

    def free(_: Daemon) -> None:
        subprocess.run(["mount", "-o", f"remount,size={LARGE_BYTES}", str(raw)], check=True)

    try:
        yield Disk(words="No space left", fill=lambda _: None, free=free)
    finally:
        subprocess.run(["umount", "--lazy", str(raw)], check=True)


def test_a_full_disk_stops_the_reading_and_loses_nothing(tmp_path: Path, disk: Disk) -> None:
    sent_log = tmp_path / "sent.log"
    arguments = ["sim", "--rate", str(RATE), "--symbols", "5", "--seconds", str(SECONDS)]
    with server(*arguments, "--sent-log", str(sent_log), log=tmp_path / "sim.log") as sim:
        config = write_config(
            tmp_path / "tickd.toml",
            state_dir=tmp_path / "state",
            venues=[venue_of(sim)],
            sections={"raw_log": RAW_LOG},
        )
        rest_url = sim["rest"]["binance-usdm"]
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            disk.fill(daemon)
            full = daemon.wait_for(lambda s: s["raw_log"]["paused"] and s["raw_log"]["fault"])
            assert disk.words in full["raw_log"]["fault"]
            assert full["state"] == "degraded"
            assert disk.words in full["waiting_for"]
            assert any(line["paused"] for line in full["venues"][0]["lines"])
            stuck = daemon.wait_for(lambda s: s["raw_log"]["faults"] > full["raw_log"]["faults"])
            assert stuck["raw_log"]["written"] == full["raw_log"]["written"]
            assert stuck["raw_log"]["pending_bytes"] <= 2 * RAW_LOG["pending_bytes_max"]
            disk.free(daemon)
            going = daemon.wait_for(lambda s: not s["raw_log"]["paused"])
            assert going["raw_log"]["fault"] is None
            assert going["raw_log"]["pauses"] >= 1
            daemon.wait_for(lambda _: venue_stats(rest_url)["done"])
            daemon.wait_until_quiet(frames_min=RATE * SECONDS // 2)
            assert daemon.stop() == 0, daemon.tail()
    recording = recording_of(tmp_path / "state")
    assert recording.gaps() == []
    sent = sent_frames(sent_by(sent_log))
    assert sorted(recording.market_frames().values()) == sorted(sent.values())
    log = (tmp_path / "daemon.log").read_text()
    assert "sockets_paused" in log
    assert "sockets_resumed" in log
    verified = tickd("verify", str(config))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_stop_while_the_disk_is_full_is_bounded_and_says_what_is_lost(
    tmp_path: Path, disk: Disk
) -> None:
    arguments = ["sim", "--rate", str(RATE), "--symbols", "5"]
    with server(*arguments, log=tmp_path / "sim.log") as sim:
        config = write_config(
            tmp_path / "tickd.toml",
            state_dir=tmp_path / "state",
            venues=[venue_of(sim)],
            sections={"raw_log": RAW_LOG, "node": {"shutdown_timeout_ms": 3_000}},
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            disk.fill(daemon)
            daemon.wait_for(lambda s: s["raw_log"]["paused"] and s["raw_log"]["fault"])
            assert daemon.stop() == ExitCode.DATA_LOSS, daemon.tail()
            assert "frames_lost" in daemon.tail()
            assert disk.words in daemon.tail()
            disk.free(daemon)
            daemon.start()
            daemon.wait_for(lambda s: s["sink"]["caught_up"] and s["raw_log"]["frames"] > 2_000)
            assert daemon.stop() == 0, daemon.tail()
    recording = recording_of(tmp_path / "state")
    for symbol in {gap.symbol for gap in recording.gaps() if gap.channel == "trade"}:
        assert recording.lost_trade_ids(symbol) == recording.gap_trade_ids(symbol)
    assert {"RESTART"} <= {gap.cause for gap in recording.gaps()}
    verified = tickd("verify", str(config))
    assert verified.returncode == 0, verified.stdout + verified.stderr
