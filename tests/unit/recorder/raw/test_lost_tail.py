"""A plan that knows more than the recovered raw log."""

from contextlib import asynccontextmanager

import pytest

from recorder.errors import PlanError
from recorder.raw.lost_tail import CAUSE, give_up_lost
from recorder.sink.plan import Plan, PlannedBlock, Spilled
from recorder.sink.plan_thread import PlanThread
from recorder.sink.retry import RetryPolicy
from tickd.clock import SystemClock
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES

LEAP = 1 << 24


def seq(frame, index=0):
    return frame << SEQ_INDEX_BITS | index


def block(table, frame_from, frame_to):
    first, last = seq(frame_from), seq(frame_to + 1) - 1
    return PlannedBlock(
        table=table,
        node=1,
        day=20_000,
        seq_from=first,
        seq_to=last,
        seq_first=first,
        seq_last=last - 9,
        rows=5,
        hash="00ff",
        encoder=1,
    )


@asynccontextmanager
async def thread_of(plan):
    thread = PlanThread(plan, clock=SystemClock(), policy=RetryPolicy(), random=lambda: 0.5)
    try:
        yield thread
    finally:
        thread.close()


async def test_blocks_beyond_the_log_are_given_up_with_their_whole_range(tmp_path):
    path = tmp_path / "plan.jsonl"
    plan = Plan(path)
    kept, across, beyond = block("trades", 1, 50), block("trades", 51, 70), block("quotes", 71, 90)
    plan.plan([kept], kept.seq_to)
    plan.plan([across], across.seq_to)
    plan.plan([beyond], beyond.seq_to)
    async with thread_of(plan) as thread:
        assert await give_up_lost(thread, frame_recovered=60, frame_next=60 + LEAP)
        assert thread.open_blocks == [kept]
    # Durable, and the same again after a death before anything new is written.
    async with thread_of(Plan(path)) as thread:
        assert await give_up_lost(thread, frame_recovered=60, frame_next=60 + LEAP)
        spilled = {each.table: each for each in thread.spilled()}
        assert set(spilled) == set(EVENT_TABLES)
        end = seq(91) - 1
        assert spilled["trades"] == Spilled(
            table="trades", seq_from=across.seq_from, seq_to=end, cause=CAUSE
        )
        assert (spilled["book"].seq_from, spilled["book"].seq_to) == (seq(61), end)
        assert thread.open_blocks == [kept]


async def test_a_log_that_holds_all_that_is_planned_has_lost_nothing(tmp_path):
    plan = Plan(tmp_path / "plan.jsonl")
    plan.plan([block("trades", 1, 60)], seq(61) - 1)
    async with thread_of(plan) as thread:
        assert not await give_up_lost(thread, frame_recovered=60, frame_next=61)
        assert thread.spilled() == []


async def test_another_raw_log_is_refused_before_numbers_are_given_out_twice(tmp_path):
    plan = Plan(tmp_path / "plan.jsonl")
    plan.plan([block("trades", 1, 60)], seq(61) - 1)
    async with thread_of(plan) as thread:
        with pytest.raises(PlanError, match="give out 1 again"):
            await give_up_lost(thread, frame_recovered=0, frame_next=1)
        assert thread.spilled() == []
