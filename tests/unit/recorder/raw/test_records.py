"""Heads of records, as the format says them; whole logs are read in `recorder/verify`'s tests."""

import pytest

from recorder.raw.records import CHECKPOINT, heads_of
from recorder.raw.segments import segment_paths
from tickd.native import NativeError, RawLogReader
from tickd.testing.wire_log import WireLog


def record(frame_no, kind, payload):
    head = f"{frame_no} {10**18 + frame_no} {frame_no} {frame_no % 3} {kind} {len(payload)} "
    return head.encode() + payload + b"\n"


def test_heads_say_where_payloads_are():
    records = record(7, "R", b"GET / 200\n\nx") + record(9, "W", b"")
    heads = heads_of(memoryview(records))
    assert heads["frame_no"].tolist() == [7, 9]
    assert heads["recv_ns"].tolist() == [10**18 + 7, 10**18 + 9]
    assert heads["connection"].tolist() == [1, 0]
    assert bytes(heads["type"]) == b"RW"
    start, size = int(heads["payload_at"][0]), int(heads["payload_bytes"][0])
    assert records[start : start + size] == b"GET / 200\n\nx"


def test_no_bytes_have_no_heads():
    assert len(heads_of(b"")) == 0


def test_what_is_no_whole_record_is_refused():
    with pytest.raises(NativeError):
        heads_of(record(7, "W", b"{}")[:-1])


def test_a_segment_begins_with_a_checkpoint(tmp_path):
    log = WireLog(tmp_path, seed=1)
    log.burst(10)
    log.close()
    assert len(segment_paths(tmp_path)) == 1
    _, chunk = next(RawLogReader(str(tmp_path)))
    types = heads_of(chunk)["type"].tolist()
    assert types[0] == CHECKPOINT
    assert CHECKPOINT not in types[1:]
