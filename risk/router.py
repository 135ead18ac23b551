"""The router: the last hop before the venues, and the one place where orders change.

It asks the gate, writes the intent, sends in the same step, and lets reports drive each order's
machine. It never waits for a venue, sends nothing twice, and takes no answer for an answer: what is
in doubt is UNKNOWN, keeps its reservation and waits for evidence (risk/reconciler.py) or a person.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, final

import msgspec

from risk import order as machine
from risk.approval import ApprovedOrder, ApprovedReplace, Denied
from risk.brokers.port import Broker
from risk.errors import BrokerError, NotSentError, OutboxError
from risk.gate import Gate
from risk.order_facts import OVER, Change, Doubt, Fill, Order, State
from risk.order_numbers import OrderNumbers
from risk.order_records import audit_record, execution_record, order_record, risk_record
from risk.order_table import OrderTable
from risk.orders import Report, ReportKind, Request, Snapshot
from risk.outbox import Outbox
from risk.outbox_format import CancelAsked, Held, NotSent, ReplaceAsked, Resolved
from risk.reasons import Reason
from risk.recovery import new_of, order_of, replay, reported_of
from risk.reconciler import Reconciler
from risk.resolve import Difference
from risk.router_config import RouterConfig
from tickd.ports import Clock

__all__ = ["Alert", "Recovered", "Router", "RouterCounts"]

_NS_PER_MS: Final = 1_000_000
_EVERYTHING: Final = Doubt.NEW | Doubt.CANCEL | Doubt.REPLACE
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


class Recovered(msgspec.Struct, frozen=True):
    """What a start found in the outbox."""

    open_count: int
    unknown_count: int
    done_count: int
    torn_bytes: int
    is_damaged: bool
    orphans_count: int
    executed_count: int


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


@final
class Router:
    """All orders of all accounts of a daemon. One thread; nothing in it waits.

    record: takes a control record for the raw log. on_fill: after the gate and the record have it.
    on_alert: a person should hear of it. halt_instrument: of an UNKNOWN order that grew too old, or
    that nobody can tell from another. on_snapshot: whoever else lives on snapshots.
    """

    def __init__(
        self,
        config: RouterConfig,
        *,
        gate: Gate,
        brokers: Mapping[str, Broker],
        outbox: Outbox,
        numbers: OrderNumbers,
        clock: Clock,
        record: Callable[[dict[str, object]], None],
        on_fill: Callable[[Order, Fill], None],
        on_alert: Callable[[Alert], None],
        halt_instrument: Callable[[int, str], None],
        on_snapshot: Callable[[str, Snapshot], None],
    ) -> None:
        self.config = config
        self.table = OrderTable(done_max=config.done_max, clock=clock)
        self.counts = RouterCounts()
        # Which set of limits is in force, for the record; whoever reloads sets it.
        self.limits = ""
        self._gate = gate
        self._brokers = brokers
        self._outbox = outbox
        self._numbers = numbers
        self._clock = clock
        self._mono_ns = clock.mono_ns
        self._record = record
        self._on_fill = on_fill
        self._on_alert = on_alert
        self._halt_instrument = halt_instrument
        self._is_durable = config.durability == "disk"
        self._ack_timeout_ns = config.ack_timeout_ms * _NS_PER_MS
        # What was sent, in this order: (when an answer is late, order, which part of it).
        self._answers: deque[tuple[int, int, Doubt]] = deque()
        self._is_recovered = False
        self._was_outbox_up = True
        self._aged: set[int] = set()
        # The slow half: run, cancel_all, take_snapshot, problems.
        self.reconciler = Reconciler(
            self,
            config=config,
            brokers=brokers,
            table=self.table,
            clock=clock,
            on_snapshot=on_snapshot,
        )

    # --- what strategies and people ask for --------------------------------------------------

    def submit(self, request: Request) -> Denied | int:
        """Check, write down and send an order; return its number, or why it did not leave.

        With durability `disk` it leaves a moment later, or is denied on record.
        """
        broker = self._brokers.get(request.account)
        if broker is None:
            return self._deny(request, Reason.MISSING_ACCOUNT)
        if not self._is_recovered:
            return self._deny(request, Reason.NOT_RECONCILED)
        if not self._outbox.is_up:
            return self._deny(request, Reason.OUTBOX)
        if self.table.has_unknown_twin(request):
            return self._deny(request, Reason.UNKNOWN_TWIN)
        if not broker.is_up:
            return self._deny(request, Reason.BROKER_DOWN)
        try:
            number = self._numbers.take()
        except OutboxError:
            return self._deny(request, Reason.OUTBOX)
        wall_ns = self._clock.wall_ns()
        approved = self._gate.check(request, number, mono_ns=self._mono_ns(), wall_ns=wall_ns)
        if isinstance(approved, Denied):
            return self._denied("new", request, approved)
        try:
            position = self._outbox.append(new_of(request, number, wall_ns))
        except OutboxError:
            self._gate.released(number)
            return self._deny(request, Reason.OUTBOX, number)
        order = order_of(request, number)
        self.table.add(order)
        self._decided("new", request, number, request.price, request.size)
        self._record(order_record(order, State.PENDING_NEW))
        if self._is_durable:
            self._outbox.when_durable(
                position,
                lambda is_on_disk: self._send(order, approved, broker, is_on_disk=is_on_disk),
            )
            return number
        denied = self._send(order, approved, broker)
        return number if denied is None else denied

    def _send(
        self, order: Order, approved: ApprovedOrder, broker: Broker, *, is_on_disk: bool = True
    ) -> Denied | None:
        """Write an order to its venue: the gate is asked once more in this very step."""
        if order.state is not State.PENDING_NEW:
            return None  # taken back while it waited for the disk
        if not is_on_disk:
            return self._not_sent(order, Reason.OUTBOX)
        if not self._gate.confirm(approved):
            return self._not_sent(order, Reason.HALTED)
        now_ns = self._mono_ns()
        machine.mark_sent(order, now_ns)
        self._record(order_record(order, State.SENT))
        self._answers.append((now_ns + self._ack_timeout_ns, order.number, Doubt.NEW))
        self.counts.sent += 1
        try:
            broker.send(approved, order.ref)
        except NotSentError:
            return self._not_sent(order, Reason.BROKER_DOWN)
        except BrokerError as error:
            self._in_doubt(order, Doubt.NEW, str(error))
        return None

    def _not_sent(self, order: Order, reason: Reason) -> Denied | None:
        change = machine.deny(order, reason.name)
        if not change.is_new:
            # The venue has spoken of what the broker says it never sent.
            self._in_doubt(order, Doubt.NEW, reason.name)
            return None
        self._outbox.note(NotSent(order.number, self._clock.wall_ns(), int(Doubt.NEW), reason.name))
        self._settle(order, change)
        self.counts.denied += 1
        return _refusal(reason, order.number)

    def cancel(self, client_id: int, *, is_again: bool = False) -> Denied | None:
        """Ask for an order to be taken back; a halt, a full disk and a doubt do not stop it.

        One that is asked for already is not asked for again, unless `is_again`.
        """
        order = self.table.of_client(client_id)
        if order is None or order.is_over:
            return _refusal(Reason.NO_SUCH_ORDER, 0 if order is None else order.number)
        return self.take_back(order, is_again=is_again)

    def take_back(self, order: Order, *, is_again: bool) -> Denied | None:
        """Cancel an order that is not over."""
        if order.state is State.PENDING_NEW:
            self._not_sent_wanted(order)
            return None
        if order.cancel_asked and not is_again:
            return None
        now_ns = self._mono_ns()
        request = order.request
        approved = self._gate.check_cancel(order.number, mono_ns=now_ns)
        if isinstance(approved, Denied):
            return self._denied("cancel", request, approved)
        self._decided("cancel", request, order.number, order.price, order.size)
        self._outbox.note(CancelAsked(order.number, self._clock.wall_ns()))
        self._settle(order, machine.ask_cancel(order, now_ns))
        self._answers.append((now_ns + self._ack_timeout_ns, order.number, Doubt.CANCEL))
        try:
            self._brokers[request.account].cancel(order.wanted())
        except NotSentError:
            return self._withdrawn(order, Doubt.CANCEL)
        except BrokerError as error:
            self._in_doubt(order, Doubt.CANCEL, str(error))
        return None

    def _not_sent_wanted(self, order: Order) -> None:
        """An order that still waits for the disk is taken back: it never leaves."""
        wall_ns = self._clock.wall_ns()
        self._outbox.note(NotSent(order.number, wall_ns, int(Doubt.NEW), "cancelled"))
        self._settle(order, machine.deny(order, "cancelled before it was sent"))

    def replace(self, client_id: int, *, price: int | None, size: int) -> Denied | None:
        """Ask for another price and whole size of an order that is out; one change at a time."""
        order = self.table.of_client(client_id)
        if order is None or order.is_over or order.cancel_asked:
            return _refusal(Reason.NO_SUCH_ORDER, 0 if order is None else order.number)
        request = order.request
        reason = None
        if order.state is _UNKNOWN:
            reason = Reason.UNKNOWN_TWIN
        elif order.replace_asked or order.state is State.PENDING_NEW:
            reason = Reason.DUPLICATE
        elif not self._outbox.is_up:
            reason = Reason.OUTBOX
        if reason is not None:
            return self._denied("replace", request, _refusal(reason, order.number), price, size)
        wall_ns = self._clock.wall_ns()
        approved = self._gate.check_replace(
            order.number, price=price, size=size, mono_ns=self._mono_ns(), wall_ns=wall_ns
        )
        if isinstance(approved, Denied):
            return self._denied("replace", request, approved, price, size)
        try:
            position = self._outbox.append(ReplaceAsked(order.number, wall_ns, price, size))
        except OutboxError:
            self._gate.replace_refused(order.number)
            refusal = _refusal(Reason.OUTBOX, order.number)
            return self._denied("replace", request, refusal, price, size)
        self._decided("replace", request, order.number, price, size)
        self._settle(order, machine.ask_replace(order, price, size, self._mono_ns()))
        if self._is_durable:
            self._outbox.when_durable(
                position, lambda is_on_disk: self._send_replace(order, approved, is_on_disk)
            )
            return None
        return self._send_replace(order, approved, True)

    def _send_replace(
        self, order: Order, approved: ApprovedReplace, is_on_disk: bool
    ) -> Denied | None:
        if not order.replace_asked:
            return None  # the order ended while the intent went to the disk
        if not is_on_disk:
            return self._withdrawn(order, Doubt.REPLACE, Reason.OUTBOX)
        if not self._gate.confirm(approved):
            return self._withdrawn(order, Doubt.REPLACE, Reason.HALTED)
        now_ns = self._mono_ns()
        order.asked_mono_ns = now_ns
        self._answers.append((now_ns + self._ack_timeout_ns, order.number, Doubt.REPLACE))
        try:
            self._brokers[order.request.account].replace(
                order.wanted(), price=approved.price, size=approved.size
            )
        except NotSentError:
            return self._withdrawn(order, Doubt.REPLACE)
        except BrokerError as error:
            self._in_doubt(order, Doubt.REPLACE, str(error))
        return None

    def _withdrawn(self, order: Order, what: Doubt, reason: Reason = Reason.BROKER_DOWN) -> Denied:
        self._outbox.note(NotSent(order.number, self._clock.wall_ns(), int(what), reason.name))
        self._settle(order, machine.withdraw(order, what))
        self.counts.denied += 1
        return _refusal(reason, order.number)

    # --- what venues say ---------------------------------------------------------------------

    def on_report(self, account: str, report: Report) -> None:
        """Take a report of an account's broker; never raises for what a venue says."""
        self.counts.reports += 1
        kind = report.kind
        if kind is ReportKind.LINE_DOWN:
            self._line_down(account, report.reason)
            return
        if kind is ReportKind.LINE_UP:
            self.reconciler.line_changed(account)
            return
        order = self.table.find(account, report.ref, report.venue_id)
        if order is None or order.state is State.PENDING_NEW:
            self.counts.foreign_reports += 1
            if kind is ReportKind.FILL:
                name = report.exec_id or report.venue_id or report.ref
                self._on_alert(Alert("FOREIGN_FILL", account, text=name))
            return
        self.take(order, report)

    def take(self, order: Order, report: Report) -> None:
        """Drive an order by a report, its own or a conclusion of the resolver."""
        order.heard_mono_ns = self._mono_ns()
        had_venue_id = order.venue_id
        change = machine.apply(order, report)
        if not change.is_new:
            self.counts.stale_reports += 1
            return
        if order.venue_id != had_venue_id:
            self.table.name(order)
        if report.kind is not ReportKind.IN_DOUBT:
            self._outbox.note(reported_of(order.number, self._clock.wall_ns(), report))
        self._settle(order, change)
        if change.after < _OVER and order.cum > order.filled:
            deadline_ns = order.heard_mono_ns + self._ack_timeout_ns
            self._answers.append((deadline_ns, order.number, Doubt.FILLS))

    def _settle(self, order: Order, change: Change) -> None:
        """Let gate, table and record follow what happened to an order."""
        before, after, fill = change.before, change.after, change.fill
        number = order.number
        if after is not before:
            self.table.moved(order, before)
        if fill is not None:
            self._book(order, fill, before)
        if change.is_replaced:
            self._gate.replaced(number, price=order.price, size=order.size)
        elif change.is_replace_refused:
            self._gate.replace_refused(number)
        if before < _OVER <= after:
            self._gate.released(number)
        if fill is not None:
            told = after if after is State.FILLED else State.PARTIAL
            self._record(order_record(order, told, fill))
            if told is not after:
                self._record(order_record(order, after))
            self._on_fill(order, fill)
        elif after is not before or change.is_replaced:
            self._record(order_record(order, after))
        if change.alarm is not None:
            self._alarm(order, change.alarm.name)
        if after is _UNKNOWN and before is not _UNKNOWN:
            self.counts.unknown += 1

    def _book(self, order: Order, fill: Fill, before: State) -> None:
        request = order.request
        punctual = fill.size - fill.late
        if punctual:
            self._gate.filled(order.number, size=punctual, price=fill.price)
        if fill.late:
            self._gate.late_fill(request, size=fill.late, price=fill.price)
        self.table.hold(request, fill.size)
        self.counts.fills += 1
        self.counts.late_fills += before >= _OVER
        self._record(execution_record(order, fill))

    def _in_doubt(self, order: Order, what: Doubt, why: str) -> None:
        change = machine.doubt(order, what)
        if change.is_new:
            order.reason = why
            self._settle(order, change)

    def _line_down(self, account: str, why: str) -> None:
        self.reconciler.line_changed(account)
        for order in list(self.table.open.values()):
            if order.request.account == account and order.state is not State.PENDING_NEW:
                self._in_doubt(order, _EVERYTHING, why or "line down")

    # --- time --------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at the clock: answers that are late, doubts that grew old, the outbox's file."""
        now_ns = self._mono_ns()
        answers = self._answers
        while answers and answers[0][0] <= now_ns:
            _, number, what = answers.popleft()
            order = self.table.open.get(number)
            if order is None or (what & Doubt.FILLS and order.cum <= order.filled):
                continue
            before = order.doubts
            self._in_doubt(order, what, "no answer")
            self.counts.timeouts += order.doubts != before
        self._age(now_ns)
        self._outbox.collect()
        self._outbox.tick(self.table)
        is_up = self._outbox.is_up
        if is_up is not self._was_outbox_up:
            self._was_outbox_up = is_up
            what = "OUTBOX_UP" if is_up else "OUTBOX"
            self._on_alert(Alert(what, "", text=self._outbox.error or ""))

    def _age(self, now_ns: int) -> None:
        self._aged.intersection_update(self.table.unknown)
        age_ns = self.config.unknown_age_ms_max * _NS_PER_MS
        for order in self.table.unknown.values():
            if now_ns - order.unknown_mono_ns > age_ns and order.number not in self._aged:
                self.trip(order, "UNKNOWN_TOO_LONG")

    def trip(self, order: Order, what: str) -> None:
        """Halt the instrument of an order that nobody can account for; once per doubt."""
        if order.number not in self._aged:
            self._aged.add(order.number)
            self._halt_instrument(order.request.instrument, f"{what}: order {order.ref}")
            self._alarm(order, what)

    def _alarm(self, order: Order, what: str) -> None:
        request = order.request
        text = f"order {order.ref} is {order.state.name}"
        self._on_alert(
            Alert(what, request.account, order.number, request.instrument, request.symbol, text)
        )

    def differs(self, account: str, difference: Difference) -> None:
        """Two snapshots differ from our books in the same way: a person should hear of it."""
        what = f"{difference.kind.name}_DIFFERS" if not difference.name else difference.kind.name
        text = f"{difference.name} ours {difference.ours} theirs {difference.theirs}".strip()
        self._on_alert(Alert(what, account, difference.number, 0, difference.symbol, text))

    @property
    def is_carrying(self) -> bool:
        return self._outbox.is_carrying

    @property
    def number_next(self) -> int:
        return self._numbers.next

    async def run(self) -> None:
        """Watch answers, doubts, the outbox and the venues' lists; until cancelled."""
        loop = asyncio.get_running_loop()

        def watch(old: int | None, new: int | None) -> None:
            if old is not None:
                loop.remove_reader(old)
            if new is not None:
                loop.add_reader(new, self._outbox.collect)

        self._outbox.watch(watch)
        try:
            await self.reconciler.run()
        finally:
            self._outbox.unwatch()

    async def cancel_all(self, only: Callable[[Order], bool] | None = None) -> int:
        """Cancel until the venues list nothing of ours, or time is up; return what is left."""
        return await self.reconciler.cancel_all(only)

    # --- start, people -----------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Read outbox and numbers, restore orders, reservations and holdings; blocks for the disk.

        Nothing is submitted before it. Raises OutboxError: what is there cannot be read.
        """
        opened = self._outbox.open()
        replayed = replay(opened.records)
        self._numbers.open(at_least=replayed.number_next)
        for order in replayed.orders.values():
            self.table.add(order)
            if not order.is_over:
                self._gate.restore(order.request, order.number, leaves=order.leaves)
        for held in replayed.held.values():
            self.table.set_held(held)
            self._gate.set_position(held.account, held.strategy, held.instrument, held.size)
        for order in self.table.unknown.values():
            self._record(order_record(order, _UNKNOWN))
        self._is_recovered = True
        self._was_outbox_up = True  # an outbox that is down is an alert of the first tick
        if opened.is_damaged:
            self._on_alert(Alert("OUTBOX_DAMAGED", "", text="the damaged file was kept"))
        return Recovered(
            open_count=len(self.table.open),
            unknown_count=len(self.table.unknown),
            done_count=len(replayed.orders) - len(self.table.open),
            torn_bytes=opened.torn_bytes,
            is_damaged=opened.is_damaged,
            orphans_count=replayed.orphans_count,
            executed_count=len(replayed.executed),
        )

    def orders(self) -> list[Order]:
        """Every order that is known, oldest first; look, do not touch."""
        return self.table.known()

    def resolve(
        self,
        number: int,
        *,
        end: State,
        filled: int,
        operator: str,
        reason: str,
        price: int | None = None,
    ) -> None:
        """Take a person's word about an UNKNOWN order; on record as such.

        price: of what no execution tells; the order's own where it has one.
        Raises ValueError: the order is not in doubt, or the words do not fit it.
        """
        order = self.table.unknown.get(number)
        if order is None:
            raise ValueError(f"order {number} is not UNKNOWN")
        paid = order.price if price is None else price
        change = machine.resolve(order, end=end, filled=filled, price=paid, reason=reason)
        wall_ns = self._clock.wall_ns()
        self._outbox.note(Resolved(number, wall_ns, int(end), filled, paid, operator, reason))
        self._record(
            audit_record(
                "resolve", key=order.ref, operator=operator, reason=reason, source="router"
            )
        )
        self._settle(order, change)

    def adopt(self, held: Held, *, operator: str, reason: str) -> None:
        """Take a position that no order of ours made as ours to count; on record."""
        self.table.set_held(held)
        self._outbox.note(held)
        self._gate.set_position(held.account, held.strategy, held.instrument, held.size)
        self._record(
            audit_record(
                "resolve", key=held.account, operator=operator, reason=reason, source="router"
            )
        )

    # --- refusals ----------------------------------------------------------------------------

    def _deny(self, request: Request, reason: Reason, number: int = 0) -> Denied:
        return self._denied("new", request, _refusal(reason, number))

    def _denied(
        self,
        action: str,
        request: Request,
        denied: Denied,
        price: int | None = None,
        size: int | None = None,
    ) -> Denied:
        self.counts.denied += 1
        self._record(
            risk_record(
                action,
                request,
                denied.number,
                price=request.price if size is None else price,
                size=request.size if size is None else size,
                denied=denied,
                limits=self.limits,
            )
        )
        return denied

    def _decided(
        self, action: str, request: Request, number: int, price: int | None, size: int
    ) -> None:
        self._record(
            risk_record(
                action, request, number, price=price, size=size, denied=None, limits=self.limits
            )
        )


def _refusal(reason: Reason, number: int) -> Denied:
    return Denied(reason=reason, vector=1 << reason, number=number)
