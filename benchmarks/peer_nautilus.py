"""NautilusTrader's live data path as a child process: engine, queue, cache, bus, a handler.

Runs in the benchmark environment, not in tickd's; imports nothing of tickd. {"ticks": n} passes so
many ready trade ticks through `LiveDataEngine.process` in bursts of 64 and answers what it cost.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus, init_logging
from nautilus_trader.common.enums import LogLevel
from nautilus_trader.config import LiveDataEngineConfig
from nautilus_trader.live.data_engine import LiveDataEngine
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId, TradeId, TraderId
from nautilus_trader.model.objects import Price, Quantity

BURST = 64
INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")


def ready_ticks(count: int) -> list[TradeTick]:
    price, size = Price.from_str("60000.00"), Quantity.from_str("0.005")
    side, number = AggressorSide.BUYER, TradeId("1")
    return [TradeTick(INSTRUMENT, price, size, side, number, at, at) for at in range(count)]


async def pass_through(ticks: list[TradeTick]) -> int:
    clock = LiveClock()
    bus = MessageBus(trader_id=TraderId("BENCH-001"), clock=clock)
    cache = Cache()
    engine = LiveDataEngine(
        loop=asyncio.get_running_loop(),
        msgbus=bus,
        cache=cache,
        clock=clock,
        config=LiveDataEngineConfig(),
    )
    count = 0

    def handler(_tick: TradeTick) -> None:
        nonlocal count
        count += 1

    bus.subscribe(topic="data.trades.BINANCE.BTCUSDT-PERP", handler=handler)
    engine.start()
    await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    began = time.process_time_ns()
    for start in range(0, len(ticks), BURST):
        burst = ticks[start : start + BURST]
        for tick in burst:
            engine.process(tick)
        while count < start + len(burst):
            await asyncio.sleep(0)
    spent = time.process_time_ns() - began
    gc.enable()
    assert count == len(ticks), (count, len(ticks))
    assert cache.trade_tick(INSTRUMENT) is ticks[-1]
    engine.stop()
    await asyncio.sleep(0.05)
    return spent


def main() -> None:
    guard = init_logging(level_stdout=LogLevel.OFF, bypass=True)
    for line in sys.stdin:
        ticks = ready_ticks(int(json.loads(line)["ticks"]))
        answer = {"ns": asyncio.run(pass_through(ticks)), "units": len(ticks)}
        print(json.dumps(answer), flush=True)
    del guard


if __name__ == "__main__":
    main()
