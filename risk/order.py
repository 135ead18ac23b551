"""One order's life, as a machine that any sequence of reports may drive.

It keeps facts (filled so far, what was asked, what is in doubt, how it ended) and derives the state
from them, so that the order in which reports come does not matter: executions count once by their
id, cumulative quantities only grow, an end stays an end. It sends, times and records nothing.
"""

from __future__ import annotations

from typing import Final

from risk.order_facts import OVER, Alarm, Change, Doubt, Fill, Order, State
from risk.orders import Report, ReportKind

__all__ = [
    "LISTED",
    "apply",
    "ask_cancel",
    "ask_replace",
    "deny",
    "doubt",
    "mark_sent",
    "resolve",
    "withdraw",
]

_ENDS: Final = {
    ReportKind.CANCELLED: State.CANCELLED,
    ReportKind.EXPIRED: State.EXPIRED,
    ReportKind.REJECTED: State.REJECTED,
}
# The code of an ACKED that a snapshot gave: the order is open now, whatever was said before.
LISTED: Final = "LISTED"
# Replaced values that are remembered, to know a repeated report of an old replacement.
_PAST_MAX: Final = 8


def _settle(order: Order, before: State) -> State:
    """Derive the state from the facts; an end is kept, but for what late fills complete."""
    ended = _end_of(order, before)
    if ended is not None:
        state = ended
        order.doubts = 0
        order.cancel_asked = order.replace_asked = False
    elif order.doubts:
        state = State.UNKNOWN
    elif order.cancel_asked:
        state = State.PENDING_CANCEL
    elif order.replace_asked:
        state = State.PENDING_REPLACE
    elif order.filled:
        state = State.PARTIAL
    elif order.is_acked:
        state = State.ACKED
    else:
        state = min(before, State.SENT)
    order.state = state
    return state


def _end_of(order: Order, before: State) -> State | None:
    """Return how an order has ended; None: it has not, or something is missing."""
    is_complete = order.filled >= order.size
    if before >= OVER:
        return State.FILLED if is_complete and before is not State.DENIED else before
    if order.end and order.filled >= order.cum and not order.doubts & Doubt.FILLS:
        is_filled = is_complete and order.end == State.CANCELLED
        return State.FILLED if is_filled else State(order.end)
    # Where more was asked for, and may have been granted, it may still trade.
    is_growing = order.replace_asked and order.replace_size > order.size
    return State.FILLED if is_complete and not is_growing else None


def mark_sent(order: Order, mono_ns: int) -> Change:
    """The order is being written to the venue in this very step."""
    before = order.state
    order.asked_mono_ns = order.sent_mono_ns = mono_ns
    if before == State.PENDING_NEW:
        order.state = State.SENT
    return Change(before, order.state)


def deny(order: Order, reason: str) -> Change:
    """Nothing left the process, for certain."""
    before = order.state
    if before > State.SENT or order.is_acked:
        return Change(before, before, is_new=False)
    order.state = State.DENIED
    order.reason = reason
    return Change(before, State.DENIED)


def ask_cancel(order: Order, mono_ns: int) -> Change:
    """A cancel is being written to the venue."""
    before = order.state
    order.cancel_asked = True
    order.asked_mono_ns = mono_ns
    return Change(before, _settle(order, before))


def ask_replace(order: Order, price: int | None, size: int, mono_ns: int) -> Change:
    """A replacement is being written to the venue; one at a time."""
    before = order.state
    order.replace_asked = True
    order.replace_price, order.replace_size = price, size
    order.asked_mono_ns = mono_ns
    return Change(before, _settle(order, before))


def withdraw(order: Order, what: int) -> Change:
    """A cancel or a replacement that was asked for has not left, for certain."""
    before = order.state
    is_refused = what == Doubt.REPLACE and order.replace_asked
    if what == Doubt.CANCEL:
        order.cancel_asked = False
    elif is_refused:
        order.replace_asked = False
    return Change(before, _settle(order, before), is_replace_refused=is_refused)


def doubt(order: Order, what: int) -> Change:
    """Of what was sent, no answer came or will come: everything in `what` that is still open."""
    before = order.state
    if before >= OVER:
        return Change(before, before, is_new=False)
    open_now = 0
    if not order.is_acked:
        open_now |= Doubt.NEW
    if order.cancel_asked:
        open_now |= Doubt.CANCEL
    if order.replace_asked:
        open_now |= Doubt.REPLACE
    if order.cum > order.filled:
        open_now |= Doubt.FILLS
    fresh = what & open_now & ~order.doubts
    if not fresh:
        return Change(before, before, is_new=False)
    order.doubts |= fresh
    return Change(before, _settle(order, before))


def apply(order: Order, report: Report) -> Change:
    """Take a report of the venue, in whatever order it comes."""
    kind = report.kind
    if kind is ReportKind.FILL:
        return _filled(order, report)
    before = order.state
    if kind is ReportKind.IN_DOUBT:
        return doubt(order, Doubt.NEW | Doubt.CANCEL | Doubt.REPLACE)
    return _told(order, report) if before < OVER else Change(before, before, is_new=False)


def _told(order: Order, report: Report) -> Change:
    """Take what is no execution, of an order that is not over."""
    kind = report.kind
    grown = report.cum_size is not None and report.cum_size > order.cum
    if grown:
        order.cum = report.cum_size or 0
    if report.venue_id and not order.venue_id:
        order.venue_id = report.venue_id
        grown = True
    if kind is ReportKind.ACKED:
        if report.code == LISTED:
            # What the venue lists is what it counts, whatever a broken report made us think.
            order.cum = max(order.filled, report.cum_size or 0)
            settled = Doubt.WORDS | (Doubt.FILLS if order.cum == order.filled else 0)
            grown = grown or bool(order.doubts & settled)
            order.doubts &= ~settled
        return _acked(order, is_grown=grown)
    if kind in _ENDS:
        return _ended(order, report)
    if kind is ReportKind.REPLACED:
        return _replaced(order, report)
    return _refused(order, kind, is_grown=grown)


def _acked(order: Order, *, is_grown: bool) -> Change:
    before = order.state
    fresh = not order.is_acked
    order.is_acked = True
    order.doubts &= ~Doubt.NEW
    return Change(before, _settle(order, before), is_new=fresh or is_grown)


def _ended(order: Order, report: Report) -> Change:
    before = order.state
    if report.kind is ReportKind.REJECTED and order.cum:
        order.doubts |= Doubt.WORDS
        return Change(before, _settle(order, before), alarm=Alarm.CONTRADICTION)
    fresh = not order.end
    if fresh:
        order.end = _ENDS[report.kind]
        order.code, order.reason = report.code, report.reason
    order.doubts &= Doubt.FILLS
    if order.cum > order.filled:
        order.doubts |= Doubt.FILLS
    return Change(before, _settle(order, before), is_new=fresh)


def _replaced(order: Order, report: Report) -> Change:
    before = order.state
    price = report.price
    size = order.size if report.size is None else report.size
    values = (price, size)
    is_asked = order.replace_asked and values == (order.replace_price, order.replace_size)
    if not is_asked:
        # An old replacement reported again; but a list says what works now.
        is_old = values in order.past and report.code != LISTED
        if is_old or values == (order.price, order.size):
            return Change(before, before, is_new=False)
    _adopt(order, *values)
    order.is_acked = True
    order.doubts &= ~Doubt.NEW
    if is_asked:
        order.replace_asked = False
        order.doubts &= ~Doubt.REPLACE
    # Unasked: somebody did it at the venue. It is what works there, so it is taken.
    alarm = None if is_asked else Alarm.CONTRADICTION
    return Change(before, _settle(order, before), is_replaced=True, alarm=alarm)


def _adopt(order: Order, price: int | None, size: int) -> None:
    order.past = (*order.past, (order.price, order.size))[-_PAST_MAX:]
    order.price, order.size = price, size


def _refused(order: Order, kind: ReportKind, *, is_grown: bool) -> Change:
    before = order.state
    if kind is ReportKind.CANCEL_REJECTED and order.cancel_asked:
        order.cancel_asked = False
        order.doubts &= ~Doubt.CANCEL
        return Change(before, _settle(order, before))
    if kind is ReportKind.REPLACE_REJECTED and order.replace_asked:
        order.replace_asked = False
        order.doubts &= ~Doubt.REPLACE
        return Change(before, _settle(order, before), is_replace_refused=True)
    return Change(before, before, is_new=is_grown)


def _filled(order: Order, report: Report) -> Change:
    before = order.state
    exec_id, price, size = report.exec_id, report.price, report.size
    if not exec_id or price is None or size is None or size <= 0:
        # It cannot be counted, and it cannot be ignored.
        if before < OVER:
            order.cum = max(order.cum, report.cum_size or order.filled + max(size or 1, 1))
            order.is_acked = True
            order.doubts = (order.doubts & ~Doubt.NEW) | Doubt.FILLS
        return Change(before, _settle(order, before), alarm=Alarm.BAD_FILL)
    if exec_id in order.executions:
        return Change(before, before, is_new=False)
    order.executions.add(exec_id)
    if report.venue_id and not order.venue_id:
        order.venue_id = report.venue_id
    order.is_acked = True
    order.doubts &= ~Doubt.NEW
    booked = min(order.assumed, size)
    order.assumed -= booked
    size -= booked
    leaves = order.leaves if before < OVER else 0
    order.filled += size
    order.cum = max(order.cum, order.filled, report.cum_size or 0)
    if order.filled >= order.cum:
        order.doubts &= ~Doubt.FILLS
    is_replaced = before < OVER and order.replace_asked and order.size < order.filled
    if is_replaced:
        # More than the old size has traded: the replacement works, whatever was not said.
        _adopt(order, order.replace_price, order.replace_size)
        order.replace_asked = False
        order.doubts &= ~Doubt.REPLACE
    late = max(size - leaves, 0)
    alarm = None
    if booked:
        alarm = Alarm.FILL_AFTER_RESOLUTION
    elif late:
        alarm = Alarm.LATE_FILL if before >= OVER else Alarm.OVERFILL
    fill = None
    if size:
        fill = Fill(exec_id, price, size, late, report.fee, report.fee_currency, report.ts_event_ns)
    after = _settle(order, before)
    return Change(before, after, fill=fill, is_replaced=is_replaced, alarm=alarm)


def resolve(order: Order, *, end: State, filled: int, price: int | None, reason: str) -> Change:
    """Take a person's word: how the order ended, and how much of it traded in all.

    What no execution tells is booked at `price`; its executions do not count again when they come.
    Raises ValueError: the order is over, `end` is no end, `filled` is less than what has traded
    or more than the order's size, or a quantity has no price.
    """
    before = order.state
    if before >= OVER:
        raise ValueError("the order is over")
    if end not in (State.FILLED, State.CANCELLED, State.EXPIRED, State.REJECTED):
        raise ValueError("an order ends filled, cancelled, expired or rejected")
    more = filled - order.filled
    leaves = order.leaves
    if more < 0 or more > leaves:
        raise ValueError(f"filled is between {order.filled} and {order.filled + leaves}")
    if more and price is None:
        raise ValueError("a quantity without a price")
    if (end == State.FILLED) is not (more == leaves) or (end == State.REJECTED and filled):
        raise ValueError(f"an order with {filled} filled does not end {end.name.lower()}")
    fill = None
    if more and price is not None:
        exec_id = f"resolved-{order.number}"
        order.executions.add(exec_id)
        order.filled += more
        order.assumed += more
        fill = Fill(exec_id, price, more, 0, 0, "", None)
    order.cum = order.filled
    order.doubts = 0
    order.cancel_asked = order.replace_asked = False
    order.reason = reason
    order.end = order.state = end
    return Change(before, end, fill=fill)
