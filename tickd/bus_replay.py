"""Join a replay to a live subscription: no hole, no repeat.

The bus gave the subscription a sequence number; the replay delivers what is not above it, the
subscription the rest. Where the replay's batches come from (raw log, ClickHouse, memory) is the
caller's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import numpy as np

from tickd.bus_queue import BurstSubscription
from tickd.events import as_array
from tickd.native import EventBatch

__all__ = ["join_replay", "up_to"]


async def join_replay(
    subscription: BurstSubscription, replay: AsyncIterator[EventBatch]
) -> AsyncIterator[EventBatch]:
    """Yield the replay's events with `seq <= subscription.seq`, then the live ones, for ever.

    The replay must reach `subscription.seq` (flush the log first) and may run past it; what it
    repeats is left out. Subscribe first, then open the replay. A subscription that spills meanwhile
    raises SpilledError here.
    """
    async for batch in replay:
        if batch.seq_first > subscription.seq:
            break
        for part in up_to(batch, subscription.seq):
            yield part
    while live := await subscription.take_bursts():
        for batch in live:
            yield batch


def up_to(batch: EventBatch, seq: int) -> Iterator[EventBatch]:
    """Yield the parts of `batch` with numbers up to `seq`; usually the whole of it, uncopied."""
    if batch.seq_last <= seq:
        yield batch
        return
    numbers = as_array(batch)["seq"]
    for _, start, stop in batch.topics:
        # Inside a topic the numbers rise.
        end = start + int(np.searchsorted(numbers[start:stop], seq, side="right"))
        if end > start:
            yield batch.slice(start, end)
