"""A disk that refuses: every call of the raw log fails for a while, with every error it may have.

Method: a log that is written without end in a process of its own; faults of the C library's calls
(libfiu) or of the kernel's (strace) are switched on under it and off again. Each test first sees
that its fault was hit, then that everything is there: no message missing, no gap, no damage.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness.sick_disk import Faults, Recorder, Seen, need, recording
from tests.reference.raw_log import read_log, read_manifest, segment_paths
from tickd.native import Decoder, RawLog, verify_segment

pytestmark = [pytest.mark.proof, pytest.mark.timeout(90)]

WRITE, FDATASYNC = "posix/io/rw/write", "posix/io/sync/fdatasync"
FSYNC, RENAME, OPEN = "posix/io/sync/fsync", "posix/io/dir/rename", "posix/io/oc/open"
TRUNCATE, UNLINK = "posix/io/oc/ftruncate", "posix/io/dir/unlink"
FAULTS_SEEN = 6


def everything_is_there(recorder: Recorder, last: Seen) -> None:
    assert last.state == 2, "the log could not be closed in order"
    records = read_log(recorder.directory)
    texts = [r.payload.split(b".", 1)[0] for r in records if r.kind == "W"]
    assert texts == [b"message %d" % number for number in range(last.appended)]
    assert [r.payload for r in records if r.kind == "C"] == []
    for path in segment_paths(recorder.directory):
        verdict = verify_segment(str(path))
        assert verdict["ok"], verdict
    read_manifest(recorder.directory)
    raw = RawLog(str(recorder.directory), node=1)
    try:
        recovery = raw.recovery
        assert recovery["clean"], recovery
        assert recovery["gap"] is None
        assert recovery["quarantined"] == []
        raw.restore_decoder(Decoder())
    finally:
        raw.close()


@pytest.mark.parametrize(
    ("faults", "number"),
    [
        ({WRITE: 1.0}, errno.ENOSPC),
        ({WRITE: 1.0}, errno.EDQUOT),
        ({WRITE: 1.0}, errno.EROFS),
        ({WRITE: 1.0}, errno.EFBIG),
        ({WRITE: 0.3}, errno.EIO),
        ({WRITE: 0.5, TRUNCATE: 0.5}, errno.EROFS),
        ({FDATASYNC: 0.5}, errno.EIO),
        ({FDATASYNC: 1.0}, errno.EIO),
        ({FSYNC: 0.7}, errno.EIO),
        ({RENAME: 1.0}, errno.EROFS),
        ({RENAME: 0.7}, errno.EIO),
        ({OPEN: 1.0}, errno.EROFS),
        ({WRITE: 0.2, FDATASYNC: 0.2, FSYNC: 0.2, RENAME: 0.2, OPEN: 0.2, TRUNCATE: 0.2,
          UNLINK: 0.5}, errno.EIO),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int)
    else "+".join(f"{name.rsplit('/', 1)[1]}-{share}" for name, share in value.items()),
)  # fmt: skip
def test_a_refusing_disk_costs_nothing(
    tmp_path: Path, faults: dict[str, float], number: int
) -> None:
    with recording(tmp_path, preload=True) as recorder:
        disk = Faults(recorder.process.pid, tmp_path)
        before = recorder.seen()
        for name, probability in faults.items():
            disk.on(name, number, probability)
        hit = recorder.until(lambda seen: seen.faults >= before.faults + FAULTS_SEEN)
        recorder.until(lambda seen: seen.errno in (number, 0))
        if min(faults.values()) == 1.0:
            assert hit.errno == number
            recorder.until(lambda seen: seen.pauses > before.pauses)
        for name in faults:
            disk.off(name)
        recorder.goes_on()
        last = recorder.stop()
    everything_is_there(recorder, last)


def test_the_file_system_may_become_read_only_and_writable_again(tmp_path: Path) -> None:
    """For every name at once, by the kernel: a read-only mount over the directory."""
    if os.geteuid() != 0:
        pytest.skip("a mount needs root")
    with recording(tmp_path) as recorder:
        raw = str(recorder.directory)
        done = subprocess.run(["mount", "--bind", raw, raw], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"mount: not permitted: {done.stderr.decode()}")
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", raw], check=True)
            with pytest.raises(OSError, match="Read-only"):
                (recorder.directory / "probe").touch()
            recorder.until(lambda seen: seen.errno == errno.EROFS and seen.pauses > 0)
            subprocess.run(["mount", "-o", "remount,bind,rw", raw], check=True)
            recorder.goes_on()
        finally:
            subprocess.run(["umount", "--lazy", raw], check=True)
        recorder.goes_on()
        last = recorder.stop()
    everything_is_there(recorder, last)


@pytest.mark.parametrize(("when", "hits"), [("2", 1), ("2..6", 5)])
def test_a_sync_that_fails_in_the_kernel_costs_nothing(
    tmp_path: Path, when: str, hits: int
) -> None:
    """EIO from fdatasync by strace: once, or five times in a row; manifest and segments alike."""
    trace = tmp_path / "trace"
    strace = [need("strace"), "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync"]
    inject = f"inject=fdatasync:error=EIO:when={when}"
    with recording(tmp_path, *strace, "-e", inject) as recorder:
        recorder.until(lambda seen: seen.faults >= hits)
        recorder.goes_on()
        # The recorder is strace's child, and ends it with its own end.
        children = Path(f"/proc/{recorder.process.pid}/task/{recorder.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGTERM)
        assert recorder.process.wait(20) == 0
        last = recorder.seen()
    assert trace.read_text().count("INJECTED") == hits
    everything_is_there(recorder, last)


@pytest.mark.parametrize("what", ["", "segments", "MANIFEST.jsonl"])
def test_what_is_deleted_under_the_log_is_written_again(tmp_path: Path, what: str) -> None:
    with recording(tmp_path) as recorder:
        # One segment only, so that nothing sealed is deleted with the rest.
        assert recorder.seen().segments == 1
        victim = recorder.directory / what
        if victim.is_dir():
            shutil.rmtree(victim)
        else:
            victim.unlink()
        recorder.goes_on()
        last = recorder.stop()
    everything_is_there(recorder, last)


def test_a_short_write_is_no_torn_chunk(tmp_path: Path) -> None:
    """A full tmpfs takes a part first (the kernel's short write), and gets room again twice."""
    if os.geteuid() != 0:
        pytest.skip("a tmpfs needs root")
    (tmp_path / "raw").mkdir()
    raw = str(tmp_path / "raw")
    mount = ["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", raw]
    made = subprocess.run(mount, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no tmpfs here: {made.stderr.decode()}")
    try:
        with recording(tmp_path) as recorder:
            for size in ("1m", "3m"):
                recorder.until(lambda seen: seen.errno == errno.ENOSPC)
                paused = recorder.until(lambda seen: seen.state == 1 and seen.pauses > 0)
                assert paused.written < paused.appended
                subprocess.run(["mount", "-o", f"remount,size={size}", raw], check=True)
                recorder.until(lambda seen, was=paused: seen.written > was.written)
            subprocess.run(["mount", "-o", "remount,size=200m", raw], check=True)
            recorder.goes_on()
            last = recorder.stop()
        everything_is_there(recorder, last)
    finally:
        subprocess.run(["umount", "--lazy", raw], check=True)


def test_a_file_system_that_the_kernel_gives_up_keeps_what_was_synced(tmp_path: Path) -> None:
    """An ext4 error (errors=remount-ro): read-only for open files too, for good until a fsck."""
    if os.geteuid() != 0:
        pytest.skip("a mount needs root")
    need("mkfs.ext4")
    image, raw = tmp_path / "disk.img", tmp_path / "raw"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    raw.mkdir()
    mount = ["mount", "-o", "loop,errors=remount-ro", str(image), str(raw)]
    made = subprocess.run(mount, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop mounts, not permitted here: {made.stderr.decode()}")
    try:
        with recording(tmp_path) as recorder:
            device = Path(f"/sys/dev/block/{_device(raw)}").readlink().name
            Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")
            failed = recorder.until(lambda seen: seen.errno != 0 and seen.pauses > 0)
            assert failed.errno in (errno.EROFS, errno.EIO)
            last = recorder.stop()
            assert last.state == 3, "it must not pretend to have closed the log"
    finally:
        subprocess.run(["umount", str(raw)], check=True)
    checked = subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, check=False)
    assert checked.returncode in (0, 1), checked.stdout
    subprocess.run(mount, check=True)
    try:
        with recording(tmp_path) as recorder:
            recorder.goes_on()
            assert recorder.stop().state == 2
        records = read_log(raw)
    finally:
        subprocess.run(["umount", str(raw)], check=True)
    (gap,) = [json.loads(r.payload) for r in records if r.kind == "C"]
    before = [r for r in records if r.frame_no < gap["from_frame"]]
    behind = [r for r in records if r.frame_no > gap["to_frame"]]
    assert gap["cause"] == "restart"
    assert len(before) + len(behind) == len(records), "no frame within the gap"
    assert before[-1].frame_no == gap["from_frame"] - 1 >= last.synced
    assert before[-1].recv_ns == gap["from_ns"]
    texts = [r.payload.split(b".", 1)[0] for r in before if r.kind == "W"]
    assert texts == [b"message %d" % number for number in range(len(texts))]


def _device(path: Path) -> str:
    number = path.stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"
