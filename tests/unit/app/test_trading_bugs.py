"""Bugs of one account's broker: the daemon goes on, and its end still drains."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from risk.errors import BrokerError
from tests.harness.trading_world import config_of, living, until
from tickd.errors import Action


class Failing:
    """The paper account until `failed`; then its tasks fail all at once."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.failed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fail(BrokerError("no key", action=Action.FATAL)), name="one")
            tasks.create_task(self._fail(KeyError("a bug")), name="other")

    async def _fail(self, error: Exception) -> None:
        await self.failed.wait()
        raise error


async def test_errors_of_several_tasks_halt_the_account_alone(tmp_path: Path) -> None:
    async with living(config_of(tmp_path), wrap={"two": Failing}) as world:
        await world.ready()
        failing: Any = world.trading.brokers["two"]
        failing.failed.set()
        await until(lambda: world.of("audit", action="halt"))
        (halt,) = world.of("audit", action="halt")
        assert (halt["scope"], halt["key"]) == ("account", "two")
        assert "ExceptionGroup" in halt["reason"]
        # Nothing would be cancelled there: it is not armed again before a restart.
        blockers = world.halting.switch.blockers("account", "two")
        assert any("the broker of two has ended" in each for each in blockers)
        await world.state(world.submit(price=9_990), "accepted")


@pytest.mark.parametrize("error", [ExceptionGroup("two", [KeyError("a")]), RuntimeError("a bug")])
async def test_a_stop_drains_whatever_cancelling_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with living(config_of(tmp_path)) as world:
        await world.ready()
        await world.state(world.submit(price=9_990), "accepted")

        async def cancel_all() -> int:
            raise error

        monkeypatch.setattr(world.trading.router, "cancel_all", cancel_all)
    assert not world.trading.router.outbox.is_up, "closed"


UNREADABLE = """
[[accounts]]
broker = "binance"
name = "real"
market = "usdm"
symbols = ["AAAUSDT"]
"""


@pytest.mark.parametrize(
    "keys",
    [
        'api_key_file = "{0}/none"\nsecret_key_file = "{0}/none"\n',
        'api_key = {{ credential = "none" }}\nsecret_key = {{ file = "{0}/none" }}\n',
    ],
)
async def test_an_account_without_credentials_is_halted_and_the_rest_goes_on(
    tmp_path: Path, keys: str
) -> None:
    config = config_of(tmp_path, more=UNREADABLE + keys.format(tmp_path))
    async with living(config) as world:
        number = await world.define()
        await world.quote("100.00", "100.10")
        await until(lambda: world.of("audit", action="halt"))
        (halt,) = world.of("audit", action="halt")
        assert (halt["scope"], halt["key"]) == ("account", "real")
        assert "none" in halt["reason"]
        blockers = world.halting.switch.blockers("account", "real")
        assert "real is not connected" in blockers
        assert any(halt["reason"] in each for each in blockers)
        await world.arm()
        assert number
        await world.state(world.submit(price=9_990), "accepted")
        broker = world.trading.brokers["real"]
        for refused in (broker.snapshot(), broker.cancel_all()):
            with pytest.raises(BrokerError, match="none"):
                await refused
        assert not broker.is_up
