"""When a burst ends and when sockets pause for the disk, over a real raw log, with telling legs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import structlog

from tests.reference.raw_log import read_log
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.clock import SystemClock
from tickd.errors import TickdError
from tickd.native import Decoder, RawLog
from tickd.ports import Notice

GROUP_BYTES = 1 << 10


class TellingLeg:
    """A leg that says what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.resumed = asyncio.Event()

    def on_notice(self, notice: Notice) -> None:
        self.told.append(notice.kind)

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")
        self.resumed.set()


def definition(symbol: str) -> bytes:
    fields = {"kind": "instrument", "venue": "binance-usdm", "symbol": symbol}
    scales = {"price_scale": 2, "size_scale": 3, "tick": 1, "lot": 1, "multiplier": "1"}
    return json.dumps({**fields, "asset_class": "perpetual", **scales}).encode()


def trade(symbol: str, number: int) -> bytes:
    data = {"e": "trade", "E": 1, "T": 1, "s": symbol, "t": number, "p": "1", "q": "1"}
    data |= {"X": "MARKET", "m": True}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}).encode()


@pytest.fixture
async def tap(tmp_path: Path):
    raw_log = RawLog(
        str(tmp_path), node=1, group_bytes=GROUP_BYTES, pending_bytes_max=4 * GROUP_BYTES
    )
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    clock = SystemClock()
    made = Tap(raw_log, decoder, Bus(decoder.topic_name, clock), clock=clock)
    yield made
    made.finish()
    made.detach()
    raw_log.close()


def opened(tap: Tap, leg: TellingLeg) -> int:
    return tap.open(venue="binance-usdm", url="ws://127.0.0.1/", streams=["btcusdt@trade"], leg=leg)


async def test_frames_of_one_turn_of_the_loop_are_one_burst(tap: Tap) -> None:
    connection = opened(tap, TellingLeg())
    await asyncio.sleep(0)
    before = tap.bursts_total
    for _ in range(10):
        tap.frame(connection, b"x" * 300)
    assert tap.bursts_total == before
    await asyncio.sleep(0)
    assert tap.bursts_total == before + 1


async def test_backlog_is_published_while_it_is_still_being_read(tap: Tap) -> None:
    """So that the first frame of a backlog does not wait for its last."""
    connection = opened(tap, TellingLeg())
    for _ in range(1_000):
        tap.frame(connection, b"x" * 300)
    assert tap.bursts_total > 1_000 * 300 // (32 << 10) - 1


async def test_full_log_pauses_every_leg_and_the_disk_resumes_them(tap: Tap) -> None:
    first, late = TellingLeg(), TellingLeg()
    connection = opened(tap, first)
    # Each is more than the half from which nothing more is read, however fast the writer is.
    for _ in range(64):
        if not tap.paused:
            tap.frame(connection, b"x" * (3 * GROUP_BYTES))
    assert tap.paused
    assert first.told == ["pause"]
    opened(tap, late)
    assert late.told == ["pause"]
    async with asyncio.timeout(10):
        await first.resumed.wait()
    assert not tap.paused
    assert late.told == ["pause", "resume"]
    assert tap.pauses_total == 1


async def test_the_way_to_the_bus_is_counted_by_topic(tap: Tap) -> None:
    """Every event once, and none of it faster than the quickest of all."""
    connection = opened(tap, TellingLeg())
    for symbol in ("AAAUSDT", "BBBUSDT"):
        tap.record(0, "C", definition(symbol))
    for number, symbol in enumerate(("AAAUSDT", "BBBUSDT", "AAAUSDT")):
        tap.frame(connection, trade(symbol, number))
        await asyncio.sleep(0)
    names = {symbol: f"trade.binance-usdm.{symbol}" for symbol in ("AAAUSDT", "BBBUSDT")}
    found = {
        tap._decoder.topic_name(topic): (events, ns)
        for topic, events, ns in tap.topic_latency.quantiles(0.99)
    }
    assert found[names["AAAUSDT"]][0] == 2
    assert found[names["BBBUSDT"]][0] == 1
    assert sum(events for events, _ in found.values()) == tap.publish_latency.count
    slowest = max(ns for _, ns in found.values())
    assert tap.publish_latency.max <= slowest <= max(1 << 13, tap.publish_latency.max * 9 // 8)


async def test_notice_reaches_the_leg_that_owns_the_connection(tap: Tap) -> None:
    mine, other = TellingLeg(), TellingLeg()
    connection = opened(tap, mine)
    opened(tap, other)
    tap.frame(connection, json.dumps({"result": None, "id": 1}).encode())
    await asyncio.sleep(0)
    assert mine.told == ["subscribed"]
    assert other.told == []


async def test_closed_tap_takes_no_connection(tap: Tap) -> None:
    connection = opened(tap, TellingLeg())
    tap.close(connection, "over")
    tap.close(connection, "twice is nothing")
    tap.finish()
    with pytest.raises(TickdError, match="raw log is closed"):
        opened(tap, TellingLeg())


async def test_sockets_held_for_another_reason_wait_for_both(tap: Tap) -> None:
    leg = TellingLeg()
    connection = opened(tap, leg)
    tap.hold("disk full")
    tap.hold("disk full")
    assert tap.paused
    assert leg.told == ["pause"]
    tap.frame(connection, b"x" * 5 * GROUP_BYTES)  # what was on its way still comes
    await asyncio.sleep(0)
    tap.release("something else")
    assert tap.paused
    tap.release("disk full")
    async with asyncio.timeout(5):
        await leg.resumed.wait()
    assert not tap.paused
    assert leg.told == ["pause", "resume"]
    assert tap.pauses_total == 1


async def test_pause_and_resume_are_on_record(tap: Tap, tmp_path: Path) -> None:
    tap.hold("disk full")
    tap.release("disk full")
    tap.finish()
    tap._raw.close()
    said = [json.loads(r.payload) for r in read_log(tmp_path) if r.kind == "C"]
    assert said == [
        {"kind": "pause", "causes": ["disk full"], "fault": None},
        {"kind": "resume"},
    ]


async def test_who_listens_to_control_records_gets_them_as_they_stand_in_the_log(
    tap: Tap, tmp_path: Path
) -> None:
    heard: list[tuple[int, int, bytes]] = []
    tap.on_control(lambda *record: heard.append(record))
    connection = opened(tap, TellingLeg())
    tap.frame(connection, trade("BTCUSDT", 1))
    tap.record(connection, "R", b"GET / 200\n{}")
    tap.control({"kind": "audit", "action": "kill"})
    tap.finish()
    tap.detach()
    tap._raw.close()
    written = [each for each in read_log(tmp_path) if each.kind == "C"]
    assert heard == [(each.frame_no, each.recv_ns, each.payload) for each in written]
    assert [json.loads(payload)["kind"] for _, _, payload in heard] == ["connect", "audit"]


async def test_who_cannot_take_a_definition_loses_nobody_a_batch(tap: Tap) -> None:
    told: list[int] = []

    def refuse(_instrument: int, _definition: bytes) -> None:
        raise TickdError("no room")

    tap.on_definition(refuse)
    tap.on_definition(lambda instrument, _definition: told.append(instrument))
    connection = opened(tap, TellingLeg())
    with structlog.testing.capture_logs() as logs:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            tap.record(0, "C", definition(symbol))
            tap.frame(connection, trade(symbol, 1))
            await asyncio.sleep(0)
    assert len(told) == 2
    assert tap.publish_latency.count == 2, "both batches are on the bus"
    assert tap.definition_failures_total == 2
    (said,) = [each for each in logs if each["event"] == "definition_not_taken"]
    assert said["log_level"] == "error"
    assert "refuse" in said["callback"]
