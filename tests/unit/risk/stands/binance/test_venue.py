"""The stand-in's dead man's switch, on a clock that tests move."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from risk.stands.binance.access import Access
from risk.stands.binance.account import Account
from risk.stands.binance.faults import Faults
from risk.stands.binance.venue import SOON_S, Venue
from tickd.testing.clock import ManualClock


class Ear:
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def say(self, text: str) -> None:
        self.events.append(json.loads(text))

    def cut(self) -> None:
        raise AssertionError("nobody cuts")


async def test_countdown_cancels_what_is_open_in_its_symbol_when_nobody_renews_it() -> None:
    clock = ManualClock()
    account = Account("usdm", "USDT", ("BTCUSDT", "ETHUSDT"))
    venue = Venue(account, Access("k", "s"), Faults(1, 0.0), clock)
    ear = Ear()
    venue.listeners.append(ear)
    for symbol in account.symbols:
        asked = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "price": "1", "quantity": "1"}
        account.place(asked, 1)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(venue.run_countdowns(), name="countdowns")

        async def pass_(seconds: float) -> None:
            for _ in range(round(seconds / SOON_S)):
                await asyncio.sleep(0)
                clock.move(round(SOON_S * 1e9))
                await asyncio.sleep(0)

        venue.count_down("BTCUSDT", 5_000)
        await pass_(4.9)
        venue.count_down("BTCUSDT", 5_000)
        venue.count_down("ETHUSDT", 5_000)
        venue.count_down("ETHUSDT", 0)  # off again
        await pass_(4.9)
        assert not ear.events
        await pass_(0.3)
        running.cancel()
    assert [(each["o"]["s"], each["o"]["X"]) for each in ear.events] == [("BTCUSDT", "CANCELED")]
    assert [each.symbol for each in account.open_orders()] == ["ETHUSDT"]
    assert venue.countdown_calls == 4
