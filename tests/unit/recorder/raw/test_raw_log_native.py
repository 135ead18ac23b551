"""The native raw log against its independent reader: round trips, rotation, recovery, locks."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reference import raw_log as reference
from tickd.native import (
    Decoder,
    Histogram,
    NativeError,
    RawLog,
    RawLogReader,
    manifest_read,
    segment_info,
    verify_segment,
)

LEAP = 1 << 24


class Log:
    """A raw log with its decoder, opened, restored and with its first burst ended."""

    def __init__(self, directory: Path, **options: int) -> None:
        self.directory = directory
        self.raw = RawLog(str(directory), node=1, **options)
        self.decoder = Decoder()
        self.replayed = self.raw.restore_decoder(self.decoder)
        self.raw.end_burst(self.decoder)

    def burst(self, *payloads: bytes, connection: int = 1) -> None:
        for payload in payloads:
            self.raw.frame(connection, payload)
        self.raw.end_burst(self.decoder)

    def wait(self, *, sync: bool = False) -> None:
        """Until everything is written (and synced)."""
        last = self.raw.next_frame_no - 1
        while (self.raw.synced if sync else self.raw.written) < last:
            self.raw.write_now(sync=sync)
            assert select.select([self.raw.wake_fd], [], [], 10)[0]
            os.read(self.raw.wake_fd, 8)


@pytest.fixture
def directory() -> Iterator[Path]:
    """In memory where there is some: the syncs of a busy disk are not what is tested here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as parent:
        yield Path(parent) / "raw"


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    opened = Log(directory)
    yield opened
    opened.raw.close()


def payloads(directory: Path) -> list[bytes]:
    return [record.payload for record in reference.read_log(directory) if record.kind in "WBR"]


def native_records(directory: Path, **bounds: int) -> list[reference.Record]:
    chunks = RawLogReader(str(directory), **bounds)
    return [record for _, raw in chunks for record in reference.read_records(raw)]


def test_any_bytes_read_back_in_order_by_both_readers(directory: Path) -> None:
    log = Log(directory)
    sent = [b"", b"{}", b"two\nlines", bytes(range(256)), b"x" * 3000]
    log.burst(*sent, connection=7)
    log.raw.record(7, "R", b"GET /x 200\n{}")
    log.raw.record(7, "B", memoryview(b"\x00\x01"))
    log.raw.frame(7, bytearray(b"mutable"))
    log.raw.end_burst(log.decoder)
    log.raw.close()
    assert payloads(directory) == [*sent, b"GET /x 200\n{}", b"\x00\x01", b"mutable"]
    records = native_records(directory)
    assert records == reference.read_log(directory)
    assert [record.frame_no for record in records] == list(range(1, len(records) + 1))
    assert (records[0].kind, records[1].connection) == ("K", 7)


def test_stamps_are_wall_and_monotonic_and_never_run_backwards(directory: Path) -> None:
    log = Log(directory)
    log.burst(*[b"{}"] * 100)
    log.raw.frame_at(1, b"old", 5, 6)
    log.raw.end_burst(log.decoder)
    log.raw.close()
    *stamped, old = reference.read_log(directory)
    assert (old.recv_ns, old.mono_ns) == (5, 6)
    monos = [record.mono_ns for record in stamped]
    assert monos == sorted(monos)
    assert all(record.recv_ns > 1_700_000_000 * 10**9 for record in stamped)


def test_zstd_prints_a_segment_as_text(directory: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("the zstd command is not installed")
    log = Log(directory)
    log.burst(b'{"x":1}')
    log.raw.close()
    (segment,) = reference.segment_paths(directory)
    printed = subprocess.run(["zstd", "-dc", segment], capture_output=True, check=True).stdout
    assert printed.endswith(b' 1 W 7 {"x":1}\n')


def test_a_long_payload_takes_several_numbers(directory: Path) -> None:
    log = Log(directory)
    log.burst(b"a" * (512 << 10), b"b")
    log.raw.close()
    numbers = [record.frame_no for record in reference.read_log(directory)]
    assert numbers == [1, 2, 4]
    assert reference.read_manifest(directory)[-1]["frame_last"] == 4


def test_segments_rotate_by_size_and_begin_with_a_checkpoint(directory: Path) -> None:
    log = Log(directory, segment_bytes_max=1000, group_bytes=1)
    for number in range(50):
        log.burst(b'{"n":%d}' % number)
        log.wait()
    log.raw.close()
    segments = reference.segment_paths(directory)
    assert len(segments) > 3
    previous = None
    for path in segments:
        data = path.read_bytes()
        segment = reference.read_segment(data)
        assert segment.records[0].kind == "K"
        assert segment.header is not None
        assert segment.footer is not None
        assert segment.header["first_frame"] == segment.records[0].frame_no
        assert segment.header["previous"] == previous
        assert segment.index == reference.index_of(segment, data)
        assert path.name.startswith(f"{segment.records[0].frame_no:020d}-")
        previous = f"{segment.footer.data_hash:016x}"
    numbers = [record.frame_no for record in reference.read_log(directory)]
    assert numbers == list(range(1, numbers[-1] + 1))
    assert payloads(directory) == [b'{"n":%d}' % number for number in range(50)]
    lines = reference.read_manifest(directory)
    assert lines == manifest_read(str(directory))
    sealed = [line for line in lines if line["kind"] == "sealed"]
    assert [line["segment"] for line in sealed] == [path.name for path in segments]
    assert [line["clean"] for line in sealed] == [False] * (len(segments) - 1) + [True]


def test_segments_rotate_by_receive_time(directory: Path) -> None:
    log = Log(directory, segment_seconds=3600)
    hour = 3600 * 10**9
    start = reference_now(log)
    for at in (start + 1, start + hour, start + hour + 1):
        log.raw.frame_at(1, b"{}", at, 1)
        log.raw.end_burst(log.decoder)
        log.wait()
    log.raw.close()
    assert len(reference.segment_paths(directory)) == 2


def reference_now(log: Log) -> int:
    """The receive stamp of the log's first record."""
    log.wait()
    (path,) = reference.segment_paths(log.directory)
    segment = segment_info(str(path))
    return segment["recv_first_ns"]


def test_frames_before_the_rotation_stay_in_the_old_segment(directory: Path) -> None:
    log = Log(directory, segment_bytes_max=1)
    log.burst(b"first")
    log.wait()
    log.burst(b"second")
    log.wait()
    log.burst(b"third")
    log.raw.close()
    contents = [
        [
            record.payload
            for record in reference.read_segment(path.read_bytes()).records
            if record.kind == "W"
        ]
        for path in reference.segment_paths(directory)
    ]
    # The size is looked at behind a burst, so `second` still went to the old segment.
    assert contents == [[b"first", b"second"], [b"third"], []]


def test_numbers_go_on_after_a_clean_stop(directory: Path) -> None:
    log = Log(directory)
    assert [log.raw.next_connection(), log.raw.next_connection()] == [1, 2]
    log.burst(b"a", connection=2)
    log.raw.close()
    log = Log(directory)
    assert log.raw.recovery["clean"]
    assert log.raw.recovery["gap"] is None
    assert log.raw.next_frame_no == 4
    assert log.raw.next_connection() == 3
    log.raw.close()
    log = Log(directory)
    assert log.raw.next_frame_no == 5
    log.raw.close()


def test_a_stop_without_a_record_stays_clean(directory: Path) -> None:
    Log(directory).raw.close()
    RawLog(str(directory), node=1).close()
    log = RawLog(str(directory), node=1)
    assert log.recovery["clean"]
    assert log.next_frame_no == 2
    log.close()


def test_an_unclean_end_leaps_and_announces_the_gap(directory: Path) -> None:
    log = Log(directory)
    log.burst(b"a", b"b", connection=9)
    log.wait()
    after_kill = directory.with_name("copy")
    shutil.copytree(directory, after_kill)
    log.raw.close()
    log = Log(after_kill)
    assert log.raw.recovery["gap"] == (4, 3 + LEAP - 1)
    assert not log.raw.recovery["clean"]
    assert log.replayed == 2
    assert log.raw.next_connection() > 9 + 1000
    log.burst(b"c")
    log.raw.close()
    records = reference.read_log(after_kill)
    assert [record.kind for record in records] == ["K", "W", "W", "K", "C", "W"]
    gap = json.loads(records[4].payload)
    assert (gap["kind"], gap["cause"]) == ("gap", "restart")
    assert (gap["from_frame"], gap["to_frame"]) == (
        records[2].frame_no + 1,
        records[3].frame_no - 1,
    )
    assert gap["from_ns"] == records[2].recv_ns
    assert records[3].frame_no == 3 + LEAP


def test_a_start_that_wrote_nothing_before_it_died_still_leaps(directory: Path) -> None:
    """Its numbers may have been seen on the bus."""
    Log(directory).raw.close()
    log = RawLog(str(directory), node=1)
    after_kill = directory.with_name("copy")
    shutil.copytree(directory, after_kill)
    log.close()
    log = RawLog(str(after_kill), node=1)
    assert log.recovery["gap"] == (2, 1 + LEAP - 1)
    log.close()


def test_the_live_segment_is_readable_up_to_the_last_chunk(directory: Path, log: Log) -> None:
    log.burst(b"a", b"b")
    log.wait()
    log.burst(b"not yet written")
    assert [record.payload for record in native_records(directory)][1:] == [b"a", b"b"]
    assert list(RawLogReader(str(directory), live=False)) == []


def test_the_reader_skips_chunks_outside_its_bounds(directory: Path) -> None:
    log = Log(directory, segment_bytes_max=1500, group_bytes=1)
    for _ in range(40):
        log.burst(b"{}")
        log.wait()
    log.raw.close()
    every = [record.frame_no for record in reference.read_log(directory)]
    for first, last in ((0, None), (1, 1), (7, 20), (every[-1], None), (every[-1] + 1, None)):
        bounds = {"from_frame": first} | ({} if last is None else {"to_frame": last})
        expected = [number for number in every if first <= number <= (last or every[-1])]
        assert [record.frame_no for record in native_records(directory, **bounds)] == expected


def test_a_damaged_sealed_chunk_is_passed_over_and_reported(directory: Path) -> None:
    log = Log(directory, group_bytes=1)
    for number in range(5):
        log.burst(b"%d" % number)
        log.wait()
    log.raw.close()
    (path,) = reference.segment_paths(directory)
    chunk = segment_info(str(path))["chunks"][2]
    data = bytearray(path.read_bytes())
    data[chunk["offset"] + 10] ^= 0x40
    path.write_bytes(data)
    reader = RawLogReader(str(directory))
    numbers = [record.frame_no for _, raw in reader for record in reference.read_records(raw)]
    assert chunk["frame_first"] not in numbers
    assert len(numbers) == 5
    assert [(offset, reason) for _, offset, _, reason in reader.damaged] == [
        (chunk["offset"], "checksum")
    ]
    verdict = verify_segment(str(path))
    assert not verdict["ok"]
    assert [damage["offset"] for damage in verdict["damaged"]] == [chunk["offset"]]


def test_segment_info_and_verify_agree_with_the_reference(directory: Path) -> None:
    log = Log(directory, group_bytes=1000)
    log.burst(*[b"{}"] * 100)
    log.raw.close()
    (path,) = reference.segment_paths(directory)
    segment = reference.read_segment(path.read_bytes())
    info = segment_info(str(path))
    assert segment.index is not None
    assert segment.footer is not None
    assert [chunk["offset"] for chunk in info["chunks"]] == [
        entry.offset for entry in segment.index
    ]
    assert info["header"] == segment.header
    assert (info["sealed"], info["clean"], info["suspect"]) == (True, True, False)
    assert verify_segment(str(path)) == {
        "ok": True,
        "name": path.name,
        "chunks": len(segment.chunks),
        "records": 101,
        "damaged": [],
        "index_ok": True,
        "hash_ok": True,
        "hash": f"{segment.footer.data_hash:016x}",
        "sealed": True,
    }


def test_a_second_daemon_is_refused_by_the_pid_of_the_first(directory: Path, log: Log) -> None:
    with pytest.raises(NativeError) as refused:
        RawLog(str(directory), node=1)
    assert refused.value.args[0] == "locked"
    assert str(os.getpid()) in refused.value.args[2]


def test_misuse_is_an_error_not_a_hole(directory: Path) -> None:
    log = RawLog(str(directory), node=1)
    with pytest.raises(NativeError, match="restore_decoder"):
        log.frame(1, b"{}")
    log.restore_decoder(Decoder())
    with pytest.raises(ValueError, match="no record type"):
        log.record(1, "X", b"")
    with pytest.raises(TypeError):
        log.frame(1, "text")  # type: ignore[arg-type]
    log.close()
    log.close()
    with pytest.raises(NativeError, match="after close"):
        log.frame(1, b"{}")


def test_written_waits_for_the_group_and_synced_for_the_sync(directory: Path) -> None:
    log = Log(directory, group_ms=60_000, fsync_ms=60_000)
    log.burst(b"a")
    assert log.raw.written == 0
    assert log.raw.pending_bytes > 0
    log.wait()
    assert (log.raw.written, log.raw.synced, log.raw.pending_bytes) == (2, 0, 0)
    log.wait(sync=True)
    assert log.raw.synced == 2
    assert log.raw.stats()["unsynced_bytes"] == 0
    log.raw.close()


def test_full_is_raised_at_the_limit_and_cleared_at_half_of_it(directory: Path) -> None:
    log = Log(directory, group_ms=60_000, pending_bytes_max=10_000)
    log.burst(b"x" * 9_000)
    assert not log.raw.full
    log.burst(b"x" * 2_000)
    assert log.raw.full
    log.wait()
    assert not log.raw.full
    log.raw.close()


def test_what_was_never_ended_as_a_burst_is_still_recorded(directory: Path) -> None:
    log = Log(directory)
    log.raw.frame(1, b"last words")
    log.raw.close()
    assert payloads(directory) == [b"last words"]


def test_latencies_count_every_record(directory: Path) -> None:
    log = Log(directory)
    log.burst(*[b"{}"] * 10)
    log.wait(sync=True)
    assert log.raw.write_latency.count == 11
    assert log.raw.fsync_latency.count == 1
    assert log.raw.write_latency.quantile(1.0) == log.raw.write_latency.max
    log.raw.close()


def test_histogram_folds_into_the_bounds_given() -> None:
    histogram = Histogram()
    histogram.record(100, 3)
    histogram.record(5_000)
    histogram.record(10**9)
    assert histogram.counts([1_000, 10_000]) == [3, 1, 1]
    assert (histogram.count, histogram.sum, histogram.max) == (5, 10**9 + 5_300, 10**9)
    assert histogram.quantile(0.5) == pytest.approx(100, rel=0.04)


def test_decoder_state_comes_back_from_the_newest_checkpoint(directory: Path) -> None:
    """After a restart the decoder knows what the records before it said."""
    log = Log(directory)
    connect = {
        "kind": "connect",
        "connection": 1,
        "venue": "binance-usdm",
        "url": "ws://x",
        "streams": [],
    }
    log.raw.record(1, "C", json.dumps(connect).encode())
    log.raw.end_burst(log.decoder)
    state = log.decoder.state()
    log.raw.close()
    log = Log(directory)
    assert log.decoder.state() == state
    log.raw.close()
