"""What is held when a life of the daemon begins: it can be reduced, and a kill flattens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.trading_world import SYMBOL, VENUE, World, living, text_of, until
from tickd.app.config import Config
from tickd.config import parse


def config(directory: Path) -> Config:
    text = text_of(directory).replace("[risk.router]", "[risk]\nflatten = true\n[risk.router]")
    return parse(text.encode(), Config, source="tickd.toml")


async def hold(directory: Path, side: str, price: int) -> None:
    """A life that leaves three units of a long or a short."""
    async with living(config(directory)) as world:
        await world.ready()
        await world.state(world.submit(side=side, price=price, size=3_000), "filled")


async def begun_again(world: World) -> int:
    world.asked, world.updates = {"chaser": 100}, 1_000
    await world.quote("100.00", "100.10")
    await world.arm()
    traded = world.trading.instruments.traded(VENUE, SYMBOL)
    assert traded is not None
    return traded.number


@pytest.mark.parametrize(("side", "price", "held"), [("B", 10_010, 3_000), ("A", 10_000, -3_000)])
async def test_reduce_only_takes_off_what_an_earlier_life_left_and_no_more(
    tmp_path: Path, side: str, price: int, held: int
) -> None:
    await hold(tmp_path, side, price)
    other = "A" if side == "B" else "B"
    taking: dict[str, Any] = {
        "price": None,
        "side": other,
        "time_in_force": "ioc",
        "reduce_only": True,
    }
    async with living(config(tmp_path)) as world:
        number = await begun_again(world)
        assert world.trading.gate.position("one", "chaser", number)[0] == held
        await world.state(world.submit(size=1_000, **taking), "filled")
        denied = world.submit(size=2_001, **taking)
        assert world.of("order", client_id=denied)[-1]["reason"] == "REDUCE_ONLY"
        await world.state(world.submit(size=2_000, **taking), "filled")
        assert world.trading.gate.position("one", "chaser", number) == (0, 0, 0)
        assert not world.of("order", state="rejected")


async def test_flattening_brings_what_an_earlier_life_left_to_zero(tmp_path: Path) -> None:
    await hold(tmp_path, "B", 10_010)
    async with living(config(tmp_path)) as world:
        number = await begun_again(world)
        world.halting.switch.trip("a test")
        await until(lambda: world.trading.gate.position("one", "chaser", number) == (0, 0, 0))
        assert not world.of("order", state="rejected")
