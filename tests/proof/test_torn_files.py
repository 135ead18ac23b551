"""Segments that are not what was written: exactly the damaged chunk is lost, and it is named.

Every cut of the last 64 KiB is tried natively (native/io/tests/torn.rs); here a few damages go all
the way: reader, verify, the next start, the gap record, ClickHouse's table of gaps.
"""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from recorder.verify.files import check_files
from recorder.verify.report import Kind
from tests.harness.crash import NATIVE, announced, drawn_seed
from tests.reference.raw_log import Record, read_log, read_manifest, read_records, read_segment
from tickd.native import RawLog, RawLogReader, verify_segment
from tickd.testing.wire_log import WireLog

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

SEGMENTS = 5


def test_every_cut_of_the_last_64_kib_names_exactly_what_it_took() -> None:
    command = ["nice", "cargo", "test", "--locked", "--quiet", "--package", "tickd-io"]
    ran = subprocess.run(
        [*command, "--test", "torn", "--", "--ignored"],
        cwd=NATIVE,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "2 passed" in ran.stdout, "the exhaustive tests were not run"


def recorded(directory: Path) -> list[Path]:
    """A closed log of several sealed segments."""
    log = WireLog(directory, 1, group_ms=1, group_bytes=4_096, segment_bytes_max=20_000)
    while len(list((directory / "segments").glob("*.tkraw"))) < SEGMENTS:
        log.burst(50)
    for _ in range(4):  # chunks of the last one, however late it was begun
        log.settle()
        log.burst(50)
    log.close()
    segments = sorted((directory / "segments").glob("*.tkraw"))
    # Unless it was begun by the very last of them: what is damaged lies between two others.
    return [each for each in segments if len(read_segment(each.read_bytes()).chunks) > 2]


def frames_of(records: list[Record]) -> set[int]:
    return {record.frame_no for record in records}


def frames_read(directory: Path) -> set[int]:
    """What the native reader gives; it passes over what is damaged."""
    return {
        record.frame_no
        for _, raw in RawLogReader(str(directory))
        for record in read_records(bytes(raw))
    }


@pytest.mark.parametrize("which", [0, 2, -1])
def test_a_flipped_bit_of_a_sealed_segment_is_found_set_aside_and_announced(
    tmp_path: Path, which: int
) -> None:
    dice = random.Random(drawn_seed())
    segment = recorded(tmp_path)[which]
    everything = frames_of(read_log(tmp_path))
    data = bytearray(segment.read_bytes())
    chunks = read_segment(bytes(data)).chunks
    number = dice.randrange(1, len(chunks) - 1)
    at, raw = chunks[number]
    data[(at + chunks[number + 1][0]) // 2] ^= 1 << dice.randrange(8)
    segment.write_bytes(data)
    damaged = verify_segment(str(segment))["damaged"]
    assert [each["offset"] for each in damaged] == [at]
    lost = frames_of(read_records(raw))
    assert frames_read(tmp_path) == everything - lost
    findings = [each for each in check_files(tmp_path).findings if each.where == segment.name]
    assert [each.kind for each in findings] == [Kind.SEGMENT_DAMAGED]
    assert (tmp_path / "SUSPECTS").read_text().split() == [segment.name]

    log = WireLog(tmp_path, 2)
    (aside,) = log.raw_log.recovery["quarantined"]
    assert (aside["frame_from"], aside["frame_to"]) == (min(lost), max(lost))
    kept = (tmp_path / "quarantine" / aside["file"]).read_bytes()
    assert kept == bytes(data[at : chunks[number + 1][0]])
    log.burst(1)
    log.close()
    records = read_log_of_native(tmp_path)
    assert announced(records) == [(min(lost), max(lost))]
    assert everything - lost <= frames_of(records)
    assert not (tmp_path / "SUSPECTS").exists()
    kinds = [line["kind"] for line in read_manifest(tmp_path)]
    assert kinds.count("quarantined") == kinds.count("announced") == 1
    again = RawLog(str(tmp_path), node=1)
    assert (again.recovery["quarantined"], again.recovery["gap"]) == ([], None)
    again.close()


def read_log_of_native(directory: Path) -> list[Record]:
    """The reference reader ends at damage; the native one goes on behind it."""
    return [
        record for _, raw in RawLogReader(str(directory)) for record in read_records(bytes(raw))
    ]


def test_a_sealed_segment_cut_short_is_healed_or_its_frames_are_announced(tmp_path: Path) -> None:
    dice = random.Random(drawn_seed())
    segments = recorded(tmp_path)
    whole = segments[1].read_bytes()
    footer = read_segment(whole).footer
    assert footer is not None
    for cut in (len(whole) - 1, dice.randrange(footer.index_offset, len(whole))):
        segments[1].write_bytes(whole[:cut])
        log = RawLog(str(tmp_path), node=1)
        assert (log.recovery["segments_healed"], log.recovery["quarantined"]) == (1, [])
        log.close()
        assert segments[1].read_bytes() == whole
    cut = dice.randrange(read_segment(whole).chunks[0][0] + 1, footer.index_offset)
    segments[1].write_bytes(whole[:cut])
    left = read_segment(whole[:cut]).records
    log = WireLog(tmp_path, 3)
    (aside,) = log.raw_log.recovery["quarantined"]
    first = left[-1].frame_last + 1 if left else footer.frame_first
    assert (aside["frame_from"], aside["frame_to"]) == (first, footer.frame_last)
    log.burst(1)
    log.close()
    gaps = [
        json.loads(record.payload)
        for record in read_log_of_native(tmp_path)
        if record.kind == "C" and b'"quarantine"' in record.payload
    ]
    assert [(gap["from_frame"], gap["to_frame"]) for gap in gaps] == [(first, footer.frame_last)]
