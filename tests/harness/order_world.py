"""A Shioaji broker in its surroundings: stand-in desk, the SDK's own order classes, a still clock.

Threads are real, the clock moves when a test moves it; `until` polls and never waits longer than it
must. What the broker reported is kept in order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from risk.approval import SEAL, ApprovedOrder
from risk.brokers.port import BrokerContext, OnReport, Traded
from risk.brokers.shioaji.broker import ShioajiBroker
from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.orders import Report, ReportKind, Request, Wanted
from tickd.native import EventBatch
from tickd.ports import Clock
from tickd.secrets import Secret
from tickd.testing.clock import ManualClock
from tickd.testing.shioaji_desk import OrderDesk

API_KEY, SECRET_KEY = "an-api-key-of-tests", "a-secret-key-of-tests"
CA_PASSWORD, PERSON_ID = "a-certificate-password", "A123456789"
SYMBOLS = ("2330", "2330-ODD", "TXFR1")
TRADED = {
    symbol: Traded(number, symbol, 2, 0, "1")
    for number, symbol in enumerate(("2330", "2330-ODD", "TXFF6", "TXFR1"), 7)
}
PATIENCE_S = 15


def config(**changes: Any) -> ShioajiAccountConfig:
    return ShioajiAccountConfig(
        **{
            "name": "sino",
            "api_key": Secret(API_KEY),
            "secret_key": Secret(SECRET_KEY),
            "symbols": SYMBOLS,
            "ca_path": "ca.pfx",
            "ca_password": Secret(CA_PASSWORD),
            "person_id": Secret(PERSON_ID),
            **changes,
        }
    )


class NoMarket:
    """Implements `risk.brokers.port.Market`; a real venue's broker does not look at it."""

    def on_batch(self, take: Callable[[EventBatch], None]) -> None:
        raise AssertionError(take)

    def on_definition(self, define: Callable[[int, bytes], None]) -> None:
        raise AssertionError(define)


def context(
    clock: Clock, on_report: OnReport, confirm: Callable[[ApprovedOrder], bool]
) -> BrokerContext:
    return BrokerContext(clock, on_report, confirm, TRADED.get, NoMarket())


def request(**changes: Any) -> Request:
    return Request(
        **{
            "client_id": 1,
            "strategy": "s",
            "account": "sino",
            "instrument": 7,
            "venue": "shioaji",
            "symbol": "2330",
            "side": "B",
            "price": 58_050,
            "size": 3,
            **changes,
        }
    )


def approved(number: int = 1, **changes: Any) -> ApprovedOrder:
    return ApprovedOrder(request(**changes), number, 0, seal=SEAL)


def wanted(ref: str, venue_id: str = "", **changes: Any) -> Wanted:
    return Wanted(
        **{
            "number": 1,
            "ref": ref,
            "venue_id": venue_id,
            "instrument": 7,
            "symbol": "2330",
            "side": "B",
            "price": 58_050,
            "size": 3,
            **changes,
        }
    )


@dataclass
class OrderWorld:
    """Everything that a test looks at."""

    desk: OrderDesk
    clock: ManualClock
    reports: list[Report] = field(default_factory=list)
    report_threads: set[int] = field(default_factory=set)
    halted: bool = False

    def broker_of(self, settings: ShioajiAccountConfig) -> ShioajiBroker:
        self.broker = ShioajiBroker(
            settings, context(self.clock, self.report, self.confirm), factory=self.desk.client
        )
        return self.broker

    def report(self, report: Report) -> None:
        self.report_threads.add(threading.get_ident())
        self.reports.append(report)

    def confirm(self, order: ApprovedOrder) -> bool:
        del order
        return not self.halted

    async def until(self, condition: Callable[[], object], *, moving: float = 0.0) -> None:
        """Poll; `moving`: seconds by which the clock goes on at each look."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    if moving:
                        await self.clock.advance(moving)
                    await asyncio.sleep(0.001)
        except TimeoutError as error:
            raise TimeoutError(f"{self.kinds()} {dict(self.desk.calls)}") from error

    async def heard(self, kind: ReportKind, ref: str = "", *, moving: float = 0.0) -> Report:
        """The first report of that kind about that order."""

        def found() -> Report | None:
            mine = (each for each in self.reports if each.kind is kind)
            return next((each for each in mine if not ref or each.ref == ref), None)

        await self.until(lambda: found() is not None, moving=moving)
        report = found()
        assert report is not None
        return report

    async def settled(self) -> None:
        """Everything that was called back so far has been reported."""
        for client in self.desk.clients:
            for pool in (client.answers, client.thread, client.answers, client.thread):
                await asyncio.wrap_future(pool.submit(int))
        for _ in range(8):
            await asyncio.sleep(0)

    def kinds(self, ref: str = "") -> list[str]:
        return [each.kind.name for each in self.reports if not ref or each.ref == ref]

    def fills(self) -> list[Report]:
        return [each for each in self.reports if each.kind is ReportKind.FILL]

    async def place(self, ref: str, **changes: Any) -> None:
        """Send an order and wait for its acknowledgement by message and answer."""
        self.broker.send(approved(**changes), ref)
        await self.heard(ReportKind.ACKED, ref)
        await self.settled()


@asynccontextmanager
async def order_world(
    *, desk: dict[str, Any] | None = None, **changes: Any
) -> AsyncIterator[OrderWorld]:
    """Run a broker until it is up."""
    stand_in = OrderDesk(**(desk or {}))
    world = OrderWorld(stand_in, ManualClock())
    broker = world.broker_of(config(market=stand_in.market, **changes))
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(broker.run(), name="broker")
            await world.until(lambda: broker.is_up)
            yield world
            stand_in.gate.set()
            running.cancel()
    finally:
        stand_in.close()
