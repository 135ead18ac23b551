"""The sink of trading rows on a real raw log and a real server, with a proxy that breaks requests.

What must hold of every test: the tables hold the control records of the raw log, each once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.raw.watermark import Watermark
from recorder.schema.tables import time_text
from recorder.trading.rows import TRADING_TABLES, ControlRecord, row_of
from recorder.trading.sink import TradingSink
from tests.reference.raw_log import read_log
from tests.unit.recorder.sink.sink_world import until
from tickd.clock import SystemClock
from tickd.native import Decoder, RawLog
from tickd.testing.faulty_proxy import Fault, FaultyProxy

RECORDS: tuple[dict[str, Any], ...] = (
    {"kind": "risk", "action": "new", "verdict": "approved", "number": 1, "size": 5},
    {"kind": "order", "state": "sent", "number": 1, "client_id": 9},
    {"kind": "clock"},
    {"kind": "order", "state": "filled", "number": 1, "price": 7, "size": 5},
    {"kind": "execution", "exec_id": "x", "price": 7, "size": 5, "fee": -1},
    {"kind": "account", "account": "paper", "equity": 3},
    {"kind": "audit", "action": "kill", "operator": "o"},
)


class World:
    """What outlives a sink: raw log, server, proxy, mark."""

    def __init__(self, endpoint: Endpoint, proxy: FaultyProxy, database: str, state: Path) -> None:
        config = ClickHouseConfig(database=database)
        self.config, self.database, self.state = config, database, state
        self.direct = ClickHouse(config, lambda: endpoint)
        self.broken = replace(endpoint, url=proxy.url)
        self.proxy = proxy
        self.decoder = Decoder()
        self.sinks: list[TradingSink] = []
        self.open()

    def open(self) -> None:
        self.log = RawLog(str(self.state / "raw"), node=1, group_ms=1)
        self.log.restore_decoder(self.decoder)
        self.watermark = Watermark(self.log, durable=False, clock=SystemClock())
        self._unwatch = self.watermark.watch(asyncio.get_running_loop())

    def close(self) -> None:
        self._unwatch()
        self.log.close()

    def sink(self, **options: Any) -> TradingSink:
        sink = TradingSink(
            ClickHouse(self.config, lambda: self.broken),
            node=1,
            directory=self.state / "raw",
            mark=self.state / "trading.json",
            progress=self.watermark,
            next_frame=lambda: self.log.next_frame_no,
            ready=lambda: True,
            clock=SystemClock(),
            random=Random(0).random,
            **options,
        )
        self.sinks.append(sink)
        return sink

    def record(self, *records: dict[str, Any], times: int = 1) -> None:
        for fields in records * times:
            payload = json.dumps(fields).encode()
            frame_no = self.log.record(0, "C", payload)
            for sink in self.sinks:
                sink.taken(frame_no, self.log.last_recv_ns, payload)
            self.log.end_burst(self.decoder)

    async def count(self) -> int:
        counts = [
            await self.direct.query(f"SELECT count() FROM {self.database}.{table}")
            for table in TRADING_TABLES.values()
        ]
        return sum(int(rows[0][0]) for rows in counts)

    async def all_there(self, sink: TradingSink, rows: int) -> None:
        await until(lambda: sum(sink.rows.values()) == rows)
        await self.agree()

    async def written(self) -> None:
        await self.watermark.reached(self.log.next_frame_no - 1)

    async def agree(self) -> None:
        """Every record of the raw log is a row, once, and no other row is there."""
        await self.written()
        wanted: dict[str, list[dict[str, Any]]] = {table: [] for table in TRADING_TABLES.values()}
        for found in read_log(self.state / "raw"):
            kind = json.loads(found.payload)["kind"] if found.kind == "C" else ""
            if kind in TRADING_TABLES:
                record = ControlRecord(found.frame_no, found.recv_ns, found.payload)
                wanted[TRADING_TABLES[kind]].append(row_of(record, node=1).values)
        for table, rows in wanted.items():
            has = await self.direct.query(
                f"SELECT node, toString(seq), toString(ts_recv) FROM {self.database}.{table}"
                " ORDER BY seq"
            )
            assert has == [(row["node"], row["seq"], row["ts_recv"]) for row in rows], table


@pytest.fixture
async def world(endpoint: Endpoint, database: str, tmp_path: Path) -> AsyncIterator[World]:
    async with FaultyProxy("127.0.0.1", int(endpoint.url.rpartition(":")[2])) as proxy:
        made = World(endpoint, proxy, database, tmp_path)
        try:
            yield made
        finally:
            made.close()
            await made.direct.close()


@asynccontextmanager
async def running(sink: TradingSink) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sink.run(), name="trading")
        yield task
        sink.close()


async def killed(task: asyncio.Task[None], world: World) -> None:
    """End a sink without a last word: not even its mark."""
    mark = world.state / "trading.json"
    kept = mark.read_bytes() if mark.exists() else None
    task.cancel()
    await asyncio.wait([task])
    if kept is not None:
        mark.write_bytes(kept)
    else:
        mark.unlink(missing_ok=True)
    world.sinks.clear()


async def test_live_records_become_rows_of_their_tables(world: World) -> None:
    sink = world.sink()
    async with running(sink):
        world.record(*RECORDS)
        await world.all_there(sink, 6)
    rows = await world.direct.query(
        f"SELECT state, price, size FROM {world.database}.orders ORDER BY seq"
    )
    undefined = (1 << 63) - 1
    assert rows == [("sent", undefined, undefined), ("filled", 7, 5)]
    assert sink.draw()["rows"]["orders"] == 2


async def test_what_was_recorded_before_comes_from_the_raw_log(world: World) -> None:
    world.record(*RECORDS, times=3)
    sink = world.sink()
    world.record(*RECORDS)
    async with running(sink):
        await world.all_there(sink, 24)


async def test_nothing_is_sent_that_is_not_in_the_file(world: World) -> None:
    class Slow:
        def __init__(self) -> None:
            self.asked: list[int] = []
            self.written = asyncio.Event()

        async def reached(self, frame_no: int) -> None:
            self.asked.append(frame_no)
            await self.written.wait()

    slow = Slow()
    sink = world.sink()
    sink._progress = slow
    async with running(sink):
        world.record(*RECORDS)
        await until(lambda: bool(slow.asked))
        assert world.proxy.seen("INSERT INTO") == 0
        slow.written.set()
        await world.all_there(sink, 6)


async def test_an_outage_beyond_what_memory_is_meant_for_loses_nothing(world: World) -> None:
    sink = world.sink(held_records_max=4)
    world.proxy.refuse(refusing=True)
    async with running(sink):
        world.record(*RECORDS, times=20)
        await until(lambda: sink.fault is not None)
        world.record(*RECORDS, times=20)
        assert sink.forgotten > 200
        assert len(sink._held) <= 4
        world.proxy.refuse(refusing=False)
        await world.all_there(sink, 240)
    assert sink.fault is None


async def test_answers_that_never_come_make_no_row_twice(world: World) -> None:
    world.proxy.arm(*(Fault(mode) for mode in ("cut_after", "cut_inside", "cut_before")))
    sink = world.sink()
    async with running(sink):
        for part in range(4):
            world.record(*RECORDS, times=1 + part)
            await until(lambda: not sink._held)
        await world.all_there(sink, 60)
    assert world.proxy.faults_left == 0


@pytest.mark.parametrize("seed", range(3))
async def test_lives_that_end_anywhere_leave_each_row_once(world: World, seed: int) -> None:
    """Cut off at any request, with the answer lost or not, and begun again."""
    dice = Random(seed)
    for _ in range(6):
        sink = world.sink(held_records_max=dice.choice((3, 1_000)))
        world.proxy.arm(*(Fault(dice.choice(("cut_after", "cut_before"))) for _ in range(2)))
        async with running(sink) as task:
            world.record(*RECORDS, times=dice.randrange(1, 8))
            seen, more = world.proxy.seen("INSERT"), dice.randrange(5)
            await until(lambda seen=seen, more=more: world.proxy.seen("INSERT") >= seen + more)
            await killed(task, world)
    last = world.sink()
    async with running(last):
        world.record(*RECORDS)
        await until(lambda: last._frame > last._begun and not last._held)
        await world.agree()


async def test_a_late_insert_of_the_life_before_neither_doubles_nor_hides(world: World) -> None:
    """It is shorter than what this life makes of the same first row, and it comes first."""
    world.record(*RECORDS, times=5)
    await world.written()
    frames = [
        record
        for record in read_log_records(world)
        if json.loads(record.payload)["kind"] == "order"
    ]
    rows = [row_of(record, node=1) for record in frames]
    world.proxy.arm(*[Fault("cut_before", "INSERT INTO")] * 40)
    sink = world.sink()
    async with running(sink):
        await until(lambda: sink.fault is not None)
        token = f"orders-1-{rows[0].seq}"
        await world.direct.insert_rows("orders", [row.values for row in rows[:4]], token)
        world.proxy._faults.clear()
        await world.all_there(sink, 30)


def read_log_records(world: World) -> Iterator[ControlRecord]:
    for found in read_log(world.state / "raw"):
        if found.kind == "C":
            yield ControlRecord(found.frame_no, found.recv_ns, found.payload)


async def test_a_start_reads_from_the_mark_on_and_from_the_beginning_without_it(
    world: World,
) -> None:
    first = world.sink()
    async with running(first):
        world.record(*RECORDS, times=2)
        await world.all_there(first, 12)
    mark = json.loads((world.state / "trading.json").read_bytes())
    assert mark["frame"] == world.log.next_frame_no
    world.sinks.clear()
    world.record(*RECORDS)
    second = world.sink()
    async with running(second):
        await world.all_there(second, 6)
        begun = second._frame
        assert begun > mark["frame"]
    # Another database under the same name: what was there is made again.
    for table in TRADING_TABLES.values():
        await world.direct.command(f"TRUNCATE TABLE {world.database}.{table}")
    world.sinks.clear()
    third = world.sink()
    async with running(third):
        await world.all_there(third, 18)


async def test_a_record_that_makes_no_sense_holds_up_nobody(world: World) -> None:
    sink = world.sink()
    async with running(sink):
        world.record({"kind": "risk", "action": "new", "verdict": "approved", "size": 1 << 64})
        world.record(RECORDS[0])
        await until(lambda: sum(sink.rows.values()) == 1)
    assert (sink.malformed, await world.count()) == (1, 1)


async def test_rows_of_two_days_are_two_inserts(world: World) -> None:
    """By receive stamp, whichever way the clock went: a token speaks for one partition."""
    day = 86_400 * 10**9
    sink = world.sink()
    next_frame = world.log.next_frame_no
    for number, recv_ns in enumerate((40 * day - 1, 40 * day, 40 * day + 1, 39 * day)):
        payload = json.dumps(RECORDS[0] | {"number": number}).encode()
        sink.taken(next_frame + number, recv_ns, payload)
    sink._begun = 1 << 62  # as if they were in the file
    async with running(sink):
        await until(lambda: sum(sink.rows.values()) == 4)
    assert world.proxy.seen("INSERT INTO") == 3
    rows = await world.direct.query(
        f"SELECT number, toString(ts_recv) FROM {world.database}.risk_decisions ORDER BY seq"
    )
    assert rows[3] == (3, time_text(39 * day))


async def test_a_table_that_is_refused_waits_for_an_operator_and_loses_nothing(
    endpoint: Endpoint, own_database: str, tmp_path: Path
) -> None:
    async with FaultyProxy("127.0.0.1", int(endpoint.url.rpartition(":")[2])) as proxy:
        world = World(endpoint, proxy, own_database, tmp_path)
        await world.direct.command(f"RENAME TABLE {own_database}.orders TO {own_database}.away")
        sink = world.sink()
        async with running(sink):
            world.record(*RECORDS)
            await until(lambda: sink.fault is not None)
            assert "orders" in str(sink.fault)
            await world.direct.command(f"RENAME TABLE {own_database}.away TO {own_database}.orders")
            await world.all_there(sink, 6)
        world.close()
        await world.direct.close()


async def test_an_end_without_a_server_leaves_the_rest_to_the_next_start(world: World) -> None:
    world.proxy.refuse(refusing=True)
    sink = world.sink(drain_s=0.01)
    async with running(sink):
        world.record(*RECORDS)
        await until(lambda: sink.fault is not None)
    assert await world.count() == 0
    world.proxy.refuse(refusing=False)
    world.sinks.clear()
    after = world.sink()
    async with running(after):
        await world.all_there(after, 6)


async def test_a_token_without_its_rows_does_not_hide_them(world: World) -> None:
    """A server that died in between remembers the one and lacks the others; so do deleted rows."""
    first = world.sink()
    async with running(first):
        world.record(*RECORDS)
        await world.all_there(first, 6)
    database = world.database
    await world.direct.command(
        f"ALTER TABLE {database}.orders DELETE WHERE 1 SETTINGS mutations_sync = 2"
    )
    world.sinks.clear()
    second = world.sink()
    async with running(second):
        world.record(*RECORDS)
        await world.all_there(second, 8)


async def test_what_is_recorded_while_it_ends_is_not_passed_over(world: World) -> None:
    """Before the last round it is stored; behind it, it is above the mark."""
    sink = world.sink()
    async with running(sink):
        world.record(*RECORDS)
        await until(lambda: sum(sink.rows.values()) == 6)
        sink.close()
        world.record(*RECORDS)
    world.record(*RECORDS)
    mark = json.loads((world.state / "trading.json").read_bytes())
    assert mark["frame"] <= world.log.next_frame_no - len(RECORDS)
    world.sinks.clear()
    after = world.sink()
    async with running(after):
        await until(lambda: after._frame == world.log.next_frame_no)
        await world.agree()
    assert await world.count() == 18
