"""Use the bus in your own process, fed by a raw log: python examples/subscribe.py STATE_DIR."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.clock import SystemClock
from tickd.native import Decoder, EventBatch, RawLogReader


async def main() -> None:
    """Feed the bus; one reader wants every trade, the other only the newest quotes."""
    decoder = Decoder()
    bus = Bus(decoder.topic_name, SystemClock())
    # A finite replay may make the publisher wait: BLOCK loses nothing.
    trades = bus.subscribe("trade.*.*", name="all trades", when_full=WhenFull.BLOCK)
    # A live consumer that must not be late keeps what is new: bounded, and what it lost is counted.
    newest = bus.subscribe(
        "quote.*.*",
        name="newest quotes",
        when_full=WhenFull.DROP_OLDEST,
        limits=Limits(records_max=64),
    )
    per_topic: Counter[str] = Counter()

    async def read_trades() -> None:
        while parts := await trades.take():  # empty once the bus is closed
            for topic, batch in parts:
                per_topic[topic] += len(batch)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read_trades(), name="trades")
        for _, chunk in RawLogReader(sys.argv[1] + "/raw"):
            batch: EventBatch = decoder.decode(chunk)
            await bus.publish_blocking(batch)
            await asyncio.sleep(0)
        lag = bus.topic_lag()
        bus.close()
    for topic, count in per_topic.most_common():
        print(f"{topic:<40} {count:>10,}")
    for row in lag:
        if row.subscription == newest.name:
            print(f"{row.topic:<40} {row.depth:>10,} waiting, {row.dropped:,} dropped")


if __name__ == "__main__":
    assert Path(sys.argv[1]).is_dir(), "name a state directory"
    asyncio.run(main())
