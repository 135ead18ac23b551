"""The checks of the twin in their order: what an order is compared with, and what approval changes.

Reads what `GateTwin` holds. The first reason is the lowest number that fails; all that fail are in
the vector.
"""

from __future__ import annotations

from typing import Final

from risk.gate_terms import (
    HALT_GLOBAL,
    HALT_REDUCING,
    MONEY_CAP,
    NONE,
    SCOPE_ACCOUNT,
    SCOPE_BOTH,
    SCOPE_BUY,
    SCOPE_GLOBAL,
    SCOPE_INSTRUMENT,
    SCOPE_SELL,
    SCOPE_STRATEGY,
    SCOPE_VENUE,
    CellLimits,
    derive_rate,
)
from risk.gate_twin_parts import Bucket, Check, Order, notional
from risk.gate_twin_sums import TwinSums
from risk.reasons import Reason

__all__ = ["TwinChecks"]

_BPS: Final = 10_000
_INT64_MAX: Final = (1 << 63) - 1


class TwinChecks(TwinSums):
    """The checks over what the gate holds."""

    def run(self, check: Check, word: int, *, is_finite: bool) -> None:
        if check.replacing is None:
            check.extra = check.size
        else:
            leaves = check.size - check.replacing.filled
            check.extra = max(0, leaves - check.replacing.reserved)
        check.reduces = (
            check.is_reduce_only
            and is_finite
            and check.size > 0
            and self.reducible(check) >= check.extra
        )
        self._halted(check, word)
        if self._is_shaped(check, is_finite=is_finite):
            self._static(check)
            self._priced(check)
            self._exposed(check)
            self._repeated(check)
            if not check.reduces:
                self._behaved(check)
                self._funded(check)
            self._room(check)
            if not check.vector:
                self._rates(check)

    def _halted(self, check: Check, word: int) -> None:
        if check.reduces and word & HALT_REDUCING:
            return
        if word & (HALT_GLOBAL | HALT_REDUCING):
            check.fail(Reason.HALTED)
        route = check.route
        bits = 0
        for key in (
            (SCOPE_GLOBAL, 0),
            (SCOPE_VENUE, route.venue),
            (SCOPE_ACCOUNT, route.account),
            (SCOPE_STRATEGY, route.strategy),
            (SCOPE_INSTRUMENT, route.instrument),
        ):
            bits |= self._halts.get(key, 0)
        if bits & SCOPE_BOTH:
            check.fail(Reason.HALTED_SCOPE)
        if bits & (SCOPE_SELL if check.side else SCOPE_BUY):
            check.fail(Reason.SIDE_HALTED)

    def _is_shaped(self, check: Check, *, is_finite: bool) -> bool:
        """Whether there is an order at all that the other checks can look at."""
        before = check.vector
        done = check.replacing.filled if check.replacing else 0
        if not is_finite:
            check.fail(Reason.NON_FINITE)
        elif check.size <= done:
            check.fail(Reason.BAD_QTY, done, check.size)
        known = self._instruments.get(check.route.instrument)
        if known is None:
            check.fail(Reason.UNKNOWN_INSTRUMENT)
        elif not known.is_linear or not check.limits.is_tradable:
            check.fail(Reason.NOT_TRADABLE)
        return check.vector == before

    def _static(self, check: Check) -> None:
        route, limits = check.route, check.limits
        known = self._instruments[route.instrument]
        if limits.is_restricted:
            check.fail(Reason.RESTRICTED)
        if not (route.is_open and route.from_ns <= check.wall_ns < route.until_ns):
            check.fail(Reason.TRADING_WINDOW)
        if check.price is not None and (check.price <= 0 or check.price % known.tick):
            check.fail(Reason.BAD_TICK, known.tick, check.price)
        if check.size % known.lot:
            check.fail(Reason.BAD_LOT, known.lot, check.size)
        if (
            limits.is_missing
            or self._accounts[route.account].limits.is_missing
            or self._strategies[route.strategy].limits.is_missing
            or self._venues[route.venue].orders_max == NONE
        ):
            check.fail(Reason.MISSING_LIMIT)
        if NONE != limits.order_qty_max < check.size:
            check.fail(Reason.MAX_ORDER_QTY, limits.order_qty_max, check.size)

    def _priced(self, check: Check) -> None:
        limits = check.limits
        known = self._instruments[check.route.instrument]
        age_ns_max, period_ns = limits.reference_age_ns_max, self._period_ns
        reference = known.reference.fresh(check.mono_ns, age_ns_max, period_ns)
        if reference is None:
            is_old = known.reference.current(period_ns) is not None
            check.fail(Reason.STALE_REFERENCE if is_old else Reason.MISSING_REFERENCE)
            return
        asked = reference if check.price is None else max(check.price, 0)
        past = known.reference.past(check.mono_ns - period_ns)
        for reason, bps, against in (
            (Reason.PRICE_COLLAR, limits.collar_bps, reference),
            (Reason.PERIOD_COLLAR, limits.period_collar_bps, past),
        ):
            if bps != NONE and abs(asked - against) * _BPS > against * bps:
                check.fail(reason, bps, asked, against)
        # What it may cost at worst: a market order buys at the collar's edge, a limit to sell may
        # fill at the market.
        if check.price is not None:
            worst = max(asked, reference) if check.side else asked
        elif check.side or limits.collar_bps == NONE:
            worst = reference
        else:
            worst = min(reference - -reference * limits.collar_bps // _BPS, _INT64_MAX)
        value = notional(check.size, worst, known.num, known.div)
        if value >= MONEY_CAP:
            check.fail(Reason.OVERFLOW)
        if NONE != limits.order_notional_max < value:
            check.fail(Reason.MAX_NOTIONAL, limits.order_notional_max, value, worst)
        if check.extra > self.reducible(check):
            check.need = -(-value * limits.margin_pct // 100)
        self._valued(check)

    def _valued(self, check: Check) -> None:
        """Gross and net exposure under every key, with the order filled."""
        side, extra = check.side, check.extra
        old = self.worst(check.route.index)
        new = self.worst(check.route.index, *((0, extra) if side else (extra, 0)))
        if new[0] is not None and new[0] >= MONEY_CAP:
            check.fail(Reason.OVERFLOW)
        for cell, *both in check.route.cells:
            limits: CellLimits = both[side]
            if limits.gross_max == limits.net_max == NONE:
                continue
            under = [self.worst(route) for route in self.under(cell)]
            if any(each[0] is None for each in under):
                check.fail(Reason.MISSING_REFERENCE)
            was = sum(each[0] or 0 for each in under)
            gross = was - (old[0] or 0) + (new[0] or 0)
            # What does not raise it is let through: a limit may be tighter than what is held.
            if NONE != limits.gross_max < gross and gross > was:
                check.fail(Reason.GROSS_EXPOSURE, limits.gross_max, gross)
            net = sum(_net(each, side) for each in under) - _net(old, side) + _net(new, side)
            worst = -net if side else net
            if NONE != limits.net_max < worst:
                check.fail(Reason.NET_EXPOSURE, limits.net_max, worst)

    def _exposed(self, check: Check) -> None:
        side = check.side
        if check.is_reduce_only and not check.reduces:
            check.fail(Reason.REDUCE_ONLY, max(0, self.reducible(check)), check.extra)
        for cell, *both in check.route.cells:
            limits: CellLimits = both[side]
            position, buys, sells = self.sums(cell)
            worst = (sells - position if side else position + buys) + check.extra
            if limits.position_max != NONE and worst > limits.position_max:
                check.fail(Reason.POSITION_LIMIT, limits.position_max, worst)
            count = self.open_counts(cell)[side]
            if not check.replacing and NONE != limits.open_orders_max <= count:
                check.fail(Reason.MAX_OPEN_ORDERS, limits.open_orders_max, count + 1)

    def _repeated(self, check: Check) -> None:
        if check.limits.denies_self_trade and (own := self._own_price(check)) is not None:
            check.fail(Reason.SELF_TRADE, None, check.price, own)
        if check.replacing is not None:
            if check.replacing.pending:
                check.fail(Reason.DUPLICATE)
            return
        self._repeats.expire(check.mono_ns)
        if check.number in self._orders or self._repeats.is_known(check.client_id):
            check.fail(Reason.DUPLICATE)
        last = self._repeats.last(_content(check))
        window_ns = check.limits.duplicate_window_ns
        if last is not None and window_ns != NONE and check.mono_ns - last < window_ns:
            check.fail(Reason.DUPLICATE, window_ns, check.mono_ns - last)

    def _own_price(self, check: Check) -> int | None:
        """The price of an order of ours on the other side that this one would meet.

        A market order of ours that is still out may be met at any price: 0 stands for it.
        """
        resting = [
            order.resting
            for order in self._orders.values()
            if order.side != check.side
            and self._routes[order.route].instrument == check.route.instrument
        ]
        if not resting:
            return None
        if None in resting:
            return 0
        prices = [price for price in resting if price is not None]
        best = max(prices) if check.side else min(prices)
        if check.price is None:
            return best
        meets = check.price <= best if check.side else check.price >= best
        return best if meets else None

    def _behaved(self, check: Check) -> None:
        strategy = self._strategies[check.route.strategy]
        limits = strategy.limits
        if strategy.is_stopped:
            check.fail(Reason.REPEATED_EXECUTION, limits.executions_max)
        strategy.turn(check.mono_ns, self._ratio_ns)
        most = limits.cancel_ratio_pct_max
        is_counted = most != NONE and strategy.orders >= self._ratio_min
        if is_counted and strategy.cancels * 100 > most * strategy.orders:
            check.fail(Reason.CANCEL_RATIO, most, strategy.cancels * 100 // strategy.orders)

    def _funded(self, check: Check) -> None:
        account = self._accounts[check.route.account]
        limits = account.limits
        pnl = self._pnls.get(check.route.pnl)
        for most, lost in (
            (limits.daily_loss_max, account.pnl),
            (check.limits.strategy_loss_max, pnl),
        ):
            if most != NONE and lost is None:
                check.fail(Reason.MISSING_ACCOUNT)
            elif most != NONE and lost is not None and -lost >= most:
                check.fail(Reason.DAILY_LOSS, most, -lost)
        if account.equity is None:
            check.fail(Reason.MISSING_ACCOUNT)
            return
        age = check.mono_ns - account.mono_ns
        if limits.age_ns_max != NONE and not 0 <= age <= limits.age_ns_max:
            check.fail(Reason.STALE_ACCOUNT, limits.age_ns_max, age)
        fall = account.peak - account.equity
        if NONE != limits.drawdown_max <= fall:
            check.fail(Reason.DRAWDOWN, limits.drawdown_max, fall)
        free = account.free - account.needed - account.needed_before - check.need
        if limits.free_balance_min != NONE and free < limits.free_balance_min:
            check.fail(Reason.FREE_BALANCE, limits.free_balance_min, free)

    def _room(self, check: Check) -> None:
        if check.replacing is None and (
            self.is_full(check.route, check.side) or self._repeats.is_full
        ):
            check.fail(Reason.TOO_MANY)

    def _rates(self, check: Check) -> None:
        """Both lanes or neither: nothing is taken before all have said yes."""
        now = check.mono_ns
        buckets: list[tuple[Reason, Bucket, int, int, int]] = []
        for cell, *both in check.route.cells:
            limits: CellLimits = both[check.side]
            if limits.orders_max != NONE:
                bucket = self._buckets.setdefault((cell, check.side), Bucket())
                burst, per_ns = derive_rate(limits.orders_max, limits.orders_window_ns)
                buckets.append((Reason.RATE_SIDE, bucket, limits.orders_max, burst, per_ns))
        venue = self._venues[check.route.venue]
        own, (burst, _, per_ns) = derive_rate(venue.orders_max, venue.window_ns), venue.lanes()
        buckets.append((Reason.RATE_VENUE, venue.orders, venue.orders_max, *own))
        buckets.append((Reason.RATE_VENUE, venue.messages, venue.orders_max, burst, per_ns))
        for reason, bucket, most, burst, per_ns in buckets:
            if burst < 1:
                check.fail(Reason.BURST_TOO_SMALL, most)
            elif not bucket.holds(now, burst, per_ns):
                check.fail(reason, most)
        if not check.vector:
            for _, bucket, _, _, per_ns in buckets:
                bucket.spend(now, per_ns)

    # What approval changes.

    def approve(self, check: Check) -> None:
        route = check.route
        self._accounts[route.account].needed += check.need
        strategy = self._strategies[route.strategy]
        strategy.turn(check.mono_ns, self._ratio_ns)
        order = check.replacing
        if order is None:
            strategy.orders += 1
            self._repeats.remember(check.client_id)
            self._repeats.add(check.mono_ns, _content(check))
            self._orders[check.number] = Order(
                route.index,
                check.side,
                check.price,
                check.size,
                check.size,
                check.is_reduce_only,
            )
            return
        strategy.cancels += 1
        order.reserved += check.extra
        order.pending = True
        if order.resting is not None and check.price is not None:
            keener = min if order.side else max
            order.resting = keener(order.resting, check.price)


def _net(worst: tuple[int | None, int, int], side: int) -> int:
    """The shortest value for a seller, the longest for a buyer."""
    return worst[2] if side else worst[1]


def _content(check: Check) -> tuple[int, int, int, int]:
    """What makes two orders the same; no price is none of theirs."""
    return (
        check.route.index,
        check.side,
        0 if check.price is None else check.price,
        check.size,
    )
