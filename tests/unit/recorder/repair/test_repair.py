"""ClickHouse made equal to the raw log: whatever is missing, doubled, changed or in the way."""

import asyncio
from random import Random

import msgspec
import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig, RepairConfig
from recorder.raw.stretches import LogStretches
from recorder.repair.bar_repair import BARS
from recorder.repair.journal import RepairJournal
from recorder.repair.parts import Part
from recorder.repair.ports import Alone
from recorder.repair.repair import Repair
from recorder.schema.bars import bars_select
from recorder.sink.plan import Plan, PlannedBlock
from recorder.sink.plan_thread import PlanThread
from recorder.sink.retry import RetryPolicy
from recorder.spool.quarantine import Quarantine
from recorder.verify.report import Kind
from recorder.verify.verify import verify
from tests.harness.stored_log import StoredLog
from tickd.clock import SystemClock
from tickd.native import EVENT_TABLES
from tickd.testing.wire_log import WireLog

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

POLICY = RetryPolicy(delay_ms_min=1, delay_ms_max=20)
CONFIG = RepairConfig(rows_per_s=0, step_events_max=1_000, delete_within_s=2)


class World:
    """A raw log, a database, and a repair of node 1 between them."""

    def __init__(self, directory, client, *, config=CONFIG, traffic=None):
        self.directory, self.client, self.database = directory, client, client.database
        self.plan = PlanThread(
            Plan(directory / "sink" / "plan.jsonl"),
            clock=SystemClock(),
            policy=POLICY,
            random=Random(1).random,
        )
        self.repair = Repair(
            config,
            node=1,
            stretches=LogStretches(directory / "raw", node=1, events_max=300),
            clickhouse=client,
            ledger=self.plan,
            traffic=traffic or Alone(),
            journal=RepairJournal(directory / "sink" / "repair.json"),
            quarantine=Quarantine(directory / "sink" / "quarantine"),
            clock=SystemClock(),
            policy=POLICY,
            random=Random(2).random,
            wait_for_open=False,
        )

    def close(self):
        self.repair.close()
        self.plan.close()

    async def spill(self, frame_to, *, frame_from=0, tables=EVENT_TABLES):
        for table in tables:
            await self.plan.spill(table, frame_from << 16, frame_to << 16 | 0xFFFF, "by hand")

    async def rebuild(self, frame_to, **where):
        await self.spill(frame_to, **where)
        await self.repair.run()
        assert self.plan.spilled() == []

    async def one(self, sql):
        return (await self.client.query(sql))[0][0]

    async def bars(self):
        """Every bar of every interval, as stored and as the trades want them."""
        stored, wanted = {}, {}
        for bars in BARS:
            columns = f"instrument, toUnixTimestamp({bars.column}), node, source"
            merged = (
                "any(price_scale), any(size_scale), argMinMerge(open), max(high), min(low), "
                "argMaxMerge(close), sum(volume), sum(buy_volume), sum(turnover), sum(trades)"
            )
            group = f"GROUP BY instrument, {bars.column}, node, source"
            for name, source in (
                (stored, f"{self.database}.{bars.table}"),
                (wanted, f"({bars_select(bars, self.database)})"),
            ):
                rows = await self.client.query(
                    f"SELECT {columns}, {merged} FROM {source} {group} ORDER BY ALL"
                )
                name[bars.table] = rows
        return stored, wanted

    async def check(self, rows=None):
        report = await verify(self.directory / "raw", self.client, node=1)
        # The second node of these tests has rows, but no log.
        assert [each for each in report.findings if each.kind is not Kind.NODE_UNKNOWN] == []
        stored, wanted = await self.bars()
        assert stored == wanted
        assert len(wanted["ohlcv_1s"]) > 0
        found = {table: report.table(table).raw_log or 0 for table in EVENT_TABLES}
        if rows is not None:
            assert found == rows
        return found


def record(directory, bursts=8, frames=50, seed=1, **options):
    log = WireLog(directory / "raw", seed, **options)
    for _ in range(bursts):
        log.burst(frames)
        log.settle()
    frame_last = log.raw_log.next_frame_no - 1
    log.close()
    return frame_last


@pytest.fixture
async def client(endpoint, database):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield client
    await client.close()


@pytest.fixture
async def bare(client, tmp_path):
    """A raw log, and a ClickHouse that has nothing of it."""
    world = World(tmp_path, client)
    world.frame_last = record(tmp_path, segment_bytes_max=5_000, group_bytes=4_000)
    yield world
    world.close()


@pytest.fixture
async def world(bare):
    """ClickHouse holds what the raw log says, without any repair so far."""
    await StoredLog(bare.directory, bare.client).store()
    bare.rows = await bare.check()
    return bare


async def test_an_empty_server_is_filled(bare):
    world = bare
    await world.rebuild(world.frame_last)
    world.rows = await world.check()
    assert min(world.rows[table] for table in ("trades", "quotes", "book", "gaps")) > 0
    assert world.repair.counters.rows_inserted == sum(world.rows.values())
    assert world.repair.counters.stretches > 2


async def test_what_is_right_is_left_alone(world):
    inserted = world.repair.counters.rows_inserted
    await world.rebuild(world.frame_last)
    assert world.repair.counters.rows_inserted == inserted
    assert world.repair.bars.hours_made == 0
    await world.check(world.rows)


DELETE = "DELETE FROM {db}.{table} WHERE node = 1 AND {which}"
TWICE = (
    "INSERT INTO {db}.{table} SELECT * FROM {db}.{table} WHERE {which} "
    "SETTINGS deduplicate_insert = 'disable', insert_deduplicate = 0"
)
ALTER = "ALTER TABLE {db}.{table} UPDATE {change} WHERE {which} SETTINGS mutations_sync = 1"
HARM = {
    "rows deleted": [DELETE],
    "rows doubled": [TWICE],
    "rows altered": [ALTER.replace("{change}", "flags = flags + 1")],
    "doubled and deleted": [TWICE, DELETE],
    "another time": [ALTER.replace("{change}", "ts_event = ts_event + INTERVAL 2 HOUR")],
}


@pytest.mark.proof
@pytest.mark.parametrize("harm", HARM)
async def test_harm_by_hand_is_undone(world, harm):
    for table in ("trades", "quotes", "book", "gaps"):
        for statement in HARM[harm]:
            await world.client.command(
                statement.format(db=world.database, table=table, which="seq % 7 = 1")
            )
    report = await verify(world.directory / "raw", world.client, node=1)
    if harm in ("rows deleted", "rows doubled", "doubled and deleted"):
        assert report.findings
    await world.rebuild(world.frame_last)
    await world.check(world.rows)


async def test_a_dropped_partition_comes_back(world):
    for table in EVENT_TABLES:
        for (partition,) in await world.client.query(
            f"SELECT DISTINCT _partition_id FROM {world.database}.{table}"
        ):
            await world.client.command(
                f"ALTER TABLE {world.database}.{table} DROP PARTITION ID '{partition}'"
            )
    await world.rebuild(world.frame_last)
    await world.check(world.rows)


async def test_rows_that_the_raw_log_does_not_have_go(world):
    """Two kinds: numbers that no frame has, and a copy of a row at another time of another day."""
    columns = "* REPLACE (seq + 3 AS seq)", "* REPLACE (ts_recv - INTERVAL 3 DAY AS ts_recv)"
    for select in columns:
        await world.client.command(
            f"INSERT INTO {world.database}.quotes "
            f"SELECT {select} FROM {world.database}.quotes LIMIT 3"
        )
    await world.rebuild(world.frame_last)
    await world.check(world.rows)


@pytest.mark.parametrize("bars", BARS, ids=lambda bars: bars.table)
async def test_wrong_bars_are_made_again(world, bars):
    for statement in (
        f"DELETE FROM {world.database}.{bars.table} WHERE instrument % 2 = 0",
        (
            f"ALTER TABLE {world.database}.{bars.table} UPDATE volume = volume + 1 WHERE 1 "
            "SETTINGS mutations_sync = 1"
        ),
        (
            f"INSERT INTO {world.database}.{bars.table} "
            f"SELECT * FROM {world.database}.{bars.table} LIMIT 1"
        ),
    ):
        await world.client.command(statement)
    stored, wanted = await world.bars()
    assert stored != wanted
    await world.rebuild(world.frame_last, tables=["trades"])
    await world.check(world.rows)
    assert world.repair.bars.hours_made > 0


async def test_hours_of_fetched_trades_outlive_a_crash_and_are_no_difference_meanwhile(world):
    table = BARS[0].table
    hours = {
        int(hour)
        for (hour,) in await world.client.query(
            f"SELECT DISTINCT toUnixTimestamp(toStartOfHour(second)) FROM {world.database}.{table}"
        )
    }
    await world.repair.note_filled(hours, 0)
    await world.client.command(f"DELETE FROM {world.database}.{table} WHERE instrument % 2 = 0")
    report = await verify(world.directory / "raw", world.client, node=1)
    assert [each for each in report.findings if each.kind is not Kind.NODE_UNKNOWN] == []
    assert report.checked.hours_due == len(hours)
    successor = World(world.directory, world.client)
    assert not successor.repair.idle
    await successor.repair.run()
    assert successor.repair.bars.hours_made == len(hours)
    assert successor.repair.idle
    successor.close()
    await world.check(world.rows)


async def test_bars_are_not_made_while_a_predecessors_trades_arrive(world):
    """Its insert goes on in the server, and its views would add to what was made meanwhile."""
    await world.client.command(f"TRUNCATE TABLE {world.database}.ohlcv_1m")
    slow = "SELECT sleepEachRow(0.1) FROM numbers(20) SETTINGS max_block_size = 1"
    async with asyncio.TaskGroup() as group:
        predecessor = group.create_task(
            world.client.command(slow, settings={"insert_deduplication_token": "trades-1-late"})
        )
        while not await world.client.running(token="trades-1-"):
            assert not predecessor.done()
        await world.rebuild(world.frame_last)
        assert predecessor.done()
    assert world.repair.bars.hours_made > 0
    await world.check(world.rows)


async def test_another_nodes_rows_and_bars_are_not_touched(world):
    for table in ("trades", "quotes"):
        await world.client.command(
            f"INSERT INTO {world.database}.{table} "
            f"SELECT * REPLACE (2 AS node) FROM {world.database}.{table} WHERE seq % 3 = 0"
        )
    other = {}
    for table in ("trades", "quotes", *(bars.table for bars in BARS)):
        sql = f"SELECT count(), sum(cityHash64(*)) FROM {world.database}.{table} WHERE node = 2"
        if table.startswith("ohlcv"):
            sql = sql.replace("cityHash64(*)", "cityHash64(volume, high, low, trades)")
        other[sql] = await world.client.query(sql)
    assert all(rows[0][0] > 0 for rows in other.values())
    for table in ("trades", "quotes"):
        await world.client.command(
            TWICE.format(db=world.database, table=table, which="node = 1 AND seq % 5 = 0")
        )
    await world.rebuild(world.frame_last)
    for sql, before in other.items():
        assert await world.client.query(sql) == before
    await world.check()


async def test_a_range_is_all_that_is_touched(world):
    """Outside the named range and tables harm stays."""
    half = world.frame_last // 2
    await world.client.command(
        DELETE.format(
            db=world.database, table="trades", which=f"seq < {half << 16} AND seq % 3 = 1"
        )
    )
    await world.client.command(DELETE.format(db=world.database, table="quotes", which="1"))
    left = await world.one(f"SELECT count() FROM {world.database}.trades")
    await world.rebuild(world.frame_last, frame_from=half, tables=["trades"])
    assert await world.one(f"SELECT count() FROM {world.database}.trades") == left
    assert await world.one(f"SELECT count() FROM {world.database}.quotes") == 0
    await world.rebuild(world.frame_last)
    await world.check(world.rows)


async def test_a_dry_run_names_what_differs_and_changes_nothing(world):
    await world.client.command(
        DELETE.format(db=world.database, table="quotes", which="seq % 3 = 1")
    )
    await world.client.command(TWICE.format(db=world.database, table="book", which="seq % 3 = 1"))
    before = await world.one(f"SELECT count() FROM {world.database}.quotes")
    part = Part(0, world.frame_last << 16 | 0xFFFF, tuple(EVENT_TABLES))
    found = [difference async for difference in world.repair.compare([part])]
    assert {(each.table, each.what) for each in found} == {
        ("quotes", "other rows"),
        ("book", "doubled"),
    }
    missing = sum(each.raw_log - each.found for each in found if each.table == "quotes")
    assert missing == world.rows["quotes"] - before
    assert await world.one(f"SELECT count() FROM {world.database}.quotes") == before
    assert world.plan.spilled() == []


async def test_a_segment_that_is_not_here_is_left_and_named(world):
    segments = sorted((world.directory / "raw" / "segments").glob("*.tkraw"))
    assert len(segments) > 2
    aside = world.directory / segments[1].name
    segments[1].rename(aside)
    await world.client.command(DELETE.format(db=world.database, table="quotes", which="1"))
    await world.spill(world.frame_last)
    await world.repair.run()
    spilled = world.plan.spilled()
    first, after = (int(path.name[:20]) for path in segments[1:3])
    assert {(each.seq_from, each.seq_to) for each in spilled} == {
        (first << 16, ((after - 1) << 16) | 0xFFFF)
    }
    assert "is not here" in next(iter(world.repair.counters.holes.values()))
    aside.rename(segments[1])
    await world.repair.run()
    assert world.plan.spilled() == []
    await world.check(world.rows)


async def test_planned_blocks_are_the_daemons_to_bring(world):
    planned = msgspec.structs.replace(
        next(iter(_blocks(world))), seq_from=100 << 16, seq_to=200 << 16
    )
    await world.plan.plan([planned], 200 << 16)
    await world.spill(world.frame_last)
    await world.repair.run()
    assert {each.table for each in world.plan.spilled()} == set(EVENT_TABLES)
    await world.plan.commit(planned, "inserted")
    await world.repair.run()
    assert world.plan.spilled() == []


def _blocks(world):
    stretches = LogStretches(world.directory / "raw", node=1)
    for piece in stretches.read(0, world.frame_last << 16, ["trades"]):
        for block in piece.blocks:
            yield PlannedBlock.of(block, 1)


@pytest.mark.proof
async def test_cancelled_anywhere_and_run_again_it_ends_the_same(world):
    """Fifteen times at random moments of a repair with everything to do."""
    dice = Random(3)
    for table in ("trades", "quotes"):
        await world.client.command(
            TWICE.format(db=world.database, table=table, which="seq % 3 = 1")
        )
        await world.client.command(DELETE.format(db=world.database, table=table, which="seq % 5"))
    await world.spill(world.frame_last)
    for _ in range(15):
        try:
            async with asyncio.timeout(dice.random() * 0.3):
                await world.repair.run()
        except TimeoutError:
            continue
        break
    await world.repair.run()
    assert world.plan.spilled() == []
    await world.check(world.rows)
