"""The router: the last hop before the venues, and the one place where orders change.

It asks the gate, writes the intent, sends in the same step, and lets reports drive each order's
machine. It never waits for a venue, sends nothing twice, and takes no answer for an answer: what is
in doubt is UNKNOWN, keeps its reservation and waits for evidence (risk/reconciler.py) or a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import final

from risk import order as machine
from risk.approval import ApprovedOrder, ApprovedReplace, Denied, refusal
from risk.asking import Asking
from risk.brokers.port import Broker
from risk.cancel_wishes import CancelWishes
from risk.errors import BrokerError, NotSentError, OutboxError
from risk.gate import Gate
from risk.objections import against_order, against_replace
from risk.order_facts import Doubt, Fill, Order, State
from risk.order_numbers import OrderNumbers
from risk.order_records import order_record, risk_record
from risk.order_table import OrderTable
from risk.orders import Report, ReportKind, Request, Snapshot
from risk.outbox import Outbox
from risk.outbox_format import CancelAsked, ReplaceAsked
from risk.reasons import Reason
from risk.reconciler import Reconciler
from risk.recovery import new_of, order_of
from risk.resolve import Difference
from risk.router_config import RouterConfig
from risk.settling import Alert, Recovered, Settler
from tickd.native import Histogram
from tickd.ports import Clock

__all__ = ["Router"]


@final
class Router:
    """All orders of all accounts of a daemon. One thread; nothing in it waits.

    record: takes a control record for the raw log. on_fill: after the gate and the record have it.
    on_alert: a person should hear of it. halt_instrument: of an UNKNOWN order that grew too old, or
    that nobody can tell from another. on_snapshot: whoever else lives on snapshots. figures: of an
    approved order, how far it was from its limits.
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
        figures: Callable[[Request, int | None, int], dict[str, int]] = lambda *_: {},
    ) -> None:
        self.config = config
        self.table = OrderTable(done_max=config.done_max, clock=clock)
        self._settler = Settler(
            config,
            gate=gate,
            table=self.table,
            outbox=outbox,
            accounts=brokers,
            clock=clock,
            record=record,
            on_fill=on_fill,
            on_alert=on_alert,
            halt_instrument=halt_instrument,
        )
        self.counts, self.ack_latency = self._settler.counts, self._settler.ack_latency
        # Of new orders: the gate's answer, and the figures beside an approval.
        self.decision_latency = Histogram()
        # The reconciler's conclusions; a person's word about an order, about a position.
        self.take, self.trip = self._settler.take, self._settler.trip
        self.resolve, self.adopt = self._settler.resolve, self._settler.adopt
        self.tell_again, self.cancel_failed = self._settler.tell_again, self._settler.cancel_failed
        # Which set of limits is in force, for the record.
        self.limits = ""
        self._figures = figures
        self._gate = gate
        self._brokers = brokers
        self._asking, self._wishes = Asking(brokers), CancelWishes()
        self._outbox = self.outbox = outbox
        self._numbers = numbers
        self._clock, self._mono_ns = clock, clock.mono_ns
        self._record, self._on_alert = record, on_alert
        self._is_durable = config.durability == "disk"
        self._is_recovered, self._was_outbox_up = False, True
        # The slow half.
        self.reconciler = Reconciler(
            self,
            config=config,
            brokers=brokers,
            table=self.table,
            clock=clock,
            on_snapshot=on_snapshot,
        )
        self.cancel_all = self.reconciler.cancel_all

    # --- what strategies and people ask for --------------------------------------------------

    def submit(self, request: Request) -> Denied | int:
        """Check, write down and send an order; return its number, or why it did not leave.

        With durability `disk` it leaves a moment later, or is denied on record.
        """
        broker, is_up = self._brokers.get(request.account), self._outbox.is_up
        reason = against_order(
            request, broker, self.table, is_recovered=self._is_recovered, is_outbox_up=is_up
        )
        if reason is not None or broker is None:
            return self._denied("new", request, refusal(reason or Reason.MISSING_ACCOUNT, 0))
        try:
            number = self._numbers.take()
        except OutboxError:
            return self._denied("new", request, refusal(Reason.OUTBOX, 0))
        wall_ns, asked_ns = self._clock.wall_ns(), self._mono_ns()
        approved = self._gate.check(request, number, mono_ns=asked_ns, wall_ns=wall_ns)
        price, size = request.price, request.size
        figures = {} if isinstance(approved, Denied) else self._figures(request, price, size)
        decided_ns = self._mono_ns()
        self.decision_latency.record(decided_ns - asked_ns)
        if isinstance(approved, Denied):
            return self._denied("new", request, approved)
        try:
            position = self._outbox.append(new_of(request, number, wall_ns), decided_ns)
        except OutboxError:
            self._gate.released(number)
            return self._denied("new", request, refusal(Reason.OUTBOX, number))
        order = order_of(request, number)
        self.table.add(order)
        self._record(risk_record("new", request, number, price, size, figures, self.limits))
        self._record(order_record(order, State.PENDING_NEW))
        if self._is_durable:
            self._outbox.when_durable(
                position,
                lambda is_on_disk: self._send(order, approved, broker, is_on_disk=is_on_disk),
                decided_ns,
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
        self._settler.expect(order, Doubt.NEW, now_ns)
        self.counts.sent += 1
        try:
            broker.send(approved, order.ref)
        except NotSentError:
            return self._not_sent(order, Reason.BROKER_DOWN)
        except BrokerError as error:
            self._settler.in_doubt(order, Doubt.NEW, str(error))
        except BaseException:
            # A bug; where in the write it struck nobody knows.
            self._settler.in_doubt(order, Doubt.NEW, "the broker failed")
            raise
        return None

    def _not_sent(self, order: Order, reason: Reason) -> Denied | None:
        if not self._settler.not_sent(order, reason.name):
            return None
        self.counts.denied += 1
        return refusal(reason, order.number)

    def cancel(self, client_id: int, *, is_again: bool = False) -> Denied | None:
        """Ask for an order to be taken back; a halt, a full disk and a doubt do not stop it.

        One that is asked for already is not asked for again, unless `is_again`. One that the
        venue's limit has no room for is denied (RATE_VENUE), kept, and asked for when there is.
        """
        order = self.table.of_client(client_id)
        if order is None or order.is_over:
            return refusal(Reason.NO_SUCH_ORDER, 0 if order is None else order.number)
        return self.take_back(order, is_again=is_again)

    def take_back(self, order: Order, *, is_again: bool) -> Denied | None:
        """Cancel an order that is not over."""
        if order.state is State.PENDING_NEW:
            # It still waits for the disk: it never leaves.
            self._settler.not_sent(order, "cancelled before it was sent")
            return None
        if order.cancel_asked and not is_again:
            return None
        now_ns = self._mono_ns()
        request = order.request
        approved = self._gate.check_cancel(order.number, mono_ns=now_ns)
        if isinstance(approved, Denied):
            is_known = self._wishes.keep(order, approved)
            return approved if is_known else self._denied("cancel", request, approved)
        self._wishes.drop(order.number)
        self._decided("cancel", request, order.number, order.price, order.size)
        self._outbox.note(CancelAsked(order.number, self._clock.wall_ns()))
        self._settler.settle(order, machine.ask_cancel(order, now_ns))
        self._settler.expect(order, Doubt.CANCEL, now_ns)
        try:
            self._asking.cancel(request.account, order.wanted())
        except NotSentError:
            return self._withdrawn(order, Doubt.CANCEL)
        except BrokerError as error:
            self._settler.in_doubt(order, Doubt.CANCEL, str(error))
        return None

    def replace(self, client_id: int, *, price: int | None, size: int) -> Denied | None:
        """Ask for another price and whole size of an order that is out; one change at a time.

        Without a price it keeps its own. A refusal is told as news of the order, too.
        """
        order = self.table.of_client(client_id)
        if order is None or order.is_over:
            return refusal(Reason.NO_SUCH_ORDER, 0 if order is None else order.number)
        price = order.price if price is None else price
        is_wished, is_up = order.number in self._wishes, self._outbox.is_up
        reason = against_replace(order, price, is_cancel_wished=is_wished, is_outbox_up=is_up)
        if reason is not None:
            return self._not_replaced(order, refusal(reason, order.number), price, size)
        wall_ns = self._clock.wall_ns()
        approved = self._gate.check_replace(
            order.number, price=price, size=size, mono_ns=self._mono_ns(), wall_ns=wall_ns
        )
        if isinstance(approved, Denied):
            return self._not_replaced(order, approved, price, size)
        try:
            position = self._outbox.append(ReplaceAsked(order.number, wall_ns, price, size))
        except OutboxError:
            self._gate.replace_refused(order.number)
            return self._not_replaced(order, refusal(Reason.OUTBOX, order.number), price, size)
        self._decided("replace", order.request, order.number, price, size)
        self._settler.settle(order, machine.ask_replace(order, price, size, self._mono_ns()))
        if self._is_durable:
            self._outbox.when_durable(
                position,
                lambda is_on_disk: self._send_replace(order, approved, is_on_disk=is_on_disk),
            )
            return None
        return self._send_replace(order, approved)

    def _send_replace(
        self, order: Order, approved: ApprovedReplace, *, is_on_disk: bool = True
    ) -> Denied | None:
        if not order.replace_asked:
            return None  # the order ended while the intent went to the disk
        if not is_on_disk:
            return self._withdrawn(order, Doubt.REPLACE, Reason.OUTBOX)
        if not self._gate.confirm(approved):
            return self._withdrawn(order, Doubt.REPLACE, Reason.HALTED)
        now_ns = self._mono_ns()
        order.asked_mono_ns = now_ns
        self._settler.expect(order, Doubt.REPLACE, now_ns)
        try:
            self._asking.replace(order, approved)
        except NotSentError:
            return self._withdrawn(order, Doubt.REPLACE)
        except BrokerError as error:
            self._settler.in_doubt(order, Doubt.REPLACE, str(error))
        return None

    def _not_replaced(self, order: Order, denied: Denied, price: int | None, size: int) -> Denied:
        self._denied("replace", order.request, denied, price, size)
        self._record(order_record(order, order.state, reason=denied.reason.name))
        return denied

    def _withdrawn(self, order: Order, what: int, reason: Reason = Reason.BROKER_DOWN) -> Denied:
        self._settler.withdrawn(order, what, reason.name)
        self.counts.denied += 1
        return refusal(reason, order.number)

    # --- what venues say, and what they do not say -------------------------------------------

    def on_report(self, account: str, report: Report) -> None:
        """Take a report of an account's broker; never raises for what a venue says."""
        self.counts.reports += 1
        kind = report.kind
        if kind is ReportKind.LINE_DOWN or kind is ReportKind.LINE_UP:
            self._line(account, report)
            return
        order = self.table.find(account, report.ref, report.venue_id)
        if order is None or order.state is State.PENDING_NEW:
            self.counts.foreign_reports += 1
            if kind is ReportKind.FILL:
                name = report.exec_id or report.venue_id or report.ref
                self._on_alert(Alert("FOREIGN_FILL", account, text=name))
            return
        take = self._settler.hear if order.sent_mono_ns else self.take
        take(order, report)

    def _line(self, account: str, report: Report) -> None:
        self.reconciler.line_changed(account)
        if report.kind is ReportKind.LINE_DOWN:
            self._settler.line_down(account, report.reason or "line down")

    def tick(self) -> None:
        """Look at the clock: late answers, old doubts, the outbox's file."""
        self._settler.watch(self._mono_ns())
        self._wishes.repeat(partial(self.take_back, is_again=True), self.cancel_failed)
        self._outbox.collect()
        self._outbox.tick(self.table)
        is_up = self._outbox.is_up
        if is_up is not self._was_outbox_up:
            self._was_outbox_up = is_up
            what = "OUTBOX_UP" if is_up else "OUTBOX"
            self._on_alert(Alert(what, "", text=self._outbox.error or ""))

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

    # --- start, people -----------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Read outbox and numbers, restore orders, reservations and holdings; blocks for the disk.

        Nothing is submitted before it. Raises OutboxError: what is there cannot be read;
        LimitsError: the gate has no room for what is out, and nothing may be submitted.
        """
        recovered = self._settler.recover(self._numbers)
        self._is_recovered = True
        return recovered

    def close(self) -> None:
        """Close the files; blocks for the disk."""
        self._outbox.close()
        self._numbers.close()

    def orders(self) -> list[Order]:
        """Every order that is known, oldest first; look, do not touch."""
        return self.table.known()

    # --- refusals ----------------------------------------------------------------------------

    def _denied(
        self,
        action: str,
        request: Request,
        denied: Denied,
        price: int | None = None,
        size: int | None = None,
    ) -> Denied:
        self.counts.denied += 1
        if size is None:
            price, size = request.price, request.size
        record = risk_record(action, request, denied.number, price, size, denied, self.limits)
        self._record(record)
        return denied

    def _decided(
        self, action: str, request: Request, number: int, price: int | None, size: int
    ) -> None:
        figures = {} if action == "cancel" else self._figures(request, price, size)
        self._record(risk_record(action, request, number, price, size, figures, self.limits))
