"""Replay, then live: no hole and no repeat, at full load and across a rotation of the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tickd.bus import Bus
from tickd.bus_queue import Limits, SpilledError, WhenFull
from tickd.bus_replay import join_replay, up_to
from tickd.events import as_array
from tickd.native import EventBatch
from tickd.testing.batches import batch_of, counted_batch
from tickd.testing.clock import ManualClock
from tickd.testing.loop import run_virtual

TOPICS = [f"trade.binance-usdm.S{number}" for number in range(8)]


class SegmentLog:
    """An append-only log of batches in segments; readers follow it across rotations."""

    def __init__(self, segment_batches: int) -> None:
        self.segments: list[list[EventBatch]] = [[]]
        self.segment_batches = segment_batches

    def append(self, batch: EventBatch) -> None:
        if len(self.segments[-1]) >= self.segment_batches:
            self.segments.append([])
        self.segments[-1].append(batch)

    async def read(self) -> AsyncIterator[EventBatch]:
        number = 0
        while number < len(self.segments):
            at = 0
            while at < len(self.segments[number]):
                yield self.segments[number][at]
                at += 1
                await asyncio.sleep(0.001)
            number += 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_joined_stream_has_no_hole_and_no_repeat_at_full_load(seed: int) -> None:
    async def main() -> None:
        rng = np.random.default_rng(seed)
        bus = Bus(TOPICS.__getitem__, ManualClock())
        log = SegmentLog(segment_batches=7)
        got: list[int] = []
        sent = 0

        async def publish() -> None:
            nonlocal sent
            for _ in range(600):
                topics = rng.choice(8, size=int(rng.integers(1, 8)), replace=False)
                batch = counted_batch(sent + 1, {int(t): int(rng.integers(1, 5)) for t in topics})
                sent = batch.seq_last
                log.append(batch)
                bus.publish(batch)
                if rng.integers(0, 3) == 0:
                    await asyncio.sleep(0.0005)
            bus.close()

        async def consume() -> None:
            await asyncio.sleep(0.03)
            subscription = bus.subscribe_bursts(name="late", when_full=WhenFull.SPILL)
            async for batch in join_replay(subscription, log.read()):
                got.extend(sorted(int(seq) for seq in as_array(batch)["seq"]))

        async with asyncio.TaskGroup() as group:
            group.create_task(publish(), name="publisher")
            group.create_task(consume(), name="consumer")
        assert len(log.segments) > 50
        assert got == list(range(1, sent + 1))

    run_virtual(main())


def test_replayed_batch_that_runs_past_the_join_is_cut_inside() -> None:
    async def main() -> None:
        bus = Bus(TOPICS.__getitem__, ManualClock())
        bus.publish(counted_batch(1, {0: 4}))
        subscription = bus.subscribe_bursts(name="late", when_full=WhenFull.SPILL)
        bus.publish(counted_batch(5, {0: 2, 1: 2}))
        bus.close()

        async def replay() -> AsyncIterator[EventBatch]:
            # The log cut its batches elsewhere than the bus did.
            yield batch_of([(0, [1, 3]), (1, [2])])
            yield batch_of([(0, [4, 5]), (1, [6, 7])])
            yield batch_of([(0, [8])])

        got: list[int] = []
        async for batch in join_replay(subscription, replay()):
            got.extend(int(seq) for seq in as_array(batch)["seq"])
        assert sorted(got) == list(range(1, 9))

    run_virtual(main())


def test_whole_batches_pass_uncopied_and_late_ones_not_at_all() -> None:
    batch = counted_batch(1, {0: 3})
    assert list(up_to(batch, 3)) == [batch]
    assert list(up_to(batch, 0)) == []


def test_spill_during_the_replay_is_said() -> None:
    async def main() -> None:
        bus = Bus(TOPICS.__getitem__, ManualClock())
        subscription = bus.subscribe_bursts(
            name="late", when_full=WhenFull.SPILL, limits=Limits(records_total_max=4)
        )
        for n in range(3):
            bus.publish(counted_batch(1 + 3 * n, {0: 3}))

        async def replay() -> AsyncIterator[EventBatch]:
            return
            yield

        with pytest.raises(SpilledError) as caught:
            async for _ in join_replay(subscription, replay()):
                pass
        assert (caught.value.seq_from, caught.value.seq_to) == (4, 9)

    run_virtual(main())
