"""Signals of a live run, and the same ones again from its raw log, cut otherwise."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np

from gateway.config import VenueConfig
from gateway.servers.config import SimServerConfig
from gateway.servers.process import Addresses
from gateway.servers.sim import serve_sim
from gateway.session import Session
from gateway.venues import registry
from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.indicators.indicator_set import IndicatorSet
from tickd.app.signals import Signals
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.events import EVENT, Kind, as_array, signal_values
from tickd.native import Decoder, EventBatch, RawLog, RawLogReader

VENUE = "binance-usdm"
SIGNALS_MIN = 20_000
CONFIGS = (
    IndicatorConfig(name="flow", kind="ofi", topics=("quote.*.*",), params={"window": 20}),
    IndicatorConfig(name="depth_flow", kind="mlofi", topics=("depth.*.*",), params={"levels": 10}),
    IndicatorConfig(name="mid", kind="mid", topics=("quote.*.*", "depth.*.*"), publish="every"),
    IndicatorConfig(
        name="heat",
        kind="hawkes",
        topics=("trade.*.*",),
        params={"mu": 1.0, "alpha": 0.5, "beta": 10.0},
    ),
)


def in_order(batches: list[EventBatch]) -> np.ndarray:
    """Topics are grouped as bursts were cut: by number, indicator and instrument nothing is."""
    events = np.concatenate([as_array(batch) for batch in batches] or [np.empty(0, EVENT)])
    return events[np.lexsort((events["aux"], events["seq"]))]


async def record(directory: Path) -> tuple[np.ndarray, dict[str, int], list[str]]:
    """Signals of a run as the bus delivered them, of which topics, and what else came when."""
    clock = SystemClock()
    raw_log = RawLog(str(directory), node=1, group_bytes=16 << 10, group_ms=20)
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, clock)
    signals = Signals(CONFIGS, decoder=decoder, bus=bus)
    live: list[EventBatch] = []
    order: list[str] = []
    topics: dict[str, int] = {}

    def witness(batch: EventBatch) -> None:
        names = {decoder.topic_name(topic) for topic, _, _ in batch.topics}
        if not any(name.startswith("signal.") for name in names):
            order.append(f"cause {batch.seq_last}")
            return
        live.append(batch)
        order.append(f"signals {batch.seq_last}")
        for topic, start, stop in batch.topics:
            name = decoder.topic_name(topic)
            topics[name] = topics.get(name, 0) + stop - start

    bus.handle_bursts(witness, name="witness")
    tap = Tap(raw_log, decoder, bus, clock=clock)
    tap.on_definition(signals.define)
    addresses: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    config = SimServerConfig(symbols=3, rate=30_000, seed=11)
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve_sim(config, clock, addresses.set_result), name="sim")
        where = await addresses
        session = Session(
            registry.find(VENUE),
            VenueConfig(
                name=VENUE,
                symbols=tuple(where.symbols[VENUE]),
                ws_url=where.ws[VENUE],
                rest_url=where.rest[VENUE],
                depth_interval_ms=0,
            ),
            tap=tap,
            clock=clock,
            activity=dict,
            jitter=random.Random(1).random,
        )
        recording = tasks.create_task(session.run(), name="session")
        while signals.draw()["signals"] < SIGNALS_MIN:
            await clock.sleep(0.01)
        recording.cancel()
        await asyncio.wait([recording])
        serving.cancel()
    tap.finish()
    tap.detach()
    raw_log.close()
    assert signals.draw()["undefined"] == 0
    return in_order(live), topics, order


def replay(directory: Path, *, size: int | None) -> np.ndarray:
    """The signals of a raw log; `size`: records per burst, None: a chunk at a time."""
    decoder = Decoder()
    made = IndicatorSet(CONFIGS, topic_name=decoder.topic_name, intern_topic=decoder.intern_topic)
    known: set[int] = set()
    found: list[EventBatch] = []
    for _, chunk in RawLogReader(str(directory), 0):
        for part in (chunk,) if size is None else bursts(chunk, size):
            batch = decoder.decode(part)
            for number, definition in decoder.instruments():
                if number not in known:
                    known.add(number)
                    made.define(number, definition)
            signals = made.signals(batch)
            if signals is not None:
                found.append(signals)
    return in_order(found)


def bursts(chunk: bytes, size: int) -> list[bytes]:
    """A chunk cut behind every `size`th record."""
    cuts, at, count = [0], 0, 0
    while at < len(chunk):
        # frame_no recv_ns mono_ns connection type length payload LF
        head = chunk[at : at + 200].split(b" ", 6)[:6]
        at += sum(len(word) + 1 for word in head) + int(head[5]) + 1
        count += 1
        if count % size == 0:
            cuts.append(at)
    return [chunk[a:b] for a, b in zip(cuts, [*cuts[1:], len(chunk)], strict=True) if b > a]


async def test_the_raw_log_of_a_run_gives_its_signals_again_however_it_is_cut(
    tmp_path: Path,
) -> None:
    live, topics, order = await record(tmp_path)
    assert len(live) >= SIGNALS_MIN
    assert len(topics) == 3
    assert set(np.unique(live["aux"])) == {config.number for config in CONFIGS}
    assert np.all(live["kind"] == Kind.SIGNAL)
    assert np.all(np.isfinite(signal_values(live)))
    # Behind the batch that caused them, before the next one.
    for place, line in enumerate(order):
        if line.startswith("signals"):
            assert order[place - 1].startswith("cause")
    for size in (None, 7):
        assert replay(tmp_path, size=size).tobytes() == live.tobytes()
