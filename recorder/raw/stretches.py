"""The raw log as the rows it must have become: stretch by stretch, with its holes named.

For repair, which deletes: where frames cannot be read, "no rows" is not what the raw log says, so a
stretch never covers them. Memory is bounded by the stretch. It compares nothing and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from recorder.raw.definitions import NewDefinitions
from recorder.raw.records import CHECKPOINT, heads_of
from recorder.raw.segments import first_frames, sealed_names
from tickd.events import SEQ_INDEX_BITS, SEQ_INDEX_MAX
from tickd.native import Block, BlockBuilder, Decoder, EventBatch, RawLogReader, manifest_read

__all__ = ["Hole", "LogStretches", "Stretch"]

_EVENTS_MAX: Final = 500_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Everything between two sequence numbers, both included: the blocks, by table and UTC day."""

    seq_from: int
    seq_to: int
    blocks: Sequence[Block]

    @property
    def rows(self) -> int:
        return sum(block.rows for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Hole:
    """Sequence numbers whose frames the raw log cannot give here and now."""

    seq_from: int
    seq_to: int
    reason: str


class _Part(NamedTuple):
    frame_first: int
    batch: EventBatch
    unread: tuple[int, int] | None  # frames before the batch that could not be read


class LogStretches:
    """Reads one raw log, live or not; decoding begins at a checkpoint, so events are the live ones.

    Blocking; one thread. Reading on behind the last stretch continues without starting anew.
    """

    def __init__(self, directory: Path, *, node: int, events_max: int = _EVENTS_MAX) -> None:
        self._directory = directory
        self._node = node
        self._events_max = events_max
        self._cursor: _Cursor | None = None

    def read(
        self, seq_from: int, seq_to: int, tables: Sequence[str], *, whole: bool = False
    ) -> Iterator[Stretch | Hole]:
        """Yield [seq_from, seq_to] in pieces that touch each other, in order.

        Args: `whole`: however large, for a range that was one piece before.
        Raises TickdError(FATAL) when the log cannot be read at all.
        """
        start = seq_from
        for hole in self._absent(seq_from >> SEQ_INDEX_BITS, seq_to >> SEQ_INDEX_BITS):
            first, last = max(hole.seq_from, start), min(hole.seq_to, seq_to)
            if first > last:
                continue
            if start < first:
                yield from self._read(start, first - 1, tables, whole=whole)
            yield Hole(first, last, hole.reason)
            start = last + 1
        if start <= seq_to:
            yield from self._read(start, seq_to, tables, whole=whole)

    def close(self) -> None:
        self._cursor = None

    def _read(
        self, seq_from: int, seq_to: int, tables: Sequence[str], *, whole: bool
    ) -> Iterator[Stretch | Hole]:
        frame_to = seq_to >> SEQ_INDEX_BITS
        cursor = self._at(seq_from >> SEQ_INDEX_BITS)
        old = cursor.used
        start, events = seq_from, 0
        builder = self._builder(start, seq_to, tables, cursor)
        for part in cursor.parts(frame_to):
            if part.unread is not None and (hole := _hole(part.unread, start, seq_to)):
                if start < hole.seq_from:
                    yield Stretch(start, hole.seq_from - 1, builder.finish())
                yield hole
                start, events = hole.seq_to + 1, 0
                builder = self._builder(start, seq_to, tables, cursor)
            cursor.define(builder)
            if part.batch.frame_last < start >> SEQ_INDEX_BITS:
                continue
            builder.push(part.batch)
            events += len(part.batch)
            if not whole and events >= self._events_max and part.batch.frame_last < frame_to:
                end = part.batch.frame_last << SEQ_INDEX_BITS | SEQ_INDEX_MAX
                if end >= start:
                    yield Stretch(start, end, builder.finish())
                    start, events = end + 1, 0
                    builder = self._builder(start, seq_to, tables, cursor)
        if old and cursor.ended:
            # It saw the directory as it was; the log may have grown since.
            self._cursor = None
            yield from self._read(start, seq_to, tables, whole=whole)
            return
        unread = cursor.unread_at_end(frame_to)
        hole = None if unread is None else _hole(unread, start, seq_to)
        if hole is None:
            yield Stretch(start, seq_to, builder.finish())
            return
        if start < hole.seq_from:
            yield Stretch(start, hole.seq_from - 1, builder.finish())
        yield hole

    def _builder(
        self, seq_from: int, seq_to: int, tables: Sequence[str], cursor: _Cursor
    ) -> BlockBuilder:
        builder = BlockBuilder(
            node=self._node, seq_from=seq_from, seq_to=seq_to, tables=list(tables)
        )
        cursor.define(builder, anew=True)
        return builder

    def _at(self, frame_no: int) -> _Cursor:
        """Return a reader that has not passed `frame_no`, the one at hand if it is near."""
        start = self._checkpoint(frame_no)
        cursor = self._cursor
        if cursor is None or not cursor.may_continue(start, frame_no):
            cursor = self._cursor = _Cursor(self._directory, start)
        return cursor

    def _checkpoint(self, frame_no: int) -> int:
        """First frame of the last segment up to `frame_no` that begins with a checkpoint."""
        starts = first_frames(self._directory)
        older = [start for start in starts if start <= frame_no]
        for start in reversed(older):
            _, chunk = next(RawLogReader(str(self._directory), start, start), ("", b""))
            heads = heads_of(chunk)[:1]
            if ((heads["type"] == CHECKPOINT) & (heads["frame_no"] == start)).any():
                return start
        return starts[0] if starts else 0

    def _absent(self, frame_from: int, frame_to: int) -> list[Hole]:
        """What the manifest knows and the directory does not hold, or only damaged, in order."""
        segments = sealed_names(self._directory)
        holes: list[Hole] = []
        for line in manifest_read(str(self._directory)):
            match line.get("kind"):
                case "sealed" if str(line["segment"]) not in segments:
                    first, last = int(line["frame_first"]), int(line["frame_last"])
                    reason = f"segment {line['segment']} is not here"
                case "quarantined":
                    first, last = int(line["frame_from"]), int(line["frame_to"])
                    reason = f"damaged bytes of {line['segment']} are in quarantine"
                case _:
                    continue
            if first <= last and first <= frame_to and last >= frame_from:
                seq_to = last << SEQ_INDEX_BITS | SEQ_INDEX_MAX
                holes.append(Hole(first << SEQ_INDEX_BITS, seq_to, reason))
        return sorted(holes, key=lambda hole: hole.seq_from)


class _Cursor:
    """One pass over the log from a segment on, decoding everything once."""

    def __init__(self, directory: Path, start: int) -> None:
        self._start = start
        self._decoder = Decoder()
        self._reader = RawLogReader(str(directory), start, None)
        self._found = NewDefinitions(self._decoder)
        self._definitions: list[bytes] = []
        self._new: list[bytes] = []
        self._last: _Part | None = None
        self._unread = 0
        self._frame_last = start - 1
        self.ended = False

    @property
    def used(self) -> bool:
        """Whether somebody has read with it before."""
        return self._last is not None

    def may_continue(self, start: int, frame_no: int) -> bool:
        """Whether going on is right for `frame_no`, and no longer than beginning at `start`."""
        first = self._start if self._last is None else self._last.frame_first
        return not self.ended and first <= frame_no and start <= self._frame_last + 1

    def parts(self, frame_to: int) -> Iterator[_Part]:
        """Yield what is decoded up to the batch that holds `frame_to`; that one again next time."""
        if self._last is not None:
            yield self._last
        while self._frame_last < frame_to and not self.ended:
            part = self._next()
            if part is None:
                self.ended = True
                return
            self._last = part
            yield part

    def define(self, builder: BlockBuilder, *, anew: bool = False) -> None:
        """Tell a builder the instruments that it does not know yet; `anew`: all of them."""
        for definition in self._definitions if anew else self._new:
            builder.define(definition)
        if not anew:
            self._new = []

    def unread_at_end(self, frame_to: int) -> tuple[int, int] | None:
        """Frames behind the last readable one, when damage is why it is the last."""
        damaged = len(self._reader.damaged)
        if self.ended and damaged > self._unread and self._frame_last < frame_to:
            return (self._frame_last + 1, frame_to)
        return None

    def _next(self) -> _Part | None:
        found = next(self._reader, None)
        if found is None:
            return None
        _, chunk = found
        first = int(bytes(chunk[: chunk.index(b" ")]))
        unread = None
        if (damaged := len(self._reader.damaged)) > self._unread:
            self._unread = damaged
            if first > self._frame_last + 1:
                unread = (self._frame_last + 1, first - 1)
        batch = self._decoder.decode(chunk)
        self._frame_last = max(self._frame_last, batch.frame_last)
        new = self._found.after(chunk)
        self._definitions += new
        self._new += new
        return _Part(first, batch, unread)


def _hole(frames: tuple[int, int], seq_from: int, seq_to: int) -> Hole | None:
    first = max(frames[0] << SEQ_INDEX_BITS, seq_from)
    last = min(frames[1] << SEQ_INDEX_BITS | SEQ_INDEX_MAX, seq_to)
    return Hole(first, last, "a damaged chunk of the raw log") if first <= last else None
