"""What happened to an order, told to everybody who must follow: gate, table, outbox, record.

One step of an order's machine comes in, and reservation, holdings, names, the write-ahead file and
the control records are brought to the same state before anything else happens. It sends nothing
and asks nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final, final

import msgspec
from msgspec import structs

from risk import order as machine
from risk.gate import Gate
from risk.order_facts import OVER, Change, Doubt, Fill, Order, State
from risk.order_numbers import OrderNumbers
from risk.order_records import STATE_WORDS, audit_record, execution_record, order_record
from risk.order_table import OrderTable
from risk.orders import NEVER_LEFT, Report, ReportKind
from risk.outbox import Outbox
from risk.outbox_format import Held, NotSent, Resolved
from risk.recovery import Executed, order_of, replay, reported_of
from risk.router_config import RouterConfig
from tickd.native import Histogram
from tickd.ports import Clock

__all__ = ["Alert", "Recovered", "RouterCounts", "Settler", "Told"]

_NS_PER_MS: Final = 1_000_000
_OVER: Final = OVER
_UNKNOWN: Final = State.UNKNOWN


class Alert(msgspec.Struct, frozen=True):
    """Something that a person should hear of. number 0: of no order that is known."""

    what: str
    account: str
    number: int = 0
    instrument: int = 0
    symbol: str = ""
    text: str = ""


class RouterCounts(msgspec.Struct):
    """Totals since the start."""

    sent: int = 0
    denied: int = 0
    reports: int = 0
    # Repeated, or of an order that was over.
    stale_reports: int = 0
    foreign_reports: int = 0
    fills: int = 0
    late_fills: int = 0
    unknown: int = 0
    timeouts: int = 0


class Recovered(msgspec.Struct, frozen=True):
    """What a start found in the outbox."""

    open_count: int
    unknown_count: int
    done_count: int
    torn_bytes: int
    is_damaged: bool
    orphans_count: int
    # Executions that the outbox knows, for whoever folds positions; the raw log may lack the last.
    executed: tuple[Executed, ...]
    # When the outbox last heard of an order, by the wall clock.
    changed: Mapping[int, int]


class Told(msgspec.Struct, frozen=True):
    """What the raw log has of orders since `since_ns`: executions, and the last state of each."""

    since_ns: int
    executions: frozenset[tuple[int, str]]
    states: Mapping[int, str]


@final
class Settler:
    """All orders' followers. One thread."""

    def __init__(
        self,
        config: RouterConfig,
        *,
        gate: Gate,
        table: OrderTable,
        outbox: Outbox,
        accounts: Iterable[str],
        clock: Clock,
        record: Callable[[dict[str, object]], None],
        on_fill: Callable[[Order, Fill], None],
        on_alert: Callable[[Alert], None],
        halt_instrument: Callable[[int, str], None],
    ) -> None:
        self.counts = RouterCounts()
        # From the send to the venue's first word about the order itself, ns.
        self.ack_latency: Final = {account: Histogram() for account in accounts}
        self._gate = gate
        self._table = table
        self._outbox = outbox
        self._wall_ns = clock.wall_ns
        self._mono_ns = clock.mono_ns
        self._record = record
        self._on_fill = on_fill
        self._on_alert = on_alert
        self._halt_instrument = halt_instrument
        self._ack_timeout_ns = config.ack_timeout_ms * _NS_PER_MS
        self._unknown_age_ns = config.unknown_age_ms_max * _NS_PER_MS
        # What was sent, in this order: (when an answer is late, order, which part of it).
        self._answers: deque[tuple[int, int, int]] = deque()
        # UNKNOWN orders whose instrument was halted.
        self._tripped: set[int] = set()

    def expect(self, order: Order, what: int, now_ns: int) -> None:
        """An answer is due from now on."""
        self._answers.append((now_ns + self._ack_timeout_ns, order.number, what))

    def hear(self, order: Order, report: Report) -> None:
        """Drive an order that waits for its acknowledgement by a report, and time the first.

        What a snapshot concludes is no acknowledgement, nor is what an order thread refused; of an
        order that an earlier life sent, nobody knows when.
        """
        is_first = not (order.is_acked or order.end)
        self.take(order, report)
        if order.is_acked or order.end:
            if is_first and order.code not in NEVER_LEFT:
                latency = self.ack_latency[order.request.account]
                latency.record(order.heard_mono_ns - order.sent_mono_ns)
            order.sent_mono_ns = 0

    def take(self, order: Order, report: Report) -> None:
        """Drive an order by a report, its own or a conclusion of the resolver."""
        order.heard_mono_ns = self._mono_ns()
        had_venue_id = order.venue_id
        change = machine.apply(order, report)
        if not change.is_new:
            self.counts.stale_reports += 1
            return
        if order.venue_id != had_venue_id:
            self._table.name(order)
        if report.kind is not ReportKind.IN_DOUBT:
            self._outbox.note(reported_of(order.number, self._wall_ns(), report))
        self.settle(order, change)
        if change.after < _OVER and order.cum > order.filled:
            deadline_ns = order.heard_mono_ns + self._ack_timeout_ns
            self._answers.append((deadline_ns, order.number, Doubt.FILLS))

    def settle(self, order: Order, change: Change) -> None:
        """Let gate, table and record follow what happened to an order."""
        before, after, fill = change.before, change.after, change.fill
        if after is not before:
            self._table.moved(order, before)
            self.counts.unknown += after is _UNKNOWN
        if fill is not None:
            self._book(order, fill, before)
        if change.is_replaced or change.is_replace_refused:
            # Its own words: the gate of a later life may not know what was asked for.
            self._gate.replaced(order.number, price=order.price, size=order.size)
        if before < _OVER <= after:
            self._gate.released(order.number)
        if fill is not None:
            told = after if after is State.FILLED else State.PARTIAL
            self._record(order_record(order, told, fill))
            if told is not after:
                self._record(order_record(order, after))
        elif after is not before or change.is_replaced:
            self._record(order_record(order, after))
        if change.alarm is not None:
            self.alarm(order, change.alarm.name)
        if fill is not None:
            self._on_fill(order, fill)

    def _book(self, order: Order, fill: Fill, before: State) -> None:
        request = order.request
        punctual = fill.size - fill.late
        if punctual:
            self._gate.filled(order.number, size=punctual, price=fill.price)
        if fill.late:
            self._gate.late_fill(request, size=fill.late, price=fill.price)
        self._table.hold(request, fill.size)
        self.counts.fills += 1
        self.counts.late_fills += before >= _OVER
        self._record(execution_record(order, fill))

    def not_sent(self, order: Order, reason: str) -> bool:
        """An order has not left; False: its venue has spoken of it all the same."""
        change = machine.deny(order, reason)
        if not change.is_new:
            self.in_doubt(order, Doubt.NEW, reason)
            return False
        self._outbox.note(NotSent(order.number, self._wall_ns(), Doubt.NEW, reason))
        self.settle(order, change)
        return True

    def withdrawn(self, order: Order, what: int, reason: str) -> None:
        """A cancel or a replacement has not left."""
        self._outbox.note(NotSent(order.number, self._wall_ns(), what, reason))
        change = machine.withdraw(order, what)
        order.reason = reason
        self.settle(order, change)

    def in_doubt(self, order: Order, what: int, why: str) -> None:
        """No answer came, or none will, to a part of what was sent."""
        change = machine.doubt(order, what)
        if change.is_new:
            order.reason = why
            self.settle(order, change)

    def line_down(self, account: str, why: str) -> None:
        """Nothing that an account has sent will be answered."""
        for order in list(self._table.open.values()):
            if order.request.account == account and order.state is not State.PENDING_NEW:
                self.in_doubt(order, Doubt.NEW | Doubt.CANCEL | Doubt.REPLACE, why)

    def watch(self, now_ns: int) -> None:
        """Look at the clock: answers that are late, doubts that grew old."""
        answers = self._answers
        while answers and answers[0][0] <= now_ns:
            _, number, what = answers.popleft()
            order = self._table.open.get(number)
            if order is not None:
                before = order.doubts
                self.in_doubt(order, what, "no answer")
                self.counts.timeouts += order.doubts != before
        self._tripped.intersection_update(self._table.unknown)
        for order in list(self._table.unknown.values()):
            if now_ns - order.unknown_mono_ns > self._unknown_age_ns:
                self.trip(order, "UNKNOWN_TOO_LONG")

    def trip(self, order: Order, what: str) -> None:
        """Halt the instrument of an order that nobody can account for; once per doubt."""
        if order.number not in self._tripped:
            self._tripped.add(order.number)
            self._halt_instrument(order.request.instrument, f"{what}: order {order.ref}")
            self.alarm(order, what)

    def alarm(self, order: Order, what: str) -> None:
        request = order.request
        text = f"order {order.ref} is {order.state.name}"
        self._on_alert(
            Alert(what, request.account, order.number, request.instrument, request.symbol, text)
        )

    def cancel_failed(self, account: str, error: Exception) -> None:
        """A bug keeps an account's orders from being taken back: a person should hear of it."""
        self._on_alert(Alert("CANCEL_FAILED", account, text=f"{type(error).__name__}: {error}"))

    # --- a restart, people -------------------------------------------------------------------

    def recover(self, numbers: OrderNumbers) -> Recovered:
        """See `Router.recover`."""
        opened = self._outbox.open()
        replayed = replay(opened.records)
        numbers.open(at_least=replayed.number_next)
        for held in replayed.held.values():
            self._table.set_held(held)
            self._gate.set_position(held.account, held.strategy, held.instrument, held.size)
        for order in replayed.orders.values():
            self._table.add(order)
            if not order.is_over:
                size = order.filled + order.leaves
                working = structs.replace(order.request, price=order.keenest, size=size)
                self._gate.restore(working, order.number, leaves=order.leaves)
        for order in self._table.unknown.values():
            self._record(order_record(order, _UNKNOWN))
        for words in self._outbox.damage.problems():
            self._on_alert(Alert("OUTBOX_DAMAGED", "", text=words))
        return Recovered(
            open_count=len(self._table.open),
            unknown_count=len(self._table.unknown),
            done_count=len(replayed.orders) - len(self._table.open),
            torn_bytes=opened.torn_bytes,
            is_damaged=opened.is_damaged,
            orphans_count=replayed.orphans_count,
            executed=tuple(replayed.executed),
            changed=replayed.changed,
        )

    def tell_again(self, recovered: Recovered, told: Told) -> int:
        """Record what the outbox has and the raw log lost with its last moments; return how much.

        Called once, behind `recover`. It concerns neither gate nor holdings: they have it.
        """
        count = 0
        for each in recovered.executed:
            if each.wall_ns < told.since_ns:
                continue
            if (each.number, each.fill.exec_id) not in told.executions:
                order = self._table.of_number(each.number) or order_of(each.request, each.number)
                self._record(order_record(order, State.PARTIAL, each.fill))
                self._record(execution_record(order, each.fill))
                count += 1
        for number, wall_ns in recovered.changed.items():
            known = self._table.of_number(number)
            if known is None or wall_ns < told.since_ns or known.state is _UNKNOWN:
                continue
            if told.states.get(number) != STATE_WORDS[known.state]:
                self._record(order_record(known, known.state))
                count += 1
        return count

    def resolve(
        self,
        number: int,
        *,
        end: State,
        filled: int,
        operator: str,
        reason: str,
        price: int | None = None,
        source: str = "router",
    ) -> None:
        """Take a person's word about an UNKNOWN order; on record as such.

        price: of what no execution tells; the order's own where it has one. source: of the audit,
        what took the word and which process asked.
        Raises ValueError: the order is not in doubt, or the words do not fit it.
        """
        order = self._table.unknown.get(number)
        if order is None:
            raise ValueError(f"order {number} is not UNKNOWN")
        paid = order.price if price is None else price
        change = machine.resolve(order, end=end, filled=filled, price=paid, reason=reason)
        self._outbox.note(
            Resolved(number, self._wall_ns(), int(end), filled, paid, operator, reason)
        )
        said = audit_record("order", order.ref, operator=operator, reason=reason, source=source)
        self._record(said)
        self.settle(order, change)

    def adopt(self, held: Held, *, operator: str, reason: str, source: str = "router") -> None:
        """Take a position that no order of ours made as ours to count; on record.

        source: as of `resolve`.
        """
        self._table.set_held(held)
        self._outbox.note(held)
        self._gate.set_position(held.account, held.strategy, held.instrument, held.size)
        said = audit_record(
            "account", held.account, operator=operator, reason=reason, source=source
        )
        self._record(said)
