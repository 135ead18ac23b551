"""Flattening by policy: after a kill every position goes to zero through the gate, and stays."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from risk.orders import Snapshot
from tests.harness.trading_world import SYMBOL, World, config_of, living, until
from tickd.app.trading_screen import trading_page

FLATTEN = """
[risk]
flatten = true
"""


def positions(world: World) -> dict[str, int]:
    held = world.trading.ledger.positions
    return {f"{key.account} {key.strategy}": each.size for key, each in held.items() if each.size}


async def both_sides(world: World) -> None:
    """Hold something long in one account, short in the other; and rest an order."""
    await world.ready()
    await world.state(world.submit(price=10_010, time_in_force="ioc"), "filled")
    sold = world.submit("maker", side="A", price=10_000, size=2_000, time_in_force="ioc")
    await world.state(sold, "filled")
    await world.state(world.submit(price=9_990), "accepted")
    assert positions(world) == {"one chaser": 1_000, "two maker": -2_000}


async def test_a_kill_cancels_then_brings_every_position_to_zero(tmp_path: Path) -> None:
    async with living(config_of(tmp_path, more=FLATTEN)) as world:
        await both_sides(world)
        await world.quote("100.00", "100.10", "0.7")  # less than is held: it takes several
        await world.halting.kill({"reason": "a test", "operator": "ada"})
        await until(lambda: world.of("audit", action="reduce"))
        async for _ in _market(world):
            if not positions(world):
                break
        assert world.of("order", client_id=world.submit())[-1]["reason"] == "HALTED"
        ours = [each for each in world.of("risk", verdict="approved") if each["reduce_only"]]
        assert len(ours) > 2
        assert {each["time_in_force"] for each in ours} == {"ioc"}
        # Nothing turns round: what closes is never more than what was held.
        assert all(each["size"] <= 2_000 for each in ours)


HEDGER = """
[[strategies]]
name = "hedger"
class = "hedger.py:Hedger"
account = "one"
"""


async def test_an_accounts_net_goes_in_slices_and_what_offsets_stays(tmp_path: Path) -> None:
    config = config_of(tmp_path, order_qty_max="0.5", more=FLATTEN + HEDGER)
    async with living(config) as world:
        await world.ready()
        for _ in range(3):
            bought = world.submit(price=10_010, size=500, time_in_force="ioc")
            await world.state(bought, "filled")
        sold = world.submit("hedger", side="A", price=10_000, size=400, time_in_force="ioc")
        await world.state(sold, "filled")
        assert positions(world) == {"one chaser": 1_500, "one hedger": -400}
        await world.halting.kill({"reason": "a test", "operator": "ada"})
        async for _ in _market(world):
            if sum(positions(world).values()) == 0:
                break
        for _ in range(3):
            world.trading.look()
        assert positions(world) == {"one chaser": 400, "one hedger": -400}
        ours = [each for each in world.of("risk", verdict="approved") if each["reduce_only"]]
        assert {each["strategy"] for each in ours} == {"chaser"}
        assert max(each["size"] for each in ours) == 500


class Differing:
    """An account whose venue holds something else than we, once it is told to."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.says = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def snapshot(self) -> Snapshot:
        told = await self._real.snapshot()
        if self.says == "flat":
            return msgspec.structs.replace(told, positions=())
        return msgspec.structs.replace(told, is_healthy=self.says != "half of it")


@pytest.mark.parametrize("says", ["flat", "half of it"])
async def test_what_the_venue_does_not_confirm_is_not_sold_and_said(
    tmp_path: Path, says: str
) -> None:
    config = config_of(tmp_path, more=FLATTEN)
    async with living(config, wrap={"one": Differing}) as world:
        await both_sides(world)
        venue: Any = world.trading.brokers["one"]
        reconciler = world.trading.router.reconciler

        def at_reduce(_frame_no: int, _recv_ns: int, payload: bytes) -> None:
            """Whole lists are needed to cancel; from then on there is none on the new line."""
            if says == "half of it" and b'"action":"reduce"' in payload:
                venue.says = says
                reconciler.line_changed("one")

        world.tap.on_control(at_reduce)
        if says == "flat":
            venue.says = says
            await until(lambda: reconciler.unverified("one", SYMBOL))
        await world.halting.kill({"reason": "a test", "operator": "ada"})
        # The other account, whose venue agrees, is flattened.
        async for _ in _market(world):
            if positions(world) == {"one chaser": 1_000}:
                break
        for _ in range(3):
            world.trading.look()
        assert not world.of("risk", verdict="approved", reduce_only=True, account="one")
        (said,) = world.trading.draw()["not_flattened"]
        words = "position in AAAUSDT is 1000 here, 0 there" if says == "flat" else "not reconciled"
        assert words in said
        assert said in shown(world)
        # Once the venue agrees again it goes.
        venue.says = ""
        async for _ in _market(world):
            if not positions(world):
                break
        world.trading.look()
        assert world.trading.draw()["not_flattened"] == []
        await world.arm()
        assert "not flattened" not in shown(world)


def shown(world: World) -> str:
    """The page of `tickd status`."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(trading_page(world.halting.draw(), world.trading.draw()))
    return console.export_text()


async def test_without_the_policy_what_is_held_stays(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await both_sides(world)
        await world.halting.kill({"reason": "a test", "operator": "ada"})
        await until(lambda: not world.trading.router.table.open)
        for _ in range(3):
            world.trading.look()
        assert positions(world) == {"one chaser": 1_000, "two maker": -2_000}


async def _market(world: World) -> AsyncIterator[None]:
    """Quotes that move: what was taken at a price is gone from there."""
    for number in itertools.count():
        tick = number % 50
        await world.quote(f"100.{tick:02}", f"100.{tick + 10:02}", "0.7")
        await asyncio.sleep(0.01)
        yield
