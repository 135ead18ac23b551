"""A closed day put in place as a whole; an open one, or one that cannot be read, refused."""

import time

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.errors import RepairError
from recorder.repair.bar_repair import BARS
from recorder.repair.day_swap import DaySwap
from tests.unit.recorder.repair.test_repair import DELETE, TWICE, World
from tickd.clock import SystemClock
from tickd.native import EVENT_TABLES
from tickd.testing.clock import ManualClock
from tickd.testing.wire_log import WireLog

# Whole days of rows several times over: too slow for the quick tests.
pytestmark = [pytest.mark.embedded, pytest.mark.proof, pytest.mark.timeout(120)]

DAY_NS = 86_400 * 10**9


def record_days(directory, first_ns, step_ns, frames=200):
    """A log whose frames were received every `step_ns` from a moment in the past on."""
    log = WireLog(directory / "raw", 1, group_bytes=4_000, segment_bytes_max=5_000)
    log.burst(0)
    for number in range(frames):
        log.raw_log.frame_at(
            log._connection, log._message(), first_ns + number * step_ns, number * step_ns
        )
        if number % 40 == 39:
            log.raw_log.end_burst(log.decoder)
            log.settle()
    log.raw_log.end_burst(log.decoder)
    frame_last = log.raw_log.next_frame_no - 1
    log.close()
    return frame_last


@pytest.fixture
async def client(endpoint, database):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield client
    await client.close()


@pytest.fixture
async def world(client, tmp_path):
    """An hour on each side of a midnight long ago; node 2 has rows of its own there."""
    world = World(tmp_path, client)
    midnight = time.time_ns() // DAY_NS * DAY_NS - 5 * DAY_NS
    world.day = midnight // DAY_NS
    world.frame_last = record_days(tmp_path, midnight - DAY_NS // 24, DAY_NS // 12 // 200)
    await world.rebuild(world.frame_last)
    for table in ("trades", "quotes"):
        await world.client.command(
            f"INSERT INTO {world.database}.{table} "
            f"SELECT * REPLACE (2 AS node) FROM {world.database}.{table} WHERE seq % 3 = 0"
        )
    world.rows = await world.check()
    world.swap = DaySwap(tmp_path / "raw", world.repair, client, clock=SystemClock(), node=1)
    yield world
    world.close()


async def others(world):
    found = []
    for table in ("trades", "quotes", *(bars.table for bars in BARS)):
        columns = "*" if not table.startswith("ohlcv") else "volume, high, low, trades"
        found += await world.client.query(
            f"SELECT '{table}', count(), sum(cityHash64({columns})) "
            f"FROM {world.database}.{table} WHERE node = 2"
        )
    return found


async def test_a_ruined_day_is_replaced_and_nothing_else_is_touched(world):
    before = await others(world)
    for table in ("trades", "quotes", "book"):
        for statement in (TWICE, DELETE):
            await world.client.command(
                statement.format(db=world.database, table=table, which="node = 1 AND seq % 5 > 1")
            )
    # Outside the day it stays as it is: this is not a repair of a range.
    rows = {table: await world.swap.replace(table, world.day) for table in EVENT_TABLES}
    assert rows["trades"] > 0
    assert rows["quotes"] > 0
    assert rows["liquidations"] == 0
    for table in ("trades", "quotes", "book"):
        doubled = await world.one(
            f"SELECT count() - uniqExact(seq) FROM {world.database}.{table} "
            f"WHERE node = 1 AND toYYYYMMDD(ts_recv) = toYYYYMMDD(toDate({world.day}))"
        )
        assert doubled == 0
    assert await others(world) == before
    await world.rebuild(world.frame_last)
    await world.check(world.rows)
    left = await world.client.query(
        "SELECT name FROM system.tables "
        "WHERE database = {database:String} AND name LIKE '%_swap_%'",
        {"database": world.database},
    )
    assert left == []


async def test_bars_follow_the_replaced_trades(world):
    await world.client.command(
        TWICE.format(db=world.database, table="trades", which="node = 1 AND seq % 2 = 0")
    )
    for day in (world.day - 1, world.day):
        await world.swap.replace("trades", day)
    await world.check(world.rows)


async def test_what_an_earlier_run_left_beside_goes(world):
    await world.client.command(
        f"CREATE TABLE {world.database}.trades_swap_1_5 AS {world.database}.trades"
    )
    await world.swap.replace("trades", world.day)
    assert (
        await world.one(
            f"SELECT count() FROM system.tables WHERE database = '{world.database}' "
            "AND name = 'trades_swap_1_5'"
        )
        == 0
    )


async def test_today_is_refused_whoever_has_the_wrong_clock(world):
    today = time.time_ns() // DAY_NS
    with pytest.raises(RepairError, match="not closed"):
        await world.swap.replace("trades", today)
    slow = DaySwap(
        world.directory / "raw",
        world.repair,
        world.client,
        clock=ManualClock(wall_ns=world.day * DAY_NS),
        node=1,
    )
    with pytest.raises(RepairError, match="not closed"):
        await slow.replace("trades", world.day)


async def test_a_day_that_cannot_be_read_whole_is_refused_before_anything_changes(world):
    segments = sorted((world.directory / "raw" / "segments").glob("*.tkraw"))
    segments[len(segments) // 2].rename(world.directory / "aside")

    async def every_day():
        for day in (world.day - 1, world.day):
            await world.swap.replace("quotes", day)

    with pytest.raises(RepairError, match="is not here"):
        await every_day()
    (world.directory / "aside").rename(segments[len(segments) // 2])
    await world.check(world.rows)


async def test_a_node_that_writes_into_the_day_is_noticed(world):
    """Its row comes after the copy; the swap would lose it."""
    swap = world.swap
    copy = swap._copy_others

    async def copy_and_be_too_late(table, beside, day):
        copied = await copy(table, beside, day)
        await world.client.command(
            f"INSERT INTO {world.database}.trades "
            "SELECT * REPLACE (2 AS node, seq + 1 AS seq) FROM "
            f"(SELECT * FROM {world.database}.trades "
            f"WHERE node = 1 AND toYYYYMMDD(ts_recv) = toYYYYMMDD(toDate({day})) LIMIT 1)"
        )
        return copied

    swap._copy_others = copy_and_be_too_late
    with pytest.raises(RepairError, match="another node"):
        await swap.replace("trades", world.day)
    await world.check(world.rows)
