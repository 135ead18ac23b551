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
