"""What the twin of the gate holds, and what that adds up to: positions, open orders, worst cases.

Every sum is made anew from orders and positions, so that nothing can have been forgotten.
"""

from __future__ import annotations

from risk.gate_terms import OPEN_PER_SIDE_MAX
from risk.gate_twin_parts import (
    Account,
    Bucket,
    Check,
    Instrument,
    Order,
    Repeats,
    Route,
    Strategy,
    Venue,
    notional,
)

__all__ = ["TwinSums"]

_Worst = tuple[int | None, int, int]


class TwinSums:
    """The state of the gate, and what it adds up to."""

    def __init__(self, orders_max: int, repeats: Repeats) -> None:
        self._orders_max = orders_max
        self._repeats = repeats
        self._instruments: dict[int, Instrument] = {}
        self._accounts: dict[int, Account] = {}
        self._strategies: dict[int, Strategy] = {}
        self._venues: dict[int, Venue] = {}
        self._routes: dict[int, Route] = {}
        self._orders: dict[int, Order] = {}
        self._pnls: dict[int, int] = {}
        self._halts: dict[tuple[int, int], int] = {}
        self._buckets: dict[tuple[int, int], Bucket] = {}
        self._now = 0
        self._period_ns, self._ratio_ns, self._ratio_min = 1, 1, 1

    def position(self, route: int) -> tuple[int, int, int]:
        """Position, size of open buys, size of open sells."""
        opens = [0, 0]
        for order in self._orders.values():
            if order.route == route:
                opens[order.side] += order.reserved
        return (self._routes[route].position, opens[0], opens[1])

    def under(self, cell: int) -> list[int]:
        """Routes whose exposure counts for a cell."""
        return [
            index
            for index, route in self._routes.items()
            if any(each[0] == cell for each in route.cells)
        ]

    def sums(self, cell: int) -> tuple[int, int, int]:
        """Position, open buys, open sells under a cell."""
        each = [self.position(route) for route in self.under(cell)]
        return (sum(x[0] for x in each), sum(x[1] for x in each), sum(x[2] for x in each))

    def open_counts(self, cell: int) -> tuple[int, int]:
        under = set(self.under(cell))
        sides = [order.side for order in self._orders.values() if order.route in under]
        return (sides.count(0), sides.count(1))

    def worst(self, route: int, buys: int = 0, sells: int = 0) -> _Worst:
        """Gross, longest and shortest value when all that is open fills; None: no price for it."""
        position, open_buys, open_sells = self.position(route)
        longest, shortest = position + open_buys + buys, position - open_sells - sells
        if longest == 0 and shortest == 0:
            return (0, 0, 0)
        known = self._instruments.get(self._routes[route].instrument)
        if known is None or known.reference.mark is None:
            return (None, 0, 0)
        high, low = (
            (-1 if size < 0 else 1)
            * notional(abs(size), known.reference.mark, known.num, known.div)
            for size in (longest, shortest)
        )
        return (max(abs(high), abs(low)), high, low)

    def reducible(self, check: Check) -> int:
        """How much of the account's position this side may still take away, beyond what is out."""
        position, buys, sells = self.sums(check.route.cells[0][0])
        return position - sells if check.side else -position - buys

    def is_full(self, route: Route, side: int) -> bool:
        resting = [
            order
            for order in self._orders.values()
            if order.side == side and self._routes[order.route].instrument == route.instrument
        ]
        return len(self._orders) >= self._orders_max or len(resting) >= OPEN_PER_SIDE_MAX
