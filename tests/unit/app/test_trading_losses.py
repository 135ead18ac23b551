"""Losses in the daemon: a limit on them stops who has lost so much, over restarts, and nobody else.

Every part is real: tap, raw log, bus, gate, outbox, kill switch, paper accounts.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.harness.trading_world import config_of, living, until
from tickd.app.commands.risk import described
from tickd.app.trading_screen import trading_page
from tickd.errors import TickdError

LOSS = """
[[risk.limits]]
strategy = "chaser"
daily_loss_max = "0.05"
"""


async def test_a_strategy_with_a_loss_limit_of_its_own_trades_until_it_has_lost_that(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path, more=LOSS)
    async with living(config) as world:
        await world.ready()
        await world.state(world.submit(price=10_010), "filled")
        await world.quote("99.00", "99.10")
        world.trading.look()
        (order,) = world.of("order", client_id=world.submit(price=9_890))
        assert (order["state"], order["reason"]) == ("denied", "DAILY_LOSS")
        # Another one, on another account, has lost nothing and has no such limit.
        await world.state(world.submit("maker", price=9_910), "filled")
    async with living(config) as world:
        world.asked["chaser"], world.updates = 2, 9  # as the life before left them
        await world.ready()
        world.trading.look()
        (order,) = world.of("order", client_id=world.submit(price=9_990))
        assert order["reason"] == "DAILY_LOSS", "a restart forgives no loss"


DRAWDOWN = """
[[risk.limits]]
account = "one"
drawdown_max = "0.5"
"""
# Nothing but the price moves it: what was lost stays lost in the next life.
HELD = "[risk]\ncancel_at_stop = false\n"


async def test_a_drawdown_is_counted_over_restarts_until_a_person_lets_it_go(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path, more=DRAWDOWN + HELD)
    async with living(config) as world:
        await world.ready()
        await until(lambda: world.trading.gate.peak("one"))
        await world.state(world.submit(price=10_010), "filled")
        await world.quote("99.00", "99.10")
    async with living(config) as world:
        world.asked["chaser"], world.updates = 1, 9  # as the life before left them
        await world.define()
        await world.quote("99.00", "99.10")
        await until(lambda: world.of("account", account="one"))
        peak = world.trading.gate.peak("one")
        await until(lambda: world.of("account", account="one")[-1]["equity"] < (peak or 0))
        await world.arm()
        (order,) = world.of("order", client_id=world.submit(price=9_890))
        assert (order["state"], order["reason"]) == ("denied", "DRAWDOWN")

        acknowledge = world.trading.commands()["risk_acknowledge"]
        with pytest.raises(TickdError, match="who says so"):
            await acknowledge({"scope": "account", "key": "one"})
        said = {"scope": "account", "operator": "ada", "reason": "withdrawn"}
        with pytest.raises(TickdError, match="'none' has told no equity"):
            await acknowledge({**said, "key": "none"})
        told = await acknowledge({**said, "key": "one"})
        assert "the drawdown of one is counted from" in str(told)
        (audit,) = world.of("audit", action="acknowledge")
        assert (audit["scope"], audit["key"], audit["operator"]) == ("account", "one", "ada")
        assert audit["source"].startswith("peak ")
        await world.state(world.submit(price=9_880), "accepted")


EXECUTIONS = """
[[risk.limits]]
strategy = "chaser"
executions_max = 1
"""


async def test_a_strategy_that_its_executions_stopped_is_shown_until_its_scope_is_armed(
    tmp_path: Path,
) -> None:
    async with living(config_of(tmp_path, more=EXECUTIONS)) as world:
        await world.ready()
        assert world.trading.risk_picture()["stopped"] == {"chaser": 0, "maker": 0}
        await world.state(world.submit(price=10_010), "filled")
        assert world.trading.risk_picture()["stopped"] == {"chaser": 1, "maker": 0}
        (line,) = [each for each in described(world.halting.draw()) if "stopped" in each]
        assert line.startswith("stopped: strategy chaser by executions_max")
        shown = StringIO()
        page = trading_page(world.halting.draw(), world.trading.draw())
        Console(file=shown, width=200).print(page)
        assert "stopped for repeated executions: strategy chaser" in shown.getvalue()

        await world.halting.kill({"scope": "strategy", "key": "chaser", "reason": "a look"})
        await world.arm("strategy", "chaser")
        assert world.trading.risk_picture()["stopped"] == {"chaser": 0, "maker": 0}
        assert world.halting.draw()["stopped"] == []
