"""What a file holds, told without trusting its name, and which files belong into the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xxhash

from recorder.ship.errors import ShipError
from recorder.ship.files import Folders, fingerprint
from tests.unit.recorder.ship.conftest import Yard


def test_a_segments_two_hashes_are_the_files_and_the_manifests(yard: Yard) -> None:
    for path in yard.segments():
        (line,) = (each for each in yard.lines() if each.get("segment") == path.name)
        found = fingerprint(path, segment=True)
        assert found.bytes == line["bytes"] == path.stat().st_size
        assert found.data_hash == line["hash"]
        assert found.hash == xxhash.xxh3_64_hexdigest(path.read_bytes())


def test_every_flipped_byte_shows_in_a_hash(yard: Yard) -> None:
    path = yard.segments()[0]
    content = path.read_bytes()
    good = fingerprint(path, segment=True)
    for at in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        try:
            found = fingerprint(path, segment=True).hash
        except ShipError as error:
            found = error.kind
        assert found != good.hash


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 200])
def test_no_segment(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ShipError, match="no footer"):
        fingerprint(tmp_path / "a", segment=True)
    assert fingerprint(tmp_path / "a", segment=False).bytes == len(content)


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    with pytest.raises(ShipError) as caught:
        fingerprint(tmp_path / "a", segment=False)
    assert caught.value.kind == "missing"


def test_asides_are_files_at_rest_below_the_three_folders(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    wanted = ["raw/quarantine/a.bin", "sink/quarantine/b.json", "sink/spool/trades/1.spool"]
    others = ["raw/segments/c", "sink/plan.jsonl", "clickhouse/d"]
    for name in (*wanted, *others, "sink/spool/trades/empty", "sink/spool/trades/busy"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name.endswith("empty") else b"x")
        os.utime(path, ns=(5, 9 if name.endswith("busy") else 5))
    (tmp_path / "sink/quarantine/link").symlink_to(tmp_path / "clickhouse/d")
    found = list(folders.asides(5))
    assert [each.file for each in found] == [name.removeprefix("raw/") for name in wanted]
    assert [folders.path_of(each.file) for each in found] == [tmp_path / name for name in wanted]
