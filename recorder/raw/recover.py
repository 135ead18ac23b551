"""From the raw log back to blocks: what a restart owes, and what did not fit into memory.

Two jobs share one way: a `Replay` gives the batches of a range of frames again, exactly as they
were live. `rebuild` turns the planned, unsettled blocks into the same bytes; `settle` finds out
what became of one. It cuts nothing and sends nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.raw.definitions import NewDefinitions
from recorder.raw.segments import first_frames
from recorder.raw.whereabouts import in_store_only
from recorder.sink.plan import PlannedBlock
from tickd.events import SEQ_INDEX_BITS
from tickd.native import Block, BlockBuilder, Decoder, EventBatch, RawLogReader, records_until

__all__ = [
    "LogReplay",
    "Rebuilt",
    "Replay",
    "Replayed",
    "Verdict",
    "rebuild",
    "settle",
]

_log = structlog.get_logger(__name__)

# What numbers jump over after an unclean end, always where a segment ends (docs/adr/0002).
_LEAP: Final = 1 << 24
# Frames that a crash can have lost, at most: a plan may have come so far beyond the log's end.
_LOST_MAX: Final = 2_000_000


class Replayed(NamedTuple):
    """A stretch of the raw log: instrument definitions first seen in it, and its events."""

    definitions: Sequence[bytes]
    batch: EventBatch | None


class Replay(Protocol):
    """The raw log, read again."""

    def count(self, frame_from: int, frame_to: int) -> int:
        """About how many frames lie in [frame_from, frame_to]. Blocks."""
        ...

    def read(self, frame_from: int, frame_to: int) -> Iterator[Replayed]:
        """Yield the events of frames [frame_from, frame_to] in order, and their definitions.

        Blocks; used from one thread. Raises TickdError(FATAL) when the range cannot be read.
        """
        ...


class LogReplay:
    """`Replay` of a raw log's directory, live or not.

    Decoding begins at the checkpoint of the segment that holds the first frame, so that the events
    are those of the live run.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, frame_from: int, frame_to: int) -> Iterator[Replayed]:
        decoder = Decoder()
        new = NewDefinitions(decoder)
        for part in in_store_only(self._directory, frame_from, frame_to):
            # What is here is worth having; the daemon must not end because of what is not.
            _log.error("frames_not_here", where=str(part), hint=part.hint)
        start = self._segment_start(frame_from)
        for _, chunk in RawLogReader(str(self._directory), start, frame_to):
            before = records_until(chunk, frame_from - 1) if frame_from else 0
            behind = records_until(chunk, frame_to)
            view = memoryview(chunk)
            if before:
                decoder.decode(view[:before])
            batch = decoder.decode(view[before:behind]) if behind > before else None
            definitions = new.after(chunk)
            if definitions or batch is not None:
                yield Replayed(definitions, batch)

    def count(self, frame_from: int, frame_to: int) -> int:
        inside = [
            start for start in first_frames(self._directory) if frame_from < start <= frame_to
        ]
        count, at = 0, frame_from
        for start in inside:
            leaps = (start - at + _LOST_MAX) // _LEAP
            count += max(0, start - at - leaps * _LEAP)
            at = start
        return count + max(0, frame_to - at + 1)

    def _segment_start(self, frame_no: int) -> int:
        """First frame of the segment that holds `frame_no`; of the first one when it is older."""
        starts = first_frames(self._directory)
        older = [start for start in starts if start <= frame_no]
        return older[-1] if older else (starts[0] if starts else 0)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A planned block and what the raw log says about it; None: it holds no such rows any more."""

    planned: PlannedBlock
    block: Block | None

    @property
    def same(self) -> bool:
        """Whether it is the planned block bit for bit."""
        return self.block is not None and self.block.hash == self.planned.hash


def rebuild(planned: Sequence[PlannedBlock], replay: Replay, node: int) -> Iterator[Rebuilt]:
    """Yield every planned block again, in the order of the stream, in one pass. Blocks."""
    waiting = _cuts(planned, node)
    if not waiting:
        return
    definitions: list[bytes] = []
    open_cuts: list[_OpenCut] = []
    frame_to = max(cut.frame_to for cut in waiting)
    for part in replay.read(waiting[0].frame_from, frame_to):
        definitions.extend(part.definitions)
        for cut in open_cuts:
            cut.define(part.definitions)
        if part.batch is None:
            continue
        while waiting and waiting[0].frame_from <= part.batch.frame_last:
            open_cuts.append(waiting.popleft())
            open_cuts[-1].define(definitions)
        for cut in open_cuts:
            cut.builder.push(part.batch)
        while open_cuts and open_cuts[0].frame_to <= part.batch.frame_last:
            yield from open_cuts.pop(0).finish()
    for cut in (*open_cuts, *waiting):
        yield from cut.finish()


class _OpenCut:
    """The builder of one cut's planned blocks."""

    def __init__(self, seq_from: int, seq_to: int, blocks: list[PlannedBlock], node: int) -> None:
        self.frame_from = seq_from >> SEQ_INDEX_BITS
        self.frame_to = seq_to >> SEQ_INDEX_BITS
        self._blocks = blocks
        tables = sorted({block.table for block in blocks})
        self.builder = BlockBuilder(node=node, seq_from=seq_from, seq_to=seq_to, tables=tables)

    def define(self, definitions: Sequence[bytes]) -> None:
        for definition in definitions:
            self.builder.define(definition)

    def finish(self) -> Iterator[Rebuilt]:
        found = {(block.table, block.day): block for block in self.builder.finish()}
        for block in self._blocks:
            yield Rebuilt(block, found.get((block.table, block.day)))


def _cuts(planned: Sequence[PlannedBlock], node: int) -> deque[_OpenCut]:
    def bounds(block: PlannedBlock) -> tuple[int, int]:
        return (block.seq_from, block.seq_to)

    groups = groupby(sorted(planned, key=bounds), key=bounds)
    return deque(_OpenCut(*limits, list(group), node) for limits, group in groups)


Verdict = Literal["present", "send", "differs"]


async def settle(planned: PlannedBlock, clickhouse: ClickHouse) -> Verdict:
    """Find out whether ClickHouse has a block's rows: all `present`, none `send`, some `differs`.

    Counting works also where the server's deduplication window has forgotten the token. A killed
    predecessor's insert may still arrive after the count; the token covers that.
    Raises ClickHouseError.
    """
    rows = await clickhouse.query(
        f"SELECT count() FROM {clickhouse.database}.{planned.table} "  # noqa: S608 - own names only
        "WHERE node = {node:UInt16} AND seq BETWEEN {first:UInt64} AND {last:UInt64} "
        "AND toYYYYMMDD(ts_recv) = toYYYYMMDD(toDateTime({day:UInt32}, 'UTC'))",
        {
            "node": planned.node,
            "first": planned.seq_first,
            "last": planned.seq_last,
            "day": planned.day_start_s,
        },
    )
    count = int(str(rows[0][0]))
    if count == planned.rows:
        return "present"
    return "send" if count == 0 else "differs"
