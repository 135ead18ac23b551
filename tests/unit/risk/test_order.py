"""The machine of one order: facts in any order, one state out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from risk import order as machine
from risk.order import apply, ask_cancel, ask_replace, deny, doubt, mark_sent, resolve, withdraw
from risk.order_facts import OVER, Alarm, Doubt, Order, State
from risk.orders import Report, ReportKind, Request
from risk.recovery import carried_of, new_of, order_of, replay, reported_of

NUMBER = 5


def request(**given: Any) -> Request:
    fields = {
        "client_id": 1,
        "strategy": "s",
        "account": "a",
        "instrument": 7,
        "venue": "sim",
        "symbol": "ABC",
        "side": "B",
        "price": 100,
        "size": 10,
    }
    return Request(**{**fields, **given})


def sent() -> Order:
    order = order_of(request(), NUMBER)
    mark_sent(order, 1)
    return order


def report(kind: ReportKind, **given: Any) -> Report:
    return Report(kind=kind, ref="000005", **given)


def fill(exec_id: str, size: int, cum_size: int | None = None) -> Report:
    return report(ReportKind.FILL, exec_id=exec_id, price=100, size=size, cum_size=cum_size)


ACK = report(ReportKind.ACKED, venue_id="V1", cum_size=0)
CANCELLED_AFTER_4 = report(ReportKind.CANCELLED, venue_id="V1", cum_size=4)


@pytest.mark.parametrize(
    "order_of_arrival", list(itertools.permutations([ACK, fill("E1", 1, 1), fill("E2", 3, 4)]))
)
def test_any_order_of_ack_and_fills_gives_the_same(order_of_arrival: tuple[Report, ...]) -> None:
    order = sent()
    for each in (*order_of_arrival, *order_of_arrival):
        apply(order, each)
    assert (order.state, order.filled, order.venue_id) == (State.PARTIAL, 4, "V1")


@pytest.mark.parametrize(
    "order_of_arrival",
    list(itertools.permutations([ACK, fill("E1", 1, 1), fill("E2", 3, 4), CANCELLED_AFTER_4])),
)
def test_an_end_waits_for_its_executions_in_any_order(order_of_arrival: tuple[Report, ...]) -> None:
    order = sent()
    alarms = [apply(order, each).alarm for each in (*order_of_arrival, *order_of_arrival)]
    assert (order.state, order.filled) == (State.CANCELLED, 4)
    assert alarms == [None] * 8


def test_end_without_a_count_is_an_end_and_later_fills_alarm() -> None:
    order = sent()
    assert apply(order, report(ReportKind.CANCELLED)).is_over
    change = apply(order, fill("E1", 10))
    assert (change.alarm, change.after) == (Alarm.LATE_FILL, State.FILLED)
    assert change.fill is not None
    assert change.fill.late == 10
    assert not apply(order, fill("E1", 10)).is_new


@pytest.mark.parametrize("end", [ReportKind.CANCELLED, ReportKind.EXPIRED, ReportKind.REJECTED])
def test_nothing_but_a_fill_changes_an_order_that_is_over(end: ReportKind) -> None:
    order = sent()
    apply(order, report(end))
    state = order.state
    for kind in ReportKind:
        if kind is not ReportKind.FILL:
            assert not apply(order, report(kind, price=1, size=20)).is_new
    assert not doubt(order, Doubt.NEW).is_new
    assert order.state is state


def test_overfill_counts_and_alarms() -> None:
    order = sent()
    change = apply(order, fill("E1", 12, 12))
    assert (change.alarm, change.after, order.filled) == (Alarm.OVERFILL, State.FILLED, 12)
    assert change.fill is not None
    assert (change.fill.size, change.fill.late) == (12, 2)


@pytest.mark.parametrize(
    "bad",
    [
        report(ReportKind.FILL, exec_id="", price=100, size=3),
        report(ReportKind.FILL, exec_id="E", price=None, size=3),
        report(ReportKind.FILL, exec_id="E", price=100, size=None),
        report(ReportKind.FILL, exec_id="E", price=100, size=0),
        report(ReportKind.FILL, exec_id="E", price=100, size=-1),
    ],
)
def test_execution_that_cannot_be_counted_is_never_ignored(bad: Report) -> None:
    order = sent()
    change = apply(order, bad)
    assert (change.alarm, change.after, change.fill) == (Alarm.BAD_FILL, State.UNKNOWN, None)
    # It may have been a fill of anything: an end does not settle it, the venue's list does.
    assert apply(order, report(ReportKind.CANCELLED, cum_size=0)).after is State.UNKNOWN
    apply(order, report(ReportKind.ACKED, code=machine.LISTED, cum_size=0))
    assert order.state is State.CANCELLED


def test_rejection_of_an_order_that_has_traded_is_a_contradiction() -> None:
    order = sent()
    apply(order, fill("E1", 4, 4))
    change = apply(order, report(ReportKind.REJECTED))
    assert (change.alarm, change.after) == (Alarm.CONTRADICTION, State.UNKNOWN)
    assert apply(order, CANCELLED_AFTER_4).after is State.CANCELLED


def test_rejection_behind_the_ack_is_an_end() -> None:
    order = sent()
    apply(order, ACK)
    assert apply(order, report(ReportKind.REJECTED)).after is State.REJECTED


def test_old_replacement_reported_again_changes_nothing() -> None:
    order = sent()
    apply(order, ACK)
    first, second = (report(ReportKind.REPLACED, price=p, size=10) for p in (101, 102))
    for each in (first, second):
        ask_replace(order, each.price, 10, 1)
        assert apply(order, each).is_replaced
    assert not apply(order, first).is_new
    assert order.price == 102


def test_replacement_that_nobody_asked_for_is_taken_with_an_alarm() -> None:
    order = sent()
    apply(order, ACK)
    change = apply(order, report(ReportKind.REPLACED, price=99, size=20))
    assert (change.alarm, change.is_replaced) == (Alarm.CONTRADICTION, True)
    assert (order.price, order.size, order.leaves) == (99, 20, 20)


def test_more_than_the_old_size_proves_the_replacement() -> None:
    order = sent()
    apply(order, ACK)
    ask_replace(order, 100, 15, 1)
    assert apply(order, fill("E1", 10, 10)).after is State.PENDING_REPLACE
    change = apply(order, fill("E2", 1, 11))
    assert (change.is_replaced, change.after, order.leaves) == (True, State.PARTIAL, 4)
    assert apply(order, fill("E3", 4, 15)).after is State.FILLED


def test_replacement_to_less_than_has_traded_is_the_end() -> None:
    order = sent()
    apply(order, fill("E1", 6, 6))
    ask_replace(order, 100, 5, 1)
    change = apply(order, report(ReportKind.REPLACED, price=100, size=5))
    assert (change.after, change.is_over) == (State.FILLED, True)


def test_doubt_is_of_what_is_open_only() -> None:
    order = sent()
    apply(order, ACK)
    assert not doubt(order, Doubt.NEW | Doubt.CANCEL | Doubt.REPLACE).is_new
    ask_cancel(order, 2)
    assert doubt(order, Doubt.NEW | Doubt.CANCEL | Doubt.REPLACE).after is State.UNKNOWN
    assert apply(order, report(ReportKind.CANCEL_REJECTED)).after is State.ACKED


def test_fill_heals_the_doubt_of_a_new_order_and_not_that_of_its_cancel() -> None:
    order = sent()
    doubt(order, Doubt.NEW)
    assert apply(order, fill("E1", 1, 1)).after is State.PARTIAL
    ask_cancel(order, 2)
    doubt(order, Doubt.CANCEL)
    assert apply(order, fill("E2", 1, 2)).after is State.UNKNOWN


def test_nothing_that_left_can_be_denied() -> None:
    order = order_of(request(), NUMBER)
    assert deny(order, "x").after is State.DENIED
    order = sent()
    apply(order, ACK)
    assert not deny(order, "x").is_new
    assert order.state is State.ACKED


def test_withdrawn_cancel_and_replacement_leave_the_order_as_it_was() -> None:
    order = sent()
    apply(order, ACK)
    ask_cancel(order, 2)
    assert withdraw(order, Doubt.CANCEL).after is State.ACKED
    ask_replace(order, 100, 20, 2)
    change = withdraw(order, Doubt.REPLACE)
    assert (change.after, change.is_replace_refused, order.leaves) == (State.ACKED, True, 10)


@pytest.mark.parametrize(
    ("end", "filled", "price"),
    [
        (State.CANCELLED, 3, 100),  # less than has traded
        (State.CANCELLED, 11, 100),
        (State.FILLED, 9, 100),
        (State.CANCELLED, 10, 100),
        (State.REJECTED, 4, 100),
        (State.CANCELLED, 5, None),
        (State.DENIED, 4, 100),
        (State.ACKED, 4, 100),
    ],
)
def test_words_of_a_person_must_fit(end: State, filled: int, price: int | None) -> None:
    order = sent()
    apply(order, fill("E1", 4, 4))
    with pytest.raises(ValueError, match=r"order|filled|price|ends"):
        resolve(order, end=end, filled=filled, price=price, reason="r")
    assert order.state is State.PARTIAL


def test_carried_order_is_the_same_order() -> None:
    order = sent()
    apply(order, ACK)
    apply(order, fill("E1", 4, 4))
    ask_replace(order, 101, 20, 2)
    apply(order, report(ReportKind.REPLACED, price=101, size=20))
    (again,) = replay([carried_of(order, 3)]).orders.values()
    for name in order.__struct_fields__:
        if not name.endswith("mono_ns"):
            assert getattr(again, name) == getattr(order, name), name


def test_replay_drives_the_same_machine_and_leaves_the_unanswered_in_doubt() -> None:
    heard = [ACK, fill("E1", 4, 4), fill("E1", 4, 4)]
    records = [new_of(request(), NUMBER, 1)]
    records += [reported_of(NUMBER, 2, each) for each in heard]  # type: ignore[list-item]
    found = replay(records)
    assert found.orders[NUMBER].state is State.PARTIAL
    assert [each.fill.size for each in found.executed] == [4]
    assert found.held["a", "s", 7].size == 4
    assert found.number_next == NUMBER + 1
    assert replay(records[:1]).orders[NUMBER].state is State.UNKNOWN
    assert replay(records[1:]).orphans_count == 3


def test_states_that_are_over_are_the_last_ones() -> None:
    over = {State.FILLED, State.CANCELLED, State.EXPIRED, State.REJECTED, State.DENIED}
    assert {state for state in State if state >= OVER} == over
