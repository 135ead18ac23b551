"""The raw log decoded again, piece by piece: which rows each stretch must have become.

Behind damage the decoder no longer knows what the live one knew: what it *concludes* (states, gaps)
is not compared until the next segment's checkpoint, and nothing at all when connections or
instruments were in the lost part. It compares nothing and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from recorder.raw.records import CHECKPOINT, heads_of
from recorder.verify.columns import Rows, Scales, rows_of
from recorder.verify.frames import FrameAccount
from tickd.events import EVENT, SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES, Decoder, RawLogReader, records_until

__all__ = ["LogReading", "Piece"]

# Records decoded at once: enough to make numpy's own cost small, little enough to forget.
_PIECE_BYTES: Final = 4 << 20
_CONCLUDED: Final = frozenset({"states", "gaps"})
_ALL: Final = frozenset(EVENT_TABLES)
# What the decoder counts when it does not know whom a frame is from, or what about.
_BLINDNESS: Final = ("unknown_connection", "refused_unknown_instrument")


@dataclass(slots=True)
class Piece:
    """A stretch within one segment, up to where the next one begins."""

    segment: str
    seq_from: int
    recv_from_ns: int
    recv_to_ns: int
    compared: frozenset[str]
    seq_to: int = 0
    bytes: int = 0
    rows: dict[str, Rows] = field(default_factory=dict)


class LogReading:
    """One pass over the frames [frame_from, frame_to] of a raw log; blocks, for a thread.

    `lost`: sequence numbers of frames that could not be read; `damaged`: where, and why.
    """

    def __init__(
        self,
        directory: Path,
        frame_from: int = 0,
        frame_to: int | None = None,
        account: FrameAccount | None = None,
    ) -> None:
        self._reader = RawLogReader(str(directory), frame_from, frame_to)
        self._frame_to = frame_to
        self._account = account
        self._decoder = Decoder()
        self._scales = Scales({})
        self._instruments = -1
        self._compared = _ALL
        self._began = False  # the decoder has a beginning: a checkpoint, or the whole log
        self._damage_seen = 0
        self._next_frame = 0
        self.lost: list[tuple[int, int]] = []

    @property
    def damaged(self) -> list[tuple[str, int, int, str]]:
        """(segment, offset, bytes, reason) of each stretch that could not be read."""
        return self._reader.damaged

    @property
    def frame_next(self) -> int:
        """The number behind the last record read."""
        return self._next_frame

    def pieces(self) -> Iterator[Piece]:
        """Yield the log. Raises NativeError, OSError."""
        before: Piece | None = None
        for name, records in self._joined():
            piece = self._piece(name, records)
            if before is not None:
                before.seq_to = piece.seq_from - 1
                yield before
            before = piece
        if before is not None:
            behind = self._next_frame if self._frame_to is None else self._frame_to + 1
            before.seq_to = (behind << SEQ_INDEX_BITS) - 1
            yield before

    def _joined(self) -> Iterator[tuple[str, bytes]]:
        """Chunks of one segment put together; damage ends a piece."""
        name, parts, size = "", list[bytes](), 0
        for segment, data in self._reader:
            chunk = data
            if self._frame_to is not None:
                chunk = data[: records_until(data, self._frame_to)]
            damaged = len(self._reader.damaged) != self._damage_seen
            if parts and (segment != name or damaged or size >= _PIECE_BYTES):
                yield name, b"".join(parts)
                parts, size = [], 0
            if damaged:
                self._damage_seen = len(self._reader.damaged)
                self._lose(int(data[: data.index(b" ")]))
            if chunk:
                name = segment
                parts.append(chunk)
                size += len(chunk)
        if parts:
            yield name, b"".join(parts)

    def _lose(self, frame_no: int) -> None:
        """Frames from where the last piece ended up to `frame_no` could not be read."""
        self._compared = self._compared - _CONCLUDED if self._began else frozenset()
        first = self._next_frame
        if self._account is not None:
            first = first or self._account.begin
            self._account.explain(first, frame_no - 1, "damaged")
        if first < frame_no:
            self.lost.append((first << SEQ_INDEX_BITS, (frame_no << SEQ_INDEX_BITS) - 1))

    def lose_end(self, frame_last: int) -> None:
        """Note that the frames behind the last record, up to `frame_last`, could not be read."""
        if frame_last >= self._next_frame:
            self._lose(frame_last + 1)

    def _piece(self, name: str, records: bytes) -> Piece:
        heads = heads_of(records)
        if heads["type"][0] == CHECKPOINT:
            # A new beginning: what was lost before it, or is not here, no longer matters.
            self._decoder, self._instruments, self._compared = Decoder(), -1, _ALL
            if self._account is not None:
                self._account.forget_counters()
        self._began = self._began or heads["type"][0] == CHECKPOINT
        piece = Piece(
            segment=name,
            seq_from=int(heads["frame_no"][0]) << SEQ_INDEX_BITS,
            recv_from_ns=int(heads["recv_ns"].min()),
            recv_to_ns=int(heads["recv_ns"].max()),
            compared=self._compared,
            bytes=len(records),
        )
        self._decode(piece, memoryview(records), heads)
        return piece

    def _decode(self, piece: Piece, records: memoryview, heads: np.ndarray) -> None:
        blindness = self._blindness()
        batch = self._decoder.decode(records)
        self._next_frame = _behind(heads)
        events = np.frombuffer(batch, dtype=EVENT)  # type: ignore[call-overload]
        instruments = self._decoder.instruments()
        if len(instruments) != self._instruments:
            self._instruments = len(instruments)
            self._scales = Scales(dict(map(_scales_of, instruments)))
        piece.rows = rows_of(events, self._scales) if len(events) else {}
        if self._compared is not _ALL and self._blindness() > blindness:
            self._compared = piece.compared = frozenset()
        if self._account is None:
            return
        if not piece.compared:
            self._account.add_undecoded(heads)
            return
        refused = [(frame_no, why) for frame_no, _, why, _ in self._decoder.take_refusals()]
        self._account.add(
            records,
            heads,
            rows=[rows.seq for rows in piece.rows.values()],
            events=events["seq"],
            counters=self._decoder.counters(),
            refused=refused,
        )

    def _blindness(self) -> int:
        counters = self._decoder.counters()
        return sum(counters.get(name, 0) for name in _BLINDNESS)


def _behind(heads: np.ndarray) -> int:
    last = heads[-1]
    return int(last["frame_no"]) + 1 + int(last["payload_bytes"]) // FrameAccount.BYTES_PER_NUMBER


class _Definition(msgspec.Struct):
    price_scale: int
    size_scale: int


def _scales_of(definition: tuple[int, bytes]) -> tuple[int, tuple[int, int]]:
    instrument, text = definition
    said = msgspec.json.decode(text, type=_Definition)
    return instrument, (said.price_scale, said.size_scale)
