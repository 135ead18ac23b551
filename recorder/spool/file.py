"""The spool's file format: records of one block each, found by their headers alone.

It encodes a record and walks a file for what it holds. It decides nothing about files: which one is
written, what is deleted, how much may be kept is `recorder/spool/spool.py`'s. The bytes are
described in docs/formats/spool.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from recorder.clickhouse.blocks import BlockBytes
from recorder.sink.plan import PlannedBlock
from tickd.native import xxh3_hex

__all__ = ["DONE_AT", "Record", "SpooledBlock", "Survey", "encode", "survey"]

_MAGIC: Final = b"TKSPOOL1"
# State byte, 3 zero bytes, header bytes, body bytes, xxh3 of the body, xxh3 of header and lengths.
_PREFIX: Final = struct.Struct("<8sc3xIQQQ")
_SUMMED: Final = struct.Struct("<IQQ")
_WAITING: Final = b"W"
_DONE: Final = b"D"
# The state's place in a record: overwritten when ClickHouse has the block, outside the checksum.
DONE_AT: Final = (len(_MAGIC), _DONE)
_HEADER_BYTES_MAX: Final = 4_096
_SEARCH_BYTES: Final = 1 << 20


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    planned: PlannedBlock
    encoding: str | None
    format: str
    plain_bytes: int
    put_ns: int


class SpooledBlock(bytearray):
    """A block read back: its bytes are the body of the insert, its properties those of `Block`.

    A bytearray, because in Python 3.11 no other class of ours can lend its bytes.
    """

    __slots__ = ("encoding", "format", "plain_bytes", "planned")

    encoding: str | None
    format: str
    plain_bytes: int
    planned: PlannedBlock

    @property
    def body(self) -> memoryview:
        return memoryview(self)

    @property
    def nbytes(self) -> int:
        return len(self)

    @property
    def table(self) -> str:
        return self.planned.table

    @property
    def day(self) -> int:
        return self.planned.day

    @property
    def rows(self) -> int:
        return self.planned.rows

    @property
    def hash(self) -> str:
        return self.planned.hash

    @property
    def seq_first(self) -> int:
        return self.planned.seq_first

    @property
    def seq_last(self) -> int:
        return self.planned.seq_last

    @property
    def seq_from(self) -> int:
        return self.planned.seq_from

    @property
    def seq_to(self) -> int:
        return self.planned.seq_to

    @property
    def ts_mono_ns(self) -> int:
        """0: from a file, no socket to measure from."""
        return 0


@dataclass(frozen=True, slots=True)
class Record:
    """Where one block lies in a file, and what its header says."""

    offset: int
    body_at: int
    body_bytes: int
    body_sum: int
    done: bool
    planned: PlannedBlock
    encoding: str | None
    format: str
    plain_bytes: int
    put_ns: int

    @property
    def end(self) -> int:
        return self.body_at + self.body_bytes

    def at(self, offset: int) -> Record:
        """Return the same record at another place of a file."""
        head_bytes = self.body_at - self.offset
        return replace(self, offset=offset, body_at=offset + head_bytes)

    def block(self) -> SpooledBlock:
        """Return an empty block of the right size, for the body to be read into."""
        block = SpooledBlock(self.body_bytes)
        block.encoding, block.format = self.encoding, self.format
        block.plain_bytes, block.planned = self.plain_bytes, self.planned
        return block

    def is_body(self, body: SpooledBlock) -> bool:
        return int(xxh3_hex(body), 16) == self.body_sum


@dataclass(slots=True)
class Survey:
    """What a walk through a file found: whole records, and bytes that are none."""

    records: list[Record]
    good_bytes: int = 0  # where the last whole record ends
    damaged_bytes: int = 0  # skipped between whole records
    torn_bytes: int = 0  # behind the last whole record


def encode(planned: PlannedBlock, block: BlockBytes, *, put_ns: int) -> tuple[bytes, Record]:
    """Return the head of a record, which the block's own bytes follow, and what it is at 0."""
    encoding, form = block.encoding, block.format
    header = _Header(
        planned=planned,
        encoding=encoding,
        format=form,
        plain_bytes=block.plain_bytes,
        put_ns=put_ns,
    )
    text = msgspec.json.encode(header)
    assert len(text) <= _HEADER_BYTES_MAX
    body_sum = int(xxh3_hex(block.body), 16)
    lengths = (len(text), block.nbytes, body_sum)
    total = _sum(lengths, text)
    head = _PREFIX.pack(_MAGIC, _WAITING, *lengths, total) + text
    record = Record(
        offset=0,
        body_at=len(head),
        body_bytes=block.nbytes,
        body_sum=body_sum,
        done=False,
        planned=planned,
        encoding=encoding,
        format=form,
        plain_bytes=block.plain_bytes,
        put_ns=put_ns,
    )
    return head, record


def survey(fd: int) -> Survey:
    """Walk a file by its headers; bodies are not read. Raises OSError."""
    size = os.fstat(fd).st_size
    found = Survey([])
    offset = 0
    while offset < size:
        record = _record_at(fd, offset)
        if record is None or record.end > size:
            offset = _next_record(fd, offset + 1, size)
            continue
        found.damaged_bytes += record.offset - found.good_bytes
        found.records.append(record)
        found.good_bytes = offset = record.end
    found.torn_bytes = size - found.good_bytes
    return found


def _record_at(fd: int, offset: int) -> Record | None:
    """Return the record that begins here, None when none does."""
    head = os.pread(fd, _PREFIX.size + _HEADER_BYTES_MAX, offset)
    if len(head) < _PREFIX.size or not head.startswith(_MAGIC):
        return None
    _, state, header_bytes, body_bytes, body_sum, total = _PREFIX.unpack_from(head)
    text = head[_PREFIX.size : _PREFIX.size + header_bytes]
    if len(text) != header_bytes or _sum((header_bytes, body_bytes, body_sum), text) != total:
        return None
    try:
        header = msgspec.json.decode(text, type=_Header)
    except msgspec.DecodeError:
        return None
    return Record(
        offset=offset,
        body_at=offset + _PREFIX.size + header_bytes,
        body_bytes=body_bytes,
        body_sum=body_sum,
        done=state == _DONE,
        planned=header.planned,
        encoding=header.encoding,
        format=header.format,
        plain_bytes=header.plain_bytes,
        put_ns=header.put_ns,
    )


def _next_record(fd: int, start: int, size: int) -> int:
    """Where the next readable header begins, `size` when there is none."""
    for offset in _magics(fd, start, size):
        if _record_at(fd, offset) is not None:
            return offset
    return size


def _magics(fd: int, start: int, size: int) -> Iterator[int]:
    keep = len(_MAGIC) - 1
    while start < size:
        piece = os.pread(fd, _SEARCH_BYTES + keep, start)
        if not piece:
            return
        at = piece.find(_MAGIC)
        while at >= 0:
            yield start + at
            at = piece.find(_MAGIC, at + 1)
        start += _SEARCH_BYTES


def _sum(lengths: tuple[int, int, int], text: bytes) -> int:
    return int(xxh3_hex(_SUMMED.pack(*lengths) + text), 16)
