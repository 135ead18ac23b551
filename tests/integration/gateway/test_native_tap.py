"""The session on a raw tap that is native all through: raw log and decoder.

What matters here is which events come out when connections overlap, break, and books lose their
chain.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from gateway.config import VenueConfig
from gateway.servers.config import ProtocolConfig, SimServerConfig
from gateway.servers.sim import SimServer
from gateway.session import Session
from gateway.venues.registry import find
from tickd.clock import SystemClock
from tickd.events import EVENT, BookState, Kind
from tickd.native import Decoder, RawLog
from tickd.ports import Leg, Notice


class NativeTap:
    """A `RawTap` that writes for real and keeps every event that was decoded."""

    def __init__(self, directory: Path) -> None:
        self.raw = RawLog(str(directory), node=1)
        self.decoder = Decoder()
        self.raw.restore_decoder(self.decoder)
        self._legs: dict[int, Leg] = {}
        self._batches: list[np.ndarray] = []
        self._armed = False

    def open(self, *, venue, url, streams, leg, backfill=False):
        connection = self.raw.next_connection()
        self._legs[connection] = leg
        self._control(
            connection,
            kind="connect",
            connection=connection,
            venue=venue,
            url=url,
            streams=list(streams),
            **({"backfill": True} if backfill else {}),
        )
        return connection

    def frame(self, connection, payload):
        self.raw.frame(connection, payload)
        self._arm()

    def record(self, connection, record_type, payload):
        frame_no = self.raw.record(connection, record_type, payload)
        self._arm()
        return frame_no

    def close(self, connection, reason):
        if self._legs.pop(connection, None) is not None:
            self._control(connection, kind="disconnect", connection=connection, reason=reason)

    def _control(self, number, **fields):
        self.record(number, "C", json.dumps(fields).encode())

    def _arm(self):
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self.end_burst)

    def end_burst(self):
        self._armed = False
        batch = self.raw.end_burst(self.decoder)
        if batch is not None:
            self._batches.append(np.frombuffer(batch, EVENT).copy())
        for notice in self.decoder.take_notices():
            if notice[0] in self._legs:
                self._legs[notice[0]].on_notice(Notice(*notice))

    def activity(self) -> dict[str, int]:
        return {self.decoder.topic_name(n): last for n, _, last in self.decoder.topic_stats()}

    def events(self, kind: int) -> np.ndarray:
        events = np.concatenate([np.empty(0, EVENT), *self._batches])
        return events[events["kind"] == kind]

    def ids(self, kind: int) -> list[int]:
        return self.events(kind)["id"].tolist()


class Recorded(NamedTuple):
    """A session and its tap."""

    session: Session
    tap: NativeTap


@asynccontextmanager
async def recording(
    venue, fast, directory: Path, *, name: str = "binance-spot", **fields: object
) -> AsyncIterator[Recorded]:
    tap = NativeTap(directory)
    config = VenueConfig(
        **{
            "name": name,
            "symbols": ("BTCUSDT",),
            "ws_url": venue.ws_url,
            "rest_url": venue.rest_url,
            **fast,
            **fields,
        }
    )
    session = Session(
        find(name),
        config,
        tap=tap,
        clock=SystemClock(),
        activity=tap.activity,
        jitter=random.Random(1).random,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            try:
                yield Recorded(session, tap)
            finally:
                running.cancel()
    finally:
        tap.raw.close()


def trade(number: int) -> dict[str, object]:
    return {
        "e": "trade",
        "E": 1,
        "s": "BTCUSDT",
        "t": number,
        "p": "61800.30",
        "q": "0.006",
        "T": 1,
        "m": False,
        "M": True,
    }


async def test_rotation_gives_every_trade_once(serving_venue, fast, until, tmp_path):
    """Two connections deliver the same ids for a while; the bus sees each id once, in order."""
    async with recording(
        serving_venue, fast, tmp_path, channels=("trade",), rotation_seconds=0.4
    ) as r:
        await until(lambda: serving_venue.open and serving_venue.open[0].streams)
        number = 0
        while r.session.counters.replacements < 3:
            number += 1
            serving_venue.publish("btcusdt@trade", trade(number))
            await asyncio.sleep(0.002)
        await until(lambda: r.tap.ids(Kind.TRADE) and r.tap.ids(Kind.TRADE)[-1] == number)
        assert r.tap.ids(Kind.TRADE) == list(range(1, number + 1))
        assert r.tap.ids(Kind.GAP) == []
        assert r.tap.decoder.counters()["duplicates"] > 0, "the legs did overlap"
        assert r.session.counters.handovers_incomplete == 0


async def test_cut_is_a_gap_with_the_missing_ids(serving_venue, fast, until, tmp_path):
    async with recording(serving_venue, fast, tmp_path, channels=("trade",)) as r:
        await until(lambda: serving_venue.open and serving_venue.open[0].streams)
        serving_venue.publish("btcusdt@trade", trade(1))
        await until(lambda: r.tap.ids(Kind.TRADE) == [1])
        serving_venue.open[0].transport.disconnect(graceful=False)
        await until(lambda: len(serving_venue.clients) == 2 and serving_venue.clients[1].streams)
        serving_venue.publish("btcusdt@trade", trade(5))
        await until(lambda: r.tap.ids(Kind.TRADE) == [1, 5])
        assert len(r.tap.ids(Kind.GAP)) == 1


async def test_book_is_synced_by_the_snapshot_and_again_after_a_gap(
    serving_venue, fast, until, tmp_path
):
    async with recording(serving_venue, fast, tmp_path, channels=("depth",)) as r:
        await until(lambda: serving_venue.open and serving_venue.open[0].streams)
        serving_venue.last_update = 100

        def states() -> list[int]:
            return r.tap.events(Kind.BOOK_STATE)["aux"].tolist()

        async def publish_until_synced(times: int) -> None:
            async with asyncio.timeout(5):
                while states().count(BookState.SYNCED) < times:
                    serving_venue.publish_depth()
                    await asyncio.sleep(0.005)

        await publish_until_synced(1)
        serving_venue.publish_depth(skip=7)
        await publish_until_synced(2)
        assert BookState.GAP in states() or states().count(BookState.BUFFERING) == 2
        assert r.tap.decoder.counters()["resyncs"] == 2
        assert r.session.status().snapshots_pending == ()


async def test_refused_subscription_reaches_the_session(serving_venue, fast, until, tmp_path):
    serving_venue.refuse = "btcusdt"
    async with recording(serving_venue, fast, tmp_path, channels=("trade",)) as r:
        await until(lambda: r.session.counters.subscribe_refusals >= 1)
        await until(lambda: "Invalid request" in (r.session.status().lines[0].fault or ""))


async def test_shutdown_notice_reaches_the_session(serving_venue, fast, until, tmp_path):
    async with recording(serving_venue, fast, tmp_path, channels=("trade",)) as r:
        await until(lambda: serving_venue.open and serving_venue.open[0].streams)
        serving_venue.open[0].send(
            {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1770123456789}}
        )
        await until(lambda: r.session.counters.replacements == 1)


async def test_simulated_market_through_rotations_and_faults(fast, until, tmp_path):
    """Every fault the simulated venue commits is found, and nothing else is called a gap."""
    sim = SimServer(
        SimServerConfig(
            markets=("usdm",), symbols=3, rate=3000.0, seed=7, protocol=ProtocolConfig()
        ),
        SystemClock(),
    )
    addresses = await sim.start()
    symbols = addresses.symbols["binance-usdm"]
    where = SimpleNamespace(
        ws_url=addresses.ws["binance-usdm"], rest_url=addresses.rest["binance-usdm"]
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(sim.run())
            async with recording(
                where,
                fast,
                tmp_path,
                name="binance-usdm",
                symbols=tuple(symbols),
                channels=("trade", "quote", "depth"),
                depth_interval_ms=0,
                rotation_seconds=0.8,
            ) as r:

                def synced() -> int:
                    states = r.tap.events(Kind.BOOK_STATE)
                    return len({s["instrument"] for s in states if s["aux"] == BookState.SYNCED})

                await until(lambda: synced() == len(symbols))
                await until(lambda: r.session.counters.replacements >= 2, 10.0)
                assert r.tap.ids(Kind.GAP) == []
                trades = r.tap.events(Kind.TRADE)
                for instrument in set(trades["instrument"].tolist()):
                    ids = trades["id"][trades["instrument"] == instrument]
                    assert (np.diff(ids.astype(np.int64)) == 1).all()
                assert r.session.counters.handovers_incomplete == 0
                stream = f"{symbols[0].lower()}@depth@0ms"
                before = r.session.counters.snapshots_fetched
                sim.feeds["usdm"].native.inject("gap", stream, 2)
                await until(lambda: r.session.counters.snapshots_fetched > before)
                await until(lambda: r.session.status().snapshots_pending == ())
            playing.cancel()
    finally:
        await sim.stop()
