"""The gate in plain Python: the oracle of the native one, and the gate where that cannot be used.

Written to be checked by eye: sums are made anew for every order, time is an argument, nothing is
cached. It is given numbers by `risk/gate.py` and knows no names; the checks are in
`risk/gate_twin_checks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from risk.gate_terms import (
    CLIENT_IDS_MAX,
    HALT_EPOCH_SHIFT,
    NONE,
    RECENT_MAX,
    REDUCE_ONLY,
    SCOPE_GLOBAL,
    AccountLimits,
    CellLimits,
    HaltWord,
    SideLimits,
    StrategyLimits,
)
from risk.gate_twin_checks import TwinChecks
from risk.gate_twin_parts import (
    Account,
    Check,
    Instrument,
    Order,
    Reference,
    Repeats,
    Route,
    Strategy,
    Top,
    Venue,
)
from risk.reasons import Reason
from tickd.native import EventBatch

__all__ = ["GateTwin"]

_INT64_MAX: Final = (1 << 63) - 1


class GateTwin(TwinChecks):
    """`risk.gate_terms.Core` in Python."""

    def __init__(self, halt: HaltWord, orders_max: int) -> None:
        super().__init__(orders_max, Repeats(RECENT_MAX, CLIENT_IDS_MAX))
        self._halt = halt
        # Halts of a scope so far. With the epoch it stamps approvals: neither goes back.
        self._halts_count = 0
        self._by_id: dict[int, int] = {}
        self._denial: tuple[int, int | None, int | None, int | None] = (0, None, None, None)

    # What the face says.

    def settings(self, period_ns: int, recent_ns: int, ratio_ns: int, ratio_min: int) -> None:
        self._period_ns, self._ratio_ns, self._ratio_min = period_ns, ratio_ns, ratio_min
        self._repeats.keep_ns = recent_ns

    def instrument(  # noqa: PLR0917  integers by position, as the native core takes them
        self, index: int, number: int, tick: int, lot: int, num: int, div: int, is_linear: int
    ) -> None:
        known = self._instruments.get(index)
        reference = known.reference if known else Reference()
        self._instruments[index] = Instrument(number, tick, lot, num, div, is_linear, reference)
        self._by_id[number] = index

    def account(self, index: int, limits: AccountLimits) -> None:
        self._accounts.setdefault(index, Account(limits)).limits = limits

    def strategy(self, index: int, limits: StrategyLimits) -> None:
        self._strategies.setdefault(index, Strategy(limits)).limit(limits, self._now)

    def venue(self, index: int, orders_max: int, cancels_max: int, window_ns: int) -> None:
        known = self._venues.setdefault(index, Venue(orders_max, cancels_max, window_ns))
        known.orders_max, known.cancels_max = orders_max, cancels_max
        known.window_ns = window_ns

    def route(
        self,
        index: int,
        keys: tuple[int, int, int, int, int],
        buy: SideLimits,
        sell: SideLimits,
        cells: Sequence[tuple[int, CellLimits, CellLimits]],
    ) -> None:
        known = self._routes.get(index)
        route = Route(index, *keys, (buy, sell), list(cells))
        if known is not None:
            route.position = known.position
        self._routes[index] = route

    def hours(self, route: int, is_open: int, from_ns: int, until_ns: int) -> None:
        known = self._routes[route]
        known.is_open, known.from_ns, known.until_ns = is_open, from_ns, until_ns

    def money(self, account: int, equity: int, free: int, mono_ns: int) -> None:
        known = self._accounts[account]
        before = self.peak(account)
        known.peak = equity if before is None else max(before, equity)
        known.equity, known.free, known.mono_ns = equity, free, mono_ns
        known.needed_before, known.needed = known.needed, 0

    def peak(self, account: int) -> int | None:
        known = self._accounts.get(account)
        if known is None:
            return None
        return known.kept_peak if known.equity is None else known.peak

    def set_peak(self, account: int, peak: int) -> None:
        known = self._accounts[account]
        known.kept_peak = peak
        if known.equity is not None:
            known.peak = max(peak, known.equity)

    def day_pnl(self, account: int, index: int, pnl: int) -> None:
        if index == NONE:
            self._accounts[account].pnl = pnl
        else:
            self._pnls[index] = pnl

    def halt(self, scope: int, index: int, bits: int) -> None:
        index = 0 if scope == SCOPE_GLOBAL else index
        was = self._halts.get((scope, index), 0)
        self._halts[scope, index] = was | bits
        self._halts_count += was | bits != was

    def lift(self, scope: int, index: int, bits: int) -> None:
        index = 0 if scope == SCOPE_GLOBAL else index
        self._halts[scope, index] = self._halts.get((scope, index), 0) & ~bits

    def enable(self, strategy: int) -> None:
        self._strategies[strategy].is_tripped = False
        self._strategies[strategy].executions.clear()

    def is_stopped(self, strategy: int) -> bool:
        known = self._strategies.get(strategy)
        return known is not None and known.is_stopped

    def take(self, batch: EventBatch, mono_ns: int) -> None:
        touched = set()
        for event in Reference.events(batch):
            index = self._by_id.get(event.instrument)
            if index is not None and self._instruments[index].reference.take(event, mono_ns):
                touched.add(index)
        for index in touched:
            self._instruments[index].reference.settle(mono_ns, self._period_ns)

    def quote(self, instrument: int, bid: int, ask: int, mono_ns: int) -> None:
        index = self._by_id.get(instrument)
        if index is not None:
            reference = self._instruments[index].reference
            reference.book = Top(max(bid, 0), max(ask, 0), mono_ns)
            reference.settle(mono_ns, self._period_ns)

    def reference(self, instrument: int) -> int | None:
        index = self._by_id.get(instrument)
        if index is None:
            return None
        return self._instruments[index].reference.current(self._period_ns)

    # What is asked for.

    def check(  # noqa: PLR0917  integers by position, as the native core takes them
        self,
        route: int,
        number: int,
        client_id: int,
        side: int,
        price: object,
        size: object,
        flags: int,
        mono_ns: int,
        wall_ns: int,
    ) -> int:
        _fits(number)
        _fits(client_id)
        whole, limit = _mantissa(size), _mantissa(price)
        check = Check(
            self._routes[route],
            number,
            client_id,
            side,
            limit,
            whole or 0,
            mono_ns,
            wall_ns,
            bool(flags & REDUCE_ONLY),
        )
        is_finite = whole is not None and (price is None or limit is not None)
        return self._answer(check, is_finite=is_finite)

    def check_replace(
        self, number: int, price: object, size: object, mono_ns: int, wall_ns: int
    ) -> int:
        order = self._orders.get(number)
        if order is None:
            return self._refuse(Reason.NO_SUCH_ORDER)
        whole, limit = _mantissa(size), _mantissa(price)
        check = Check(
            self._routes[order.route],
            number,
            0,
            order.side,
            order.price if limit is None else limit,
            whole or 0,
            mono_ns,
            wall_ns,
            order.is_reduce_only,
            order,
        )
        is_finite = whole is not None and (price is None or limit is not None)
        return self._answer(check, is_finite=is_finite)

    def _answer(self, check: Check, *, is_finite: bool) -> int:
        self._now = max(self._now, check.mono_ns)
        word = self._halt.word
        self.run(check, word, is_finite=is_finite)
        if check.vector:
            self._denial = (check.vector, *check.figures)
            return -check.first
        self.approve(check)
        return (word >> HALT_EPOCH_SHIFT) + self._halts_count

    def check_cancel(self, number: int, mono_ns: int) -> int:
        self._now = max(self._now, mono_ns)
        order = self._orders.get(number)
        if order is None:
            return self._refuse(Reason.NO_SUCH_ORDER)
        route = self._routes[order.route]
        venue = self._venues[route.venue]
        if venue.cancels_max != NONE:
            _, burst, per_ns = venue.lanes()
            if not venue.messages.holds(mono_ns, burst, per_ns):
                return self._refuse(Reason.RATE_VENUE)
            venue.messages.spend(mono_ns, per_ns)
        strategy = self._strategies[route.strategy]
        strategy.turn(mono_ns, self._ratio_ns)
        strategy.cancels += 1
        return 0

    def _refuse(self, reason: Reason) -> int:
        self._denial = (1 << reason, None, None, None)
        return -reason

    def denial(self) -> tuple[int, int | None, int | None, int | None]:
        return self._denial

    def confirm(self, approval: int) -> bool:
        return (self._halt.word >> HALT_EPOCH_SHIFT) + self._halts_count == approval

    # What becomes of orders.

    def filled(self, number: int, size: int) -> bool:
        order = self._orders.get(number)
        if order is None:
            return False
        order.filled += size
        order.reserved = max(0, order.reserved - size)
        self.late_fill(order.route, order.side, size)
        return True

    def late_fill(self, route: int, side: int, size: int) -> None:
        known = self._routes[route]
        known.position += -size if side else size
        self._strategies[known.strategy].executed(self._now)

    def released(self, number: int) -> bool:
        return self._orders.pop(number, None) is not None

    def replaced(self, number: int, price: int | None, size: int) -> bool:
        order = self._orders.get(number)
        if order is None:
            return False
        order.price = order.price if price is None else price
        order.size, order.resting, order.pending = size, order.price, False
        order.reserved = max(0, size - order.filled)
        return True

    def replace_refused(self, number: int) -> bool:
        order = self._orders.get(number)
        return order is not None and self.replaced(number, None, order.size)

    def restore(  # noqa: PLR0917  integers by position, as the native core takes them
        self,
        route: int,
        number: int,
        client_id: int,
        side: int,
        price: int | None,
        size: int,
        leaves: int,
        flags: int,
    ) -> bool:
        if number in self._orders or self.is_full(self._routes[route], side):
            return False
        self._repeats.remember(client_id)
        is_reduce_only = bool(flags & REDUCE_ONLY)
        order = Order(route, side, price, size, leaves, is_reduce_only, size - leaves)
        self._orders[number] = order
        return True

    def set_position(self, route: int, size: int) -> None:
        self._routes[route].position = size

    def cell(self, index: int) -> tuple[int, int, int, int, int]:
        worst = [self.worst(route) for route in self.under(index)]
        gross, longest, shortest = (sum(each[at] or 0 for each in worst) for at in range(3))
        return (gross, longest, shortest, *self.open_counts(index))


def _mantissa(value: object) -> int | None:
    """A whole number that 64 bits hold; `None` for everything else, NaN and True among it."""
    if type(value) is int and -_INT64_MAX <= value < _INT64_MAX:
        return value
    return None


def _fits(value: int) -> None:
    """Raises what the native core raises."""
    if not isinstance(value, int):
        raise TypeError(f"not a number: {value!r}")
    if not 0 <= value < 1 << 64:
        raise OverflowError(f"{value} does not fit 64 bits")
