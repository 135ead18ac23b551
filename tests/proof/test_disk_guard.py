"""A daemon whose disk fills up, step by step or at once, or is taken away under it.

The filesystems are real and small (tmpfs, which needs root), a file of junk takes the room. After
each: no crash, nothing lost without a gap, `tickd verify` clean.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.losses import unexplained
from tests.harness.processes import Daemon, query, server, tickd, venue_of, write_config
from tests.harness.recording import recording_of, sent_by
from tests.harness.sick_disk import Faults, preloaded
from tickd.app.exit_codes import ExitCode

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(180)]

MIB = 1 << 20
SYMBOLS = 4
SECTIONS: dict[str, dict[str, object]] = {
    "disk_guard": {"interval_ms": 100, "hold_seconds": 1.0, "ballast_bytes": 64 * MIB},
    "raw_log": {"group_ms": 50},
    "sink": {"age_ms_max": 500},
}


@contextmanager
def tmpfs(path: Path, size_mib: int) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("a tmpfs needs root")
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(path)]
    made = subprocess.run(mount, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no tmpfs here: {made.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


class Junk:
    """A file that takes room from a filesystem."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "junk"
        self._folder = folder

    def leave(self, free_bytes: int) -> None:
        """Take or give back so much that `free_bytes` are left, or fewer by what others take."""
        with self._path.open("ab") as file:
            for _ in range(100):
                status = os.statvfs(self._folder)
                size = file.tell() + status.f_bavail * status.f_frsize - free_bytes
                try:
                    if size < file.tell():
                        file.truncate(size)
                    elif size > file.tell():
                        os.posix_fallocate(file.fileno(), 0, size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:  # others write, too
                        raise
                else:
                    return
        raise AssertionError("the disk does not hold still")

    def free(self) -> None:
        self._path.unlink(missing_ok=True)


@contextmanager
def market(
    folder: Path, *, rate: int = 3_000, **sections: dict[str, object]
) -> Iterator[tuple[Path, Path]]:
    """A simulated market: the configuration that records it, and its sent-log."""
    sent = folder / "sent.log"
    options = ["sim", "--rate", str(rate), "--symbols", str(SYMBOLS), "--seed", "9"]
    with server(*options, "--sent-log", str(sent), log=folder / "sim.log") as sim:
        config = write_config(
            folder / "tickd.toml",
            state_dir=folder / "state",
            venues=[venue_of(sim)],
            sections=SECTIONS | sections,
        )
        yield config, sent


def level(status: dict[str, Any], place: str) -> str:
    (found,) = (disk["level"] for disk in status["disks"] if place in disk["places"])
    return str(found)


def synced(config: Path, at_least: int) -> bool:
    rows = query(config, "SELECT count() AS n FROM states WHERE kind = 'book' AND state = 2")
    return int(rows[0]["n"]) >= at_least


def everything_is_explained(folder: Path, config: Path, sent: Path) -> None:
    recording = recording_of(folder / "state")
    assert unexplained(sent_by(sent), recording) == []
    verified = tickd("verify", str(config))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_each_level_takes_its_part_and_gives_it_back(tmp_path: Path) -> None:
    state = tmp_path / "state"
    raw = state / "raw"
    # Two disks of the test's own: how full the machine's is says nothing here.
    with tmpfs(state, 2_048), tmpfs(raw, 64), market(tmp_path) as (config, sent):
        junk = Junk(raw)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_for(lambda s: s["raw_log"]["frames"] > 3_000)
            held = daemon.wait_for(lambda s: any(disk["ballast_bytes"] for disk in s["disks"]))
            assert level(held, "raw") == "ok"
            assert (raw / "BALLAST").stat().st_blocks * 512 >= 3 * MIB
            segments = held["raw_log"]["segments"]

            junk.leave(10 * MIB)
            daemon.wait_for(lambda s: level(s, "raw") == "low")
            junk.leave(5 * MIB)
            tight = daemon.wait_for(lambda s: level(s, "raw") == "tight")
            assert level(tight, "state") == "ok"
            assert tight["venues"][0]["shed"] == []

            junk.leave(5 * MIB // 2)
            critical = daemon.wait_for(lambda s: s["venues"][0]["shed"] == ["depth"])
            assert level(critical, "raw") == "critical"
            assert not critical["raw_log"]["paused"]
            daemon.wait_for(lambda s: s["raw_log"]["segments"] == segments + 1)
            heads = daemon.wait_for(lambda s: s["decoder"].get("sheds", 0) >= 1)
            more = heads["raw_log"]["frames"] + 3_000
            daemon.wait_for(lambda s: s["raw_log"]["frames"] > more)

            junk.leave(MIB)
            full = daemon.wait_for(lambda s: s["raw_log"]["paused"])
            assert level(full, "raw") == "full"
            daemon.wait_for(lambda s: s["raw_log"]["pending_bytes"] == 0)
            assert not (raw / "BALLAST").exists()

            junk.free()
            daemon.wait_for(lambda s: level(s, "raw") == "ok" and not s["raw_log"]["paused"])
            daemon.wait_for(lambda s: s["venues"][0]["shed"] == [])
            assert (raw / "BALLAST").exists()
            daemon.wait_for(
                lambda s: s["sink"]["caught_up"] and not s["venues"][0]["snapshots_pending"]
            )
            last = daemon.wait_for(lambda _: synced(config, 2 * SYMBOLS))
            assert last["venues"][0]["lines"][0]["connections"]
            assert daemon.stop() == 0, daemon.tail()
        everything_is_explained(tmp_path, config, sent)
        recording = recording_of(tmp_path / "state")
        log = (tmp_path / "daemon.log").read_text()
    shed = [gap for gap in recording.gaps() if gap.cause == "SHED"]
    assert {gap.channel for gap in shed} == {"depth"}
    assert len({gap.symbol for gap in shed}) == SYMBOLS
    said = [json.loads(record.payload) for record in recording.records if record.kind == "C"]
    levels = [record["level"] for record in said if record["kind"] == "disk"]
    assert levels == ["low", "tight", "critical", "full", "ok"]
    assert [log.count(f'"disk_is_{each}"') for each in (*levels[:4], "ok")] == [1] * 5
    assert log.count("ballast_freed") == 1


def test_a_whole_state_directory_without_a_byte_left(tmp_path: Path) -> None:
    """Raw log, plan, spool, ClickHouse's own files and the log on stderr, all on one disk."""
    state = tmp_path / "state"
    with tmpfs(state, 400), market(tmp_path) as (config, sent):
        (tmp_path / "daemon.log").symlink_to(state / "daemon.log")
        junk = Junk(state)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_for(lambda s: s["sink"]["rows_committed"] > 5_000)
            junk.leave(0)
            daemon.wait_for(lambda s: level(s, "raw") == "full" and s["raw_log"]["paused"])
            # The ballast is there for the raw log; somebody else takes it, too.
            junk.leave(0)
            stuck = daemon.wait_for(
                lambda s: s["raw_log"]["pending_bytes"] == 0 or s["raw_log"]["fault"]
            )
            assert stuck["state"] in ("degraded", "starting")
            junk.free()
            going = daemon.wait_for(
                lambda s: not s["raw_log"]["paused"] and not s["raw_log"]["fault"]
            )
            more = going["raw_log"]["frames"] + 5_000
            daemon.wait_for(
                lambda s: s["raw_log"]["frames"] > more and s["sink"]["caught_up"], timeout=90
            )
            assert daemon.stop() == 0, daemon.tail()
        everything_is_explained(tmp_path, config, sent)


def test_the_raw_log_s_directory_deleted_under_the_daemon(tmp_path: Path) -> None:
    with market(tmp_path) as (config, sent), Daemon(config, tmp_path / "daemon.log") as daemon:
        daemon.wait_for(lambda s: s["sink"]["rows_committed"] > 3_000)
        shutil.rmtree(tmp_path / "state" / "raw")
        gone = daemon.wait_for(lambda s: (tmp_path / "state" / "raw" / "LOCK").exists())
        more = gone["raw_log"]["frames"] + 5_000
        daemon.wait_for(lambda s: s["raw_log"]["frames"] > more and s["sink"]["caught_up"])
        assert daemon.stop() == 0, daemon.tail()
        everything_is_explained(tmp_path, config, sent)


def test_a_start_without_a_writable_disk_says_so(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with tmpfs(state, 16), market(tmp_path) as (config, _):
        subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
        refused = tickd("run", str(config))
        assert refused.returncode == ExitCode.FAILED, refused.stderr
        assert "Read-only file system" in refused.stderr
        assert "Traceback" not in refused.stderr
        subprocess.run(["mount", "-o", "remount,rw", str(state)], check=True)
        Junk(state).leave(0)
        refused = tickd("run", str(config))
        assert refused.returncode == ExitCode.FAILED, refused.stderr
        assert "No space left" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("posix/io/sync/fdatasync", errno.EIO),
        ("posix/io/oc/open", errno.EDQUOT),
    ],
)
def test_calls_that_fail_in_the_whole_daemon(tmp_path: Path, name: str, number: int) -> None:
    """By chance, in every part of it: raw log, plan, spool, ballast, statvfs."""
    environment = preloaded(tmp_path)
    # Segments of two seconds: every step of the seal is among what fails.
    with market(tmp_path, raw_log={"segment_seconds": 2}) as (config, sent):
        daemon = Daemon(
            config, tmp_path / "daemon.log", preexec_fn=lambda: os.environ.update(environment)
        )
        with daemon:
            daemon.wait_for(lambda s: s["sink"]["rows_committed"] > 2_000)
            assert daemon.process is not None
            disk = Faults(daemon.process.pid, tmp_path)
            disk.on(name, number, 0.5)
            before = daemon.status()["raw_log"]
            daemon.wait_for(lambda s: s["raw_log"]["faults"] >= before["faults"] + 3)
            disk.off(name)
            going = daemon.wait_for(lambda s: s["raw_log"]["fault"] is None)
            more = going["raw_log"]["frames"] + 3_000
            daemon.wait_for(lambda s: s["raw_log"]["frames"] > more and s["sink"]["caught_up"])
            assert daemon.stop() == 0, daemon.tail()
        everything_is_explained(tmp_path, config, sent)


def test_a_full_spool_costs_no_row_and_not_the_raw_log(tmp_path: Path) -> None:
    """ClickHouse hangs, the spool's disk is tiny: the rest is read from the raw log afterwards."""
    sections: dict[str, dict[str, object]] = {
        "clickhouse": {"insert_timeout_ms": 4_000},
        "sink": {"age_ms_max": 2_000, "backoff_ms_max": 500, "pending_bytes_max": 1 << 20,
                 "block_bytes_max": 1 << 16},
    }  # fmt: skip
    with (
        tmpfs(tmp_path / "state", 768),  # syncs that cost nothing: ClickHouse must catch up
        tmpfs(tmp_path / "state" / "sink" / "spool", 1),
        market(tmp_path, rate=1_500, **sections) as (
            config,
            sent,
        ),
    ):
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_for(lambda s: s["sink"]["rows_committed"] > 1_000)
            clickhouse = daemon.clickhouse_pid()
            os.kill(clickhouse, signal.SIGSTOP)
            try:
                full = daemon.wait_for(lambda s: level(s, "spool") != "ok")
                before = full["raw_log"]["frames"]
                daemon.wait_for(lambda s: level(s, "spool") in ("tight", "critical", "full"))
                going = daemon.wait_for(lambda s: s["raw_log"]["frames"] > before + 10_000)
                assert not going["raw_log"]["paused"]
                assert going["venues"][0]["shed"] == []
                assert level(going, "raw") == "ok"
            finally:
                os.kill(clickhouse, signal.SIGCONT)
            daemon.wait_for(lambda s: s["sink"]["caught_up"], timeout=90)
            assert daemon.stop() == 0, daemon.tail()
        everything_is_explained(tmp_path, config, sent)


def test_the_whole_state_directory_deleted_under_the_daemon(tmp_path: Path) -> None:
    """The raw log and the control socket come back at once, ClickHouse's rows by the next start."""
    state = tmp_path / "state"
    with market(tmp_path) as (config, sent), Daemon(config, tmp_path / "daemon.log") as daemon:
        before = daemon.wait_for(lambda s: s["sink"]["rows_committed"] > 3_000)
        shutil.rmtree(state, ignore_errors=True)
        more = before["raw_log"]["frames"] + 5_000
        going = daemon.wait_for(lambda s: s["raw_log"]["frames"] > more)
        assert going["raw_log"]["fault"] is None
        assert daemon.stop() in (ExitCode.OK, ExitCode.FAILED), daemon.tail()
        daemon.start()
        daemon.wait_for(lambda s: s["sink"]["caught_up"])
        assert daemon.stop() == 0, daemon.tail()
        everything_is_explained(tmp_path, config, sent)
