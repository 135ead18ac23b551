"""The plan on a disk that refuses: whoever promises waits, nothing is lost, nothing is torn.

The disk's refusals are real where a limit of the process gives them (EFBIG on write), and
put in the place of `fdatasync` where only a broken disk would.
"""

import asyncio
import errno
import os
import resource
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from recorder.sink.plan import Plan, PlannedBlock
from recorder.sink.plan_thread import PlanThread
from recorder.sink.retry import RetryPolicy
from tickd.clock import SystemClock


def block(seq_from, table="trades"):
    return PlannedBlock(
        table=table,
        node=1,
        day=20_000,
        seq_from=seq_from,
        seq_to=seq_from + 99,
        seq_first=seq_from,
        seq_last=seq_from + 99,
        rows=5,
        hash="00ff",
        encoder=1,
    )


def thread_of(path):
    policy = RetryPolicy(delay_ms_min=1, delay_ms_max=2)
    return PlanThread(Plan(path), clock=SystemClock(), policy=policy, random=lambda: 1.0)


@contextmanager
def no_file_grows_beyond(size):
    """Writes beyond so many bytes are short, then fail with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with capture_logs():  # the runner keeps what is printed in a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread counts
            await asyncio.sleep(0)


def facts(path):
    plan = Plan(path)
    told = (
        plan.open_blocks,
        [plan.progress(table) for table in ("trades", "gaps")],
        plan.spilled(),
    )
    plan.close()
    return told


@pytest.mark.parametrize("room", [0, 1, 50, 200])
async def test_a_full_disk_makes_a_promise_wait_and_tears_nothing(tmp_path, room):
    path = tmp_path / "plan.jsonl"
    plan = thread_of(path)
    await plan.plan([block(1)], 100)
    async with asyncio.TaskGroup() as group:
        with no_file_grows_beyond(path.stat().st_size + room):
            waiting = group.create_task(plan.plan([block(101)], 200))
            await until(lambda: plan.faults > 2)
            assert not waiting.done()
            assert plan.progress("trades") == 100
            assert facts_of_copy(path, tmp_path) == ([block(1)], [100, 100], [])
            assert plan.fault is not None
    assert plan.fault is None
    assert plan.progress("trades") == 200
    await asyncio.to_thread(plan.close)
    assert facts(path) == ([block(1), block(101)], [200, 200], [])


def facts_of_copy(path, folder):
    """What a restart would read now: whole lines only, or a torn last one."""
    with resource_unlimited():
        copy = folder / "copy.jsonl"
        copy.write_bytes(path.read_bytes())
        return facts(copy)


@contextmanager
def resource_unlimited():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_failed_sync_moves_everything_known_to_a_new_file(tmp_path, monkeypatch):
    path = tmp_path / "plan.jsonl"
    plan = thread_of(path)
    await plan.plan([block(1), block(1, "quotes")], 100)
    await plan.commit(block(1), "inserted")
    inode, sync, failing = path.stat().st_ino, os.fdatasync, [2]

    def fdatasync(fd):
        if failing[0]:
            failing[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        sync(fd)

    monkeypatch.setattr("recorder.sink.plan.os.fdatasync", fdatasync)
    with path.open("rb"):  # so that its number is not given away again
        await plan.plan([block(101)], 200)
        assert path.stat().st_ino != inode, "the descriptor of a failed sync was used again"
    await plan.spill("gaps", 1, 50, "behind")
    assert plan.faults == 2
    await asyncio.to_thread(plan.close)
    found, progress, spilled = facts(path)
    assert sorted(found, key=lambda each: each.seq_from) == [block(1, "quotes"), block(101)]
    assert progress == [200, 200]
    assert [(each.seq_from, each.seq_to) for each in spilled] == [(1, 50)]


async def test_a_plan_that_cannot_even_be_begun_waits_for_the_disk(tmp_path):
    path = tmp_path / "sink" / "plan.jsonl"
    with no_file_grows_beyond(0):
        plan = thread_of(path)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(plan.plan([block(1)], 100))
            await until(lambda: plan.faults > 1)
            assert not waiting.done()
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await asyncio.to_thread(plan.close)
    assert facts(path) == ([block(1)], [100, 100], [])
