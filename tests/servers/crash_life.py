"""A small daemon that is there to be killed: real raw log, decoder and storage, fed by itself.

`crash_nursery.py` starts it. It appends to its log what it promises: `next F` (first number it
gives out), `written F`, `synced F TIME` (monotonic, ns), `rebuilt_differently N`,
`spilled N` (ranges left to repair, or bars), `stored N` (rows), `behind N` (falls),
`live`, `drained`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import recorder.sink.plan
from recorder.raw.watermark import Watermark
from tests.servers.crash_points import Points
from tickd.app.config import load_config
from tickd.app.storage import Storage
from tickd.clock import SystemClock
from tickd.testing.memory_log import MemoryBursts
from tickd.testing.wire_log import WireLog

FRAMES_PER_BURST = 20
BURST_PAUSE_S = 0.002
# Small, so that the plan is written anew many times in a short life.
COMPACT_BYTES = 20_000
_write = os.write


class Life:
    """One daemon, from its start to its kill or its drain."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.config = load_config(Path(order["config"]))
        self.said = os.open(order["says"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.written = self.synced = -1
        self.differing = self.spilled = self.stored = self.behind = 0

    def say(self, *words: object) -> None:
        _write(self.said, (" ".join(map(str, words)) + "\n").encode())

    async def run(self) -> None:
        state = self.config.state_dir
        log = WireLog(state / "raw", self.order["seed"], **self.order["log"])
        recovery = log.raw_log.recovery
        last = recovery["gap"][1] if recovery["gap"] else recovery["frame_last"]
        self.say("next", last + 1)
        clock = SystemClock()
        durable = self.config.sink.durability == "disk"
        watermark = Watermark(log.raw_log, durable=durable, clock=clock)
        loop = asyncio.get_running_loop()
        watermark.watch(loop)
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        feed = MemoryBursts()
        storage = Storage(
            self.config,
            subscription=feed,  # type: ignore[arg-type]
            progress=watermark,
            frame_recovered=log.frame_recovered,
            frame_next=last + 1,
            definitions=log.decoder.instruments,
            lag=list,
            clock=clock,
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(storage.run())
            await self._feed(log, storage, feed, stop)
            feed.close()
            self._watch(log, storage)
            self.say("drained" if await task else "undrained")
            self._watch(log, storage)
        log.close()

    async def _feed(
        self, log: WireLog, storage: Storage, feed: MemoryBursts, stop: asyncio.Event
    ) -> None:
        known: set[int] = set()
        told = False
        while not stop.is_set():
            batch = log.burst(FRAMES_PER_BURST)
            for instrument, definition in log.decoder.instruments():
                if instrument not in known:
                    known.add(instrument)
                    storage.define(instrument, definition)
            if batch is not None:
                feed.put(batch)
            self._watch(log, storage)
            if not told and storage.sink.state.name == "LIVE":
                told = True
                self.say("live")
            await asyncio.sleep(BURST_PAUSE_S)

    def _watch(self, log: WireLog, storage: Storage) -> None:
        """Say what is promised from now on."""
        raw_log, differing = log.raw_log, storage.sink.delivery.counters.rebuilt_differently
        stored = storage.sink.delivery.counters.rows_committed
        if stored != self.stored:
            self.stored = stored
            self.say("stored", stored)
        behind = storage.sink.counters.falls_behind
        if behind != self.behind:
            self.behind = behind
            self.say("behind", behind)
        repair = storage.rebuilding.repair
        spilled = len(storage.sink.plan.spilled()) or int(repair.working or not repair.idle)
        if spilled != self.spilled:
            self.spilled = spilled
            self.say("spilled", spilled)
        if raw_log.written != self.written:
            self.written = raw_log.written
            self.say("written", self.written)
        if raw_log.synced != self.synced:
            self.synced = raw_log.synced
            self.say("synced", self.synced, time.monotonic_ns())
        if differing != self.differing:
            self.differing = differing
            self.say("rebuilt_differently", differing)


def live(order: dict[str, Any]) -> None:
    """Be one life, to its drain or its kill."""
    os.environ.update(order["environment"])
    points = order["environment"].get("TICKD_FAILPOINTS")
    if points is not None:
        Points(points, order["environment"]["TICKD_FAILPOINT_HITS"]).install()
    recorder.sink.plan._COMPACT_BYTES = COMPACT_BYTES  # type: ignore[misc]
    asyncio.run(Life(order).run())
