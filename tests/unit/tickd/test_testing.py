"""The test kit itself: a clock that stands still, a loop that never waits."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tickd.clock import SystemClock
from tickd.events import Flag, as_array
from tickd.testing.batches import batch_of
from tickd.testing.clock import EPOCH_NS, ManualClock
from tickd.testing.loop import Deadlock, run_virtual


def test_system_clock_moves_forward() -> None:
    clock = SystemClock()
    first = (clock.wall_ns(), clock.mono_ns())
    assert first[0] > 1_700_000_000 * 10**9
    assert clock.mono_ns() >= first[1]
    run_virtual(clock.sleep(3600))


def test_manual_clock_wakes_each_sleeper_at_its_own_time() -> None:
    async def main() -> None:
        clock = ManualClock()
        woken: list[tuple[str, int]] = []

        async def sleeper(name: str, seconds: float, again: float = 0) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.wall_ns() - EPOCH_NS))
            if again:
                await sleeper(name, again)

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("b", 2), name="b")
            group.create_task(sleeper("a", 1, again=0.5), name="a")
            group.create_task(sleeper("now", 0), name="now")
            await clock.advance(1.75)
            assert clock.sleepers_count == 1
            await clock.advance(10)
        assert woken == [("now", 0), ("a", 10**9), ("a", 15 * 10**8), ("b", 2 * 10**9)]
        assert clock.wall_ns() - EPOCH_NS == round(11.75e9)

    run_virtual(main())


def test_cancelled_sleeper_is_forgotten_and_wall_steps_alone() -> None:
    async def main() -> None:
        clock = ManualClock()
        task = asyncio.create_task(clock.sleep(5), name="sleeper")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert clock.sleepers_count == 0
        mono = clock.mono_ns()
        clock.step_wall(-7)
        assert (clock.wall_ns(), clock.mono_ns()) == (EPOCH_NS - 7, mono)
        await clock.advance(6)

    run_virtual(main())


def test_virtual_time_costs_no_real_time_and_a_hang_is_a_deadlock() -> None:
    async def sleep_for_hours() -> float:
        for _ in range(2000):
            await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    assert run_virtual(sleep_for_hours()) == pytest.approx(20_000)
    with pytest.raises(Deadlock):
        run_virtual(hang())


def test_batch_of_flags_the_end_of_each_message() -> None:
    batch = batch_of([(0, [1, 2, 3, 4, 5]), (1, [6])], message_records=2)
    last = as_array(batch)["flags"] & Flag.LAST != 0
    assert np.flatnonzero(last).tolist() == [1, 3, 4, 5]
