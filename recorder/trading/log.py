"""The raw log's control records of gate, router and brokers, read again.

Yields them in pieces of bounded size, from any frame on, live log or not. Everything else in the
log is passed over by its type without a look at it. It decodes no record and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from recorder.raw.records import heads_of
from recorder.raw.whereabouts import in_store_only
from recorder.trading.rows import ControlRecord, table_of
from tickd.native import RawLogReader

__all__ = ["TradingLog"]

_log = structlog.get_logger(__name__)

_CONTROL: Final = ord("C")
# In every control record and hardly any message of a venue: a search is faster than a parse.
_MARK: Final = b'"kind"'
RECORDS_MAX: Final = 1_024


class TradingLog:
    """Reads one raw log's directory. Blocks: for a thread, one reading at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.segments_absent = 0  # in the store only: their records gave no rows
        self.stretches_damaged = 0

    def read(self, frame_from: int, frame_to: int) -> Iterator[list[ControlRecord]]:
        """Yield the records of [frame_from, frame_to] in order, about a thousand at a time.

        What is not here is named and passed over. Raises OSError, NativeError: the log cannot be
        read.
        """
        for part in in_store_only(self._directory, frame_from, frame_to):
            self.segments_absent += 1
            _log.error("trading_frames_not_here", where=str(part), hint=part.hint)
        reader = RawLogReader(str(self._directory), frame_from, frame_to)
        found: list[ControlRecord] = []
        # Whole chunks come: at the edges with other frames; behind a failed sync with frames again.
        last = frame_from - 1
        damaged = 0
        for _, chunk in reader:
            if len(reader.damaged) > damaged:
                damaged = len(reader.damaged)
                self.stretches_damaged += 1
                _log.error("trading_frames_damaged", stretch=reader.damaged[-1])
            new = _records(chunk, last + 1, frame_to)
            if new:
                last = new[-1].frame_no
                found += new
            if len(found) >= RECORDS_MAX:
                yield found
                found = []
        if found:
            yield found


def _records(chunk: bytes, frame_from: int, frame_to: int) -> list[ControlRecord]:
    if _MARK not in chunk:
        return []
    heads = heads_of(chunk)
    numbers = heads["frame_no"]
    wanted = (heads["type"] == _CONTROL) & (numbers >= frame_from) & (numbers <= frame_to)
    mine = heads[wanted]
    found = []
    names = ("frame_no", "recv_ns", "payload_at", "payload_bytes")
    for frame_no, recv_ns, start, size in zip(
        *(mine[name].tolist() for name in names), strict=True
    ):
        payload = chunk[start : start + size]
        if table_of(payload) is not None:
            found.append(ControlRecord(frame_no, recv_ns, payload))
    return found
