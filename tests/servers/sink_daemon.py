"""A small daemon for the kill test: real raw log, decoder and sink, fed by itself.

Usage: sink_daemon.py STATE_DIR URL KEY DATABASE SEED. Says `live` once the sink is live, runs until
its stdin closes, then drains and says `drained` or `not drained`.
"""

import asyncio
import sys
from pathlib import Path
from random import Random

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig, SinkConfig
from recorder.raw.recover import LogReplay
from recorder.raw.watermark import Watermark
from recorder.sink.plan import Plan
from recorder.sink.sink import Sink, SinkState
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from tickd.clock import SystemClock
from tickd.secrets import Secret
from tickd.testing.memory_log import MemoryBursts
from tickd.testing.wire_log import WireLog


async def main(state: Path, endpoint: Endpoint, database: str, seed: int) -> None:
    log = WireLog(state / "raw", seed, group_ms=10, segment_bytes_max=300_000)
    watermark = Watermark(log.raw_log, durable=False, clock=SystemClock())
    loop = asyncio.get_running_loop()
    watermark.watch(loop)
    stop = asyncio.Event()
    loop.add_reader(0, stop.set)
    feed = MemoryBursts()
    sink = Sink(
        SinkConfig(
            rows_max=5_000,
            age_ms_min=20,
            age_ms_max=50,
            backoff_ms_min=1,
            backoff_ms_max=50,
            drain_timeout_ms=60_000,
        ),
        node=1,
        plan=Plan(state / "sink" / "plan.jsonl"),
        spool=Spool(state / "sink" / "spool", bytes_max=1 << 28, clock=SystemClock()),
        clickhouse=ClickHouse(ClickHouseConfig(database=database), lambda: endpoint),
        progress=watermark,
        replay=LogReplay(state / "raw"),
        frame_recovered=log.frame_recovered,
        quarantine=Quarantine(state / "sink" / "quarantine"),
        clock=SystemClock(),
        random=Random(seed).random,
    )
    sink.delivery.open()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sink.run(feed))
        known = 0
        told = False
        while not stop.is_set():
            batch = log.burst(20)
            definitions = log.definitions()
            for definition in definitions[known:]:
                sink.define(definition)
            known = len(definitions)
            if batch is not None:
                feed.put(batch)
            if sink.state is SinkState.LIVE and not told:
                told = True
                sys.stdout.write("live\n")
                sys.stdout.flush()
            await asyncio.sleep(0.002)
        feed.close()
        sys.stdout.write("drained\n" if await task else "not drained\n")
        sys.stdout.flush()
    log.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    folder, address, key, name, number = sys.argv[1:]
    server = Endpoint(address, password=Secret(key), embedded=True)
    asyncio.run(main(Path(folder), server, name, int(number)))
