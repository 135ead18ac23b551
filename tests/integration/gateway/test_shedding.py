"""A session that gives up its depth for a while: simulated venue, native decoder."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.config import VenueConfig
from gateway.servers.config import SimServerConfig
from gateway.servers.sim import SimServer
from gateway.session import Session
from gateway.venues.registry import find
from tests.reference.raw_log import read_log
from tickd.app.tap import Tap
from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.clock import SystemClock
from tickd.events import BookState, GapCause, Kind, as_array
from tickd.native import Decoder, RawLog

VENUE = "binance-usdm"
SYMBOLS = 3
DEPTH = 3  # the channel's number in a gap


class Recorder:
    """Session, tap, decoder; keeps every event."""

    def __init__(self, session: Session, raw_log: RawLog, decoder: Decoder) -> None:
        self.session = session
        self.raw_log = raw_log
        self.decoder = decoder
        self.events: list[tuple[int, int, int]] = []  # kind, aux, id

    def of(self, kind: Kind) -> list[tuple[int, int, int]]:
        return [event for event in self.events if event[0] == kind]

    def synced(self) -> int:
        states = [aux for _, aux, _ in self.of(Kind.BOOK_STATE)]
        return states.count(BookState.SYNCED)

    def gaps(self) -> set[tuple[str, int]]:
        return {(GapCause(aux & 0xFF).name, aux >> 8) for _, aux, _ in self.of(Kind.GAP)}

    async def until(self, condition, seconds: float = 8.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - a venue, a session, a decoder
                await asyncio.sleep(0.01)

    async def more(self, kind: Kind, count: int) -> None:
        before = len(self.of(kind))
        await self.until(lambda: len(self.of(kind)) >= before + count)


@asynccontextmanager
async def recording(directory: Path, fast: dict[str, object], **fields) -> AsyncIterator[Recorder]:
    clock = SystemClock()
    server = SimServer(SimServerConfig(symbols=SYMBOLS, rate=2_000.0, seed=5), clock)
    raw_log = RawLog(str(directory), node=1)
    decoder = Decoder()
    raw_log.restore_decoder(decoder)
    bus = Bus(decoder.topic_name, clock)
    tap = Tap(raw_log, decoder, bus, clock=clock)
    bursts = bus.subscribe_bursts(
        name="all", when_full=WhenFull.DROP_OLDEST, limits=Limits(records_total_max=1 << 22)
    )
    addresses = await server.start()
    config = VenueConfig(
        **{
            **fast,
            "name": VENUE,
            "symbols": tuple(addresses.symbols[VENUE]),
            "depth_interval_ms": 0,
            "ws_url": addresses.ws[VENUE],
            "rest_url": addresses.rest[VENUE],
            **fields,
        }
    )

    def activity() -> dict[str, int]:
        return {decoder.topic_name(n): last for n, _, last in decoder.topic_stats()}

    session = Session(
        find(VENUE),
        config,
        tap=tap,
        clock=clock,
        activity=activity,
        jitter=random.Random(1).random,
    )
    recorder = Recorder(session, raw_log, decoder)

    async def keep() -> None:
        while batches := await bursts.take_bursts():
            for batch in batches:
                events = as_array(batch)
                for row in events[events["kind"] != Kind.DEPTH]:
                    recorder.events.append((int(row["kind"]), int(row["aux"]), int(row["id"])))

    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.run())
            keeping = tasks.create_task(keep())
            running = tasks.create_task(session.run())
            try:
                yield recorder
            finally:
                running.cancel()
                serving.cancel()
                keeping.cancel()
    finally:
        await server.stop()
        tap.finish()
        tap.detach()
        raw_log.close()
        bus.close()


async def test_depth_is_given_up_at_the_venue_and_comes_back_whole(fast, tmp_path: Path) -> None:
    async with recording(tmp_path, fast) as r:
        await r.until(lambda: r.synced() == SYMBOLS)
        r.session.shed(["depth"], "disk")
        assert r.session.status().shed == ("depth",)
        await r.until(lambda: r.decoder.counters().get("sheds", 0) == len(r.session.status().lines))
        quiet = len(r.of(Kind.DEPTH_HEAD))
        await r.more(Kind.TRADE, 300)
        await r.more(Kind.QUOTE, 300)
        assert len(r.of(Kind.DEPTH_HEAD)) == quiet, "the venue still sends depth"
        assert r.gaps() == set()
        r.session.restore()
        await r.until(lambda: r.synced() == 2 * SYMBOLS)
        await r.more(Kind.DEPTH_HEAD, 100)
        assert r.gaps() == {("SHED", DEPTH)}
        assert len(r.of(Kind.GAP)) == SYMBOLS
        assert r.session.counters.disconnects == 0
        assert r.session.counters.sheds == 1
        assert r.session.status().shed == ()
    records = [json.loads(r.payload) for r in read_log(tmp_path) if r.kind == "C"]
    kinds = [record["kind"] for record in records if record["kind"] in ("shed", "restore")]
    assert kinds == ["shed"] * (len(kinds) // 2) + ["restore"] * (len(kinds) // 2)
    assert kinds
    assert {tuple(r["channels"]) for r in records if r["kind"] == "shed"} == {("depth",)}


async def test_a_new_connection_does_without_what_is_given_up(fast, tmp_path: Path) -> None:
    """Rotations go on, silence is no fault, and the streams come back on whatever is open then."""
    quick = {"rotation_seconds": 0.5, "silence_seconds": {"depth": 0.3}}
    async with recording(tmp_path, fast, **quick) as r:
        await r.until(lambda: r.synced() == SYMBOLS)
        r.session.shed(["depth"], "disk")
        await r.until(lambda: r.decoder.counters().get("sheds", 0) > 0)
        before = r.session.counters.replacements
        await r.until(lambda: r.session.counters.replacements >= before + 4)
        quiet = len(r.of(Kind.DEPTH_HEAD))
        await r.more(Kind.TRADE, 300)
        assert len(r.of(Kind.DEPTH_HEAD)) == quiet
        assert r.session.counters.silences == 0
        assert r.session.counters.handovers_incomplete == 0
        r.session.restore()
        await r.until(lambda: r.synced() >= 2 * SYMBOLS)
        assert {cause for cause, _ in r.gaps()} <= {"SHED", "DISCONNECT"}


async def test_a_start_without_the_channel_and_a_change_of_mind(fast, tmp_path: Path) -> None:
    async with recording(tmp_path, fast) as r:
        r.session.shed(["depth"], "disk")
        await r.more(Kind.TRADE, 100)
        assert r.of(Kind.DEPTH_HEAD) == []
        for _ in range(5):
            r.session.restore()
            r.session.shed(["depth"], "disk")
        r.session.restore()
        await r.until(lambda: r.synced() == SYMBOLS)
        assert r.gaps() <= {("SHED", DEPTH)}


async def test_a_channel_that_is_not_recorded_cannot_be_given_up(fast, tmp_path: Path) -> None:
    async with recording(tmp_path, fast, channels=("trade",)) as r:
        await r.more(Kind.TRADE, 10)
        r.session.shed(["depth"], "disk")
        assert r.session.status().shed == ()
        assert r.session.counters.sheds == 0
