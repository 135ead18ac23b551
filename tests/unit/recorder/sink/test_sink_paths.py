"""The whole sink over every insert path: formats, a change of format, a change of server."""

import asyncio
import contextlib

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.sink.sink import SinkState
from tests.unit.recorder.sink.sink_world import fed_through_faults, running, until, world
from tickd.testing.faulty_proxy import Fault, FaultyProxy

__all__ = ["world"]  # a fixture

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]


async def use(world, *urls, **options):
    """Let the next sinks of `world` talk to these URLs, in this way."""
    await world.clickhouse.close()
    config = ClickHouseConfig(
        url=urls or (world.proxy.url,),
        replicas=True,
        database=world.database,
        password=world.direct.endpoint.password,
        **options,
    )
    world.clickhouse = ClickHouse(config)


async def crash(sink, world):
    """Run until something is sent and no answer comes, then die without a last word."""
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(sink.run(world.bursts))
            await until(lambda: sink.state is SinkState.LIVE)
            world.proxy.arm(Fault("delay", match="insert_deduplication_token"))
            world.feed(100)
            await until(lambda: not world.proxy.faults_left)
            task.cancel()
            await task


@pytest.mark.parametrize(
    ("form", "compression"), [("row_binary", "lz4"), ("json", "gzip"), ("native", "zstd")]
)
async def test_every_format_goes_through_a_broken_network_once(world, form, compression):
    await use(world, format=form, compression=compression)
    await fed_through_faults(world)
    assert await world.stored() == world.expected


async def test_another_format_after_a_crash_stores_nothing_twice(world):
    for form in ("native", "row_binary", "json"):
        await use(world, format=form)
        await crash(world.sink(), world)
    world.proxy.release()
    await use(world)
    sink = world.sink()
    async with running(sink, world) as task:
        world.feed(10)
    assert task.result() is True
    assert sink.delivery.counters.rebuilt_differently == 0
    assert await world.stored() == world.expected


async def test_another_replica_takes_over_and_stores_nothing_twice(world):
    port = int(world.direct.endpoint.url.rpartition(":")[2])
    async with FaultyProxy("127.0.0.1", port) as second:
        await use(world, world.proxy.url, second.url)
        sink = world.sink()
        async with running(sink, world) as task:
            await until(lambda: sink.state is SinkState.LIVE)
            world.proxy.arm(Fault("cut_after", match="insert_deduplication_token"))
            for proxy in (world.proxy, second, world.proxy):
                world.feed(60)
                blocks = sink.delivery.counters.blocks_inserted
                await until(lambda blocks=blocks: sink.delivery.counters.blocks_inserted > blocks)
                proxy.refuse(refusing=True)
                other = second if proxy is world.proxy else world.proxy
                other.refuse(refusing=False)
        assert task.result() is True
        assert world.clickhouse.failover.moves >= 3
        assert second.seen("insert_deduplication_token") > 0
        assert await world.stored() == world.expected
        await world.clickhouse.close()
