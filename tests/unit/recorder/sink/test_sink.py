"""The sink against a real ClickHouse behind a breaking proxy: every row exactly once."""

import asyncio
import contextlib
from random import Random

import msgspec
import numpy as np
import pytest

from recorder.sink.sink import SinkState
from tests.reference.native_block import read_block
from tests.unit.recorder.sink.sink_world import (
    SMALL,
    fed_through_faults,
    outage,
    running,
    until,
    world,
)
from tickd.errors import TickdError
from tickd.events import Flag, Kind, as_array
from tickd.native import EVENT_TABLES, EventBatch
from tickd.testing.faulty_proxy import Fault

__all__ = ["world"]  # a fixture

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]

HOUR_NS = 3_600 * 10**9


async def test_a_clean_life_stores_everything_once(world):
    sink = world.sink()
    async with running(sink, world) as task:
        for _ in range(20):
            world.feed(50)
            await asyncio.sleep(0)
    assert task.result() is True
    assert await world.stored() == world.expected
    assert sink.delivery.counters.rows_committed == sum(world.stream.rows.values())
    assert (sink.blocks_waiting, sink.held_bytes) == (0, 0)


async def test_nothing_is_planned_or_sent_before_the_raw_log_has_it(world):
    world.log.hold = True
    sink = world.sink()
    async with running(sink, world):
        await until(lambda: sink.state is SinkState.LIVE)
        world.feed(50)
        frame_last = world.log.frame_last
        await until(lambda: sink.counters.cuts)
        assert sink.counters.blocks_planned == 0
        assert world.proxy.seen("INSERT INTO") == 0
        world.log.release(frame_last)
    assert await world.stored() == world.expected


async def test_hours_of_fetched_trades_are_noted_before_their_blocks_are_promised(world):
    noted = []

    async def note(hours, seq):
        promised = max((block.seq_to for block in sink.plan.open_blocks), default=0)
        noted.append((hours, seq, promised))

    sink = world.sink(on_filled=note)
    async with running(sink, world) as task:
        await until(lambda: sink.state is SinkState.LIVE)
        world.feed(50)
        await until(lambda: sink.counters.cuts and not sink.blocks_waiting)
        assert noted == []
        events = as_array(world.stream.batch(50)).copy()
        trades = events["kind"] == Kind.TRADE
        events["flags"][trades] |= np.uint16(Flag.BACKFILLED)
        events["ts_event"][trades] = events["ts_recv"][trades] - 30 * HOUR_NS
        fetched = EventBatch.from_events(events.tobytes(), [(0, 0, len(events))])
        world.bursts.put(world.log.append(fetched))
    assert task.result() is True
    hours = {int(ns) // HOUR_NS * 3_600 for ns in events["ts_event"][trades]}
    assert {hour for said, _, _ in noted for hour in said} == hours
    assert noted[-1][1] >= int(events["seq"][trades].max())
    first = int(events["seq"].min())
    for before, (_, seq, promised) in zip([first - 1, *(n[1] for n in noted)], noted, strict=False):
        assert promised <= before < seq, "a block of the cut was promised before its hours"
    assert await world.stored() == world.expected


async def test_lost_answers_are_asked_again_with_the_same_token(world):
    sink = await fed_through_faults(world)
    assert sink.delivery.circuits.attempts_failed == {"ServerUnreachableError": 4}
    assert await world.stored() == world.expected


async def test_an_outage_goes_to_the_spool_and_back_while_live_blocks_pass(world):
    sink = world.sink(SMALL)
    async with running(sink, world) as task:
        assert await outage(world, sink) <= 1 << 18
        await until(lambda: sink.delivery.counters.blocks_spooled > 3)
        assert sink.counters.falls_behind == 0
        world.proxy.refuse(refusing=False)
        await until(lambda: sink.delivery.counters.blocks_inserted > 0)
        world.feed(10)
    assert task.result() is True
    assert sink.delivery.counters.blocks_redriven > 3
    assert sink.counters.batches_reread == 0
    assert {each.cause for each in sink.plan.spilled()} <= {"in_doubt"}  # sent as it went away
    assert list((world.directory / "spool").rglob("*.spool")) == []
    assert await world.stored() == world.expected


async def test_beyond_memory_and_spool_the_raw_log_fills_a_small_hole(world):
    sink = world.sink(msgspec.structs.replace(SMALL, spool_bytes_max=0))
    async with running(sink, world) as task:
        assert await outage(world, sink) <= 1 << 18
        await until(lambda: sink.counters.falls_behind >= 1)
        assert sink.frames_behind > 0
        world.proxy.refuse(refusing=False)
        await until(lambda: sink.state is SinkState.LIVE)
        world.feed(10)
    assert task.result() is True
    assert sink.counters.batches_reread > 0
    assert {each.cause for each in sink.plan.spilled()} <= {"in_doubt"}
    assert await world.stored() == world.expected


async def test_a_large_hole_is_left_to_repair_and_the_live_events_do_not_wait(world):
    config = msgspec.structs.replace(SMALL, spool_bytes_max=0, close_up_frames_max=0)
    sink = world.sink(config)
    async with running(sink, world) as task:
        await outage(world, sink)
        await until(lambda: sink.counters.falls_behind >= 1)
        world.proxy.refuse(refusing=False)
        await until(lambda: sink.state is SinkState.LIVE)
        world.feed(10)
    assert task.result() is True
    assert sink.counters.batches_reread == 0
    spilled = sink.plan.spilled()
    assert {each.table for each in spilled} == set(EVENT_TABLES)
    # The block that was on its way as the server went away may be there or not.
    assert {"behind"} <= {each.cause for each in spilled} <= {"behind", "in_doubt"}
    # What is stored and what the ledger names together are everything, and nothing twice.
    stored = await world.stored()
    for table, rows in world.stream.rows.items():
        count, distinct = stored[table]
        missing = 0
        for hole in (each for each in spilled if each.table == table):
            sql = f"SELECT count() FROM {world.database}.{table} WHERE seq BETWEEN "
            ((inside,),) = await world.direct.query(f"{sql} {hole.seq_from} AND {hole.seq_to}")
            count -= inside
            missing += world.rows_in(table, hole.seq_from, hole.seq_to)
        assert count == rows - missing < rows
        assert stored[table][0] == distinct


async def test_what_the_subscription_dropped_is_read_from_the_raw_log(world):
    sink = world.sink()
    async with running(sink, world) as task:
        for number in range(10):
            world.feed(20)
            if number == 4:
                world.bursts.drop(world.log.append(world.stream.batch(20)))
            await asyncio.sleep(0.002)
    assert task.result() is True
    assert await world.stored() == world.expected


async def test_a_permanently_refused_block_goes_to_quarantine_and_the_rest_goes_on(world):
    await world.direct.command(
        f"ALTER TABLE {world.database}.liquidations ADD CONSTRAINT never CHECK size < 0"
    )
    sink = world.sink()
    async with running(sink, world) as task:
        world.feed(400)
    assert task.result() is True
    rows = world.stream.rows.pop("liquidations")
    assert await world.stored() == world.expected
    kept = sorted((world.directory / "quarantine").glob("*.native"))
    assert sum(len(read_block(path.read_bytes())[2]) for path in kept) == rows
    assert "never" in kept[0].with_suffix(".json").read_text()


async def test_a_plan_that_got_lost_is_replaced_by_asking_clickhouse(world):
    async with running(world.sink(), world):
        world.feed(200)
    (world.directory / "plan.jsonl").unlink()
    async with running(world.sink(), world):
        world.feed(200)
    assert await world.stored() == world.expected


async def test_a_start_without_clickhouse_is_live_at_once_and_catches_up(world):
    async with running(world.sink(), world):
        world.feed(10)
    world.proxy.refuse(refusing=True)
    world.log.append(world.stream.batch(100))  # recorded by an earlier life
    sink = world.sink()
    async with running(sink, world) as task:
        world.feed(50)
        await until(lambda: sink.state is SinkState.LIVE)
        await until(lambda: world.proxy.refused_count > 3)
        world.proxy.refuse(refusing=False)
    assert task.result() is True
    assert await world.stored() == world.expected


@pytest.mark.parametrize("world", range(6), indirect=True)
async def test_a_sink_that_dies_anywhere_leaves_each_row_once(world, request):
    """Random: lives end at random moments, connections break in every way; then a clean life."""
    dice = Random(request.node.callspec.params["world"])
    modes = ("cut_after", "cut_before", "cut_inside")
    for _ in range(6):
        world.proxy.arm(*(Fault(dice.choice(modes)) for _ in range(dice.randrange(4))))
        task = asyncio.ensure_future(world.sink().run(world.bursts))
        for _ in range(dice.randrange(1, 8)):
            world.feed(dice.randrange(1, 120))
            await asyncio.sleep(dice.choice((0, 0, 0.001, 0.01, 0.03)))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, TickdError):
            await task
        if dice.random() < 0.5:
            world.log.append(world.stream.batch(30))  # recorded while no sink was running
    async with running(world.sink(), world) as task:
        world.feed(10)
    assert task.result() is True
    assert await world.stored() == world.expected
