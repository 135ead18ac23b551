"""The router before a venue in memory, with the real gate and the real outbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from risk.approval import Denied
from risk.order_facts import State
from risk.orders import Report, ReportKind
from tests.harness.gates import ACCOUNT, INSTRUMENT, Desk, row
from tests.harness.order_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


def test_order_lives_from_submit_to_cancelled(world: World) -> None:
    order = world.submit()
    assert order.state is State.SENT
    assert world.exposure() == (0, 10, 0)
    world.venue.process()
    world.venue.deliver_all()
    assert order.state is State.ACKED
    assert world.cancel(order) is None
    assert order.state is State.PENDING_CANCEL
    assert world.exposure() == (0, 10, 0)
    world.venue.process()
    world.venue.deliver_all()
    assert order.state is State.CANCELLED
    assert world.exposure() == (0, 0, 0)
    expected = ["pending_new", "sent", "accepted", "pending_cancel", "cancelled"]
    assert world.states(order) == expected


def test_fill_before_its_ack_counts_once_and_the_ack_changes_nothing(world: World) -> None:
    order = world.submit()
    world.venue.process()
    listed = world.venue.of(order.ref)
    assert listed is not None
    world.venue.trade(listed, 4)
    world.venue.deliver(1)
    assert order.state is State.PARTIAL
    assert world.exposure() == (4, 6, 0)
    world.venue.deliver_all()
    assert order.state is State.PARTIAL
    assert order.filled == 4
    assert world.router.counts.stale_reports == 1


def test_duplicated_fill_counts_once(world: World) -> None:
    order = world.acked()
    world.venue.trade(next(iter(world.venue.orders.values())), 3)
    world.venue.deliver(keep=True)
    world.venue.deliver(keep=True)
    world.venue.deliver()
    assert order.filled == 3
    assert [fill.size for _, fill in world.fills] == [3]
    assert world.exposure() == (3, 7, 0)


def test_phantom_new_after_filled_resurrects_nothing(world: World) -> None:
    order = world.acked()
    world.venue.trade(next(iter(world.venue.orders.values())), 10)
    world.venue.deliver_all()
    assert order.state is State.FILLED
    ack = Report(kind=ReportKind.ACKED, ref=order.ref, venue_id=order.venue_id)
    world.router.on_report(ACCOUNT, ack)
    assert order.state is State.FILLED
    assert world.exposure() == (10, 0, 0)


def test_late_fill_after_cancel_is_taken_with_an_alarm(world: World) -> None:
    order = world.acked()
    world.cancel(order)
    world.venue.process()
    world.venue.deliver_all()
    world.venue.trade(next(iter(world.venue.orders.values())), 4)
    world.venue.deliver_all()
    assert order.state is State.CANCELLED
    assert world.exposure() == (4, 0, 0)
    assert world.alarms() == ["LATE_FILL"]
    assert world.router.counts.late_fills == 1
    assert world.states(order)[-2:] == ["partly_filled", "cancelled"]
    assert [each["late"] for each in world.records if each["kind"] == "execution"] == [True]


def test_cancelled_with_fills_still_missing_stays_reserved_until_they_come(world: World) -> None:
    order = world.acked()
    listed = next(iter(world.venue.orders.values()))
    world.venue.trade(listed, 4)
    world.cancel(order)
    world.venue.process()
    world.venue.deliver(1)
    assert order.state is State.UNKNOWN
    assert world.exposure() == (0, 10, 0)
    world.venue.deliver_all()
    assert order.state is State.CANCELLED
    assert world.exposure() == (4, 0, 0)
    assert world.alarms() == []


def test_rejected_gives_back_and_tells_the_venues_words(world: World) -> None:
    order = world.submit()
    world.venue.refuse()
    world.venue.deliver_all()
    assert order.state is State.REJECTED
    assert world.exposure() == (0, 0, 0)
    assert (world.records[-1]["code"], world.records[-1]["reason"]) == ("-1", "no")


def test_expired_is_an_end_of_its_own(world: World) -> None:
    order = world.acked()
    world.venue.end(next(iter(world.venue.orders.values())), "expired")
    world.venue.deliver_all()
    assert order.state is State.EXPIRED
    assert world.exposure() == (0, 0, 0)


def test_cancel_rejected_leaves_the_order_as_it_was(world: World) -> None:
    order = world.acked()
    world.cancel(order)
    refused = Report(kind=ReportKind.CANCEL_REJECTED, ref=order.ref)
    world.router.on_report(ACCOUNT, refused)
    assert order.state is State.ACKED


def test_replacement_reserves_the_larger_until_it_is_answered(world: World) -> None:
    order = world.acked(size=10)
    assert world.router.replace(order.request.client_id, price=10_050, size=15) is None
    assert order.state is State.PENDING_REPLACE
    assert world.exposure() == (0, 15, 0)
    world.venue.process()
    world.venue.deliver_all()
    assert (order.state, order.price, order.size) == (State.ACKED, 10_050, 15)
    assert world.router.replace(order.request.client_id, price=10_050, size=5) is None
    assert world.exposure() == (0, 15, 0)
    world.router.on_report(ACCOUNT, Report(kind=ReportKind.REPLACE_REJECTED, ref=order.ref))
    assert (order.state, order.size) == (State.ACKED, 15)
    assert world.exposure() == (0, 15, 0)


def test_full_fill_during_a_growing_replacement_keeps_the_growth_reserved(world: World) -> None:
    order = world.acked(size=10)
    world.router.replace(order.request.client_id, price=10_000, size=15)
    world.venue.trade(next(iter(world.venue.orders.values())), 10)
    world.venue.deliver_all()
    assert order.state is State.PENDING_REPLACE
    assert world.exposure() == (10, 5, 0)
    world.venue.process()
    world.venue.deliver_all()
    assert order.state is State.FILLED
    assert world.exposure() == (10, 0, 0)


def test_nothing_left_is_denied_and_forgotten(world: World) -> None:
    world.venue.fault = "not_sent"
    assert world.denied() == "BROKER_DOWN"
    assert world.exposure() == (0, 0, 0)
    assert world.records[-1]["state"] == "denied"
    world.venue.is_up = False
    assert world.denied() == "BROKER_DOWN"
    assert not world.venue.sent


@pytest.mark.parametrize("fault", ["doubt_lost", "doubt_arrived", "line_down"])
def test_any_doubt_of_the_write_is_unknown_and_never_sent_again(world: World, fault: str) -> None:
    world.venue.fault = fault  # type: ignore[assignment]
    order = world.submit()
    assert order.state is State.UNKNOWN
    assert world.exposure() == (0, 10, 0)
    world.wait(4_000)
    assert sum(world.venue.sent.values()) == 1
    assert order.state is State.UNKNOWN


def test_no_answer_in_time_is_unknown_and_the_ack_heals_it(world: World) -> None:
    order = world.submit()
    world.wait(99)
    assert order.state is State.SENT
    world.wait(2)
    assert order.state is State.UNKNOWN
    world.venue.process()
    world.venue.deliver_all()
    assert order.state is State.ACKED
    assert world.states(order) == ["pending_new", "sent", "unknown", "accepted"]


def test_unknown_blocks_the_same_intent_and_only_that(world: World) -> None:
    order = world.submit(price=10_000)
    world.wait(101)
    assert world.denied(world.request(price=10_000)) == "UNKNOWN_TWIN"
    assert world.denied(world.request(price=10_005)) == "-"
    assert world.denied(world.request(side="A", price=10_050)) == "-"
    world.venue.process()
    world.venue.deliver_all()
    assert order.state is State.ACKED
    assert world.denied(world.request(price=10_000)) == "-"


def test_line_down_puts_all_that_is_unanswered_in_doubt_and_nothing_else(world: World) -> None:
    acked, cancelled, sent = world.acked(price=9_900), world.acked(price=9_905), world.submit()
    world.cancel(cancelled)
    world.router.on_report(ACCOUNT, Report(kind=ReportKind.LINE_DOWN))
    assert [each.state for each in (acked, cancelled, sent)] == [
        State.ACKED,
        State.UNKNOWN,
        State.UNKNOWN,
    ]


def test_unknown_that_grows_old_halts_its_instrument_once(world: World) -> None:
    world.submit()
    world.wait(101)
    for _ in range(3):
        world.wait(5_001)
    assert world.halted == [INSTRUMENT]
    assert world.alarms() == ["UNKNOWN_TOO_LONG"]


def test_never_arrived_is_concluded_from_two_healthy_snapshots_only(world: World) -> None:
    world.venue.fault = "doubt_lost"
    order = world.submit()
    world.look(is_healthy=False)
    world.wait(300)
    world.look(is_healthy=False)
    world.look()
    world.look()
    assert order.state is State.UNKNOWN
    world.wait(200)
    world.look()
    assert (order.state, order.code) == (State.REJECTED, "NOT_FOUND")
    assert world.exposure() == (0, 0, 0)


def test_snapshot_that_was_asked_before_the_send_proves_nothing(world: World) -> None:
    world.look()
    early = world.venue.snapshot_now()
    world.wait(300)
    world.venue.fault = "doubt_lost"
    order = world.submit()
    world.wait(1)
    world.router.reconciler.take_snapshot(ACCOUNT, early)
    world.look()
    assert order.state is State.UNKNOWN


def test_listed_order_is_found_with_its_lost_fills(world: World) -> None:
    world.venue.fault = "doubt_arrived"
    order = world.submit()
    world.venue.process()
    world.venue.trade(next(iter(world.venue.orders.values())), 4)
    world.venue.outbox.clear()
    world.look(is_healthy=False)
    assert (order.state, order.filled, order.venue_id) == (State.PARTIAL, 4, "V1")
    assert world.exposure() == (4, 6, 0)


def test_nameless_twins_stay_unknown_and_halt_the_instrument(world: World) -> None:
    world.venue.lists_refs = False
    orders = []
    for size in (10, 10):
        world.venue.fault = "doubt_arrived"
        # The gate's own bounds do not tell them apart, so the second one is let in by hand.
        orders.append(world.submit(price=10_000 + 5 * len(orders), size=size))
        world.venue.process()
    for each in world.venue.orders.values():
        each.price = 10_000
    orders[1].price = 10_000
    world.venue.outbox.clear()
    world.settle()
    assert [order.state for order in orders] == [State.UNKNOWN, State.UNKNOWN]
    assert world.halted == [INSTRUMENT, INSTRUMENT]
    assert "AMBIGUOUS" in world.alarms()


def test_nameless_order_is_matched_where_only_one_fits(world: World) -> None:
    world.venue.lists_refs = False
    world.venue.fault = "doubt_arrived"
    order = world.submit()
    world.venue.process()
    world.venue.outbox.clear()
    world.look()
    assert (order.state, order.venue_id) == (State.ACKED, "V1")


def test_absence_proves_nothing_while_positions_differ(world: World) -> None:
    world.venue.fault = "doubt_lost"
    order = world.submit()
    world.venue.foreign_position = 10
    world.settle()
    assert order.state is State.UNKNOWN
    assert any("position" in each for each in world.router.reconciler.problems())
    assert "POSITION_DIFFERS" in world.alarms()
    world.venue.foreign_position = 0
    world.settle()
    assert order.state is State.REJECTED
    assert world.router.reconciler.problems() == []


def test_unanswered_cancel_of_an_order_that_stays_open_is_given_up(world: World) -> None:
    order = world.acked()
    world.venue.fault = "doubt_lost"
    world.cancel(order)
    assert order.state is State.UNKNOWN
    world.look()
    assert order.state is State.UNKNOWN
    world.wait(201)
    world.look()
    assert order.state is State.ACKED


def test_order_that_vanished_while_the_line_was_down_is_over(world: World) -> None:
    order = world.acked()
    world.venue.lists_closed = False
    world.venue.end(next(iter(world.venue.orders.values())), "cancelled", is_silent=True)
    world.settle()
    assert (order.state, order.code) == (State.CANCELLED, "NOT_LISTED")


def test_foreign_order_is_reported_and_never_touched(world: World) -> None:
    other = World(None)
    try:
        other.acked()
        foreign = next(iter(other.venue.orders.values()))
        foreign.ref = "web-1"
        world.venue.orders["F1"] = foreign
        world.settle()
        assert "FOREIGN_ORDER" in world.alarms()
        assert not world.venue.cancels
        assert foreign.is_open
    finally:
        other.close()


def test_halt_between_approval_and_write_denies(world: World) -> None:
    world.on_record = lambda record: world.desk.halt.trip() if record["kind"] == "risk" else None
    assert world.denied() == "HALTED"
    assert not world.venue.sent
    assert world.exposure() == (0, 0, 0)


def test_halt_stops_no_cancel(world: World) -> None:
    order = world.acked()
    world.desk.halt.trip()
    assert world.denied() == "HALTED"
    assert world.cancel(order) is None
    assert world.venue.cancels[order.ref] == 1


def test_cancel_of_an_order_that_is_over_or_never_was_is_denied(world: World) -> None:
    order = world.submit()
    world.venue.refuse()
    world.venue.deliver_all()
    assert isinstance(world.cancel(order), Denied)
    assert isinstance(world.router.cancel(1), Denied)


def test_thousand_buys_in_flight_stop_at_the_position_limit(tmp_path: Path) -> None:
    """Other gates count fills only, and let all of them through."""
    with World(tmp_path, desk=Desk("native", row(position_max=100))) as world:
        answers = [world.denied(world.request(price=5_000 + 5 * at)) for at in range(1_000)]
        assert answers[:10] == ["-"] * 10
        assert set(answers[10:]) == {"POSITION_LIMIT"}
        assert sum(world.venue.sent.values()) == 10


def test_operator_resolves_and_later_executions_do_not_count_again(world: World) -> None:
    order = world.submit()
    world.venue.process()
    world.wait(101)
    with pytest.raises(ValueError, match="between 0 and 10"):
        world.router.resolve(order.number, end=State.CANCELLED, filled=11, operator="o", reason="r")
    world.router.resolve(
        order.number, end=State.CANCELLED, filled=4, operator="ann", reason="called the desk"
    )
    assert order.state is State.CANCELLED
    assert world.exposure() == (4, 0, 0)
    audit = next(each for each in world.records if each["kind"] == "audit")
    assert (audit["operator"], audit["reason"]) == ("ann", "called the desk")
    world.venue.trade(next(iter(world.venue.orders.values())), 4)
    world.venue.deliver_all()
    assert world.exposure() == (4, 0, 0)
    assert world.alarms() == ["FILL_AFTER_RESOLUTION"]
    with pytest.raises(ValueError, match="not UNKNOWN"):
        world.router.resolve(order.number, end=State.CANCELLED, filled=4, operator="o", reason="r")


def test_denial_is_a_value_and_on_record_never_published(world: World) -> None:
    request = world.request(size=0)
    answer = world.router.submit(request)
    assert isinstance(answer, Denied)
    assert answer.reason.name == "BAD_QTY"
    (record,) = world.records
    assert (record["kind"], record["verdict"], record["reason"]) == ("risk", "denied", "BAD_QTY")
    assert not world.fills
    assert not world.alerts


def test_refs_are_six_characters_and_never_come_twice(world: World) -> None:
    refs = [world.submit(price=5_000 + 5 * at, size=1).ref for at in range(3)]
    world.restart()
    refs += [world.submit(price=5_000 + 5 * at, size=1).ref for at in range(5, 8)]
    assert len(set(refs)) == 6
    assert {len(ref) for ref in refs} == {6}
