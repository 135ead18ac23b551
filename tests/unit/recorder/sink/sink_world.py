"""What the tests of sink and delivery share: a real ClickHouse behind a breaking proxy, a raw log.

It tests nothing itself.
"""

import asyncio
import contextlib
from dataclasses import replace
from random import Random

import msgspec
import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig, SinkConfig
from recorder.sink.plan import Plan
from recorder.sink.sink import Sink, SinkState
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from tickd.clock import SystemClock
from tickd.native import EVENT_TABLES, BlockBuilder
from tickd.testing.events import EventStream
from tickd.testing.faulty_proxy import Fault, FaultyProxy
from tickd.testing.memory_log import MemoryBursts, MemoryLog

CONFIG = SinkConfig(
    rows_max=100,
    age_ms_min=5,
    age_ms_max=20,
    backoff_ms_min=1,
    backoff_ms_max=20,
    # A busy machine's server takes its time for hundreds of small blocks.
    drain_timeout_ms=60_000,
)


class World:
    """What outlives a sink: server, proxy, raw log, state directory. One stream of events."""

    def __init__(self, endpoint, proxy, database, directory, seed):
        self.proxy, self.database, self.directory = proxy, database, directory
        self.direct = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
        broken = replace(endpoint, url=proxy.url)
        self.clickhouse = ClickHouse(ClickHouseConfig(database=database), lambda: broken)
        self.log = MemoryLog()
        self.stream = EventStream(seed=seed)
        self.bursts = MemoryBursts()
        for definition in self.stream.definition_bytes():
            self.log.define(definition)

    def sink(self, config=CONFIG, **options):
        self.bursts = MemoryBursts()
        sink = Sink(
            config,
            node=1,
            plan=Plan(self.directory / "plan.jsonl"),
            spool=Spool(
                self.directory / "spool", bytes_max=config.spool_bytes_max, clock=SystemClock()
            ),
            clickhouse=self.clickhouse,
            progress=self.log,
            replay=self.log,
            frame_recovered=self.log.frame_last,
            quarantine=Quarantine(self.directory / "quarantine"),
            clock=SystemClock(),
            random=Random(0).random,
            **options,
        )
        sink.delivery.open()
        return sink

    def feed(self, frames):
        self.bursts.put(self.log.append(self.stream.batch(frames)))

    async def stored(self):
        """(rows, distinct seqs) per table that has any."""
        found = {}
        for table in EVENT_TABLES:
            sql = f"SELECT count(), uniqExact(node, seq) FROM {self.database}.{table}"
            ((rows, distinct),) = await self.direct.query(sql)
            if rows:
                found[table] = (rows, distinct)
        return found

    def rows_in(self, table, seq_from, seq_to):
        """Rows that the whole log has of a table between two sequence numbers."""
        builder = BlockBuilder(node=1, seq_from=seq_from, seq_to=seq_to, tables=[table])
        for part in self.log.read(0, 1 << 47):
            for definition in part.definitions:
                builder.define(definition)
            if part.batch is not None:
                builder.push(part.batch)
        return sum(block.rows for block in builder.finish())

    @property
    def expected(self):
        return {table: (rows, rows) for table, rows in self.stream.rows.items()}


@pytest.fixture
async def world(endpoint, database, tmp_path, request):
    port = int(endpoint.url.rpartition(":")[2])
    async with FaultyProxy("127.0.0.1", port) as proxy:
        world = World(endpoint, proxy, database, tmp_path, getattr(request, "param", 1))
        yield world
        await world.direct.close()
        await world.clickhouse.close()


@contextlib.asynccontextmanager
async def running(sink, world):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sink.run(world.bursts))
        yield task
        world.bursts.close()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the sink offers no event for each
            await asyncio.sleep(0.001)


async def fed_through_faults(world):
    """Feed a sink through a network that breaks four inserts; return the sink, which has ended."""
    sink = world.sink()
    world.proxy.arm(*map(Fault, ("cut_after", "cut_before", "cut_inside", "cut_after")))
    async with running(sink, world) as task:
        for _ in range(5):
            world.feed(60)
            await asyncio.sleep(0)
    assert task.result() is True
    assert world.proxy.faults_left == 0
    return sink


SMALL = msgspec.structs.replace(CONFIG, block_bytes_max=1 << 16, pending_bytes_max=1 << 17)


async def outage(world, sink, *, batches=100):
    """ClickHouse refuses while `batches` come; return the most that was held."""
    await until(lambda: sink.state is SinkState.LIVE)
    world.proxy.refuse(refusing=True)
    held_bytes_max = 0
    for _ in range(batches):
        world.feed(50)
        await asyncio.sleep(0.002)
        held_bytes_max = max(held_bytes_max, sink.held_bytes)
    return held_bytes_max
