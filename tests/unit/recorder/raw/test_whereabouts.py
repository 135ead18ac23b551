"""Frames that are in object storage only: whoever reads on past them hears of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog

from recorder.raw.recover import LogReplay
from recorder.raw.whereabouts import in_store_only
from tickd.native import OfflineManifest, manifest_read
from tickd.testing.wire_log import WireLog


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three segments, the second removed behind its line."""
    for seed in (1, 2, 3):
        log = WireLog(tmp_path / "raw", seed)
        log.burst(10)
        log.close()
    _, second, _ = sealed(tmp_path / "raw")
    line = {
        "kind": "removed",
        "file": f"segments/{second['segment']}",
        "bytes": second["bytes"],
        "hash": "0" * 16,
        "url": "s3://bucket",
        "key": "k",
        "e_tag": None,
    }
    with OfflineManifest(str(tmp_path / "raw")) as manifest:
        manifest.note(json.dumps(line).encode())
    (tmp_path / "raw" / "segments" / second["segment"]).unlink()
    return tmp_path / "raw"


def sealed(raw: Path) -> list[dict]:
    return [line for line in manifest_read(str(raw)) if line["kind"] == "sealed"]


def test_removed_frames_are_named_with_their_store_and_the_way_back(raw: Path) -> None:
    first, second, third = sealed(raw)
    (gone,) = in_store_only(raw, 0, 10**9)
    assert (gone.frame_first, gone.frame_last) == (second["frame_first"], second["frame_last"])
    assert str(gone).endswith("are in s3://bucket only")
    assert f"--frames {gone.frame_first}-{gone.frame_last}" in gone.hint
    assert in_store_only(raw, first["frame_first"], first["frame_last"]) == []
    assert in_store_only(raw, third["frame_first"], 10**9) == []
    (raw / "segments" / second["segment"]).write_bytes(b"back")
    assert in_store_only(raw, 0, 10**9) == []


def test_a_replay_gives_what_is_here_and_says_what_is_not(raw: Path) -> None:
    first, second, third = sealed(raw)
    with structlog.testing.capture_logs() as said:
        parts = list(LogReplay(raw).read(first["frame_first"], third["frame_last"]))
    frames = {part.batch.frame_last for part in parts if part.batch is not None}
    assert frames
    assert not any(second["frame_first"] <= frame <= second["frame_last"] for frame in frames)
    (error,) = (entry for entry in said if entry["event"] == "frames_not_here")
    assert error["log_level"] == "error"
    assert "tickd restore --frames" in error["hint"]
