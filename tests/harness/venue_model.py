"""A venue in memory behind the port of a broker: nothing moves unless the test moves it.

What the router writes lies in `inbox` until it is processed or lost; what the venue says lies in
`outbox` until it is delivered, dropped, repeated or overtaken. Its own books are the truth that the
router is compared with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from risk.approval import ApprovedOrder
from risk.errors import BrokerError, NotSentError
from risk.orders import Report, ReportKind, Snapshot, VenueOrder, VenuePosition, Wanted
from tickd.ports import Clock

Fault = Literal["", "not_sent", "doubt_lost", "doubt_arrived", "line_down"]


@dataclass
class Listed:
    """An order as the venue has it."""

    ref: str
    venue_id: str
    symbol: str
    side: str
    price: int | None
    size: int
    cum: int = 0
    is_open: bool = True
    end: str = ""

    @property
    def leaves(self) -> int:
        return self.size - self.cum if self.is_open else 0

    @property
    def signed(self) -> int:
        return 1 if self.side == "B" else -1


@dataclass
class Message:
    """Something on its way to the venue."""

    kind: Literal["new", "cancel", "replace"]
    ref: str
    sent_ns: int
    fields: dict[str, Any] = field(default_factory=dict)


class VenueModel:
    """One account. `fault` strikes the next write, and only that."""

    def __init__(self, account: str, clock: Clock) -> None:
        self.account = account
        self.clock = clock
        self.on_report: Callable[[str, Report], None] = lambda _account, _report: None
        self.is_up = True
        self.fault: Fault = ""
        self.orders: dict[str, Listed] = {}
        self.inbox: list[Message] = []
        self.outbox: list[Report] = []
        self.fills: list[Report] = []
        # Executions of an order that the venue had said was over.
        self.late: set[str] = set()
        self.sent: Counter[str] = Counter()
        self.cancels: Counter[str] = Counter()
        self.lists_closed = True
        self.lists_refs = True
        self.is_healthy = True
        self.snapshot_fails = False
        self.foreign_position = 0
        self._ids = 0

    # --- the port ----------------------------------------------------------------------------

    async def run(self) -> None:
        return

    def send(self, order: ApprovedOrder, ref: str) -> None:
        request = order.request
        self._write(
            Message(
                "new",
                ref,
                self.clock.mono_ns(),
                {
                    "symbol": request.symbol,
                    "side": request.side,
                    "price": request.price,
                    "size": request.size,
                },
            )
        )

    def cancel(self, order: Wanted) -> None:
        self.cancels[order.ref] += 1
        self._write(Message("cancel", order.ref, self.clock.mono_ns()))

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        fields = {"price": price, "size": size}
        self._write(Message("replace", order.ref, self.clock.mono_ns(), fields))

    async def snapshot(self) -> Snapshot:
        if self.snapshot_fails:
            raise BrokerError("the lists cannot be had")
        return self.snapshot_now()

    async def cancel_all(self) -> int:
        for listed in self.orders.values():
            self.end(listed, "cancelled", is_silent=True)
        return 0

    def _write(self, message: Message) -> None:
        fault, self.fault = self.fault, ""
        if fault == "not_sent" or not self.is_up:
            raise NotSentError("the line is down")
        if message.kind == "new":
            self.sent[message.ref] += 1
        if fault != "doubt_lost":
            self.inbox.append(message)
        if fault == "line_down":
            self.is_up = False
            self.on_report(self.account, Report(kind=ReportKind.LINE_DOWN, reason="reset"))
        elif fault:
            raise BrokerError("no answer to the write")

    # --- the venue ---------------------------------------------------------------------------

    def process(self, at: int = 0) -> None:
        """Let a message arrive."""
        message = self.inbox.pop(at)
        listed = self.of(message.ref)
        if message.kind == "new":
            assert listed is None, "an order came twice"
            self._ids += 1
            listed = Listed(ref=message.ref, venue_id=f"V{self._ids}", **message.fields)
            self.orders[listed.venue_id] = listed
            self.say(ReportKind.ACKED, listed)
        elif message.kind == "cancel":
            if listed is not None and listed.is_open:
                self.end(listed, "cancelled")
            else:
                self.say(ReportKind.CANCEL_REJECTED, listed, ref=message.ref, reason="too late")
        elif listed is not None and listed.is_open and message.fields["size"] > listed.cum:
            listed.price, listed.size = message.fields["price"], message.fields["size"]
            self.say(ReportKind.REPLACED, listed, price=listed.price, size=listed.size)
        else:
            self.say(ReportKind.REPLACE_REJECTED, listed, ref=message.ref, reason="too late")

    def refuse(self, at: int = 0) -> None:
        """Let a new order arrive and turn it away."""
        message = self.inbox.pop(at)
        assert message.kind == "new"
        self._ids += 1
        listed = Listed(ref=message.ref, venue_id=f"V{self._ids}", **message.fields)
        listed.is_open, listed.end = False, "rejected"
        self.orders[listed.venue_id] = listed
        self.say(ReportKind.REJECTED, listed, code="-1", reason="no")

    def trade(self, listed: Listed, size: int) -> Report:
        """Execute a part of an order; of one that is over: late."""
        listed.cum += size
        fill = Report(
            kind=ReportKind.FILL,
            ref=listed.ref,
            venue_id=listed.venue_id,
            exec_id=f"E{len(self.fills)}",
            price=listed.price or 1,
            size=size,
            cum_size=listed.cum,
            fee=size,
            fee_currency="USD",
        )
        self.fills.append(fill)
        if not listed.is_open:
            self.late.add(fill.exec_id)
        elif listed.cum >= listed.size:
            listed.is_open, listed.end = False, "filled"
        self.outbox.append(fill)
        return fill

    def end(self, listed: Listed, how: str, *, is_silent: bool = False) -> None:
        if not listed.is_open:
            return
        listed.is_open, listed.end = False, how
        if not is_silent:
            self.say(ReportKind[how.upper()], listed)

    def say(self, kind: ReportKind, listed: Listed | None, **fields: Any) -> None:
        if listed is not None:
            fields = {
                "ref": listed.ref,
                "venue_id": listed.venue_id,
                "cum_size": listed.cum,
                **fields,
            }
        self.outbox.append(Report(kind=kind, **fields))

    def deliver(self, at: int = 0, *, keep: bool = False) -> None:
        """Let a report arrive; `keep`: it will come once more."""
        report = self.outbox[at] if keep else self.outbox.pop(at)
        self.on_report(self.account, report)

    def deliver_all(self) -> None:
        while self.outbox:
            self.deliver()

    def line_up(self) -> None:
        self.is_up = True
        self.on_report(self.account, Report(kind=ReportKind.LINE_UP))

    # --- its books ---------------------------------------------------------------------------

    def of(self, ref: str) -> Listed | None:
        return next((each for each in self.orders.values() if each.ref == ref), None)

    @property
    def position(self) -> int:
        traded = sum(each.signed * each.cum for each in self.orders.values())
        return traded + self.foreign_position

    def snapshot_now(self) -> Snapshot:
        symbols = sorted({each.symbol for each in self.orders.values()} or {"ABC"})
        return Snapshot(
            asked_mono_ns=self.clock.mono_ns(),
            is_healthy=self.is_healthy,
            orders=tuple(
                VenueOrder(
                    ref=each.ref if self.lists_refs else "",
                    venue_id=each.venue_id,
                    symbol=each.symbol,
                    side="B" if each.side == "B" else "A",
                    price=each.price,
                    size=each.size,
                    cum_size=each.cum,
                    is_open=each.is_open,
                    end=each.end,  # type: ignore[arg-type]
                )
                for each in self.orders.values()
                if each.is_open or self.lists_closed
            ),
            fills=tuple(self.fills),
            positions=(VenuePosition(symbol=symbols[0], size=self.position),),
            account=None,
        )

    def worst(self, side: str, *, known_late: set[str]) -> int:
        """The most that can be held on a side, counting what is under way.

        Without late executions that the router cannot know of yet.
        """
        size = 0
        for each in self.orders.values():
            if each.side == side:
                size += each.leaves
        for message in self.inbox:
            listed = self.of(message.ref)
            if message.kind == "new" and message.fields["side"] == side:
                size += message.fields["size"]
            elif message.kind == "replace" and listed and listed.side == side and listed.is_open:
                size += max(message.fields["size"] - listed.size, 0)
        sign = 1 if side == "B" else -1
        unheard = 0
        for fill in self.fills:
            if fill.exec_id in self.late - known_late:
                listed = self.of(fill.ref)
                assert listed is not None
                unheard += listed.signed * (fill.size or 0)
        return sign * (self.position - unheard) + size
