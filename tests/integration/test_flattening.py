"""Flattening by policy: after a kill every position goes to zero through the gate, and stays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

from tests.harness.trading_world import World, config_of, living, until

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


async def test_without_the_policy_what_is_held_stays(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await both_sides(world)
        await world.halting.kill({"reason": "a test", "operator": "ada"})
        await until(lambda: not world.trading.router.table.open)
        for _ in range(3):
            world.trading._look()
        assert positions(world) == {"one chaser": 1_000, "two maker": -2_000}


async def _market(world: World) -> AsyncIterator[None]:
    """Quotes that move: what was taken at a price is gone from there."""
    for number in itertools.count():
        tick = number % 50
        await world.quote(f"100.{tick:02}", f"100.{tick + 10:02}", "0.7")
        await asyncio.sleep(0.01)
        yield
