"""The sink of signals: bits as they were, once, through an outage; what is refused is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.signals import SignalSink
from tests.unit.recorder.sink.sink_world import until
from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.clock import SystemClock
from tickd.events import EVENT, Flag, Kind
from tickd.native import Decoder, EventBatch

BODY = json.dumps(
    {
        "kind": "instrument",
        "venue": "binance-usdm",
        "symbol": "BTCUSDT",
        "asset_class": "perpetual",
        "price_scale": 2,
        "size_scale": 3,
        "tick": 10,
        "lot": 1,
        "multiplier": "1",
    }
).encode()
DECODER = Decoder()
DECODER.decode(b"1 1 1 0 C %d %s\n" % (len(BODY), BODY))
((INSTRUMENT, DEFINITION),) = DECODER.instruments()
TOPIC = "signal.binance-usdm.BTCUSDT"
VALUES = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 2 / 3, float("inf")]
INDICATORS = [(7, {"name": "flow", "kind": "ofi", "params": {"window": 100}})]


def signals(first: int, values: list[float]) -> EventBatch:
    rows = np.zeros(len(values), EVENT)
    rows["seq"] = [first + at for at in range(len(values))]
    rows["id"] = np.array(values).view("<u8")
    rows["aux"], rows["instrument"], rows["kind"] = 7, INSTRUMENT, Kind.SIGNAL
    rows["flags"], rows["side"] = Flag.SYNTHETIC | Flag.LAST, ord("N")
    rows["ts_recv"], rows["ts_event"] = 1_760_000_000_000_000_001, 1_760_000_000_000_000_000
    return EventBatch.from_events(rows.tobytes(), ((0, 0, len(rows)),))


@asynccontextmanager
async def storing(
    database: str,
    endpoint: Callable[[], Endpoint | None],
    *,
    limits: Limits | None = None,
    fmt: str = "native",
) -> AsyncIterator[tuple[Bus, SignalSink]]:
    clock = SystemClock()
    bus = Bus(lambda _: TOPIC, clock)
    subscription = bus.subscribe(
        "signal.*.*", name="signals", when_full=WhenFull.DROP_OLDEST, limits=limits
    )
    sink = SignalSink(
        ClickHouse(ClickHouseConfig(database=database, format=fmt), endpoint),
        subscription,
        node=3,
        indicators=INDICATORS,
        ready=lambda: True,
        clock=clock,
        random=lambda: 0.1,
    )
    sink.define(INSTRUMENT, DEFINITION)
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run(), name="sink")
        yield bus, sink
        bus.close()


@pytest.mark.parametrize("fmt", ["native", "row_binary", "json"])
async def test_values_arrive_with_their_bits_and_their_names(
    endpoint: Endpoint, database: str, fmt: str
) -> None:
    async with storing(database, lambda: endpoint, fmt=fmt) as (bus, sink):
        bus.publish(signals(10, VALUES))
        await until(lambda: sink.rows == len(VALUES))
    server = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    rows = await server.query(
        "SELECT node, seq, indicator, reinterpretAsUInt64(value), price_scale, size_scale"
        f" FROM {database}.signals ORDER BY seq"
    )
    bits = [int(each) for each in np.array(VALUES).view("<u8")]
    assert [tuple(map(str, row)) for row in rows] == [
        ("3", str(10 + at), "7", str(each), "2", "3") for at, each in enumerate(bits)
    ]
    named = await server.query(f"SELECT name, kind, params FROM {database}.signals_v")
    assert set(named) == {("flow", "ofi", '{"window":100}')}
    await server.close()


async def test_an_outage_drops_the_oldest_of_the_queue_and_counts_them(
    endpoint: Endpoint, database: str
) -> None:
    up = False
    small = Limits(records_total_max=8)
    async with storing(database, lambda: endpoint if up else None, limits=small) as (bus, sink):
        for first in range(0, 40, 4):
            bus.publish(signals(first, [1.0 + first] * 4))
        dropped = bus.topic_lag()[0].dropped
        await until(lambda: sink.fault is not None)
        up = True
        await until(lambda: sink.rows == 40 - dropped)
    server = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    rows = await server.query(f"SELECT seq FROM {database}.signals ORDER BY seq")
    await server.close()
    assert [int(str(row[0])) for row in rows] == list(range(dropped, 40))
    assert dropped == 32
    assert (sink.lost, sink.fault) == (0, None)


async def test_an_end_without_a_server_does_not_wait(database: str) -> None:
    async with storing(database, lambda: None) as (bus, sink):
        bus.publish(signals(10, VALUES))
        await until(lambda: sink.fault is not None)
    assert (sink.rows, sink.lost) == (0, len(VALUES))
