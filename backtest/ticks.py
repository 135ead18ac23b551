"""Clock records for a raw log that has none: a daemon writes them only while strategies run.

They stand on the grid of a capture's, each in front of the first frame received behind it, with a
number that no record has. What is on record stays: none is made within a second of a recorded one.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from backtest.records import CLOCK_NS
from recorder.raw.records import Heads
from tickd.events import (
    EVENT,
    ID_UNDEF,
    PRICE_UNDEF,
    SEQ_INDEX_BITS,
    SIZE_UNDEF,
    Flag,
    Kind,
    Side,
    as_array,
)
from tickd.native import EventBatch

__all__ = ["Ticks"]

RECORDED_NS: Final = 1_000_000_000


@final
class Ticks:
    """Goes along a log, whatever the pieces."""

    def __init__(self, topic: int) -> None:
        self._topic = topic
        self._recv_ns: int | None = None
        # Of the last recorded one.
        self._clock_ns = -RECORDED_NS

    def joined(self, heads: Heads, batch: EventBatch) -> EventBatch:
        """Return the batch of these records with the ticks that belong in front of them."""
        recv = heads["recv_ns"].astype(np.int64)
        before = int(recv[0]) if self._recv_ns is None else self._recv_ns
        # The clock may have been set back.
        recv = np.maximum.accumulate(np.maximum(recv, before))
        grid = np.concatenate([[before], recv]) // CLOCK_NS
        self._recv_ns = int(recv[-1])
        events = as_array(batch)
        clocks = events[events["kind"] == Kind.CLOCK]
        frames = (clocks["seq"] >> SEQ_INDEX_BITS).tolist()
        recorded = dict(zip(frames, clocks["ts_recv"].tolist(), strict=True))
        rows = []
        # Of the frames only those matter that cross the grid, or are a clock record.
        crosses = np.flatnonzero(grid[1:] > grid[:-1]).tolist()
        known = np.flatnonzero(np.isin(heads["frame_no"], frames)).tolist()
        for number in sorted({*crosses, *known}):
            frame_no = int(heads["frame_no"][number])
            if frame_no in recorded:
                self._clock_ns = recorded[frame_no]
            elif int(recv[number]) - self._clock_ns >= RECORDED_NS:
                rows.append((frame_no << SEQ_INDEX_BITS) - 1)
                rows.append(int(grid[number + 1]) * CLOCK_NS)
        return batch if not rows else batch.joined(self._made(rows[::2], rows[1::2]))

    def _made(self, seqs: list[int], times_ns: list[int]) -> EventBatch:
        made = np.zeros(len(seqs), EVENT)
        made["seq"], made["kind"], made["side"] = seqs, Kind.CLOCK, Side.NONE
        made["ts_event"] = made["ts_recv"] = times_ns
        made["id"], made["price"], made["size"] = ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF
        made["flags"] = Flag.LAST | Flag.SYNTHETIC
        return EventBatch.from_events(made.tobytes(), [(self._topic, 0, len(made))])
