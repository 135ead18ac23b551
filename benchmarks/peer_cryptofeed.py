"""cryptofeed's own code as a child process, told on stdin what to do; it answers what it cost.

Runs in the benchmark environment, not in tickd's; imports nothing of tickd. One JSON object per
line: {"load": {...}} takes messages, {"run": name} handles them once, {"raw": name} records them
with its raw callback. Handlers get what its connection gives them (text and a receive time), and
call one user callback per message that does nothing, as tickd's handler.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptofeed.connection import HTTPSync
from cryptofeed.defines import L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import BinanceFutures
from cryptofeed.raw_data_collection import AsyncFileCallback

SYMBOL = "BTC-USDT-PERP"
EXCHANGE_INFO = {
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "status": "TRADING",
            "contractType": "PERPETUAL",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "filters": [{"tickSize": "0.10"}],
        }
    ]
}


async def nothing(_data: object, _receipt: float) -> None:
    """The user's callback."""


class Snapshot:
    """Answers the one REST request of a book."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def read(self, _address: str, **_: object) -> str:
        return self._text


def feed_of(snapshot: str) -> Any:
    """A feed as its user makes one, its network replaced by what was recorded."""
    HTTPSync.read = lambda *_args, **_kwargs: EXCHANGE_INFO
    feed = BinanceFutures(
        symbols=[SYMBOL],
        channels=[TRADES, TICKER, L2_BOOK],
        callbacks={TRADES: nothing, TICKER: nothing, L2_BOOK: nothing},
    )
    feed.http_conn = Snapshot(snapshot)
    return feed


async def handle(feed: Any, messages: list[str]) -> int:
    feed._reset()
    await feed._snapshot("BTCUSDT")
    handler, receipt = feed.message_handler, time.time()
    gc.collect()
    gc.disable()
    began = time.process_time_ns()
    for message in messages:
        await handler(message, None, receipt)
    spent = time.process_time_ns() - began
    gc.enable()
    # A handler that lost the chain would throw its books away and be fast for the wrong reason.
    assert feed._l2_book, "the book was reset"
    return spent


async def write_raw(messages: list[str]) -> int:
    """What `ConnectionHandler` does per message when raw data is collected, and the files."""
    with tempfile.TemporaryDirectory() as folder:
        callback = AsyncFileCallback(folder)
        gc.collect()
        gc.disable()
        began = time.process_time_ns()
        for message in messages:
            last_message = time.time()
            await callback(message, last_message, "connection.ws.1")
        callback.stop()
        spent = time.process_time_ns() - began
        gc.enable()
    return spent


def main() -> None:
    logging.disable(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    shapes: dict[str, list[str]] = {}
    feed: Any = None
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, object] = {}
        if "load" in order:
            shapes.update(json.loads(Path(order["load"]).read_text()))
            feed = feed_of(shapes.pop("snapshot")[0])
            answer = {"loaded": len(shapes)}
        elif "run" in order:
            messages = shapes[order["run"]]
            answer = {"ns": loop.run_until_complete(handle(feed, messages)), "units": len(messages)}
        elif "raw" in order:
            messages = shapes[order["raw"]]
            answer = {"ns": loop.run_until_complete(write_raw(messages)), "units": len(messages)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
