"""Router, gate and outbox over the Binance broker, the venue failing at four requests in ten.

The stand-in's own account is the judge: what it filled is what the router booked, no more, no less.
"""

from __future__ import annotations

import asyncio
import random
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from risk.brokers.binance.broker import BinanceBroker
from risk.brokers.binance.config import Market
from risk.order_facts import OVER
from risk.order_numbers import OrderNumbers
from risk.orders import Report
from risk.outbox import Outbox
from risk.router import Router
from risk.router_config import RouterConfig
from risk.settling import Alert
from tests.harness.binance_stand import POLL_S, SCALES, Stand, standing
from tests.harness.gates import ACCOUNT, DEFINITION, INSTRUMENT, STRATEGY, Desk
from tests.harness.order_world import QUICK
from tickd.clock import SystemClock

SYMBOL = "BTCUSDT"
PRICE = 10_000_00
SIZE = 1_000
# Apart, so that no order would meet another of ours.
PRICES = {"B": PRICE - 5_00, "A": PRICE + 5_00}
# A venue that is asked twenty times a second for its lists would say so.
UNLIMITED = {"weight_per_minute_max": 10**9}


class World:
    """One life of a router before the stand-in."""

    def __init__(self, stand: Stand, folder: Path) -> None:
        clock = SystemClock()
        self.stand = stand
        self.alerts: list[Alert] = []
        self.desk = Desk(
            "numpy",
            is_funded=False,
            is_quoted=False,
            definition={**DEFINITION, "symbol": SYMBOL, "size_scale": 5, "tick": 1},
        )
        self.desk.now, self.desk.wall = clock.mono_ns(), clock.wall_ns()
        self.desk.fund(10**16)
        self.desk.quote(PRICE, PRICE)
        self.broker = BinanceBroker(
            stand.config(symbols=(SYMBOL,), **UNLIMITED),
            clock=clock,
            on_report=self._heard,
            scales_of=SCALES.get,
        )
        config = RouterConfig(**QUICK)
        self.outbox = Outbox(
            folder / "outbox",
            durability=config.durability,
            bytes_max=config.outbox_bytes_max,
            clock=clock,
        )
        self.numbers = OrderNumbers(folder / "numbers", first=1)
        self.router = Router(
            config,
            gate=self.desk.gate,
            brokers={ACCOUNT: self.broker},
            outbox=self.outbox,
            numbers=self.numbers,
            clock=clock,
            record=lambda _record: None,
            on_fill=lambda _order, _fill: None,
            on_alert=self.alerts.append,
            halt_instrument=lambda _instrument, _why: None,
            on_snapshot=lambda _account, _snapshot: None,
        )
        self.router.recover()

    def _heard(self, report: Report) -> None:
        self.router.on_report(ACCOUNT, report)

    async def until(self, condition: Any, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.router.reconciler.problems()
            await asyncio.sleep(POLL_S)

    async def submit(self, side: str) -> int:
        """An order that leaves; the line may have to come back first."""
        await self.until(lambda: self.broker.is_up)
        request = self.desk.request(side, PRICES[side], SIZE, symbol=SYMBOL)
        number = self.router.submit(request)
        if isinstance(number, int):
            return number
        # An order in doubt holds back its likes until it is settled.
        assert number.reason.name == "UNKNOWN_TWIN", number
        await self.until(lambda: not self.router.table.unknown)
        return await self.submit(side)

    def close(self) -> None:
        self.outbox.close()
        self.numbers.close()


async def trade(world: World, orders: int, seed: int) -> list[int]:
    """Orders of both sides, some filled, some cancelled, some changed, some left alone."""
    dice = random.Random(seed)
    numbers = []
    for _ in range(orders):
        number = await world.submit(dice.choice("BA"))
        numbers.append(number)
        order = world.router.table.of_number(number)
        assert order is not None
        await world.until(lambda order=order: order.is_acked or order.doubts or order.is_over)
        match dice.randrange(4):
            case 0:
                world.router.cancel(order.request.client_id)
            case 1:
                world.router.replace(order.request.client_id, price=order.price, size=SIZE // 2)
            case 2:
                await fill(world, order.ref, dice.choice((None, "0.004")))
    return numbers


async def fill(world: World, ref: str, size: str | None) -> None:
    """What is open at the venue trades there, whatever was heard of it."""
    log = await asyncio.to_thread(world.stand.log)
    for each in log["orders"]:
        is_open = each["status"] in ("NEW", "PARTIALLY_FILLED")
        left = Decimal(each["size"]) - Decimal(each["filled"])
        if each["client_id"] == f"tickd-{ref}" and is_open and left >= Decimal(size or 0):
            asked = {} if size is None else {"size": size}
            await asyncio.to_thread(world.stand.order, "fill", client_id=each["client_id"], **asked)


def judge(world: World, numbers: list[int]) -> None:
    log = world.stand.log()
    theirs = {each["client_id"].removeprefix("tickd-"): each for each in log["orders"]}
    sent = [each["newClientOrderId"] for each in log["requests"] if each["method"] == "order.place"]
    assert len(sent) == len(set(sent))
    assert len(log["faults"]) > 10
    held = 0
    for number in numbers:
        order = world.router.table.of_number(number)
        assert order is not None
        assert order.state >= OVER, order
        filled = int(Decimal(theirs[order.ref]["filled"]).scaleb(5)) if order.ref in theirs else 0
        assert order.filled == filled, (order, theirs.get(order.ref))
        held += filled if order.request.side == "B" else -filled
    assert world.desk.gate.position(ACCOUNT, STRATEGY, INSTRUMENT) == (held, 0, 0)


@pytest.mark.parametrize(("market", "seed"), [("usdm", 3), ("usdm", 8), ("spot", 5)])
async def test_router_books_what_the_venue_did(tmp_path: Path, market: Market, seed: int) -> None:
    arguments = ("--symbols", SYMBOL, "--seed", str(seed), "--chaos", "0.4")
    with standing(market, tmp_path, *arguments) as stand:
        world = World(stand, tmp_path)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(world.broker.run(), name="broker"),
                    tasks.create_task(world.router.reconciler.run(), name="router"),
                ]
                numbers = await trade(world, 40, seed)
                await world.until(lambda: not world.router.table.unknown)
                left = 1
                while left:  # the venue fails at cancels, too
                    left = await world.router.reconciler.cancel_all()
                await world.until(lambda: not world.router.reconciler.problems())
                for each in running:
                    each.cancel()
            judge(world, numbers)
        finally:
            world.close()
