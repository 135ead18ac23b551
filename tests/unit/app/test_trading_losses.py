"""Losses of a single strategy in the daemon: a limit on them stops it, and nobody who lost nothing.

Every part is real: tap, raw log, bus, gate, outbox, kill switch, paper accounts.
"""

from __future__ import annotations

from pathlib import Path

from tests.harness.trading_world import config_of, living

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
