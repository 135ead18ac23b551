"""Real event batches for tests and benchmarks, built from a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tickd.events import EVENT, Flag, Kind
from tickd.native import EventBatch

__all__ = ["batch_of", "counted_batch"]


def batch_of(
    runs: Sequence[tuple[int, Sequence[int]]],
    *,
    message_records: int = 1,
    mono_ns: int = 0,
    kind: Kind = Kind.TRADE,
) -> EventBatch:
    """Return a batch with one run per (topic number, sequence numbers).

    Args: `message_records`: records per venue message; the last of each, and of the run, is flagged
    LAST. `mono_ns`: receive stamp; 0 = a replay.
    """
    numbers = [seq for _, seqs in runs for seq in seqs]
    events = np.zeros(len(numbers), EVENT)
    events["seq"] = numbers
    events["kind"] = kind
    events["ts_recv"] = numbers
    ranges: list[tuple[int, int, int]] = []
    start = 0
    for topic, seqs in runs:
        stop = start + len(seqs)
        ranges.append((topic, start, stop))
        ends = np.arange(start, stop)[message_records - 1 :: message_records]
        events["flags"][ends] = Flag.LAST
        events["flags"][stop - 1] = Flag.LAST
        start = stop
    return EventBatch.from_events(events.tobytes(), ranges, mono_ns)


def counted_batch(
    seq: int, counts: Mapping[int, int], *, message_records: int = 1, mono_ns: int = 0
) -> EventBatch:
    """Return a batch with `counts[topic]` events per topic, numbered from `seq` without holes."""
    runs: list[tuple[int, Sequence[int]]] = []
    for topic, count in counts.items():
        runs.append((topic, range(seq, seq + count)))
        seq += count
    return batch_of(runs, message_records=message_records, mono_ns=mono_ns)
