"""The slow half of the router: loops, cancel-all, what stands against arming."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from risk.errors import BrokerError
from risk.order_facts import State
from risk.orders import Snapshot, Wanted
from risk.reconciler import STALE_INTERVALS
from risk.router_config import RouterConfig
from tests.harness.gates import ACCOUNT
from tests.harness.order_world import World
from tests.harness.venue_model import VenueModel


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


class Willing(VenueModel):
    """Its world goes on by itself: with every list that is asked for, all that is under way."""

    left_open = 0

    async def snapshot(self) -> Snapshot:
        while self.inbox and len(self.inbox) > self.left_open:
            self.process(len(self.inbox) - 1)
        self.deliver_all()
        return await super().snapshot()


def willing(world: World, left_open: int = 0) -> Willing:
    venue = Willing(ACCOUNT, world.clock)
    venue.on_report = world.router.on_report
    venue.left_open = left_open
    world.brokers[ACCOUNT] = world.venue = venue
    return venue


async def while_time_passes(world: World, seconds: float, work: object) -> object:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work, name="work")  # type: ignore[arg-type]
        for _ in range(round(seconds / 0.05)):
            await world.clock.advance(0.05)
        if not task.done():
            task.cancel()
            return None
    return task.result()


async def test_cancel_all_empties_the_venue_and_says_so(world: World) -> None:
    willing(world)
    orders = [world.acked(price=9_000 + 5 * at) for at in range(5)]
    in_flight = world.submit(price=9_500)
    left = await while_time_passes(world, 3, world.router.cancel_all())
    assert left == 0
    assert {order.state for order in (*orders, in_flight)} == {State.CANCELLED}


async def test_cancel_all_reports_what_is_left_at_its_deadline(world: World) -> None:
    venue = willing(world)
    order = world.acked(price=9_000)
    venue.left_open = 1_000  # no cancel ever arrives
    left = await while_time_passes(world, 4, world.router.cancel_all())
    assert left == 1
    assert not order.is_over
    assert venue.cancels[order.ref] > 1
    venue.snapshot_fails = True
    assert await while_time_passes(world, 4, world.router.cancel_all()) == 1


async def test_cancel_all_of_a_part_leaves_the_rest(world: World) -> None:
    willing(world)
    one, other = world.acked(price=9_000), world.acked(price=9_005)
    left = await while_time_passes(
        world, 3, world.router.cancel_all(lambda order: order.number == one.number)
    )
    assert (left, one.state, other.state) == (0, State.CANCELLED, State.ACKED)


async def test_cancel_all_takes_back_what_only_the_venue_remembers(world: World) -> None:
    venue = willing(world)
    order = world.acked()
    listed = venue.orders[order.venue_id]
    # A ref of ours that no table knows: a number of a life whose outbox is gone.
    listed.ref = "000000"
    listed.venue_id = "other"
    left = await while_time_passes(world, 4, world.router.cancel_all())
    assert venue.cancels["000000"] > 0
    assert not listed.is_open
    assert left == 0


async def test_run_settles_doubts_by_itself(world: World) -> None:
    world.venue.fault = "doubt_lost"
    order = world.submit()
    task = while_time_passes(world, 1, world.router.run())
    await task
    assert (order.state, order.code) == (State.REJECTED, "NOT_FOUND")
    assert world.router.reconciler.problems() == []
    assert world.snapshots


async def test_run_outlives_a_venue_that_does_not_answer(world: World) -> None:
    world.venue.snapshot_fails = True
    await while_time_passes(world, 1, world.router.run())
    assert world.router.reconciler.failures_count > 5
    assert world.router.reconciler.problems() == [f"{ACCOUNT} is not reconciled"]
    with pytest.raises(BrokerError):
        await world.venue.snapshot()


async def test_line_that_was_down_must_be_reconciled_again(world: World) -> None:
    world.look()
    assert world.router.reconciler.problems() == []
    world.venue.line_up()
    assert world.router.reconciler.problems() == [f"{ACCOUNT} is not reconciled"]


@pytest.mark.parametrize("kind", ["silent", "unhealthy"])
async def test_lists_that_fail_for_long_make_an_account_unreconciled(
    world: World, kind: str
) -> None:
    reconciler = world.router.reconciler
    assert await reconciler.reconcile(ACCOUNT) is not None
    interval_ms = world.config.reconcile_interval_ms
    world.venue.snapshot_fails = kind == "silent"
    world.venue.is_healthy = kind != "unhealthy"
    for _ in range(STALE_INTERVALS):
        world.wait(interval_ms)
        await reconciler.reconcile(ACCOUNT)
        assert reconciler.problems() == [], "a question or two may come to nothing"
        assert reconciler.unverified(ACCOUNT, "ABC") is None
    world.wait(1)
    words = f"{ACCOUNT} is not reconciled: its last healthy lists are 3 s old"
    assert reconciler.problems() == [words]
    assert reconciler.unverified(ACCOUNT, "ABC") == words
    world.venue.snapshot_fails, world.venue.is_healthy = False, True
    await reconciler.reconcile(ACCOUNT)
    assert reconciler.problems() == []


async def test_lists_that_nobody_asks_for_any_more_age_too(world: World) -> None:
    world.look()
    limit_ms = STALE_INTERVALS * world.config.reconcile_interval_ms
    world.wait(limit_ms + world.config.snapshot_timeout_ms - 2)
    assert world.router.reconciler.problems() == []
    world.wait(10)
    (problem,) = world.router.reconciler.problems()
    assert "not reconciled" in problem


def test_an_order_of_ours_that_only_the_venue_knows_holds_up_arming(world: World) -> None:
    order = world.acked()
    listed = world.venue.orders[order.venue_id]
    listed.ref, listed.venue_id = "000000", "other"
    reconciler = world.router.reconciler
    world.look()
    lost = [each for each in reconciler.problems() if "not known here" in each]
    assert [each.partition(" is ours")[0] for each in lost] == [f"{ACCOUNT}: order 000000 in ABC"]
    assert "not known here" in (reconciler.unverified(ACCOUNT, listed.symbol) or "")
    world.look()
    assert "LOST_ORDER" in world.alarms()
    listed.ref = "web-1"  # another program's: nothing to do with what we may send
    world.settle()
    assert reconciler.problems() == []
    assert "FOREIGN_ORDER" in world.alarms()


def test_difference_alarms_when_two_lists_in_a_row_show_it(world: World) -> None:
    world.venue.foreign_position = 5
    world.look()
    assert world.alarms() == []
    world.look()
    assert world.alarms() == ["POSITION_DIFFERS"]
    for _ in range(3):
        world.look()
    assert world.alarms() == ["POSITION_DIFFERS"], "told once"
    world.venue.foreign_position = 0
    world.look()
    world.venue.foreign_position = 5
    world.look()
    world.look()
    assert world.alarms() == ["POSITION_DIFFERS"] * 2


def test_executions_of_orders_long_over_are_not_foreign(tmp_path: Path) -> None:
    with World(tmp_path, done_max=1) as world:
        for at in range(3):
            order = world.acked(price=9_000 + 5 * at)
            world.venue.trade(world.venue.orders[order.venue_id], 10)
            world.venue.deliver_all()
        assert len(world.router.table.known()) == 1
        world.settle()
        assert world.alarms() == []
        stranger = world.venue.fills[0]
        world.venue.fills.append(structs.replace(stranger, ref="web-1", venue_id="X", exec_id="X"))
        world.settle()
        assert world.alarms() == ["FOREIGN_FILL"]


async def test_run_sends_what_became_durable(tmp_path: Path) -> None:
    with World(tmp_path, durability="disk") as world:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(world.router.run(), name="run")
            await asyncio.sleep(0)
            order = world.submit()
            assert order.state is State.PENDING_NEW
            while order.state is State.PENDING_NEW:  # noqa: ASYNC110  the bell rings on this loop
                await asyncio.sleep(0)
            task.cancel()
        assert order.state is State.SENT
        assert sum(world.venue.sent.values()) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ack_timeout_ms": 0}, "ack_timeout_ms must be positive"),
        ({"unknown_age_ms_max": 2_500}, "leaves no time"),
        ({"cancel_all_timeout_ms": 100}, "less than"),
        ({"outbox_bytes_max": 1 << 20}, "at least"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(given: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RouterConfig(**given)  # type: ignore[arg-type]


async def test_an_order_of_an_account_that_is_gone_is_named_and_holds_up_nobody(
    world: World,
) -> None:
    number = world.acked().number
    del world.brokers[ACCOUNT]
    world.restart()
    order = world.order(number)
    denied = world.cancel(order)
    assert denied is not None
    assert denied.reason.name == "BROKER_DOWN"
    assert await while_time_passes(world, 4, world.router.cancel_all()) == 1
    named = f"order {order.ref} is of {ACCOUNT}, which is not configured"
    assert world.router.reconciler.problems() == [named]


class Buggy(Willing):
    """Whose code is wrong where one of its orders is taken back."""

    bug_in = ""

    def cancel(self, order: Wanted) -> None:
        if order.ref == self.bug_in:
            raise KeyError(order.ref)
        super().cancel(order)

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        raise ZeroDivisionError


async def test_a_bug_in_a_broker_is_a_doubt_and_the_other_orders_are_cancelled(
    world: World,
) -> None:
    venue = Buggy(ACCOUNT, world.clock)
    venue.on_report = world.router.on_report
    world.brokers[ACCOUNT] = world.venue = venue
    one, other = world.acked(price=9_000), world.acked(price=9_005)
    venue.bug_in = one.ref
    assert world.cancel(one) is None
    assert one.state is State.UNKNOWN
    assert await while_time_passes(world, 4, world.router.cancel_all()) == 1
    assert other.state is State.CANCELLED


def test_a_bug_in_a_replacement_is_a_doubt(world: World) -> None:
    venue = Buggy(ACCOUNT, world.clock)
    venue.on_report = world.router.on_report
    world.brokers[ACCOUNT] = world.venue = venue
    order = world.acked()
    assert world.router.replace(order.request.client_id, price=10_050, size=15) is None
    assert order.state is State.UNKNOWN


async def test_a_part_asks_only_the_accounts_that_it_is_in(world: World) -> None:
    willing(world)
    silent = VenueModel("silent", world.clock)
    silent.snapshot_fails = True
    world.brokers["silent"] = silent
    world.restart()
    order = world.acked(price=9_000)
    assert await while_time_passes(world, 3, world.router.cancel_all(lambda _: True)) == 0
    assert order.state is State.CANCELLED


async def test_an_account_that_is_halted_by_itself_holds_up_no_other(world: World) -> None:
    willing(world)
    silent = VenueModel("silent", world.clock)
    silent.snapshot_fails = True
    world.brokers["silent"] = silent
    world.restart()
    world.look()
    reconciler = world.router.reconciler
    assert reconciler.problems() == ["silent is not reconciled"]
    assert await while_time_passes(world, 4, world.router.cancel_all()) == 1
    reconciler.is_aside = lambda account: account == "silent"
    world.look()
    assert reconciler.problems() == []
    assert reconciler.problems("silent") == ["silent is not reconciled"]
    assert await while_time_passes(world, 4, world.router.cancel_all()) == 0
