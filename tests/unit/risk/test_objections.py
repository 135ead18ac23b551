"""What a replacement is refused for before the gate is asked, and what its asker hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from risk.approval import Denied
from risk.order_facts import Order, State
from risk.orders import ReportKind
from tests.harness.order_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


def refused(
    world: World, order: Order, *, price: int | None, size: int
) -> list[tuple[object, ...]]:
    """Ask in vain; return what is on record of it."""
    world.records.clear()
    answer = world.router.replace(order.request.client_id, price=price, size=size)
    assert isinstance(answer, Denied)
    return [
        (each["kind"], each.get("state", each.get("verdict")), each["reason"])
        for each in world.records
    ]


def test_a_replacement_without_a_price_keeps_the_one_that_works(world: World) -> None:
    order = world.acked(price=9_000, size=10)
    client_id = order.request.client_id
    assert world.router.replace(client_id, price=9_050, size=10) is None
    world.venue.process()
    world.venue.deliver_all()
    assert world.router.replace(client_id, price=None, size=4) is None
    assert world.venue.inbox[-1].fields == {"price": 9_050, "size": 4}
    assert [each["price"] for each in world.records if each.get("action") == "replace"] == [
        9_050
    ] * 2
    world.venue.process()
    world.venue.deliver_all()
    assert (order.state, order.price, order.size) == (State.ACKED, 9_050, 4)
    assert world.exposure() == (0, 4, 0)


def test_a_market_order_has_no_price_to_keep(world: World) -> None:
    order = world.acked(price=None)
    told = refused(world, order, price=None, size=5)
    assert told == [("risk", "denied", "MALFORMED"), ("order", "accepted", "MALFORMED")]
    assert not world.venue.inbox
    assert (order.state, order.size) == (State.ACKED, 10)


def test_every_refused_replacement_is_news_of_the_order_with_its_reason(world: World) -> None:
    order = world.submit(price=9_000)
    world.venue.process()
    world.venue.deliver_all()
    assert refused(world, order, price=9_001, size=10) == [
        ("risk", "denied", "BAD_TICK"),
        ("order", "accepted", "BAD_TICK"),
    ]
    world.desk.halt.trip()
    assert refused(world, order, price=9_005, size=10)[-1] == ("order", "accepted", "HALTED")
    world.desk.halt.word = world.desk.halt.word & ~1
    assert world.router.replace(order.request.client_id, price=9_005, size=10) is None
    told = refused(world, order, price=9_010, size=10)
    assert told[-1] == ("order", "pending_replace", "DUPLICATE")
    world.venue.process()
    world.venue.deliver_all()
    world.cancel(order)
    told = refused(world, order, price=9_010, size=10)
    assert told[-1] == ("order", "pending_cancel", "NO_SUCH_ORDER")
    # Its own story does not keep that reason.
    world.venue.process()
    world.venue.deliver_all()
    assert (world.records[-1]["state"], world.records[-1]["reason"]) == ("cancelled", "")
    assert world.router.counts.denied == 4


def test_what_did_not_leave_says_why(world: World) -> None:
    order = world.acked()
    world.venue.fault = "not_sent"
    assert refused(world, order, price=9_005, size=10)[-1] == ("order", "accepted", "BROKER_DOWN")
    world.venue.fault = "not_sent"
    assert isinstance(world.cancel(order), Denied)
    assert (world.records[-1]["state"], world.records[-1]["reason"]) == ("accepted", "BROKER_DOWN")
    world.cancel(order)
    world.venue.say(ReportKind.CANCELLED, world.venue.orders[order.venue_id])
    world.venue.deliver_all()
    assert order.state is State.CANCELLED
