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

from risk.approval import ApprovedOrder
from risk.brokers.shioaji.broker import ShioajiBroker
from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.orders import Report, ReportKind
from tests.harness.order_requests import approved, config, context
from tickd.testing.clock import ManualClock
from tickd.testing.shioaji_desk import OrderDesk

PATIENCE_S = 15


@dataclass
class OrderWorld:
    """Everything that a test looks at."""

    desk: OrderDesk
    clock: ManualClock
    reports: list[Report] = field(default_factory=list)
    report_threads: set[int] = field(default_factory=set)
    halted: bool = False
    breaks: bool = False  # the gate cannot be asked

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
        if self.breaks:
            raise RuntimeError("already borrowed")
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
