"""The filler of whole days against a ledger, a tap and a login of a few lines, in virtual time.

What the native decoder makes of an answer is proven in native/core/tests/shioaji.rs; here a reply
with ticks fills every gap of its code, and one without fills none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
import pytest
from typing_extensions import Buffer

from gateway.callbacks.venue import Contract, Usage
from gateway.config import FillConfig
from gateway.errors import QueryFailedError
from gateway.filling.day_filler import DayFiller
from gateway.venue import OpenGap
from gateway.venues.shioaji.past import HISTORY
from tickd.ports import Leg, RecordType
from tickd.testing.clock import ManualClock
from tickd.testing.shioaji_market import PastBars, PastTicks

S = 1_000_000_000
DAY = 20_648  # 2026-07-14
TEN = (DAY * 86_400 + 2 * 3600) * S  # 10:00 in Taiwan
TO_THE_END = 4 * 3600 + 45 * 60  # seconds until the day's answer is complete
CONFIG = FillConfig(tries_max=2, retry_seconds=60)


class Login:
    """The part of an SDK's login that a filler uses."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.queries: list[tuple[int, str, str]] = []  # seconds since ten, code, date
        self.answer: object = PastTicks((1,), (100.0,), (5,), (1,))
        self.failures: list[Exception] = []
        self.bar_queries: list[tuple[str, str]] = []
        self.bars_fail = False

    async def ticks(self, contract: Contract, date: str) -> object:
        since_s = (self.clock.wall_ns() - TEN) // S
        self.queries.append((since_s, contract.code, date))
        if self.failures:
            raise self.failures.pop(0)
        return self.answer

    async def bars(self, contract: Contract, date: str) -> object:
        self.bar_queries.append((contract.code, date))
        if self.bars_fail:
            raise QueryFailedError("kbars: 503", venue="shioaji")
        return PastBars((1,), *((100.0,),) * 4, (5,), (500.0,))


class Ledger:
    """A raw tap behind which answers fill gaps at the end of the burst."""

    def __init__(self) -> None:
        self.missing: dict[int, str] = {}  # gap -> code
        self.controls: list[dict[str, object]] = []
        self.evidence: list[bytes] = []

    def gaps(self) -> list[OpenGap]:
        return [
            OpenGap(seq, "shioaji", code, "trade", 3, TEN, TEN, 2 * DAY, 1, 5, ((1, 5),))
            for seq, code in self.missing.items()
        ]

    def open(
        self, *, venue: str, url: str, streams: Sequence[str], leg: Leg, backfill: bool = False
    ) -> int:
        assert (venue, url, streams, backfill) == ("shioaji", "shioaji:ticks", (), True)
        return 1

    def frame(self, connection: int, payload: Buffer) -> None:
        raise AssertionError("a filler has no messages")

    def record(self, connection: int, record_type: RecordType, payload: Buffer) -> int:
        asyncio.get_running_loop().call_soon(self._end_burst, record_type, bytes(payload))
        return 1

    def close(self, connection: int, reason: str) -> None:
        assert connection == 1

    def _end_burst(self, record_type: str, payload: bytes) -> None:
        if record_type == "C":
            self.controls.append(orjson.loads(payload))
            self.missing.pop(orjson.loads(payload)["gap"])
            return
        line, _, text = payload.partition(b"\n")
        if line.startswith(b"GET /kbars"):
            self.evidence.append(payload)
            return
        body = orjson.loads(text)
        if body["ts"]:
            self.missing = {s: code for s, code in self.missing.items() if code != body["code"]}


def contract_of(code: str) -> Contract | None:
    return Contract(code, code, "stock", "TSE", (), None) if code != "GONE" else None


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(wall_ns=TEN)
        self.ledger = Ledger()
        self.login = Login(self.clock)
        self.logged_in = True
        self.usage: Usage | None = Usage(1, 0, 500, 500)
        self.filler = DayFiller(
            "shioaji",
            HISTORY,
            CONFIG,
            tap=self.ledger,
            clock=self.clock,
            login=lambda: (self.login, contract_of) if self.logged_in else None,
            usage=lambda: self.usage,
            gaps=self.ledger.gaps,
            jitter=lambda: 0.5,
            observe=lambda _: None,
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


async def test_a_day_is_asked_for_behind_its_end_once_for_all_gaps_of_a_code() -> None:
    world = World()
    world.ledger.missing = {7: "2330", 8: "2330", 9: "2317"}
    async with world.running():
        await world.clock.advance(TO_THE_END - 1)
        assert world.login.queries == []
        assert world.filler.status().gaps_open == 3
        await world.clock.advance(3)
    assert [each[1:] for each in world.login.queries] == [
        ("2330", "2026-07-14"),
        ("2317", "2026-07-14"),
    ]
    assert world.ledger.missing == {}
    assert world.filler.counters.outcomes == {"filled": 3}


async def test_nothing_is_asked_without_login_allowance_or_contract() -> None:
    world = World()
    world.ledger.missing = {7: "2330"}
    async with world.running():
        world.logged_in = False
        await world.clock.advance(TO_THE_END + 5)
        world.logged_in, world.usage = True, None
        await world.clock.advance(5)
        world.usage = Usage(1, 401, 500, 99)  # less than a fifth is left
        await world.clock.advance(5)
        assert world.login.queries == []
        world.usage = Usage(1, 400, 500, 100)
        await world.clock.advance(2)
        assert len(world.login.queries) == 1
        world.ledger.missing = {8: "GONE"}
        await world.clock.advance(5)
    assert len(world.login.queries) == 1
    assert world.ledger.missing == {8: "GONE"}


async def test_an_empty_answer_is_tried_again_and_then_given_up() -> None:
    world = World()
    world.ledger.missing = {7: "2330", 8: "2330"}
    world.login.answer = PastTicks()
    async with world.running():
        await world.clock.advance(TO_THE_END + 100)
    assert len(world.login.queries) == CONFIG.tries_max
    given_up = [(each["kind"], each["gap"], each["outcome"]) for each in world.ledger.controls]
    assert given_up == [("fill", 7, "gone"), ("fill", 8, "gone")]
    assert world.filler.counters.outcomes == {"gone": 2}
    # What there still is of the day is kept, once.
    assert world.login.bar_queries == [("2330", "2026-07-14")]
    (evidence,) = world.ledger.evidence
    line, _, body = evidence.partition(b"\n")
    assert line == b"GET /kbars?code=2330&date=2026-07-14 200"
    assert orjson.loads(body)["close"] == ["100.0"]


async def test_bars_that_cannot_be_had_hold_nothing_up() -> None:
    world = World()
    world.ledger.missing = {7: "2330"}
    world.login.answer = PastTicks()
    world.login.bars_fail = True
    async with world.running():
        await world.clock.advance(TO_THE_END + 100)
    assert len(world.login.bar_queries) == 1
    assert world.ledger.evidence == []
    assert world.filler.counters.outcomes == {"gone": 1}


async def test_a_failed_query_costs_no_try() -> None:
    world = World()
    world.ledger.missing = {7: "2330"}
    world.login.failures = [QueryFailedError("ticks: 503", venue="shioaji") for _ in range(4)]
    async with world.running():
        await world.clock.advance(TO_THE_END + 1_000)
    assert world.filler.counters.failures == 4
    assert world.filler.counters.outcomes == {"filled": 1}


async def test_while_markets_trade_only_so_many_days_are_asked_for_on_order() -> None:
    world = World()
    world.ledger.missing = {number: str(2000 + number) for number in range(40)}
    async with world.running():
        await world.clock.advance(1)
        assert world.filler.hurry([]) == 40
        for _ in range(30):  # in small steps: a clock gives a moment only so many turns of the loop
            await world.clock.advance(1)
        assert len(world.login.queries) == HISTORY.early_queries_max
        await world.clock.advance(3 * 3600 + 45 * 60)  # every market is closed
        for _ in range(30):
            await world.clock.advance(1)
    assert world.ledger.missing == {}
    asked = [at for at, _, _ in world.login.queries]
    assert all(late - early >= 10 for early, late in zip(asked[8:], asked[20:], strict=False))
