"""Halts of one side in the daemon: it is cancelled and denied, the other one trades on.

Every part is real: tap, raw log, bus, gate, outbox, kill switch, paper accounts.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.harness.trading_world import SYMBOL, VENUE, config_of, living
from tickd.app.trading_screen import trading_page

NAME = f"{VENUE}:{SYMBOL}"
BUY: dict[str, Any] = {"side": "B", "price": 9_900}
SELL: dict[str, Any] = {"side": "A", "price": 10_100}
SCOPES = [
    ("global", ""),
    ("account", "one"),
    ("strategy", "chaser"),
    ("venue", VENUE),
    ("instrument", NAME),
]


@pytest.mark.parametrize(("scope", "key"), SCOPES)
@pytest.mark.parametrize(("side", "ours", "other"), [("B", BUY, SELL), ("A", SELL, BUY)])
async def test_a_halted_side_is_cancelled_and_denied_and_the_other_trades_on(
    tmp_path: Path,
    scope: str,
    key: str,
    side: str,
    ours: dict[str, Any],
    other: dict[str, Any],
) -> None:
    config = config_of(tmp_path)
    halt = {"scope": scope, "key": key, "side": side, "reason": "a test"}
    async with living(config) as world:
        await world.ready()
        inside, outside = world.submit(**ours), world.submit(**other)
        for each in (inside, outside):
            await world.state(each, "accepted")
        await world.halting.kill(halt)
        denied = world.of("order", client_id=world.submit(**ours))[-1]
        assert (denied["state"], denied["reason"]) == ("denied", "SIDE_HALTED")
        await world.state(inside, "cancelled")
        assert world.states(outside)[-1] == "accepted"
        await world.state(world.submit(**{**other, "size": 2_000}), "accepted")
        (audit,) = world.of("audit", action="halt")
        assert (audit["scope"], audit["key"], audit["side"]) == (scope, key, side)
        shown = world.trading.risk_picture()["halted"]
        assert (shown["global"], shown["side" if scope == "global" else scope]) == (0, 1)
        page = trading_page(world.halting.draw(), world.trading.draw())
        text = StringIO()
        Console(file=text, width=200).print(page)
        named = f"{scope} {key}".rstrip() + (", buys" if side == "B" else ", sells")
        assert f"halted: {named}: a test" in text.getvalue()
    async with living(config) as world:
        world.asked["chaser"], world.updates = 9, 9  # as the life before left them
        await world.ready()
        denied = world.of("order", client_id=world.submit(**ours))[-1]
        assert denied["reason"] == "SIDE_HALTED", "a restart lifts nothing"
        await world.state(world.submit(**other), "accepted")
        await world.lift(scope, key, side)
        await world.state(world.submit(**{**ours, "size": 3_000}), "accepted")
        (audit,) = world.of("audit", action="lift")
        assert (audit["scope"], audit["side"]) == (scope, side)


async def test_a_side_and_the_whole_of_a_scope_are_lifted_each_by_itself(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        whole = {"scope": "instrument", "key": NAME, "reason": "a test"}
        await world.halting.kill(whole)
        await world.halting.kill({**whole, "side": "B"})
        await world.lift("instrument", NAME, "")
        assert world.of("order", client_id=world.submit(**BUY))[-1]["reason"] == "SIDE_HALTED"
        await world.state(world.submit(**SELL), "accepted")
        await world.halting.kill(whole)
        await world.lift("instrument", NAME, "B")
        assert world.of("order", client_id=world.submit(**SELL))[-1]["reason"] == "HALTED_SCOPE"


async def test_a_side_of_a_symbol_stays_halted_when_it_is_defined_anew(tmp_path: Path) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        halt = {"scope": "instrument", "key": NAME, "side": "B", "reason": "a test"}
        await world.halting.kill(halt)
        number = await world.define(tick=2)
        await world.quote("100.00", "100.10")
        assert world.of("order", client_id=world.submit(**BUY))[-1]["reason"] == "SIDE_HALTED"
        order = await world.state(world.submit(**SELL), "accepted")
        assert order["instrument"] == number
