"""What a life of the daemon left in its outbox, folded into orders again.

Records are the inputs of the orders' machine, so a replay drives the same machine. What was sent
and has no outcome is in doubt afterwards. Pure; it opens no file and asks no venue.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from risk import order as machine
from risk.order_facts import Doubt, Fill, Order, State
from risk.order_numbers import ref_of
from risk.orders import Report, ReportKind, Request
from risk.outbox_format import (
    CancelAsked,
    Carried,
    Held,
    New,
    NotSent,
    Record,
    ReplaceAsked,
    Reported,
    Resolved,
)

__all__ = ["Executed", "Replayed", "carried_of", "new_of", "order_of", "replay", "reported_of"]

# A venue's words are kept this long.
WORDS_MAX = 200
_EVERYTHING = Doubt.NEW | Doubt.CANCEL | Doubt.REPLACE | Doubt.FILLS
HeldKey = tuple[str, str, int]


class Executed(msgspec.Struct, frozen=True):
    """An execution that the outbox still knows, in the order in which they came."""

    request: Request
    number: int
    wall_ns: int
    fill: Fill


class Replayed(msgspec.Struct, frozen=True):
    """held: bought minus sold by (account, strategy, instrument), with the symbol."""

    orders: dict[int, Order]
    held: dict[HeldKey, Held]
    executed: list[Executed]
    # When an order's last record was written, by the wall clock.
    changed: dict[int, int]
    # The first number that no record has.
    number_next: int
    # Records of orders that the file does not begin.
    orphans_count: int


def new_of(request: Request, number: int, wall_ns: int) -> New:
    """Return the record of an intent."""
    return New(
        number,
        wall_ns,
        request.client_id,
        request.strategy,
        request.account,
        request.instrument,
        request.venue,
        request.symbol,
        request.side,
        request.price,
        request.size,
        request.time_in_force,
        request.reduce_only,
    )


def reported_of(number: int, wall_ns: int, report: Report) -> Reported:
    """Return the record of a report."""
    return Reported(
        number,
        wall_ns,
        int(report.kind),
        report.venue_id,
        report.exec_id,
        report.price,
        report.size,
        report.cum_size,
        report.fee,
        report.fee_currency,
        report.code[:WORDS_MAX],
        report.reason[:WORDS_MAX],
        report.ts_event_ns,
    )


def order_of(request: Request, number: int) -> Order:
    """Return a new order."""
    return Order(
        request=request, number=number, ref=ref_of(number), price=request.price, size=request.size
    )


def carried_of(order: Order, wall_ns: int) -> Carried:
    """Return the record that stands for all of an order's past."""
    return Carried(
        new_of(order.request, order.number, wall_ns),
        order.price,
        order.size,
        order.venue_id,
        order.filled,
        order.cum,
        order.is_acked,
        order.cancel_asked,
        order.replace_asked,
        order.replace_price,
        order.replace_size,
        int(order.doubts),
        int(order.state),
        int(order.end),
        order.assumed,
        tuple(sorted(order.executions)),
        order.past,
    )


def _restored(carried: Carried) -> Order:
    order = order_of(carried.new.request(), carried.number)
    order.price, order.size = carried.price, carried.size
    order.venue_id = carried.venue_id
    order.filled, order.cum = carried.filled, carried.cum
    order.is_acked, order.cancel_asked = carried.is_acked, carried.cancel_asked
    order.replace_asked = carried.replace_asked
    order.replace_price, order.replace_size = carried.replace_price, carried.replace_size
    order.doubts, order.state = carried.doubts, State(carried.state)
    order.end, order.assumed = carried.end, carried.assumed
    order.executions = set(carried.executions)
    order.past = carried.past
    return order


def _report_of(order: Order, record: Reported) -> Report:
    return Report(
        kind=ReportKind(record.kind),
        ref=order.ref,
        venue_id=record.venue_id,
        exec_id=record.exec_id,
        price=record.price,
        size=record.size,
        cum_size=record.cum_size,
        fee=record.fee,
        fee_currency=record.fee_currency,
        code=record.code,
        reason=record.reason,
        ts_event_ns=record.ts_event_ns,
    )


def _take(order: Order, record: Record) -> Fill | None:
    """Drive an order by one record; return the execution in it that counts."""
    match record:
        case Reported():
            return machine.apply(order, _report_of(order, record)).fill
        case CancelAsked():
            machine.ask_cancel(order, 0)
        case ReplaceAsked():
            machine.ask_replace(order, record.price, record.size, 0)
        case NotSent(what=Doubt.NEW):
            machine.deny(order, record.reason)
        case NotSent():
            machine.withdraw(order, record.what)
        case Resolved():
            return machine.resolve(
                order,
                end=State(record.end),
                filled=record.filled,
                price=record.price,
                reason=record.reason,
            ).fill
    return None


def _hold(held: dict[HeldKey, Held], request: Request, size: int) -> None:
    key = (request.account, request.strategy, request.instrument)
    before = held[key].size if key in held else 0
    signed = size if request.side == "B" else -size
    held[key] = Held(*key, request.symbol, before + signed)


def replay(records: Iterable[Record]) -> Replayed:
    """Fold the records of a file; a pure function of them, so a second replay gives the same.

    An order that was sent, or may have been, and has no outcome comes back UNKNOWN.
    """
    orders: dict[int, Order] = {}
    held: dict[HeldKey, Held] = {}
    executed: list[Executed] = []
    changed: dict[int, int] = {}
    orphans_count = 0
    for record in records:
        if isinstance(record, Held):
            held[record.account, record.strategy, record.instrument] = record
            continue
        if not isinstance(record, Carried):
            changed[record.number] = record.wall_ns
        if isinstance(record, New):
            orders.setdefault(record.number, order_of(record.request(), record.number))
        elif isinstance(record, Carried):
            orders[record.number] = _restored(record)
        elif (order := orders.get(record.number)) is None:
            orphans_count += 1
        elif fill := _take(order, record):
            _hold(held, order.request, fill.size)
            executed.append(Executed(order.request, order.number, record.wall_ns, fill))
    for order in orders.values():
        machine.doubt(order, _EVERYTHING)
    return Replayed(orders, held, executed, changed, max(orders, default=-1) + 1, orphans_count)
