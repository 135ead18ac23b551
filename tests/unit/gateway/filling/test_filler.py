"""The filler against a ledger, a tap and a venue of a few lines, in virtual time.

What the native decoder does with the records is proven in native/core/tests/fill.rs; here the
ledger takes the ids that a reply names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
import pytest
from typing_extensions import Buffer

from gateway.config import FillConfig
from gateway.errors import RateLimitedError, RestFailedError, RestRefusedError
from gateway.filling.filler import Filler
from gateway.filling.quarantine import IDLE_SECONDS
from gateway.venue import OpenGap, Piece, RestRequest
from gateway.venues.registry import find
from tickd.ports import Leg, Notice, RecordType
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock

S = 1_000_000_000
VENUE = find("binance-usdm")
CONFIG = FillConfig(settle_seconds=5, tries_max=2, retry_seconds=10, api_key=Secret("k"))


class Ledger:
    """A raw tap behind which the ids of replies leave the ledger at the end of the burst."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.missing: dict[int, list[int]] = {}
        self.until_ns: dict[int, int] = {}
        self.records: list[tuple[int, str, bytes]] = []
        self.opened: list[tuple[int, bool]] = []
        self.closed: list[str] = []
        self.leg: Leg | None = None

    def lose(self, seq: int, ids: Sequence[int]) -> None:
        self.missing[seq] = sorted(ids)
        self.until_ns[seq] = self.clock.wall_ns()

    def gaps(self) -> list[OpenGap]:
        found = []
        for seq, ids in self.missing.items():
            pieces: list[Piece] = []
            for each in ids:
                if pieces and pieces[-1][1] == each - 1:
                    pieces[-1] = (pieces[-1][0], each)
                else:
                    pieces.append((each, each))
            until_ns = self.until_ns[seq]
            found.append(
                OpenGap(
                    seq, VENUE.name, "BTCUSDT", "trade", 3, until_ns, until_ns, 0, ids[0], ids[-1],
                    tuple(pieces),
                )
            )  # fmt: skip
        return found

    def open(
        self, *, venue: str, url: str, streams: Sequence[str], leg: Leg, backfill: bool = False
    ) -> int:
        assert (venue, url, streams) == (VENUE.name, "/fapi/v1/historicalTrades", ())
        self.leg = leg
        self.opened.append((len(self.opened) + 1, backfill))
        return len(self.opened)

    def frame(self, connection: int, payload: Buffer) -> None:
        raise AssertionError("a filler has no messages")

    def record(self, connection: int, record_type: RecordType, payload: Buffer) -> int:
        self.records.append((connection, record_type, bytes(payload)))
        asyncio.get_running_loop().call_soon(self._end_burst, record_type, bytes(payload))
        return len(self.records)

    def close(self, connection: int, reason: str) -> None:
        self.closed.append(reason)

    def _end_burst(self, record_type: str, payload: bytes) -> None:
        if record_type == "C":
            self.missing.pop(orjson.loads(payload)["gap"])
            return
        brought = {each["id"] for each in orjson.loads(payload.partition(b"\n")[2])}
        for seq, ids in list(self.missing.items()):
            self.missing[seq] = [each for each in ids if each not in brought]
            if not self.missing[seq]:
                del self.missing[seq]


class Venue:
    """Answers with the ids it has; fails on order."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.lacks: set[int] = set()
        self.failures: list[Exception] = []
        self.asked: list[tuple[int, str]] = []  # virtual ms, query
        self.weight_used = 0

    async def get(self, request: RestRequest) -> bytes:
        assert request.keyed
        self.asked.append((self.clock.mono_ns() // 1_000_000, request.target.partition("?")[2]))
        if self.failures:
            raise self.failures.pop(0)
        words = dict(each.split("=") for each in request.target.partition("?")[2].split("&"))
        first = int(words["fromId"])
        found = [each for each in range(first, first + 2000) if each not in self.lacks]
        return orjson.dumps([{"id": each} for each in found[: int(words["limit"])]])


class World:
    def __init__(self, config: FillConfig = CONFIG) -> None:
        self.clock = ManualClock()
        self.ledger = Ledger(self.clock)
        self.venue = Venue(self.clock)
        self.busy = False
        self.seconds: list[float] = []
        self.filler = Filler(
            VENUE,
            config,
            rest=self.venue,
            tap=self.ledger,
            clock=self.clock,
            gaps=self.ledger.gaps,
            busy=lambda: self.busy,
            jitter=lambda: 0.5,
            observe=lambda ns: self.seconds.append(ns / S),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self.filler.run(), name="filler")
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_gap_is_asked_for_piece_by_piece_and_closed() -> None:
    world = World()
    async with world.running():
        world.ledger.lose(7, range(11, 1011))
        await world.clock.advance(4)
        assert world.venue.asked == []
        await world.clock.advance(3)
        assert [query for _, query in world.venue.asked] == [
            "symbol=BTCUSDT&fromId=11&limit=500",
            "symbol=BTCUSDT&fromId=511&limit=500",
        ]
        assert world.ledger.missing == {}
        assert world.ledger.opened == [(1, True)]
        assert world.filler.counters.outcomes == {"filled": 1}
        assert world.seconds == [pytest.approx(5, abs=1)]
        assert world.filler.status().gaps_open == 0
    assert world.ledger.closed == ["session stopped"]


async def test_the_replies_are_on_the_record_as_they_came() -> None:
    world = World()
    async with world.running():
        world.ledger.lose(7, [11, 12])
        await world.clock.advance(7)
    body = b'[{"id":11},{"id":12}]'
    assert world.ledger.records == [
        (
            1,
            "R",
            b"GET /fapi/v1/historicalTrades?symbol=BTCUSDT&fromId=11&limit=2 200\n" + body,
        )
    ]


async def test_what_the_venue_does_not_have_is_given_up_on_record() -> None:
    world = World()
    world.venue.lacks = {12}
    async with world.running():
        world.ledger.lose(7, [11, 12, 13])
        await world.clock.advance(60)
        assert world.ledger.missing == {}
        assert world.filler.counters.outcomes == {"gone": 1}
    controls = [orjson.loads(each) for _, kind, each in world.ledger.records if kind == "C"]
    assert controls == [
        {
            "kind": "fill",
            "gap": 7,
            "venue": "binance-usdm",
            "topic": "trade.binance-usdm.BTCUSDT",
            "outcome": "gone",
            "missing": 1,
        }
    ]


async def test_a_refusal_is_tried_in_rounds_and_then_the_outcome() -> None:
    world = World()
    world.venue.failures = [
        RestRefusedError("GET: 401", venue=VENUE.name, status=401) for _ in range(9)
    ]
    async with world.running():
        world.ledger.lose(7, [11])
        await world.clock.advance(60)
    assert world.filler.counters.outcomes == {"refused": 1}
    assert len(world.venue.asked) == CONFIG.tries_max


async def test_a_failing_venue_costs_no_try_and_is_asked_as_late_as_it_says() -> None:
    world = World(FillConfig(settle_seconds=0, tries_max=1, retry_seconds=10, api_key=Secret("k")))
    world.venue.failures = [
        RestFailedError("GET: 503", venue=VENUE.name),
        RateLimitedError("GET: 429", venue=VENUE.name, status=429, retry_after_seconds=90),
    ]
    async with world.running():
        world.ledger.lose(7, [11])
        await world.clock.advance(200)
    first, second, third = (at for at, _ in world.venue.asked)
    assert second - first == 5_000  # half of the first delay, by the jitter
    assert third - second == 90_000
    assert world.filler.counters.outcomes == {"filled": 1}
    assert world.filler.counters.over_slo == 1


async def test_nothing_is_asked_while_live_data_needs_the_allowance_or_the_log_is_full() -> None:
    world = World()
    async with world.running():
        world.busy = True
        world.ledger.lose(7, range(11, 2011))
        await world.clock.advance(20)
        assert world.venue.asked == []
        world.busy, world.venue.weight_used = False, 581  # with 20 more than a quarter of 2400
        await world.clock.advance(20)
        assert world.venue.asked == []
        world.venue.weight_used = 580
        await world.clock.advance(2)
        assert len(world.venue.asked) == 4


async def test_a_full_log_stops_the_filler() -> None:
    world = World()
    async with world.running():
        world.ledger.lose(7, [11])
        await world.clock.advance(7)
        assert world.ledger.leg is not None
        world.ledger.leg.pause_reading()
        world.ledger.lose(8, [21])
        await world.clock.advance(30)
        assert 8 in world.ledger.missing
        world.ledger.leg.resume_reading()
        await world.clock.advance(2)
        assert world.ledger.missing == {}


async def test_its_connection_ends_when_there_is_nothing_to_fill() -> None:
    world = World()
    async with world.running():
        world.ledger.lose(7, [11])
        await world.clock.advance(7 + IDLE_SECONDS)
        assert world.ledger.closed == ["nothing to fill"]
        world.ledger.lose(8, [21])
        await world.clock.advance(7)
        assert world.ledger.opened == [(1, True), (2, True)]


async def test_what_arrives_by_itself_is_not_counted_as_filled() -> None:
    world = World()
    async with world.running():
        world.ledger.lose(7, [11])
        await world.clock.advance(2)
        world.ledger.missing.clear()
        await world.clock.advance(2)
    assert world.filler.counters.outcomes == {"arrived": 1}
    assert world.venue.asked == []


async def test_a_new_filler_goes_on_where_the_ledger_stands() -> None:
    """A crash in mid-fill forgets tries and nothing else."""
    world = World()
    world.ledger.lose(7, range(511, 1011))  # what the recovered decoder still misses
    async with world.running():
        world.clock.move(3600 * S)
        await world.clock.advance(3)
        assert world.ledger.missing == {}
        assert world.ledger.leg is not None
        world.ledger.leg.on_notice(Notice(1, 1, "refused", "words"))


async def test_what_nobody_is_asked_for_is_open_beside_the_others() -> None:
    """Alerts judge `gaps_open` and its age: without a key they would fire for ever."""
    world = World(FillConfig(settle_seconds=5))
    async with world.running():
        world.ledger.lose(7, [11, 12, 13])
        await world.clock.advance(400)
        status = world.filler.status()
        assert (status.gaps_open, status.ids_missing, status.oldest_seconds) == (0, 0, 0.0)
        assert (status.gaps_unaskable, status.keyed) == (1, False)
        assert world.venue.asked == []


async def test_what_the_venue_does_not_answer_yet_is_open() -> None:
    world = World()
    world.venue.failures = [RestFailedError("away") for _ in range(9)]
    async with world.running():
        world.ledger.lose(7, [11, 12, 13])
        await world.clock.advance(60)
        status = world.filler.status()
        assert (status.gaps_open, status.ids_missing, status.gaps_unaskable) == (1, 3, 0)
        assert status.oldest_seconds == pytest.approx(60, abs=1)
