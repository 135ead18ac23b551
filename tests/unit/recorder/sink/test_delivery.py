"""Delivery against a real ClickHouse: what is refused, unknown, damaged, limited, kept quiet."""

import asyncio
import json
from contextlib import AsyncExitStack

import msgspec
import pytest

from recorder.sink.retry import CircuitState
from recorder.sink.sink import SinkState
from tests.unit.recorder.sink.sink_world import CONFIG, SMALL, outage, running, until, world
from tickd.testing.faulty_proxy import Fault

__all__ = ["world"]  # a fixture

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]


def states(sink):
    return {table: breaker.state for table, breaker in sink.delivery.circuits.tables.items()}


async def rename(world, name, new):
    await world.direct.command(f"RENAME TABLE {world.database}.{name} TO {world.database}.{new}")


async def test_a_table_that_is_not_there_stops_only_itself(world):
    await rename(world, "marks", "marks_away")
    sink = world.sink()
    async with running(sink, world) as task:
        while states(sink)["marks"] is CircuitState.CLOSED:
            world.feed(20)
            await asyncio.sleep(0.002)
        world.feed(100)
        rows = world.stream.rows["quotes"]
        await until(lambda: sink.delivery.counters.rows_committed >= rows)
        assert sink.delivery.server_available
        # The others' blocks do not grow for one that is refused.
        await until(lambda: not sink.delivery.is_behind)
        others = {table: state for table, state in states(sink).items() if table != "marks"}
        assert set(others.values()) == {CircuitState.CLOSED}
        await rename(world, "marks_away", "marks")
    assert task.result() is True
    assert await world.stored() == world.expected


async def test_a_refused_table_beyond_its_spool_is_left_to_repair_the_others_go_on(world):
    await rename(world, "marks", "marks_away")
    sink = world.sink(msgspec.structs.replace(SMALL, spool_bytes_max=0))
    async with running(sink, world) as task:
        await until(lambda: sink.state is SinkState.LIVE)
        while sink.delivery.counters.blocks_spilled < 3:
            world.feed(100)
            await asyncio.sleep(0.005)
        await rename(world, "marks_away", "marks")
    assert task.result() is True
    spilled = sink.plan.spilled()
    assert {(each.table, each.cause) for each in spilled} == {("marks", "spool_full")}
    # A range may hold a block of the cut's other day that is stored: never more is missing.
    inside = sum(world.rows_in("marks", each.seq_from, each.seq_to) for each in spilled)
    expected, stored = world.expected, await world.stored()
    rows, distinct = stored.pop("marks", (0, 0))
    assert rows == distinct
    assert expected["marks"][0] - inside <= rows < expected.pop("marks")[0]
    assert stored == expected


async def test_a_torn_spool_is_rebuilt_from_the_raw_log(world):
    sink = world.sink(SMALL)
    async with running(sink, world) as task:
        await outage(world, sink)
        await until(lambda: sink.delivery.spool.blocks > 3)
        for path in (world.directory / "spool").rglob("*.spool"):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        world.proxy.refuse(refusing=False)
        await until(lambda: sink.delivery.spool.figures.counters.damaged > 0)
    assert task.result() is True
    assert await world.stored() == world.expected


async def test_the_spool_outlives_a_life_and_is_asked_for_before_it_is_sent(world):
    sink = world.sink(msgspec.structs.replace(SMALL, drain_timeout_ms=50))
    async with running(sink, world) as task:
        await outage(world, sink)
    assert task.result() is False
    world.proxy.refuse(refusing=False)
    sink = world.sink(SMALL)
    async with running(sink, world) as task:
        world.feed(10)
    assert task.result() is True
    assert sink.delivery.counters.blocks_redriven > 0
    assert world.proxy.seen("SELECT count()") > 0
    assert await world.stored() == world.expected


async def test_the_re_drive_keeps_to_its_rate_while_live_blocks_pass(world):
    per_s = 2_000
    sink = world.sink(msgspec.structs.replace(SMALL, redrive_rows_per_s=per_s))
    delivery, loop = sink.delivery, asyncio.get_running_loop()
    async with running(sink, world) as task:
        await outage(world, sink)
        await until(lambda: delivery.spool.blocks > 6)
        world.proxy.refuse(refusing=False)
        await until(lambda: delivery.counters.blocks_redriven > 0)
        begun, inserted = loop.time(), delivery.counters.blocks_inserted
        rows = sum(block.rows for block in await delivery.spool.planned())
        world.feed(100)
        await until(lambda: delivery.counters.blocks_inserted > inserted + 7)
        assert delivery.spool.blocks > 0, "live blocks waited for the spool"
        await until(lambda: delivery.spool.blocks == 0)
        # The last block's own pause comes after it.
        assert loop.time() - begun > (rows - 1_000) / per_s
    assert task.result() is True
    assert await world.stored() == world.expected


async def test_quiet_keeps_one_table_still_until_nothing_is_open(world):
    sink = world.sink()
    async with running(sink, world) as task, AsyncExitStack() as stack:
        await until(lambda: sink.state is SinkState.LIVE)
        await stack.enter_async_context(sink.delivery.quiet("trades"))
        begun = world.proxy.seen(f"INSERT INTO {world.database}.trades")
        world.feed(200)
        await until(lambda: world.proxy.seen(f"INSERT INTO {world.database}.quotes"))
        await until(lambda: sink.delivery.lanes["trades"].live)
        assert world.proxy.seen(f"INSERT INTO {world.database}.trades") == begun
        await stack.aclose()
    assert task.result() is True
    assert await world.stored() == world.expected


async def test_quiet_waits_for_an_outcome_that_is_open(world):
    sink = world.sink()
    world.proxy.arm(Fault("delay", f"INSERT INTO {world.database}.trades"))
    async with running(sink, world) as task:
        world.feed(100)
        await until(lambda: world.proxy.faults_left == 0)

        async def enter():
            async with sink.delivery.quiet("trades"):
                return sink.delivery.lanes["trades"].unresolved

        async with asyncio.TaskGroup() as group:
            entering = group.create_task(enter())
            await asyncio.sleep(0.05)
            assert not entering.done()
            world.proxy.release()
        assert entering.result() is False
    assert task.result() is True
    assert await world.stored() == world.expected


async def test_a_server_that_answers_again_is_noticed_without_a_block_to_send(world):
    sink = world.sink()
    async with running(sink, world):
        world.feed(20)
        await until(lambda: sink.delivery.counters.blocks_inserted and not sink.blocks_waiting)
        world.proxy.refuse(refusing=True)
        sink.delivery.circuits.server.failed(0, retry_after_s=0)
        assert not sink.delivery.server_available
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(sink.delivery.available())
            await until(lambda: sink.delivery.circuits.attempts_failed)
            assert not waiting.done()
            world.proxy.refuse(refusing=False)
        assert sink.delivery.server_available


async def test_what_may_have_been_sent_before_is_left_to_repair_not_doubled(world):
    """Blocks that an earlier life may have sent: whole, or short of a row, nothing is added."""
    sink = world.sink(msgspec.structs.replace(CONFIG, rows_max=10_000, age_ms_max=60_000))
    async with running(sink, world):
        world.feed(100)
        await until(lambda: sink.state is SinkState.LIVE)
    plan = world.directory / "plan.jsonl"
    promised = [
        line for line in plan.read_bytes().splitlines(keepends=True) if b"commit" not in line
    ]
    plan.write_bytes(b"".join(promised))
    blocks = [line["plan"] for line in map(json.loads, promised) if "plan" in line]
    ((seq,),) = await world.direct.query(f"SELECT min(seq) FROM {world.database}.quotes")
    await world.direct.command(
        f"ALTER TABLE {world.database}.quotes DELETE WHERE seq = {seq} SETTINGS mutations_sync = 1"
    )
    sink = world.sink()
    async with running(sink, world) as task:
        pass
    assert task.result() is True
    assert sink.delivery.counters.blocks_inserted == 0
    assert {each.cause for each in sink.plan.spilled()} == {"in_doubt"}
    assert {each.table for each in sink.plan.spilled()} == {block["table"] for block in blocks}
    rows = world.expected["quotes"][0] - 1
    assert await world.stored() == world.expected | {"quotes": (rows, rows)}


async def test_a_block_with_an_open_outcome_is_sent_again_and_left_to_repair(world):
    """What is behind it is committed as ever."""
    sink = world.sink(msgspec.structs.replace(CONFIG, rows_max=200))
    async with running(sink, world) as task:
        world.proxy.arm(Fault("cut_after", match="insert_deduplication_token=trades"))
        world.feed(300)
        await until(lambda: world.proxy.faults_left == 0)
        world.feed(300)
    assert task.result() is True
    assert [(each.table, each.cause) for each in sink.plan.spilled()] == [("trades", "in_doubt")]
    assert sink.delivery.counters.blocks_inserted > 3
    assert await world.stored() == world.expected
