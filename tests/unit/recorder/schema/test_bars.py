"""Bars equal their trades: after repeats, repairs, and in tables that came later than the trades.

Method: the oracle computes every bar from the blocks' rows in plain Python.
"""

import asyncio
import re
import time
from collections import defaultdict
from dataclasses import replace

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.errors import ClickHouseError, ServerBusyError, ServerUnreachableError
from recorder.repair.bar_repair import BarRepair, spans_of
from recorder.repair.deletes import Deletes
from recorder.schema.bars import BARS, backfill, hours_lacking, view_select
from recorder.schema.migrate import ddl_directory, migrate, read_migrations
from tests.reference.native_block import read_block
from tickd.clock import SystemClock
from tickd.events import Flag
from tickd.native import BlockBuilder, SinkWorker
from tickd.testing.events import EventStream
from tickd.testing.faulty_proxy import Fault, FaultyProxy

NS = 10**9
DAY_NS = 86_400 * NS
LONG_AGO_NS = 1_723_161_599 * NS  # 2024-08-08T23:59:59Z: crosses midnight after a second
OPEN_CLOSE = "argMinMerge(open), max(high), min(low), argMaxMerge(close)"
SUMS = "toString(sum(volume)), toString(sum(buy_volume)), toString(sum(turnover)), sum(trades)"


@pytest.fixture
async def client(endpoint, database):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield client
    await client.close()


def blocks_of(node, seed=1, *, frames=3_000, start_ns=LONG_AGO_NS):
    stream = EventStream(seed=seed)
    stream.ts_recv = start_ns
    builder = BlockBuilder(node=node, tables=["trades"])
    builder.push(stream.batch(frames))
    return builder.finish()


async def store(client, blocks):
    for block in blocks:
        await client.insert_block(block, f"{block.day}-{block.hash}")


def oracle(blocks, seconds):
    """Bars as plain Python makes them: (instrument, start, node, source) -> values."""
    groups = defaultdict(list)
    for block in blocks:
        for row in read_block(block.body)[2]:
            if row["flags"] & Flag.SYNTHETIC:
                continue
            event, recv = row["ts_event"], row["ts_recv"]
            at = recv if abs(event - recv) > DAY_NS else event
            start = at // NS // seconds * seconds
            aggregate = bool(row["flags"] & Flag.AGGREGATE)
            groups[row["instrument"], start, row["node"], int(aggregate)].append(row)
    bars = {}
    for key, rows in groups.items():
        rows.sort(key=lambda row: row["seq"])
        prices, sizes = [row["price"] for row in rows], [row["size"] for row in rows]
        turnover = sum(price * size for price, size in zip(prices, sizes, strict=True))
        bought = sum(row["size"] for row in rows if row["side"] == "B")
        ends = (prices[0], max(prices), min(prices), prices[-1])
        bars[key] = (*ends, str(sum(sizes)), str(bought), str(turnover), len(rows))
    return bars


async def bars_in(client, bars):
    rows = await client.query(
        f"SELECT instrument, toUnixTimestamp({bars.column}) AS start, node,"
        f" toInt8(source) AS kind, {OPEN_CLOSE}, {SUMS}"
        f" FROM {client.database}.{bars.table} GROUP BY instrument, start, node, kind"
    )
    return {tuple(row[:4]): tuple(row[4:]) for row in rows}


async def assert_equal(client, blocks):
    for bars in BARS:
        assert await bars_in(client, bars) == oracle(blocks, bars.seconds), bars.table


def test_the_list_names_every_ohlcv_table_of_the_migrations():
    text = "".join(migration.text for migration in read_migrations(ddl_directory()))
    created = re.findall(r"TABLE IF NOT EXISTS \{\{database\}\}\.(ohlcv_\w+)", text)
    assert sorted(created) == sorted(bars.table for bars in BARS)
    assert sorted(re.findall(r"VIEW IF NOT EXISTS \{\{database\}\}\.(ohlcv_\w+)", text)) == sorted(
        bars.view for bars in BARS
    )


@pytest.mark.embedded
async def test_recomputing_is_what_the_views_do(client):
    for bars in BARS:
        ((view,),) = await client.query(
            "SELECT as_select FROM system.tables"
            f" WHERE database = '{client.database}' AND name = '{bars.view}'"
        )
        assert view == view_select(bars, client.database)


@pytest.mark.embedded
async def test_bars_of_every_interval_equal_the_trades_across_midnight(client):
    blocks = [*blocks_of(1), *blocks_of(2, seed=2)]
    assert len({block.day for block in blocks}) == 2
    await store(client, blocks)
    await store(client, blocks)
    await assert_equal(client, blocks)


@pytest.mark.embedded
async def test_a_repeat_completes_the_bars_that_its_first_attempt_did_not_reach(client):
    blocks = blocks_of(1)
    table = f"{client.database}.ohlcv_1h"
    await client.command(f"RENAME TABLE {table} TO {table}_away")
    with pytest.raises(ClickHouseError):
        await store(client, blocks[:1])
    await client.command(f"RENAME TABLE {table}_away TO {table}")
    for _ in range(2):
        await store(client, blocks)
    await assert_equal(client, blocks)


@pytest.mark.embedded
@pytest.mark.parametrize("form", ["native", "row_binary", "json"])
async def test_no_fault_doubles_or_drops_a_bar(endpoint, own_database, form):
    """Each block meets another fault, then its repeat goes through: same rows, same token."""
    port = int(endpoint.url.rpartition(":")[2])
    async with FaultyProxy("127.0.0.1", port) as proxy:
        config = ClickHouseConfig(database=own_database, format=form, insert_timeout_ms=2_000)
        client = ClickHouse(config, lambda: replace(endpoint, url=proxy.url))
        blocks = []
        for seed, mode in enumerate(("cut_after", "cut_before", "cut_inside", "delay", "twice")):
            worker = SinkWorker(node=seed, seq_from=0, layout=client.block_format)
            stream = EventStream(seed=seed)
            stream.ts_recv = LONG_AGO_NS
            worker.push(stream.batch(200))
            worker.cut("test")
            while worker.cuts_pending:
                pass
            (block,) = (each for each in worker.take()[0].blocks if each.table == "trades")
            if mode == "twice":
                await client.insert_block(block, block.hash)
            else:
                proxy.arm(Fault(mode, match="insert_deduplication_token"))
                with pytest.raises(ServerUnreachableError) as caught:
                    await client.insert_block(block, block.hash)
                assert caught.value.outcome == "unknown"
                if mode == "delay":
                    proxy.release()
            await client.insert_block(block, block.hash)
            assert proxy.faults_left == 0
            worker.close()
            stream = EventStream(seed=seed)
            stream.ts_recv = LONG_AGO_NS
            builder = BlockBuilder(node=seed, tables=["trades"])
            builder.push(stream.batch(200))
            blocks += builder.finish()
        await client.close()
    direct = ClickHouse(ClickHouseConfig(database=own_database), lambda: endpoint)
    await assert_equal(direct, blocks)
    await direct.close()


@pytest.mark.embedded
async def test_tables_that_come_later_get_the_bars_of_older_trades(endpoint):
    client = ClickHouse(ClickHouseConfig(database="late_bars"), lambda: endpoint)
    migrations = read_migrations(ddl_directory())
    await migrate(client, migrations=migrations[:4])
    blocks = [*blocks_of(1), *blocks_of(2, seed=2)]
    await store(client, blocks)
    # Cut off between its statements and its line in the history: run again, it does not double.
    for statement in migrations[4].statements({"database": "late_bars"}):
        await client.command(statement)
    await store(client, blocks_of(1)[:1])
    first = await migrate(client)
    await assert_equal(client, blocks)
    assert first.applied[0] == "005_more_bars"
    assert (await migrate(client, node=1)).applied == ()
    newer = blocks_of(3, seed=3)
    await store(client, newer)
    await store(client, newer)
    await assert_equal(client, [*blocks, *newer])
    await client.close()


@pytest.mark.embedded
async def test_a_node_that_runs_elsewhere_makes_its_latest_days_at_its_own_start(client):
    now_s = int(time.time())  # tells the server's clock: rows of today
    old, today = blocks_of(1), blocks_of(1, 3, frames=200, start_ns=(now_s - 2) * NS)
    await store(client, [*old, *today])
    for bars in BARS:
        await client.command(f"TRUNCATE TABLE {client.database}.{bars.table}")
    await backfill(client, BARS)
    await assert_equal(client, old)
    assert await hours_lacking(client, BARS, node=2, applied_s=now_s) == set()
    hours = {start for _, start, *_ in oracle(today, 3_600)}
    assert await hours_lacking(client, BARS, node=1, applied_s=now_s) == hours
    assert await hours_lacking(client, BARS, node=1, applied_s=now_s - 9 * 86_400) == set()
    clock = SystemClock()
    repair = BarRepair(client, Deletes(client, clock, node=1), node=1)
    for bars in BARS:
        wrong = await repair.differing(bars, hours)
        assert set(wrong) == hours
        for span, rows in spans_of(wrong):
            await repair.insert(bars, span, rows, "once")
    await assert_equal(client, [*old, *today])
    assert await hours_lacking(client, BARS, node=1, applied_s=now_s) == set()
    assert await backfill(client, BARS) == 0


@pytest.mark.embedded
async def test_a_server_that_still_makes_bars_for_a_dead_migration_is_left_alone(client):
    """What it makes would double what the next migration makes."""
    blocks = blocks_of(1)
    await store(client, blocks)
    await client.command(f"TRUNCATE TABLE {client.database}.ohlcv_1h")
    slow = "SELECT sleepEachRow(0.1) FROM numbers(10) SETTINGS max_block_size = 1"
    async with asyncio.TaskGroup() as group:
        predecessor = group.create_task(client.command(f"/* tickd-bars */ {slow}"))
        while not await client.running(mark="/* tickd-bars */"):
            assert not predecessor.done()
        with pytest.raises(ServerBusyError, match="being made"):
            await backfill(client, BARS)
    assert await backfill(client, BARS) == 2
    await assert_equal(client, blocks)


MINUTE_S = 1_723_161_540  # 2024-08-08T23:59:00Z
TRADES = "(node, seq, ts_recv, ts_event, instrument, flags, id, price, size)"


async def trade(client, *trades):
    """Store trades of size 1, price = id: (seq, id, second[, seconds it came later])."""
    rows = []
    for seq, trade_id, at_s, *fetched_s in trades:
        flags = 1 | (int(Flag.BACKFILLED) if fetched_s else 0)
        event = MINUTE_S + at_s
        rows.append((1, seq, event + sum(fetched_s), event, 7, flags, trade_id, trade_id, 1))
    await client.command(
        f"INSERT INTO {client.database}.trades {TRADES} VALUES {', '.join(map(str, rows))}"
    )


async def minute_bars(client):
    """By minute: open, high, low, close, volume, trades."""
    found = await bars_in(client, BARS[1])
    return {
        (start - MINUTE_S) // 60: (*values[:4], int(values[4]), values[7])
        for (_, start, *_), values in found.items()
    }


async def made_anew(client):
    repair = BarRepair(client, Deletes(client, SystemClock(), node=1), node=1)
    hours = {MINUTE_S // 3_600 * 3_600, MINUTE_S // 3_600 * 3_600 + 3_600}
    for number, bars in enumerate(BARS):
        for span, rows in spans_of(await repair.differing(bars, hours)):
            until_s = int(time.time()) + 60
            await repair.delete(bars, span, until_s)
            await repair.insert(bars, span, rows, f"{number}-{time.monotonic_ns()}")
        assert await repair.differing(bars, hours) == {}


@pytest.mark.embedded
async def test_fetched_trades_stand_in_bars_where_they_happened(client):
    await trade(client, (10, 21, 10), (20, 25, 40))
    live = {0: (21, 25, 21, 25, 2, 2)}
    assert await minute_bars(client) == live
    # Before, within and behind the live ones, and a minute without any; the last three days late.
    fetched = ((30, 20, 5, 90), (31, 23, 20, 90), (32, 26, 40, 90), (33, 30, 70, 3 * 86_400))
    await trade(client, *fetched)
    assert await minute_bars(client) == live
    await made_anew(client)
    assert await minute_bars(client) == {0: (20, 26, 20, 26, 5, 5), 1: (30, 30, 30, 30, 1, 1)}
    # What comes live afterwards goes behind all of them.
    await trade(client, (40, 27, 50))
    all_of_them = {0: (20, 27, 20, 27, 6, 6), 1: (30, 30, 30, 30, 1, 1)}
    assert await minute_bars(client) == all_of_them
    await made_anew(client)
    assert await minute_bars(client) == all_of_them


@pytest.mark.embedded
async def test_a_trade_that_was_fetched_and_came_live_counts_once(client):
    await trade(client, (10, 21, 10), (20, 22, 12, 60), (30, 22, 12))
    await made_anew(client)
    assert await minute_bars(client) == {0: (21, 22, 21, 22, 2, 2)}
    view = f"{client.database}.trades_once_v"
    rows = await client.query(f"SELECT seq, fetched FROM {view} ORDER BY seq")
    assert [tuple(row) for row in rows] == [(10, 0), (30, 0)]
    await trade(client, (40, 23, 13, 60))
    ((count,),) = await client.query(f"SELECT count() FROM {view}")
    assert count == 3


@pytest.mark.embedded
async def test_open_gaps_are_those_of_trades_that_nothing_closed(client):
    columns = "(node, seq, ts_recv, ts_event, instrument, flags, cause, channel, from_id, to_id)"
    unknown = 2**64 - 1
    rows = (
        (1, 10, 5, 4, 7, 1, 3, 0, 11, 13),  # closed below
        (1, 20, 6, 5, 7, 1, 3, 0, 21, 23),
        (1, 30, 9, 4, 7, 1 | int(Flag.BACKFILLED), 3, 0, 11, 13),
        (1, 40, 9, 6, 7, 1, 1, 0, unknown, unknown),  # nobody knows what is missing
        (1, 50, 9, 6, 7, 1, 3, 3, 31, 33),  # of a book
    )
    await client.command(
        f"INSERT INTO {client.database}.gaps {columns} VALUES {', '.join(map(str, rows))}"
    )
    found = await client.query(f"SELECT seq, from_id, to_id FROM {client.database}.gaps_open_v")
    assert [tuple(row) for row in found] == [(20, 21, 23)]
