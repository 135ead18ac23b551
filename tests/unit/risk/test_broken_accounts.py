"""One account whose broker is broken: the orders of the others are cancelled all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from risk.order_facts import State
from risk.orders import Snapshot, Wanted
from tests.harness.gates import ACCOUNT
from tests.harness.order_world import World
from tests.harness.venue_model import VenueModel
from tests.unit.risk.test_reconciler import Willing, while_time_passes


class Hanging(VenueModel):
    """Whose list never comes."""

    async def snapshot(self) -> Snapshot:
        return await asyncio.get_running_loop().create_future()


class Mad(VenueModel):
    """Whose list makes no sense: what reads it raises."""

    async def snapshot(self) -> Snapshot:
        return structs.replace(self.snapshot_now(), orders=None)  # type: ignore[arg-type]


class Grouped(VenueModel):
    """Whose code fails in several tasks at once."""

    async def snapshot(self) -> Snapshot:
        raise ExceptionGroup("two at once", [KeyError("a"), ValueError("b")])

    def cancel(self, order: Wanted) -> None:
        raise ExceptionGroup("two at once", [KeyError(order.ref)])


def two_accounts(world: World, broken: VenueModel) -> Willing:
    willing = Willing(ACCOUNT, world.clock)
    willing.on_report = world.router.on_report
    # The broken one comes first: it is asked before the other.
    world.brokers.clear()
    world.brokers["broken"] = broken
    world.brokers[ACCOUNT] = world.venue = willing
    world.restart()
    return willing


@pytest.mark.parametrize("kind", [Hanging, Mad, Grouped])
async def test_a_broken_account_keeps_no_other_from_being_cancelled(
    tmp_path: Path, kind: type[VenueModel]
) -> None:
    with World(tmp_path) as world:
        willing = two_accounts(world, kind("broken", world.clock))
        orders = [world.acked(price=9_000 + 5 * at) for at in range(3)]
        # Nobody is told of it being done: one account's list is not known.
        assert await while_time_passes(world, 4, world.router.cancel_all()) != 0
        assert {order.state for order in orders} == {State.CANCELLED}
        assert not [each for each in willing.orders.values() if each.is_open]


async def test_a_list_that_cannot_be_read_is_an_alarm_once(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        two_accounts(world, Mad("broken", world.clock))
        await while_time_passes(world, 4, world.router.cancel_all())
        assert world.alarms() == ["CANCEL_FAILED"]
        assert world.alerts[0].account == "broken"
        assert "TypeError" in world.alerts[0].text


async def test_a_bug_behind_one_order_leaves_the_others_to_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path) as world:
        two_accounts(world, VenueModel("broken", world.clock))
        bad, good = world.acked(price=9_000), world.acked(price=9_005)
        real = world.gate.check_cancel

        def check_cancel(number: int, *, mono_ns: int) -> object:
            if number == bad.number:
                raise RuntimeError("a bug")
            return real(number, mono_ns=mono_ns)

        monkeypatch.setattr(world.gate, "check_cancel", check_cancel)
        assert await while_time_passes(world, 4, world.router.cancel_all()) == 1
        assert (bad.state, good.state) == (State.ACKED, State.CANCELLED)
        assert world.alarms() == ["CANCEL_FAILED"]


async def test_a_hanging_list_does_not_delay_the_others(tmp_path: Path) -> None:
    """Its time runs while theirs does: three silent accounts cost what one costs."""
    with World(tmp_path, snapshot_timeout_ms=1_000) as world:
        willing = two_accounts(world, Hanging("broken", world.clock))
        for name in ("second", "third"):
            world.brokers[name] = Hanging(name, world.clock)
        order = world.acked(price=9_000)
        willing.left_open = 0
        await while_time_passes(world, 0.1, world.router.cancel_all())
        assert order.state is State.CANCELLED
