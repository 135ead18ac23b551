"""How long orders take: what is counted, from which moment on, and what is no answer."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from risk.order_facts import State
from risk.orders import Report, ReportKind, Request
from tests.harness.gates import ACCOUNT
from tests.harness.order_world import MS, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


def acknowledged(world: World) -> tuple[int, int]:
    """How many, and how long together."""
    latency = world.router.ack_latency[ACCOUNT]
    return latency.count, latency.sum


def watched(world: World) -> list[int]:
    found: list[int] = []
    world.outbox.watch(lambda _old, new: found.append(new or 0))
    return found


def test_a_decision_is_timed_with_its_figures_whatever_it_is(world: World) -> None:
    def figures(_request: Request, _price: int | None, _size: int) -> dict[str, int]:
        world.clock.move(3 * MS)
        return {"position": 7}

    world.router._figures = figures
    decision = world.router.decision_latency
    order = world.submit()
    assert (decision.count, decision.sum) == (1, 3 * MS)
    assert world.outbox.latency.sum == 0, "it begins behind the decision"
    told = next(each for each in world.records if each["kind"] == "risk")
    assert (told["number"], told["figures"]) == (order.number, {"position": 7})
    assert world.denied(world.request(size=0)) == "BAD_QTY"
    assert (decision.count, decision.sum) == (2, 3 * MS), "a refusal has no figures"


def test_nothing_is_decided_about_an_order_that_the_gate_never_saw(world: World) -> None:
    world.venue.is_up = False
    assert world.denied() == "BROKER_DOWN"
    assert world.router.decision_latency.count == 0


def test_with_process_the_write_ahead_is_the_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_fd: int, _data: bytes, _at: int) -> None:
        world.clock.move(2 * MS)

    with monkeypatch.context() as disk:
        disk.setattr("risk.outbox.write_at", slow)
        order = world.submit()
    latency = world.outbox.latency
    assert (latency.count, latency.sum) == (1, 2 * MS)
    world.cancel(order)
    assert latency.count == 1, "no order waits for the note of a cancel"


def test_with_disk_the_write_ahead_ends_when_the_disk_has_it(tmp_path: Path) -> None:
    with World(tmp_path, durability="disk") as world:
        descriptors = watched(world)
        order = world.submit()
        assert world.outbox.latency.count == 0
        world.clock.move(4 * MS)
        while order.state is State.PENDING_NEW:
            assert select.select(descriptors[-1:], [], [], 10)[0]
            world.outbox.collect()
        latency = world.outbox.latency
        assert (latency.count, latency.sum) == (1, 4 * MS)


def test_an_order_that_waits_through_a_new_file_keeps_its_beginning(tmp_path: Path) -> None:
    with World(tmp_path, durability="disk") as world:
        order = world.submit()
        world.clock.move(4 * MS)
        world.outbox.error = "as after a failure"  # a new file is begun
        while world.outbox.error is not None:
            world.outbox.tick(world.router.table)
        assert world.outbox.rotations_count == 2, "the first is the start's"
        descriptors = watched(world)
        while order.state is State.PENDING_NEW:
            assert select.select(descriptors[-1:], [], [], 10)[0]
            world.outbox.collect()
        assert (world.outbox.latency.count, world.outbox.latency.sum) == (1, 4 * MS)


@pytest.mark.parametrize("answer", ["acked", "refused", "filled"])
def test_the_venues_first_word_ends_the_wait_and_counts_once(world: World, answer: str) -> None:
    order = world.submit()
    assert acknowledged(world) == (0, 0)
    world.clock.move(25 * MS)
    if answer == "refused":
        world.venue.refuse()
    else:
        world.venue.process()
    if answer == "filled":  # the execution overtakes the acknowledgement
        listed = world.venue.of(order.ref)
        assert listed is not None
        world.venue.trade(listed, 4)
        world.venue.deliver(1)
    else:
        world.venue.deliver()
    assert acknowledged(world) == (1, 25 * MS)
    world.clock.move(40 * MS)
    world.venue.deliver_all()
    if not order.is_over:
        world.cancel(order)
        world.venue.process()
        world.venue.deliver_all()
    assert order.is_over
    assert acknowledged(world) == (1, 25 * MS)


def test_a_cancel_meanwhile_does_not_make_the_wait_shorter(world: World) -> None:
    order = world.submit()
    world.clock.move(30 * MS)
    world.cancel(order)
    world.clock.move(20 * MS)
    world.venue.process()
    world.venue.deliver_all()
    assert acknowledged(world) == (1, 50 * MS)


@pytest.mark.parametrize(
    "report",
    [
        Report(kind=ReportKind.CANCEL_REJECTED, code="UNKNOWN_ORDER"),
        Report(kind=ReportKind.IN_DOUBT, reason="a timeout"),
        Report(kind=ReportKind.REJECTED, code="STALE"),  # an order thread let it not leave
    ],
    ids=lambda report: report.kind.name,
)
def test_what_is_no_word_of_the_venue_about_the_order_is_no_acknowledgement(
    world: World, report: Report
) -> None:
    order = world.submit()
    world.clock.move(MS)
    fields = {name: getattr(report, name) for name in ("kind", "code", "reason")}
    world.router.on_report(ACCOUNT, Report(ref=order.ref, **fields))
    assert acknowledged(world) == (0, 0)


def test_what_a_snapshot_concludes_is_no_acknowledgement(world: World) -> None:
    """Such an order was UNKNOWN, which has its own alert; its later words are no answer either."""
    order = world.submit()
    world.venue.process()
    world.venue.outbox.clear()  # the acknowledgement is lost
    world.wait(world.config.ack_timeout_ms + 1)
    assert order.state is State.UNKNOWN
    world.settle()
    assert order.state is State.ACKED
    world.venue.trade(next(iter(world.venue.orders.values())), 4)
    world.venue.deliver_all()
    assert order.filled == 4
    assert acknowledged(world) == (0, 0)


def test_of_an_order_that_an_earlier_life_sent_nobody_knows_when(world: World) -> None:
    order = world.submit()
    world.restart()
    world.venue.process()
    world.venue.deliver_all()
    assert world.order(order.number).state is State.ACKED
    assert acknowledged(world) == (0, 0)
