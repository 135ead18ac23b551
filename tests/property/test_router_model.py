"""The router against a venue in memory that loses, delays, repeats and reorders.

Method: Hypothesis drives router and venue by rules; after every rule the gate must have reserved at
least what the venue could still make of our orders, and no order may have left its end. When the
faults are over, healthy snapshots must make both books the same.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from risk.order_facts import OVER, Order, State
from tests.harness.gates import Desk, row
from tests.harness.order_world import MS, World
from tests.harness.venue_model import Listed

FAULTS = st.sampled_from(["", "", "", "not_sent", "doubt_lost", "doubt_arrived", "line_down"])
AT = st.integers(0, 1_000)
SIZES = st.integers(1, 12)


class RouterModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.venue = self.world.venue
        self.ended: dict[int, State] = {}
        self.prices = 0

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.world.close()

    # --- what we do --------------------------------------------------------------------------

    @rule(side=st.sampled_from("BA"), size=SIZES, fault=FAULTS, is_quick=st.booleans())
    def submit(self, side: str, size: int, fault: str, is_quick: bool) -> None:
        self.prices += 1
        # Buys far below sells: no self-trade; every price once: no twins, no duplicates.
        price = 5_000 + 5 * self.prices if side == "B" else 15_000 + 5 * self.prices
        self.venue.fault = fault  # type: ignore[assignment]
        self.world.router.submit(self.world.request(side, price, size))
        self.venue.fault = ""
        if is_quick and self.venue.inbox and self.venue.inbox[-1].kind == "new":
            self.venue.process(len(self.venue.inbox) - 1)
            self.venue.deliver(len(self.venue.outbox) - 1)

    def ours(self, at: int) -> Order | None:
        open_orders = list(self.world.router.table.open.values())
        return open_orders[at % len(open_orders)] if open_orders else None

    @rule(at=AT, fault=FAULTS, is_again=st.booleans())
    def cancel(self, at: int, fault: str, is_again: bool) -> None:
        if order := self.ours(at):
            self.venue.fault = fault  # type: ignore[assignment]
            self.world.router.cancel(order.request.client_id, is_again=is_again)
            self.venue.fault = ""

    @rule(at=AT, size=SIZES, fault=FAULTS)
    def replace(self, at: int, size: int, fault: str) -> None:
        if order := self.ours(at):
            self.venue.fault = fault  # type: ignore[assignment]
            price = order.request.price
            assert price is not None
            self.world.router.replace(order.request.client_id, price=price, size=size)
            self.venue.fault = ""

    # --- what happens on the way and at the venue ----------------------------------------------

    @precondition(lambda self: self.venue.inbox)
    @rule(at=AT)
    def arrive(self, at: int) -> None:
        self.venue.process(at % len(self.venue.inbox))

    @precondition(lambda self: self.venue.inbox)
    @rule(at=AT)
    def lose_on_the_way(self, at: int) -> None:
        del self.venue.inbox[at % len(self.venue.inbox)]

    @precondition(lambda self: self.venue.inbox and self.venue.inbox[0].kind == "new")
    @rule()
    def refuse(self) -> None:
        self.venue.refuse()

    def listed(self, at: int, *, is_open: bool) -> Listed | None:
        found = [
            each
            for each in self.venue.orders.values()
            if each.is_open is is_open and each.cum < each.size
        ]
        return found[at % len(found)] if found else None

    @rule(at=AT, size=SIZES, heard=st.integers(0, 3))
    def trade(self, at: int, size: int, heard: int) -> None:
        if each := self.listed(at, is_open=True):
            fill = self.venue.trade(each, min(size, each.size - each.cum))
            for _ in range(heard):
                self.world.router.on_report(self.venue.account, fill)

    @rule(at=AT, size=st.integers(1, 24), is_there=st.booleans())
    def replace_and_fill(self, at: int, size: int, is_there: bool) -> None:
        """The old size trades while a replacement is under way, or is there and unanswered."""
        if (order := self.ours(at)) and (each := self.venue.of(order.ref)) and each.is_open:
            before = len(self.venue.inbox)
            old = each.size - each.cum
            self.replace(at, size, "")
            if is_there and len(self.venue.inbox) > before:
                self.venue.process(before)
            if each.is_open and each.size - each.cum >= old:
                fill = self.venue.trade(each, old)
                self.world.router.on_report(self.venue.account, fill)

    @rule(at=AT, size=SIZES)
    def fill_and_cancel(self, at: int, size: int) -> None:
        """The end is heard before, or without, the execution in front of it."""
        if each := self.listed(at, is_open=True):
            self.venue.trade(each, min(size, each.size - each.cum))
            self.venue.end(each, "cancelled")
            self.venue.deliver(len(self.venue.outbox) - 1)

    @rule(at=AT)
    def trade_late(self, at: int) -> None:
        each = self.listed(at, is_open=False)
        if each is not None and each.end == "cancelled":
            self.venue.trade(each, 1)

    @rule(at=AT, how=st.sampled_from(["cancelled", "expired"]), is_silent=st.booleans())
    def end_at_the_venue(self, at: int, how: str, is_silent: bool) -> None:
        if each := self.listed(at, is_open=True):
            self.venue.end(each, how, is_silent=is_silent)

    # --- what we hear ------------------------------------------------------------------------

    @precondition(lambda self: self.venue.outbox)
    @rule(at=AT, keep=st.booleans())
    def hear(self, at: int, keep: bool) -> None:
        self.venue.deliver(at % len(self.venue.outbox), keep=keep)

    @precondition(lambda self: self.venue.outbox)
    @rule(at=AT)
    def never_hear(self, at: int) -> None:
        del self.venue.outbox[at % len(self.venue.outbox)]

    @rule()
    def line_up(self) -> None:
        self.venue.line_up()

    @rule(ms=st.sampled_from([1, 50, 101, 250]))
    def time_passes(self, ms: int) -> None:
        self.world.wait(ms)
        # What is on its way arrives within the time that absence needs, or never.
        oldest_ns = self.world.clock.mono_ns() - self.world.config.absence_ms_min * MS // 2
        while self.venue.inbox and self.venue.inbox[0].sent_ns < oldest_ns:
            self.venue.process()

    @rule(is_healthy=st.booleans(), lists_closed=st.booleans())
    def ask_for_lists(self, is_healthy: bool, lists_closed: bool) -> None:
        self.venue.lists_closed = lists_closed
        self.world.look(is_healthy=is_healthy)

    @rule()
    def restart(self) -> None:
        """A new life on the same outbox: a kill that lost nothing of the page cache."""
        held = {n: (o.filled, o.state) for n, o in self.world.router.table.open.items()}
        self.world.restart(Desk("native", row()))
        for number, (filled, _) in held.items():
            assert self.world.order(number).filled == filled

    # --- what must hold ------------------------------------------------------------------------

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert max(self.venue.sent.values(), default=0) <= 1

    @invariant()
    def exposure_is_never_under_reserved(self) -> None:
        known = self.world.router.table.known()
        heard = {exec_id for order in known for exec_id in order.executions}
        position, buys, sells = self.world.exposure()
        assert position + buys >= self.venue.worst("B", known_late=heard)
        assert -position + sells >= self.venue.worst("A", known_late=heard)

    @invariant()
    def ends_are_kept_but_for_late_fills(self) -> None:
        for order in self.world.router.table.known():
            before = self.ended.get(order.number)
            if before is not None and before is not order.state:
                assert order.state is State.FILLED
                assert "LATE_FILL" in self.world.alarms()
            if order.state >= OVER:
                self.ended[order.number] = order.state

    @invariant()
    def every_execution_counts_once(self) -> None:
        for order in self.world.router.table.known():
            listed = self.venue.of(order.ref)
            assert order.filled <= (listed.cum if listed else 0)
        counted = Counter(
            (each["number"], each["exec_id"])
            for each in self.world.records
            if each["kind"] == "execution"
        )
        assert max(counted.values(), default=0) <= 1

    def finish(self) -> None:
        """The faults are over: whatever is still under way arrives or is lost, then it is asked."""
        while self.venue.inbox:
            self.venue.process()
        self.venue.outbox.clear()
        self.venue.line_up()
        self.venue.lists_closed = True
        self.world.wait(self.world.config.ack_timeout_ms + 1)
        self.world.settle()
        assert not self.world.router.table.unknown
        assert self.world.router.reconciler.problems() == []
        for order in self.world.router.table.known():
            listed = self.venue.of(order.ref)
            assert order.filled == (listed.cum if listed else 0)
            assert order.is_over is (listed is None or not listed.is_open), order
        position, buys, sells = self.world.exposure()
        assert position == self.venue.position
        open_orders = [each for each in self.venue.orders.values() if each.is_open]
        assert buys == sum(each.leaves for each in open_orders if each.side == "B")
        assert sells == sum(each.leaves for each in open_orders if each.side == "A")


RouterModel.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRouterModel = RouterModel.TestCase
TestRouterModel.pytestmark = [pytest.mark.timeout(300)]  # shrinking a failure takes its time
