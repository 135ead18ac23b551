"""The files of a raw log against its manifest, one fault at a time."""

from __future__ import annotations

import json
import shutil

import pytest

from recorder.verify.files import check_files, shipped_files
from recorder.verify.report import Kind
from tickd.native import OfflineManifest, xxh3_hex
from tickd.testing.wire_log import WireLog


@pytest.fixture
def raw(tmp_path):
    log = WireLog(tmp_path / "raw", seed=1, segment_bytes_max=40_000, group_bytes=8_000)
    for _ in range(40):
        log.burst(100)
        log.settle()
    log.close()
    return tmp_path / "raw"


def segments(raw):
    return sorted((raw / "segments").iterdir())


def kinds(found):
    return [finding.kind for finding in found.findings]


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_whole_files_have_no_finding(raw):
    sizes = []
    found = check_files(raw, sizes.append)
    assert found.findings == []
    assert found.totals.sealed == len(segments(raw)) == len(sizes)
    assert found.totals.bytes == sum(sizes) == sum(path.stat().st_size for path in segments(raw))
    assert found.checked.manifest_lines == len((raw / "MANIFEST.jsonl").read_bytes().splitlines())


def test_every_flipped_byte_of_the_manifest_is_found(raw):
    manifest = raw / "MANIFEST.jsonl"
    whole = manifest.read_bytes()
    for at in range(0, len(whole) - 1, 17):
        flip(manifest, at)
        assert kinds(check_files(raw)), at
        manifest.write_bytes(whole)


def test_a_removed_line_breaks_the_chain_and_leaves_its_segment_without_one(raw):
    manifest = raw / "MANIFEST.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:1] + lines[2:]))
    found = check_files(raw)
    assert sorted(kinds(found), key=str) == [Kind.MANIFEST_CHAIN, Kind.SEGMENT_WITHOUT_LINE]


def test_a_removed_last_line_leaves_its_segment_without_one(raw):
    manifest = raw / "MANIFEST.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:-1]))
    (finding,) = check_files(raw).findings
    assert (finding.kind, finding.where) == (Kind.SEGMENT_WITHOUT_LINE, segments(raw)[-1].name)


def test_a_torn_last_line_is_what_a_crash_leaves_and_no_finding(raw):
    with (raw / "MANIFEST.jsonl").open("ab") as file:
        file.write(b'{"line":9,"at_ns":17')
    assert check_files(raw).findings == []


def test_a_changed_line_is_named_and_only_that_line(raw):
    manifest = raw / "MANIFEST.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b'"suspect":false', b'"suspect":true', 1))
    found = check_files(raw)
    assert kinds(found) == [Kind.MANIFEST_LINE, Kind.SEGMENT_WITHOUT_LINE]


@pytest.mark.parametrize("part", ["header", "chunk", "index", "footer"])
def test_a_flipped_bit_is_found_wherever_it_is(raw, part):
    path = segments(raw)[1]
    size = path.stat().st_size
    at = {"header": 20, "chunk": size // 2, "index": size - 150, "footer": size - 30}[part]
    flip(path, at)
    (finding,) = check_files(raw).findings
    assert (finding.kind, finding.where) == (Kind.SEGMENT_DAMAGED, path.name)


def test_another_segment_under_its_name_differs_from_the_line(raw):
    one, two = segments(raw)[:2]
    shutil.copy(two, one)
    (finding,) = check_files(raw).findings
    assert (finding.kind, finding.where) == (Kind.SEGMENT_DIFFERS, one.name)
    assert "hash" in finding.text


def shipped(raw, path, *kinds, **changes):
    for kind in kinds:
        line = {
            "kind": kind,
            "file": f"segments/{path.name}",
            "bytes": path.stat().st_size,
            "hash": xxh3_hex(path.read_bytes()),
            "url": "s3://bucket",
            "key": f"1/{path.name}",
            "e_tag": None,
        }
        line |= changes
        with OfflineManifest(str(raw)) as manifest:
            manifest.note(json.dumps(line).encode())


def test_a_removed_segment_with_a_verified_copy_is_no_finding(raw):
    path = segments(raw)[0]
    shipped(raw, path, "shipped", "verified", "removed")
    path.unlink()
    found = check_files(raw)
    assert found.findings == []
    assert found.totals.removed == 1
    assert [absent.cause for absent in found.absent] == ["removed"]
    assert [line["kind"] for line in shipped_files(found.lines)] == ["removed"]


def test_the_gap_before_a_removed_segment_is_announced_in_it(raw):
    """After a kill the numbers leap; the record that says so is in the next segment."""
    killed = segments(raw)[-1]  # as a kill leaves it: open, without a line, its footer torn
    killed.rename(killed.with_name(killed.name + ".open"))
    lines = (raw / "MANIFEST.jsonl").read_bytes().splitlines(keepends=True)
    (raw / "MANIFEST.jsonl").write_bytes(b"".join(lines[:-1]))
    path = raw / "segments" / f"{killed.name}.open"
    path.write_bytes(path.read_bytes()[:-150])
    log = WireLog(raw, seed=2)
    log.burst(10)
    log.close()
    last = segments(raw)[-1]
    before = [line for line in check_files(raw).lines if line["kind"] == "sealed"][-2]
    shipped(raw, last, "shipped", "verified", "removed")
    last.unlink()
    found = check_files(raw)
    (removed,) = found.absent
    assert removed.first > before["frame_last"] + 1_000
    assert found.announced == [(before["frame_last"] + 1, removed.first - 1)]


def test_a_removed_segment_without_a_verified_copy_is_named(raw):
    path = segments(raw)[0]
    shipped(raw, path, "shipped", "removed")
    path.unlink()
    (finding,) = check_files(raw).findings
    assert (finding.kind, finding.where) == (Kind.SEGMENT_UNVERIFIED, path.name)


def test_the_copy_of_another_content_does_not_count(raw):
    path = segments(raw)[0]
    shipped(raw, path, "shipped", "verified", hash="0" * 16)
    shipped(raw, path, "removed")
    path.unlink()
    assert kinds(check_files(raw)) == [Kind.SEGMENT_UNVERIFIED]


def test_a_shipped_segment_that_vanished_is_missing_all_the_same(raw):
    path = segments(raw)[0]
    shipped(raw, path, "shipped", "verified")
    path.unlink()
    (finding,) = check_files(raw).findings
    assert finding.kind is Kind.SEGMENT_MISSING
    assert "tickd restore" in finding.text


def test_damage_that_a_start_has_set_aside_is_accounted_for(raw):
    """The sealed file keeps it as evidence; manifest and gap record name its frames."""
    path = segments(raw)[-1]  # a start looks at all of the newest one
    flip(path, path.stat().st_size // 2)
    assert kinds(check_files(raw)) == [Kind.SEGMENT_DAMAGED]
    WireLog(raw, seed=9).close()
    found = check_files(raw)
    assert found.findings == []
    assert [absent.cause for absent in found.absent] == ["quarantined"]
    flip(path, path.stat().st_size // 3)
    assert kinds(check_files(raw)) == [Kind.SEGMENT_DAMAGED]


def test_quarantined_bytes_must_stay(tmp_path):
    log = WireLog(tmp_path / "raw", seed=2, group_bytes=4_000)
    for _ in range(20):
        log.burst(100)
    log.raw_log.write_now(sync=True)
    last = log.raw_log.next_frame_no - 1
    while log.raw_log.written < last:
        pass
    crashed = tmp_path / "crashed"
    shutil.copytree(tmp_path / "raw", crashed)
    log.close()
    (open_segment,) = (crashed / "segments").glob("*.open")
    flip(open_segment, open_segment.stat().st_size // 2)
    WireLog(crashed, seed=3).close()
    assert check_files(crashed).findings == []
    (aside,) = (crashed / "quarantine").iterdir()
    aside.write_bytes(aside.read_bytes()[:-1])
    (finding,) = check_files(crashed).findings
    assert (finding.kind, finding.where) == (Kind.QUARANTINE_DAMAGED, aside.name)
