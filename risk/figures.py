"""How far an approved order was from its limits: what goes on record beside it.

A figure NAME with NAME_limit beside it is read as a near miss (the view `near_misses`). Looked at
behind the approval, so the order's own reservation is in it. It decides nothing: what has no figure
here (collars, sums over instruments, rates, money of the account) is compared by the gate all the
same, and a refusal says so itself.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

import msgspec

from risk.compiling import Definition, cells_of, side_limits
from risk.gate import Gate
from risk.gate_terms import NONE
from risk.limits import Limits
from risk.orders import Side

__all__ = ["Figures"]

_Route = tuple[str, str, int]  # account, strategy, instrument


class _Bounds(NamedTuple):
    """What orders of one route and side are compared with; NONE: unlimited."""

    order_qty_max: int
    order_notional_max: int
    num: int
    div: int
    # (account, strategy, most): "" is everybody.
    positions: tuple[tuple[str, str, int], ...]


@final
class Figures:
    """Figures of one gate's approvals. Loop thread, right behind the approval."""

    def __init__(self, gate: Gate) -> None:
        self._gate: Final = gate
        self._limits: Limits = gate.limits
        self._definitions: dict[int, Definition] = {}
        self._bounds: dict[tuple[_Route, Side], _Bounds] = {}
        # Routes that anything was asked for, by instrument: exposure is summed over strategies.
        self._routes: dict[int, list[tuple[str, str]]] = {}

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument's definition (JSON), as the gate does."""
        self._definitions[instrument] = msgspec.json.decode(definition, type=Definition)
        self._bounds.clear()

    def of(  # noqa: PLR0917  one call per order, on its way
        self,
        account: str,
        strategy: str,
        instrument: int,
        side: Side,
        price: int | None,
        size: int,
    ) -> dict[str, int]:
        """Return the figures of an order that the gate has just approved."""
        route = (account, strategy, instrument)
        if self._limits is not self._gate.limits:
            self._limits = self._gate.limits
            self._bounds.clear()
        bounds = self._bounds.get((route, side)) or self._bounded(route, side)
        held = position, buys, sells = self._gate.position(account, strategy, instrument)
        figures = {"position": position, "reserved": buys if side == "B" else sells}
        if bounds is None:
            return figures
        figures["order_qty"] = size
        if bounds.order_qty_max != NONE:
            figures["order_qty_limit"] = bounds.order_qty_max
        if price is not None:
            # As the gate rounds it: up.
            figures["notional"] = -(-abs(price * size * bounds.num) // bounds.div)
            if bounds.order_notional_max != NONE:
                figures["notional_limit"] = bounds.order_notional_max
        closest = self._closest(bounds, route, side, held)
        if closest is not None:
            figures["exposure"], figures["exposure_limit"] = closest
        return figures

    def _closest(
        self, bounds: _Bounds, route: _Route, side: Side, own: tuple[int, int, int]
    ) -> tuple[int, int] | None:
        """Worst position and its limit, of the key nearest to its own; `own`: the route's."""
        closest: tuple[int, int] | None = None
        own_account, own_strategy, instrument = route
        for account, strategy, most in bounds.positions:
            worst = 0
            for each_account, each_strategy in self._routes[instrument]:
                if account in ("", each_account) and strategy in ("", each_strategy):
                    is_own = each_strategy == own_strategy and each_account == own_account
                    held = (
                        own
                        if is_own
                        else self._gate.position(each_account, each_strategy, instrument)
                    )
                    worst += held[0] + held[1] if side == "B" else held[2] - held[0]
            if closest is None or worst * closest[1] > closest[0] * most:
                closest = (worst, most)
        return closest

    def _bounded(self, route: _Route, side: Side) -> _Bounds | None:
        account, strategy, instrument = route
        definition = self._definitions.get(instrument)
        if definition is None:
            return None
        routes = self._routes.setdefault(instrument, [])
        if (account, strategy) not in routes:
            routes.append((account, strategy))
        own = side_limits(self._limits, account, strategy, definition, side)
        num, div = definition.worth or (0, 1)
        positions = [
            (key[0], key[1], (buy if side == "B" else sell).position_max)
            for key, buy, sell in cells_of(self._limits, account, strategy, instrument, definition)
        ]
        bounds = _Bounds(
            own.order_qty_max,
            own.order_notional_max,
            num,
            div,
            tuple(each for each in positions if each[2] > 0),
        )
        self._bounds[route, side] = bounds
        return bounds
