"""The raw log as rows of the event tables: a `RowSource`.

Replays a time range through a fresh decoder and the block encoder, so that its rows are exactly
those that the sink sends to ClickHouse. Decoding begins at the checkpoint of a segment. It writes
nothing and takes no lock: the log may be live.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from recorder.clickhouse.native_format import read_block
from recorder.errors import RawLogError
from recorder.raw.definitions import NewDefinitions
from recorder.raw.records import CHECKPOINT, heads_of
from recorder.raw.segments import first_frame, header_node, segment_paths
from tickd.events import EVENT
from tickd.native import BlockBuilder, Decoder, NativeError, RawLogReader, manifest_read
from tickd.rows import Cut, Damage, Definition, SourceFacts, TableRows, joined

__all__ = ["LogRows", "definition_of"]

# Events per cut: 4 MiB of them, and the same again as columns.
_CUT_EVENTS: Final = 1 << 16
# Receive stamps follow the wall clock, which may step back: a segment is passed over, and reading
# ends, only when its stamps are this far outside the range.
_CLOCK_STEP_NS: Final = 60 * 10**9


class _Segment(NamedTuple):
    path: Path
    first_frame: int
    # Receive stamps of its first and last record; None until it is sealed.
    recv: tuple[int, int] | None


class LogRows:
    """`RowSource` over the directory that holds `segments/`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._damage: dict[tuple[str, int], Damage] = {}

    @property
    def name(self) -> str:
        return "raw"

    async def facts(self) -> SourceFacts:
        """Return node, definitions and time span. Raises RawLogError when there is no log."""
        return await asyncio.to_thread(self._facts)

    async def cuts(
        self, tables: Sequence[str], from_ns: int, to_ns: int, instruments: Sequence[int] | None
    ) -> AsyncIterator[Cut]:
        """Give the rows of a range, one cut ahead of the reader. Raises RawLogError."""
        wanted = None if instruments is None else np.array(sorted(instruments), np.uint32)
        reading = self._read(tables, from_ns, to_ns)
        loop = asyncio.get_running_loop()
        # Reading and decoding run without the GIL beside whoever writes: one thread, one cut ahead.
        with ThreadPoolExecutor(1, thread_name_prefix="log-rows") as thread:
            ahead = loop.run_in_executor(thread, next, reading, None)
            while (cut := await ahead) is not None:
                ahead = loop.run_in_executor(thread, next, reading, None)
                yield cut if wanted is None else _of_instruments(cut, wanted)

    def damage(self) -> Sequence[Damage]:
        return list(self._damage.values())

    def _facts(self) -> SourceFacts:
        segments = self._segments()
        if not segments:
            raise RawLogError(f"the raw log in {self._directory} holds no segment")
        first_ns: int | None = None
        for _, chunk in RawLogReader(str(self._directory), 0, segments[0].first_frame):
            first_ns = int(heads_of(chunk)["recv_ns"][0])
            break
        definitions: dict[int, Definition] = {}
        last_ns = first_ns
        # A checkpoint tells all definitions before it; only a segment that continues another after
        # a failed sync has none.
        for segment in reversed(segments):
            found, last, checkpoint = self._definitions_from(segment.first_frame)
            definitions = found
            last_ns = last if last is not None else last_ns
            if checkpoint:
                break
        return SourceFacts(_node_of(segments), definitions, first_ns, last_ns)

    def _definitions_from(self, frame: int) -> tuple[dict[int, Definition], int | None, bool]:
        """Definitions known at the end when reading from a segment's first frame on.

        With the last receive stamp, and whether a checkpoint stood at the start.
        """
        decoder = Decoder()
        checkpoint = False
        last_ns: int | None = None
        chunk = b""
        reader = RawLogReader(str(self._directory), frame)
        for number, (_, chunk) in enumerate(reader):
            if number == 0:
                checkpoint = bool(heads_of(chunk)["type"][0] == CHECKPOINT)
            if number == 0 or b'"instrument"' in chunk:
                decoder.decode(chunk)
        if chunk:
            last_ns = int(heads_of(chunk)["recv_ns"].max())
        found = {
            each: definition_of(each, json.loads(text)) for each, text in decoder.instruments()
        }
        return found, last_ns, checkpoint

    def _segments(self) -> list[_Segment]:
        if not (self._directory / "segments").is_dir():
            raise RawLogError(f"no raw log in {self._directory}")
        try:
            paths = segment_paths(self._directory)
            sealed = {
                str(line["segment"]): (int(line["recv_first"]), int(line["recv_last"]))
                for line in manifest_read(str(self._directory))
                if line.get("kind") == "sealed"
            }
        except (OSError, NativeError) as error:
            raise RawLogError(f"no raw log in {self._directory}: {error}") from error
        return [_Segment(path, first_frame(path), sealed.get(path.name)) for path in paths]

    def _read(self, tables: Sequence[str], from_ns: int, to_ns: int) -> Iterator[Cut]:
        segments = _overlapping(self._segments(), from_ns, to_ns)
        if not segments:
            return
        node = _node_of(segments)
        decoder, builder = Decoder(), BlockBuilder(node=node, tables=list(tables))
        new = NewDefinitions(decoder)
        pending = 0
        frame_to = _frame_before_next(self._segments(), segments[-1])
        reader = RawLogReader(str(self._directory), segments[0].first_frame, frame_to)
        try:
            for _, chunk in reader:
                batch = decoder.decode(chunk)
                for definition in new.after(chunk):
                    builder.define(definition)
                if len(batch) == 0:
                    continue
                stamps = np.frombuffer(batch, EVENT)["ts_recv"]  # type: ignore[call-overload]
                if int(stamps.max()) < from_ns:
                    continue
                if int(stamps.min()) >= to_ns + _CLOCK_STEP_NS:
                    break
                builder.push(batch)
                pending += len(batch)
                if pending >= _CUT_EVENTS:
                    yield _cut(builder, from_ns, to_ns)
                    pending = 0
        except NativeError as error:
            raise RawLogError(f"the raw log cannot be read on: {error}") from error
        finally:
            self._note(reader)
        yield _cut(builder, from_ns, to_ns)

    def _note(self, reader: RawLogReader) -> None:
        for segment, offset, size, reason in reader.damaged:
            self._damage[segment, offset] = Damage(segment, offset, size, reason)


def definition_of(instrument: int, fields: Mapping[str, Any]) -> Definition:
    """Return a definition from its JSON fields."""
    return Definition(
        instrument=instrument,
        venue=str(fields["venue"]),
        symbol=str(fields["symbol"]),
        price_scale=int(fields["price_scale"]),
        size_scale=int(fields["size_scale"]),
        tick=int(fields["tick"]),
        lot=int(fields["lot"]),
        multiplier=str(fields["multiplier"]),
    )


def _overlapping(segments: Sequence[_Segment], from_ns: int, to_ns: int) -> list[_Segment]:
    """The run of segments that may hold rows of the range; stamps may step back a little."""
    first, last = 0, len(segments)
    while first < last and _ends_before(segments[first], from_ns):
        first += 1
    while last > first and _begins_after(segments[last - 1], to_ns):
        last -= 1
    return list(segments[first:last])


def _ends_before(segment: _Segment, ns: int) -> bool:
    return segment.recv is not None and max(segment.recv) + _CLOCK_STEP_NS < ns


def _begins_after(segment: _Segment, ns: int) -> bool:
    return segment.recv is not None and min(segment.recv) - _CLOCK_STEP_NS >= ns


def _frame_before_next(segments: Sequence[_Segment], last: _Segment) -> int | None:
    """Last frame before the segment behind `last`; None when there is none behind."""
    behind = [each.first_frame for each in segments if each.first_frame > last.first_frame]
    return behind[0] - 1 if behind else None


def _cut(builder: BlockBuilder, from_ns: int, to_ns: int) -> Cut:
    by_table: dict[str, list[TableRows]] = {}
    for block in builder.finish():
        rows = TableRows(block.table, read_block(memoryview(block)))
        stamps = rows.integers("ts_recv")
        rows = rows.take((stamps >= from_ns) & (stamps < to_ns))
        if len(rows):
            by_table.setdefault(block.table, []).append(rows)
    # A block is one UTC day: at midnight there are two, and after a step of the clock they overlap.
    return [joined(parts).in_order() for parts in by_table.values()]


def _of_instruments(cut: Cut, wanted: np.ndarray[Any, np.dtype[np.uint32]]) -> Cut:
    taken = (rows.take(np.isin(rows.integers("instrument"), wanted)) for rows in cut)
    return [rows for rows in taken if len(rows)]


def _node_of(segments: Iterable[_Segment]) -> int:
    """The node that a segment's header names. Raises RawLogError."""
    for segment in segments:
        try:
            node = header_node(segment.path)
        except OSError:
            continue
        if node is not None:  # a damaged header: the next segment has one of its own
            return node
    raise RawLogError("no segment of the raw log has a readable header")
