"""What is a segment, by its name; which node wrote it, by its header."""

import pytest

from recorder.raw.segments import (
    first_frame,
    first_frames,
    header_node,
    sealed_names,
    segment_paths,
)
from tickd.testing.wire_log import WireLog

FIRST = "00000000000000000001-20261120T052803.tkraw"
SECOND = "00000000000000001501-20261120T060000.tkraw"
LIVE = "00000000000016777399-20261120T070000.tkraw.open"


@pytest.fixture
def raw(tmp_path):
    """Three segments, and files that look like some; made in another order than their frames."""
    (tmp_path / "segments").mkdir()
    strangers = ("LOCK", "a.tkraw", f"{FIRST}.bak", f"x{FIRST}", "12-20261120T052803.tkraw")
    for name in (LIVE, SECOND, *strangers, FIRST):
        (tmp_path / "segments" / name).touch()
    return tmp_path


def test_segments_come_in_the_order_of_their_frames_and_nothing_else_does(raw):
    assert [path.name for path in segment_paths(raw)] == [FIRST, SECOND, LIVE]
    assert first_frames(raw) == [1, 1_501, 16_777_399]
    assert first_frame(raw / "segments" / LIVE) == 16_777_399


def test_a_live_segment_is_not_sealed(raw):
    assert sealed_names(raw) == {FIRST, SECOND}


def test_a_directory_without_a_log_has_no_segments(tmp_path):
    assert segment_paths(tmp_path / "nowhere") == []
    assert segment_paths(tmp_path) == []
    (tmp_path / "segments").touch()
    assert first_frames(tmp_path) == []
    assert sealed_names(tmp_path) == set()


def test_a_header_names_its_node_however_the_log_ended(tmp_path):
    log = WireLog(tmp_path, seed=1)
    log.burst(10)
    log.settle()
    (path,) = segment_paths(tmp_path)
    assert path.name.endswith(".open")
    assert header_node(path) == 1
    log.close()
    (path,) = segment_paths(tmp_path)
    assert header_node(path) == 1


def test_a_torn_or_foreign_header_names_no_node(tmp_path):
    log = WireLog(tmp_path, seed=1)
    log.close()
    (path,) = segment_paths(tmp_path)
    whole = path.read_bytes()
    line_end = whole.index(b"\n")
    for at in range(line_end):
        path.write_bytes(whole[:at])
        assert header_node(path) is None, at
    path.write_bytes(b"\0\0\0\0" + whole[4:])
    assert header_node(path) is None
    with pytest.raises(FileNotFoundError):
        header_node(tmp_path / "segments" / "none")
