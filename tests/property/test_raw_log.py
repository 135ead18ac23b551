"""Native and reference agree on any content; a killed writer loses nothing it acknowledged.

Method: hypothesis for contents and groupings; child processes killed at random moments; a full
tmpfs; a failing fdatasync.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import raw_log as reference
from tickd.native import Decoder, NativeError, RawLog, RawLogReader

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

bursts = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from("WBRC"),
            st.integers(0, 2**32 - 1),
            st.binary(max_size=200),
            st.integers(-(2**62), 2**62),
            st.integers(0, 2**62),
        ),
        max_size=8,
    ),
    max_size=12,
)


def open_log(directory: str, **options: int) -> tuple[RawLog, Decoder]:
    log, decoder = RawLog(directory, node=1, **options), Decoder()
    log.restore_decoder(decoder)
    log.end_burst(decoder)
    return log, decoder


def wait_written(log: RawLog) -> None:
    while log.written < log.next_frame_no - 1:
        log.write_now()
        wait_rung(log)


def wait_rung(log: RawLog) -> None:
    assert select.select([log.wake_fd], [], [], 10)[0]
    os.read(log.wake_fd, 8)


@given(bursts, st.integers(1, 600), st.integers(200, 2000), st.booleans())
@settings(max_examples=60)
def test_both_readers_read_what_was_written(
    content: list[list[tuple[str, int, bytes, int, int]]],
    group_bytes: int,
    segment_bytes: int,
    step: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        log, decoder = open_log(directory, group_bytes=group_bytes, segment_bytes_max=segment_bytes)
        sent = []
        for burst in content:
            for kind, connection, payload, recv_ns, mono_ns in burst:
                if kind == "W":
                    log.frame_at(connection, payload, recv_ns, mono_ns)
                else:
                    log.record(connection, kind, payload)
                sent.append((kind, connection, payload))
            log.end_burst(decoder)
            if step:
                wait_written(log)
        live = [
            record for _, raw in RawLogReader(directory) for record in reference.read_records(raw)
        ]
        log.close()
        records = reference.read_log(Path(directory))
        native = [
            record for _, raw in RawLogReader(directory) for record in reference.read_records(raw)
        ]
        assert native == records
        assert live == records[: len(live)]
        assert [(r.kind, r.connection, r.payload) for r in records if r.kind != "K"] == sent
        assert [r.frame_no for r in records] == list(range(1, len(records) + 1))
        for path in reference.segment_paths(Path(directory)):
            data = path.read_bytes()
            segment = reference.read_segment(data)
            assert segment.index == reference.index_of(segment, data)
            assert segment.torn_bytes == 0
        reference.read_manifest(Path(directory))


@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_cut_copy_recovers_to_what_the_reference_reads(cut: int) -> None:
    """Every chunk that the reference still reads is kept, twice in a row."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as parent:
        directory = Path(parent) / "raw"
        log, decoder = open_log(str(directory), group_bytes=1)
        for number in range(12):
            log.frame(1, b'{"number":%d}' % number)
            log.end_burst(decoder)
            wait_written(log)
        (live,) = reference.segment_paths(directory)
        bytes_ = bytearray(live.read_bytes())
        manifest = (directory / "MANIFEST.jsonl").read_bytes()
        log.close()
        del bytes_[cut % (len(bytes_) + 1) :]
        whole = reference.read_segment(bytes(bytes_)).records
        copy = Path(parent) / "copy"
        (copy / "segments").mkdir(parents=True)
        (copy / "segments" / live.name).write_bytes(bytes_)
        (copy / "MANIFEST.jsonl").write_bytes(manifest)
        for _ in range(2):
            RawLog(str(copy), node=1).close()
            assert reference.read_log(copy) == whole


WRITER = textwrap.dedent(
    """
    import sys
    from tickd.native import Decoder, RawLog
    directory, start = sys.argv[1], int(sys.argv[2])
    log = RawLog(
        directory, node=1, group_ms=1, group_bytes=4096, fsync_ms=20, segment_bytes_max=20000
    )
    decoder = Decoder()
    log.restore_decoder(decoder)
    log.end_burst(decoder)
    out = sys.stdout
    number = start
    while True:
        for _ in range(7):
            log.frame(1, b'{"number":%d,"pad":"%s"}' % (number, b"x" * (number % 90)))
            number += 1
        log.end_burst(decoder)
        # What was acknowledged before this line must survive everything after it.
        out.write(f"{log.written} {log.next_frame_no} {number}\\n")
        out.flush()
    """
)


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_kill_9_in_a_loop_loses_nothing_acknowledged() -> None:
    seed = int(os.environ.get("TICKD_SEED", random.SystemRandom().randrange(2**32)))
    print(f"TICKD_SEED={seed}")  # noqa: T201 - shown when the test fails
    choose = random.Random(seed)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory(dir=MEMORY) as parent:
        directory = Path(parent) / "raw"
        number, acknowledged, seen_next = 0, 0, 1
        for round_ in range(25):
            child = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(directory), str(number)],
                stdout=subprocess.PIPE,
                env=environment,
            )
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(choose.randrange(1, 400))]
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read()
            child.wait()
            child.stdout.close()
            last = (b"".join(lines) + rest[: rest.rfind(b"\n") + 1]).splitlines()[-1]
            written, next_frame, number = (int(text) for text in last.split())
            acknowledged, seen_next = written, next_frame
            records = reference.read_log(directory)
            # A writer that was killed at once has written nothing and acknowledged nothing.
            frame_last = records[-1].frame_no if records else 0
            assert frame_last >= acknowledged, f"round {round_}"
            assert frame_last < seen_next + 7 + 2, f"round {round_}"
            damage = choose.randrange(3)
            (live,) = [
                path for path in reference.segment_paths(directory) if path.suffix == ".open"
            ] or [None]
            if live is not None and damage == 0:
                with live.open("ab") as torn:
                    torn.write(choose.randbytes(choose.randrange(1, 2000)))
        check_whole(directory)


def check_whole(directory: Path) -> None:
    """Every hole in the numbers has its gap record; inside a run every payload is there."""
    RawLog(str(directory), node=1).close()
    reference.read_manifest(directory)
    records = reference.read_log(directory)
    gaps = [json.loads(record.payload) for record in records if record.kind == "C"]
    announced = {(gap["from_frame"], gap["to_frame"]) for gap in gaps}
    holes = {
        (before.frame_last + 1, after.frame_no - 1)
        for before, after in pairwise(records)
        if after.frame_no != before.frame_last + 1
    }
    assert holes == announced
    number = None  # a new process may repeat what its killed forerunner had not yet told
    for record in records:
        if record.kind == "C":
            number = None
        elif record.kind == "W":
            now = json.loads(record.payload)["number"]
            assert number is None or now == number + 1
            number = now


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as parent:
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", parent],
            capture_output=True,
            check=False,
        )
        if mount.returncode != 0:
            pytest.skip(f"mounting a tmpfs is not permitted: {mount.stderr.decode().strip()}")
        try:
            yield Path(parent)
        finally:
            subprocess.run(["umount", parent], check=True)


@pytest.mark.proof
def test_a_full_disk_pauses_and_loses_nothing() -> None:
    """ENOSPC in a chunk: published, undone, repeated when space is back; nothing is lost."""
    with small_disk(1) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * (700 << 10))
        directory = disk / "raw"
        log, decoder = open_log(
            str(directory), group_bytes=8192, pending_bytes_max=600_000, segment_bytes_max=90_000
        )
        noise = random.Random(7)
        sent = 0
        while log.fault is None:
            if log.full:
                wait_rung(log)
                continue
            for _ in range(10):
                log.frame(1, b"%d %s" % (sent, noise.randbytes(500).hex().encode()))
                sent += 1
            log.end_burst(decoder)
        assert "No space left" in log.fault
        stuck = log.written
        readable = [
            r for _, raw in RawLogReader(str(directory)) for r in reference.read_records(raw)
        ]
        assert readable[-1].frame_last >= stuck
        ballast.unlink()
        wait_written(log)
        assert log.fault is None
        assert not log.full
        assert log.stats()["faults"] > 0
        log.close()
        records = [r for r in reference.read_log(directory) if r.kind == "W"]
        assert [int(r.payload.split()[0]) for r in records] == list(range(sent))


@pytest.mark.proof
def test_closing_on_a_full_disk_says_what_is_missing() -> None:
    with small_disk(1) as disk:
        directory = disk / "raw"
        log, decoder = open_log(str(directory), group_bytes=8192)
        (disk / "ballast").write_bytes(b"\0" * (900 << 10))
        noise = random.Random(7)
        for _ in range(200):
            log.frame(1, noise.randbytes(1000))
        log.end_burst(decoder)
        with pytest.raises(NativeError) as failed:
            log.close(timeout_ms=200)
        assert failed.value.args[0] == "unwritten"
        (disk / "ballast").unlink()
        log, _ = open_log(str(directory))
        assert log.recovery["gap"] is not None
        log.close()
        gaps = [json.loads(r.payload) for r in reference.read_log(directory) if r.kind == "C"]
        assert [gap["cause"] for gap in gaps] == ["restart"]


@pytest.mark.proof
def test_a_failed_sync_retires_the_file_and_writes_its_chunks_again() -> None:
    """EIO from fdatasync by strace, on the writer's second sync."""
    program = textwrap.dedent(
        """
        import os, select, sys
        from tickd.native import Decoder, RawLog
        log = RawLog(sys.argv[1], node=1, fsync_ms=-1)
        decoder = Decoder()
        log.restore_decoder(decoder)
        log.end_burst(decoder)
        for number in range(20):
            log.frame(1, b"%d" % number)
            log.end_burst(decoder)
            last = log.next_frame_no - 1
            while log.synced < last:
                log.write_now(sync=True)
                select.select([log.wake_fd], [], [], 0.2)
                try:
                    os.read(log.wake_fd, 8)
                except BlockingIOError:
                    pass
        print(log.stats()["faults"], log.fault)
        log.close()
        """
    ).replace("fsync_ms=-1", "fsync_ms=5")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as directory:
        inject = ["-e", "inject=fdatasync:error=EIO:when=6"]
        child = [sys.executable, "-c", program, directory]
        try:
            traced = subprocess.run(
                [
                    "strace",
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    "trace=fdatasync",
                    *inject,
                    *child,
                ],
                capture_output=True,
                check=False,
                env=environment,
                timeout=60,
            )
        except FileNotFoundError:
            pytest.skip("strace is not installed")
        if b"ptrace" in traced.stderr:
            pytest.skip("tracing is not permitted")
        assert traced.returncode == 0, traced.stderr.decode()
        faults, fault = traced.stdout.split(maxsplit=1)
        assert int(faults) > 0
        assert fault.strip() == b"None"
        lines = reference.read_manifest(Path(directory))
        sealed = [line for line in lines if line["kind"] == "sealed"]
        assert any(line["suspect"] for line in sealed)
        records = reference.read_log(Path(directory))
        assert [int(r.payload) for r in records if r.kind == "W"] == list(range(20))
        native = [r for _, raw in RawLogReader(directory) for r in reference.read_records(raw)]
        assert native == records
