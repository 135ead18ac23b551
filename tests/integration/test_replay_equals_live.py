"""Replay equals live: what the bus delivered is what the raw log gives again, byte for byte.

A session records a simulated venue on loopback into small segments; every event that a bus consumer
saw live is kept. Afterwards the log is decoded from its start and from every segment.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest

from gateway.config import VenueConfig
from gateway.servers.config import SimServerConfig
from gateway.servers.process import Addresses
from gateway.servers.sim import serve_sim
from gateway.session import Session
from gateway.venues import registry
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.events import EVENT, as_array
from tickd.native import Decoder, EventBatch, RawLog, RawLogReader, manifest_read

VENUE = "binance-usdm"
EVENTS_MIN = 60_000


def in_seq_order(batches: list[EventBatch]) -> np.ndarray:
    events = np.concatenate([as_array(batch) for batch in batches] or [np.empty(0, EVENT)])
    return events[np.argsort(events["seq"], kind="stable")]


async def record(directory: Path) -> np.ndarray:
    """Record a simulated venue until enough events came; return them as the bus delivered them."""
    clock = SystemClock()
    raw_log = RawLog(
        str(directory), node=1, group_bytes=16 << 10, group_ms=20, segment_bytes_max=150_000
    )
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, clock)
    live: list[EventBatch] = []
    bus.handle_bursts(live.append, name="witness")
    tap = Tap(raw_log, decoder, bus, clock=clock)
    addresses: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    config = SimServerConfig(symbols=4, rate=60_000, seed=7)
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
        while sum(map(len, live)) < EVENTS_MIN:
            await clock.sleep(0.01)
        recording.cancel()
        await asyncio.wait([recording])
        serving.cancel()
    tap.finish()
    tap.detach()
    raw_log.close()
    return in_seq_order(live)


def replay(directory: Path, from_frame: int) -> np.ndarray:
    decoder = Decoder()
    chunks = (chunk for _, chunk in RawLogReader(str(directory), from_frame))
    return in_seq_order([decoder.decode(chunk) for chunk in chunks])


async def test_the_log_gives_the_live_events_again_from_the_start_and_from_any_segment(
    tmp_path: Path,
) -> None:
    live = await record(tmp_path)
    assert len(live) >= EVENTS_MIN
    assert replay(tmp_path, 0).tobytes() == live.tobytes()
    sealed = [line for line in manifest_read(str(tmp_path)) if line["kind"] == "sealed"]
    assert len(sealed) >= 3, "the run was too short to rotate"
    for line in sealed:
        first = int(line["frame_first"])
        expected = live[live["seq"] >> np.uint64(16) >= first]
        assert replay(tmp_path, first).tobytes() == expected.tobytes(), f"from frame {first}"


@pytest.mark.captures
@pytest.mark.parametrize("burst", [1, 64, 4096])
async def test_bursts_do_not_change_what_a_capture_decodes_to(
    burst: int, captures: Path, tmp_path: Path
) -> None:
    """The same frames cut into bursts of another size give the same events, seq included."""
    from tests.reference.capture import lines  # noqa: PLC0415 - needs the captures anyway

    decoder = Decoder()
    raw_log = RawLog(str(tmp_path), node=1)
    connect = b'{"kind":"connect","connection":1,"venue":"binance-usdm","url":"","streams":[]}'
    instrument = (
        b'{"kind":"instrument","venue":"binance-usdm","symbol":"BTCUSDT",'
        b'"asset_class":"perpetual","price_scale":2,"size_scale":3,"tick":10,"lot":1,'
        b'"multiplier":"1"}'
    )
    raw_log.restore_decoder(decoder)
    raw_log.record(0, "C", instrument)
    raw_log.record(1, "C", connect)
    batches = []
    source = lines(captures / "wire" / "binance" / "usdm_btcusdt_20240808.gz")
    for number, (recv_ns, text) in enumerate(source):
        if '"stream"' not in text[:12]:
            continue
        raw_log.frame_at(1, text.encode(), recv_ns, 0)
        if number % burst == 0:
            batches.append(raw_log.end_burst(decoder))
        if number == 20_000:
            break
    batches.append(raw_log.end_burst(decoder))
    raw_log.close()
    events = in_seq_order([batch for batch in batches if batch is not None])
    assert replay(tmp_path, 0).tobytes() == events.tobytes()
    assert len(events) > 20_000
