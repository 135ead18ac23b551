"""The slow tables while the daemon runs: names at once, the rest in rounds, faults made good."""

import asyncio
import time

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.schema.bookkeeping import ROUND_SECONDS, Bookkeeping
from tickd.native import manifest_read
from tickd.testing.clock import ManualClock
from tickd.testing.wire_log import WireLog

# Samples of lag live for 30 days by ClickHouse's own clock: the tests' clocks start today.
pytestmark = pytest.mark.embedded


@pytest.fixture
async def client(endpoint, database):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield client
    await client.close()


@pytest.fixture
def log(tmp_path):
    log = WireLog(tmp_path, seed=1, segment_bytes_max=20_000, group_bytes=2_000)
    for _ in range(30):
        log.burst(20)
    log.close()  # seals the segments
    return log


def lag_row(topic="trade.sim.A", events=9):
    return {
        "topic": topic,
        "depth": 0,
        "high_water": 2,
        "oldest_age_s": 0.0,
        "dropped": 0,
        "events": events,
    }


def books(client, log, clock, directory, *, definitions=None, lag=None):
    return Bookkeeping(
        client,
        node=1,
        definitions=definitions or log.decoder.instruments,
        manifest=lambda: manifest_read(str(directory)),
        lag=lag or (lambda: [lag_row()]),
        clock=clock,
    )


async def count(client, table, what="count()"):
    ((number,),) = await client.query(f"SELECT {what} FROM {client.database}.{table}")
    return int(number)


async def until(condition):
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - another process answers
            await asyncio.sleep(0)


async def test_each_round_stores_a_sample_and_what_is_new(client, log, tmp_path):
    clock = ManualClock(wall_ns=time.time_ns())
    books_ = books(client, log, clock, tmp_path)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(books_.run(), name="books")

        async def samples(number):
            return await count(client, "topic_lag", "uniqExact(ts)") == number

        await until(lambda: samples(1))
        await clock.advance(ROUND_SECONDS)
        await until(lambda: samples(2))
        known = len(log.decoder.instruments())
        await until(lambda: _is(count(client, "instruments"), known))  # a task of its own
        running.cancel()
    sealed = [e for e in manifest_read(str(tmp_path)) if e["kind"] == "sealed"]
    assert sealed
    assert await count(client, "segments") == len(sealed)


async def test_a_new_instrument_has_its_name_without_waiting_for_the_round(client, log, tmp_path):
    clock, known = ManualClock(wall_ns=time.time_ns()), []
    books_ = books(client, log, clock, tmp_path, definitions=lambda: known)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(books_.run(), name="books")
        await until(lambda: _is(count(client, "topic_lag"), 1))
        known.append(log.decoder.instruments()[0])
        books_.definition_came()
        await until(lambda: _is(count(client, "instruments"), 1))
        running.cancel()
    rows = await client.query(
        f"SELECT dictGet('{client.database}.instrument_names', 'symbol', toUInt64({known[0][0]}))"
    )
    assert rows[0][0] in known[0][1].decode()


async def _is(value, wanted):
    return await value == wanted


async def test_a_restart_keeps_the_time_from_which_a_definition_is_valid(client, log, tmp_path):
    clock = ManualClock(wall_ns=time.time_ns())
    await books(client, log, clock, tmp_path).finish()
    first = await count(client, "instruments", "max(toUnixTimestamp64Nano(valid_from))")
    clock.move(10**12)
    await books(client, log, clock, tmp_path).finish()
    assert await count(client, "instruments", "max(toUnixTimestamp64Nano(valid_from))") == first


async def test_what_clickhouse_refused_comes_in_the_next_round(client, endpoint, log, tmp_path):
    up = False
    flaky = ClickHouse(ClickHouseConfig(database=client.database), lambda: endpoint if up else None)
    books_ = books(flaky, log, ManualClock(wall_ns=time.time_ns()), tmp_path)
    await books_.finish()
    assert books_.rounds_failed == 3
    assert await count(client, "instruments") == 0
    up = True
    await books_.finish()
    await flaky.close()
    assert await count(client, "instruments") == len(log.decoder.instruments())
    assert await count(client, "segments") > 0
    assert await count(client, "topic_lag") == 1
