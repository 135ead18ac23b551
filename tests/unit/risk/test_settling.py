"""What a restart tells the gate of orders that were being changed when the last life ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from risk.order_facts import State
from tests.harness.order_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


@pytest.mark.parametrize(
    ("side", "price", "wanted", "other", "meets"),
    [("B", 9_900, 9_950, "A", 9_925), ("A", 10_100, 10_050, "B", 10_075)],
)
def test_a_replacement_under_way_at_the_crash_counts_for_self_trades(
    world: World, side: str, price: int, wanted: int, other: str, meets: int
) -> None:
    """Between both prices: an order there would meet ours if the venue has replaced it."""
    order = world.acked(side=side, price=price)
    assert world.router.replace(order.request.client_id, price=wanted, size=15) is None
    assert world.denied(world.request(other, meets)) == "SELF_TRADE"
    world.restart()
    world.look()
    restored = world.order(order.number)
    assert world.denied(world.request(other, meets)) == "SELF_TRADE"
    # The venue has answered: what rests is what it says, and only that.
    world.venue.process()
    world.venue.deliver_all()
    world.settle()
    assert (restored.state, restored.price) == (State.ACKED, wanted)
    assert world.denied(world.request(other, meets)) == "SELF_TRADE"
    assert world.denied(world.request(other, wanted + (5 if other == "A" else -5))) == "-"


def test_a_replacement_that_was_refused_behind_the_crash_leaves_the_old_price(
    world: World,
) -> None:
    order = world.acked(price=9_900)
    assert world.router.replace(order.request.client_id, price=9_950, size=15) is None
    world.venue.inbox.clear()  # it never arrived
    world.restart()
    world.settle()
    assert world.order(order.number).price == 9_900
    assert world.denied(world.request("A", 9_925)) == "-"


def test_without_a_price_a_replacement_keeps_the_orders_own(world: World) -> None:
    order = world.acked(price=9_900)
    assert world.router.replace(order.request.client_id, price=None, size=15) is None
    assert order.keenest == 9_900
    world.restart()
    assert world.denied(world.request("A", 9_900)) == "SELF_TRADE"
