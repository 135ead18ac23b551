"""A raw log that is read in pieces is the log that is read at once, wherever the pieces end.

Method: hypothesis cuts the files of a written log at rising numbers of bytes, as a reader finds
them while they grow: sealed segments, a live one, a chunk of which a part is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_raw_log import MEMORY, open_log, wait_written
from tests.reference import raw_log as reference
from tickd.native import RawLogReader

Position = tuple[str, int, int, int]
Record = tuple[int, bytes]


class Pieces:
    """Reads on, with a new reader at each look, as the warm-up of a strategy does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.records: list[Record] = []
        self.position: Position | None = None
        self.chunks = 0
        self.damaged: list[tuple[str, int, int, str]] = []

    def look(self, frame_to: int | None = None) -> None:
        """Read what is there; only up to a frame, where one is named, though its chunk has more."""
        last = self.records[-1][0] if self.records else 0
        reader = RawLogReader(str(self.directory), last + 1, position=self.position)
        for _, chunk in reader:
            self.position = reader.position
            self.chunks += 1
            found = records_of([chunk])
            self.records += [each for each in found if last < each[0] <= (frame_to or each[0])]
            if frame_to is not None and found[-1][0] >= frame_to:
                break
        self.damaged += reader.damaged


def records_of(chunks: Iterable[bytes]) -> list[Record]:
    return [
        (record.frame_no, record.payload)
        for chunk in chunks
        for record in reference.read_records(chunk)
    ]


def at_once(directory: Path) -> list[Record]:
    return records_of(chunk for _, chunk in RawLogReader(str(directory)))


def written(directory: Path, messages: int, *, group_bytes: int, segment_bytes: int) -> None:
    log, decoder = open_log(
        str(directory), group_bytes=group_bytes, segment_bytes_max=segment_bytes
    )
    for number in range(messages):
        log.frame(1, b'{"number":%d,"pad":"%s"}' % (number, b"x" * (number * 37 % 90)))
        if number % 3 == 0:
            log.end_burst(decoder)
            wait_written(log)
    log.end_burst(decoder)
    log.close()


def grown_to(source: Path, directory: Path, bytes_: int) -> None:
    """Put into `directory` what of the segments was there when so many bytes had been written."""
    (directory / "segments").mkdir(parents=True, exist_ok=True)
    for path in reference.segment_paths(source):
        content = path.read_bytes()
        place = directory / "segments" / path.name
        live = place.with_name(f"{path.name}.open")
        if bytes_ >= len(content):
            place.write_bytes(content)
            live.unlink(missing_ok=True)
        elif bytes_ > 0:
            live.write_bytes(content[:bytes_])
        bytes_ -= len(content)


@given(
    st.lists(st.floats(0, 1), max_size=6),
    st.lists(st.none() | st.integers(1, 120), min_size=7, max_size=7),
    st.integers(1, 600),
    st.integers(400, 4_000),
)
@settings(max_examples=80, deadline=None)
def test_in_pieces_is_at_once(
    cuts: list[float], upto: list[int | None], group_bytes: int, segment_bytes: int
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as parent:
        source, directory = Path(parent) / "source", Path(parent) / "raw"
        written(source, 60, group_bytes=group_bytes, segment_bytes=segment_bytes)
        total = sum(path.stat().st_size for path in reference.segment_paths(source))
        pieces = Pieces(directory)
        for cut, frame_to in zip([*sorted(cuts), 1.0], upto, strict=False):
            grown_to(source, directory, round(cut * total))
            pieces.look(frame_to)
            there = at_once(directory)
            assert pieces.records == there[: len(pieces.records)]
            assert frame_to is not None or pieces.records == there
        pieces.look()
        assert pieces.records == at_once(source)
        assert pieces.damaged == []


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    written(tmp_path / "source", 60, group_bytes=1, segment_bytes=1 << 20)
    (path,) = reference.segment_paths(tmp_path / "source")
    chunks = sum(1 for _ in RawLogReader(str(tmp_path / "source")))
    assert chunks > 20
    pieces = Pieces(tmp_path / "raw")
    for bytes_ in range(0, path.stat().st_size, 50):
        grown_to(tmp_path / "source", tmp_path / "raw", bytes_)
        pieces.look()
    assert pieces.chunks == chunks


def test_a_recovery_between_two_looks_changes_nothing(tmp_path: Path) -> None:
    """The tail that was torn is cut off, the segment sealed, and the log goes on behind it."""
    written(tmp_path / "source", 30, group_bytes=1, segment_bytes=1 << 20)
    (path,) = reference.segment_paths(tmp_path / "source")
    grown_to(tmp_path / "source", tmp_path / "raw", path.stat().st_size * 2 // 3)
    pieces = Pieces(tmp_path / "raw")
    pieces.look()
    before = list(pieces.records)
    written(tmp_path / "raw", 30, group_bytes=1, segment_bytes=1 << 20)
    pieces.look()
    assert len(reference.segment_paths(tmp_path / "raw")) > 1
    assert pieces.records == at_once(tmp_path / "raw")
    assert pieces.records[: len(before)] == before


def test_damage_behind_a_position_is_told_and_damage_before_it_is_not(tmp_path: Path) -> None:
    written(tmp_path / "raw", 30, group_bytes=1, segment_bytes=1 << 20)
    (path,) = reference.segment_paths(tmp_path / "raw")
    reader = RawLogReader(str(tmp_path / "raw"))
    places = []
    for _ in reader:
        assert reader.position is not None
        places.append(reader.position)
    content = bytearray(path.read_bytes())
    for _, offset, _, _ in (places[2], places[-2]):
        content[offset + 12] ^= 0xFF
    path.write_bytes(content)
    later = RawLogReader(str(tmp_path / "raw"), places[4][3] + 1, position=places[4])
    assert len(records_of(chunk for _, chunk in later)) == places[-1][3] - places[4][3] - (
        places[-2][3] - places[-2][2] + 1
    )
    assert [offset for _, offset, _, _ in later.damaged] == [places[-2][1]]


@pytest.mark.parametrize("sealed", [True, False])
def test_a_position_that_is_none_costs_time_only(tmp_path: Path, sealed: bool) -> None:
    written(tmp_path / "source", 30, group_bytes=1, segment_bytes=1 << 20)
    (path,) = reference.segment_paths(tmp_path / "source")
    grown_to(tmp_path / "source", tmp_path / "raw", path.stat().st_size - (not sealed))
    reader = RawLogReader(str(tmp_path / "raw"))
    places = []
    for _ in reader:
        assert reader.position is not None
        places.append(reader.position)
    name, offset, first, last = places[len(places) // 2]
    wanted = [each for each in at_once(tmp_path / "raw") if each[0] > last]
    for wrong in (
        (name, offset + 1, first, last),
        (name, places[3][1], first, last),
        (name, 1 << 40, first, last),
        (name, 0, first, last),
        (name, offset, first, last + 1),
        ("00000000000000000099-20261120T000000Z-1.tkl", offset, first, last),
    ):
        chunks = RawLogReader(str(tmp_path / "raw"), last + 1, position=wrong)
        assert records_of(chunk for _, chunk in chunks) == wanted
        assert chunks.damaged == []
