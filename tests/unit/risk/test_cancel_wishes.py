"""Cancels that the venue's limit has no room for: kept, asked for again, on record once.

Method: the router with the real gate before a venue in memory. The venue takes ten messages in ten
seconds: two at once, of which an order leaves one, and one each 1.25 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from risk.approval import Denied
from risk.limits import VenueLimitConfig
from risk.order_facts import Order, State
from tests.harness.gates import VENUE, Desk
from tests.harness.order_world import World

TOKEN_MS = 1_250
OPEN_COUNT = 6


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    limit = VenueLimitConfig(venue=VENUE, messages_max=10, window_ms=10_000)
    with World(tmp_path, desk=Desk("native", venues=(limit,)), ack_timeout_ms=60_000) as world:
        yield world


def opened(world: World) -> list[Order]:
    """Orders that the venue has; behind them there is room for one cancel."""
    orders: list[Order] = []
    for at in range(OPEN_COUNT):
        world.wait(2 * TOKEN_MS)
        orders.append(world.acked(price=9_000 + 5 * at))
    world.records.clear()
    return orders


def refusals(world: World) -> list[object]:
    return [
        each["number"]
        for each in world.records
        if each["kind"] == "risk" and each["verdict"] == "denied"
    ]


def answer(world: World) -> None:
    while world.venue.inbox:
        world.venue.process()
    world.venue.deliver_all()


def test_a_refused_cancel_is_asked_for_again_until_the_order_is_cancelled(world: World) -> None:
    orders = opened(world)
    answers = [world.cancel(order) for order in orders]
    assert answers[0] is None
    assert {each.reason.name for each in answers[1:] if isinstance(each, Denied)} == {"RATE_VENUE"}
    assert None not in answers[1:]
    answer(world)
    assert orders[0].state is State.CANCELLED
    for done in range(1, OPEN_COUNT):
        assert [order.state for order in orders[done:]] == [State.ACKED] * (OPEN_COUNT - done)
        for _ in range(TOKEN_MS // 50):
            world.wait(50)
        answer(world)
        # First asked for, first done.
        assert orders[done].state is State.CANCELLED
        assert world.states(orders[done]) == ["pending_cancel", "cancelled"]
    assert set(world.venue.cancels.values()) == {1}
    assert refusals(world) == [order.number for order in orders[1:]], "each once"


def test_what_is_over_or_asked_for_by_another_way_is_not_wished_for_any_more(world: World) -> None:
    first, second, third = opened(world)[:3]
    for order in (first, second, third):
        world.cancel(order)
    answer(world)
    world.venue.trade(world.venue.orders[second.venue_id], second.size)
    answer(world)
    assert second.state is State.FILLED
    # Somebody else asks at the moment when there is room.
    world.clock.move(TOKEN_MS * 1_000_000)
    assert world.cancel(third) is None
    for _ in range(4):
        world.wait(TOKEN_MS)
    answer(world)
    assert third.state is State.CANCELLED
    assert second.ref not in world.venue.cancels
    assert world.venue.cancels[third.ref] == 1


def test_an_order_that_shall_go_is_not_replaced(world: World) -> None:
    first, second = opened(world)[:2]
    world.cancel(first)
    world.cancel(second)
    refused = world.router.replace(second.request.client_id, price=9_100, size=5)
    assert isinstance(refused, Denied)
    assert refused.reason.name == "NO_SUCH_ORDER"
    assert second.state is State.ACKED


def test_a_bug_below_one_wish_is_told_and_holds_up_no_other(world: World) -> None:
    first, second, third = opened(world)[:3]
    for order in (first, second, third):
        world.cancel(order)
    answer(world)
    failures: list[object] = []

    def break_at_the_second(record: dict[str, object]) -> None:
        if record["kind"] == "risk" and record["number"] == second.number:
            failures.append(record)
            raise KeyError("a bug")

    world.on_record = break_at_the_second
    for _ in range(4):
        world.wait(TOKEN_MS)
        answer(world)
    assert third.state is State.CANCELLED
    assert second.state is State.ACKED
    assert world.alarms() == ["CANCEL_FAILED"]
    assert len(failures) == 1, "not met again at every look"


async def test_cancelling_all_records_each_refusal_once_and_asks_no_order_twice(
    world: World,
) -> None:
    """Elsewhere every order left a record for every look of every round."""

    async def listed() -> object:
        answer(world)
        return world.venue.snapshot_now()

    orders = opened(world)
    world.venue.snapshot = listed  # type: ignore[method-assign, assignment]
    left: object = 1
    async with asyncio.TaskGroup() as group:
        rounds = 0
        while left:
            rounds += 1
            task = group.create_task(world.router.cancel_all(), name="cancel all")
            while not task.done():
                await world.clock.advance(0.02)
                world.router.tick()
            left = task.result()
    assert rounds > 2
    assert {order.state for order in orders} == {State.CANCELLED}
    assert sorted(refusals(world), key=str) == [order.number for order in orders[1:]]
    assert set(world.venue.cancels.values()) == {1}
