"""An independent reader of the raw log, written from docs/formats/raw-log.md: slow and obvious.

It shares no code with the native reader and serves as its oracle: what both read is what the
document says.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
import zstandard

PIECE_BYTES = 1 << 16
CHUNK_MAGIC = bytes.fromhex("28b52ffd")
HEADER, INDEX, FOOTER, QUARANTINED = 0x184D2A50, 0x184D2A51, 0x184D2A52, 0x184D2A53
INDEX_ENTRY = struct.Struct("<QIIIIQQqqQ")
FOOTER_CONTENT = struct.Struct("<IIQQQQQqqIIQQ8s")
PAYLOAD_BYTES_PER_NUMBER = 512 << 10


class Record(NamedTuple):
    frame_no: int
    recv_ns: int
    mono_ns: int
    connection: int
    kind: str
    payload: bytes

    @property
    def frame_last(self) -> int:
        return self.frame_no + len(self.payload) // PAYLOAD_BYTES_PER_NUMBER


class IndexEntry(NamedTuple):
    offset: int
    compressed: int
    raw: int
    records: int
    connection_max: int
    frame_first: int
    frame_last: int
    recv_first: int
    recv_last: int
    hash: int


class Footer(NamedTuple):
    version: int
    flags: int
    index_offset: int
    chunks: int
    records: int
    frame_first: int
    frame_last: int
    recv_first: int
    recv_last: int
    connection_max: int
    reserved: int
    data_hash: int
    own_hash: int
    tag: bytes


@dataclass
class Segment:
    header: dict[str, Any] | None = None
    chunks: list[tuple[int, bytes]] = field(default_factory=list)
    index: list[IndexEntry] | None = None
    footer: Footer | None = None
    quarantined: list[tuple[int, int]] = field(default_factory=list)
    torn_bytes: int = 0

    @property
    def records(self) -> list[Record]:
        return [record for _, raw in self.chunks for record in read_records(raw)]


def read_records(raw: bytes) -> list[Record]:
    records, at = [], 0
    while at < len(raw):
        head, end = [], at
        for _ in range(6):
            stop = raw.index(b" ", end)
            head.append(raw[end:stop])
            end = stop + 1
        length = int(head[5])
        payload = raw[end : end + length]
        assert len(payload) == length
        assert raw[end + length : end + length + 1] == b"\n"
        numbers = [int(text) for text in head[:4]]
        records.append(Record(*numbers, head[4].decode("ascii"), payload))
        at = end + length + 1
    return records


def xxh3(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)


def read_chunk(data: bytes, at: int) -> tuple[bytes, int] | None:
    """What a chunk holds and where it ends; None when it is not whole.

    Piece by piece: the rest of a segment is not copied for each of its chunks.
    """
    decoder = zstandard.ZstdDecompressor().decompressobj()
    raw = bytearray()
    while not decoder.eof and at < len(data):
        piece = data[at : at + PIECE_BYTES]
        try:
            raw += decoder.decompress(piece)
        except zstandard.ZstdError:
            return None
        at += len(piece)
    return (bytes(raw), at - len(decoder.unused_data)) if decoder.eof else None


def read_segment(data: bytes) -> Segment:
    """Walks the frames; stops at the first that is not whole and counts the rest as torn."""
    segment, at = Segment(), 0
    while at < len(data):
        if data[at : at + 4] == CHUNK_MAGIC:
            chunk = read_chunk(data, at)
            if chunk is None:
                break
            raw, end = chunk
            segment.chunks.append((at, raw))
            at = end
            continue
        if len(data) - at < 8:
            break
        magic, length = struct.unpack_from("<II", data, at)
        content = data[at + 8 : at + 8 + length]
        if len(content) < length or not HEADER <= magic <= QUARANTINED:
            break
        if magic == HEADER:
            text, own = content[:-9], content[-8:]
            assert content[-9:-8] == b"\n"
            assert xxh3(text) == int.from_bytes(own, "little")
            segment.header = json.loads(text)
        elif magic == INDEX:
            entries, own = content[:-8], content[-8:]
            assert xxh3(entries) == int.from_bytes(own, "little")
            segment.index = [IndexEntry(*entry) for entry in INDEX_ENTRY.iter_unpack(entries)]
        elif magic == FOOTER:
            footer = Footer(*FOOTER_CONTENT.unpack(content))
            assert footer.tag == b"TKRAWEND"
            assert footer.own_hash == xxh3(content[:-16])
            assert footer.data_hash == xxh3(data[: footer.index_offset])
            segment.footer = footer
        else:
            segment.quarantined.append((at, 8 + length))
        at += 8 + length
    segment.torn_bytes = len(data) - at
    return segment


def index_of(segment: Segment, data: bytes) -> list[IndexEntry]:
    """The index as it must be, from the chunks."""
    entries = []
    for at, raw in segment.chunks:
        records = read_records(raw)
        decoder = zstandard.ZstdDecompressor().decompressobj()
        decoder.decompress(data[at:])
        entries.append(
            IndexEntry(
                at,
                len(data) - at - len(decoder.unused_data),
                len(raw),
                len(records),
                max(record.connection for record in records),
                records[0].frame_no,
                records[-1].frame_last,
                records[0].recv_ns,
                records[-1].recv_ns,
                xxh3(raw),
            )
        )
    return entries


def segment_paths(directory: Path) -> list[Path]:
    return sorted((directory / "segments").iterdir(), key=lambda path: path.name)


def read_log(directory: Path) -> list[Record]:
    """All records of a log in order; a continuation's repeats are passed over."""
    records: list[Record] = []
    for path in segment_paths(directory):
        for record in read_segment(path.read_bytes()).records:
            if not records or record.frame_no > records[-1].frame_no:
                records.append(record)
    return records


def read_manifest(directory: Path) -> list[dict[str, Any]]:
    """The manifest's lines, each checked against its own sum and the line before."""
    lines, before = [], "0" * 16
    for number, text in enumerate((directory / "MANIFEST.jsonl").read_bytes().splitlines()):
        line = json.loads(text)
        body, _, _ = text.rpartition(b',"sum":"')
        assert line["sum"] == f"{xxh3(body):016x}"
        assert (line["prev"], line["line"]) == (before, number)
        before = line["sum"]
        lines.append(line)
    return lines
