"""A small daemon for the kill test: real raw log and the sink of trading rows, fed by itself.

Usage: trading_daemon.py STATE_DIR URL KEY DATABASE SEED. Says `begun` with its first record, runs
until its stdin closes, then drains and says how many control records it has recorded.
"""

import asyncio
import sys
from pathlib import Path
from random import Random

import orjson
import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.raw.watermark import Watermark
from recorder.trading.sink import TradingSink
from tickd.clock import SystemClock
from tickd.native import Decoder, RawLog
from tickd.secrets import Secret

MARKET = b'{"stream":"btcusdt@trade","data":{"e":"trade","q":"%d"}}'


def news(dice: Random, number: int) -> dict[str, object]:
    named = {"number": number, "client_id": number, "strategy": "s", "account": "paper"}
    match dice.randrange(6):
        case 0 | 1:
            verdict = dice.choice(("approved", "denied"))
            return {"kind": "risk", "action": "new", "verdict": verdict, "size": 1, **named}
        case 2 | 3:
            return {"kind": "order", "state": dice.choice(("sent", "accepted")), **named}
        case 4:
            return {"kind": "execution", "exec_id": str(number), "price": 5, "size": 1, **named}
        case _:
            return dice.choice(
                (
                    {"kind": "account", "account": "paper", "equity": number},
                    {"kind": "audit", "action": "kill", "operator": "test"},
                )
            )


async def main(state: Path, endpoint: Endpoint, database: str, seed: int) -> None:
    dice = Random(seed)
    raw_log = RawLog(str(state / "raw"), node=1, group_ms=10, segment_bytes_max=100_000)
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    clock = SystemClock()
    watermark = Watermark(raw_log, durable=False, clock=clock)
    loop = asyncio.get_running_loop()
    watermark.watch(loop)
    stop = asyncio.Event()
    loop.add_reader(0, stop.set)
    sink = TradingSink(
        ClickHouse(ClickHouseConfig(database=database), lambda: endpoint),
        node=1,
        directory=state / "raw",
        mark=state / "trading.json",
        progress=watermark,
        next_frame=lambda: raw_log.next_frame_no,
        ready=lambda: True,
        clock=clock,
        random=dice.random,
        held_records_max=dice.choice((50, 5_000)),
        drain_s=60,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run(), name="trading")
        recorded, told = 0, False
        while not stop.is_set():
            for _ in range(dice.randrange(20)):
                raw_log.frame(1, MARKET % recorded)
                payload = orjson.dumps(news(dice, recorded))
                frame_no = raw_log.record(0, "C", payload)
                sink.taken(frame_no, raw_log.last_recv_ns, payload)
                recorded += 1
            raw_log.end_burst(decoder)
            if recorded and not told:
                told = True
                sys.stdout.write("begun\n")
                sys.stdout.flush()
            await asyncio.sleep(0.005)
        sink.close()
    sys.stdout.write(f"{recorded}\n")
    sys.stdout.flush()
    raw_log.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    folder, address, key, name, number = sys.argv[1:]
    server = Endpoint(address, password=Secret(key), embedded=True)
    asyncio.run(main(Path(folder), server, name, int(number)))
