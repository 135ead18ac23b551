"""Trading rows through deaths of the ClickHouse server itself, embedded and real: each once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.raw.watermark import Watermark
from recorder.schema.migrate import migrate
from recorder.trading.mark import MARK_FILE, Mark
from recorder.trading.rows import TRADING_TABLES
from recorder.trading.sink import TradingSink
from recorder.verify.trading import TradingCheck
from tests.integration.conftest import ServerProcess
from tickd.clock import SystemClock
from tickd.native import Decoder, RawLog

KILLS = 3
RECORDS = (
    {"kind": "risk", "action": "new", "verdict": "approved", "figures": {"a": 1 << 90}},
    {"kind": "order", "state": "sent", "number": 1},
    {"kind": "execution", "exec_id": "e", "price": 5, "size": 1},
    {"kind": "account", "account": "a", "positions": [{"symbol": "A", "size": 1}]},
    {"kind": "audit", "action": "kill"},
)


async def test_kills_of_the_server_leave_each_row_once(
    clickhouse: ServerProcess, tmp_path: Path
) -> None:
    config, clock, dice = ClickHouseConfig(), SystemClock(), Random(5)
    server = ClickHouse(config, lambda: clickhouse.endpoint)
    await migrate(server)
    raw_log, decoder = RawLog(str(tmp_path / "raw"), node=1, group_ms=5), Decoder()
    raw_log.restore_decoder(decoder)
    watermark = Watermark(raw_log, durable=False, clock=clock)
    unwatch = watermark.watch(asyncio.get_running_loop())
    mark = tmp_path / "sink" / MARK_FILE
    sink = TradingSink(
        ClickHouse(config, lambda: clickhouse.endpoint),
        node=1,
        directory=tmp_path / "raw",
        mark=mark,
        progress=watermark,
        next_frame=lambda: raw_log.next_frame_no,
        ready=lambda: True,
        clock=clock,
        random=dice.random,
        held_records_max=200,
        drain_s=30,
    )

    async def record(rounds: int) -> None:
        for _ in range(rounds):
            for fields in RECORDS * dice.randrange(1, 12):
                payload = json.dumps(fields).encode()
                frame_no = raw_log.record(0, "C", payload)
                sink.taken(frame_no, raw_log.last_recv_ns, payload)
            raw_log.end_burst(decoder)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run(), name="trading")
        for _ in range(KILLS):
            await record(40)
            clickhouse.kill()
            await record(10)
            await asyncio.to_thread(clickhouse.start)
        await record(10)
        sink.close()
    check = TradingCheck(
        server,
        tmp_path / "raw",
        Mark(node=1, database=config.database, frame=raw_log.next_frame_no, stored={}),
        frame_to=None,
        unreadable=(),
    )
    raw_log.close()
    assert await check.run() == []
    assert json.loads(mark.read_bytes())["frame"] == raw_log.next_frame_no
    assert {check.tables[table].stored for table in TRADING_TABLES.values()} == {
        check.tables["orders"].raw_log
    }
    assert check.tables["orders"].stored > 500
    assert sink.forgotten > 0
    unwatch()
    await server.close()
