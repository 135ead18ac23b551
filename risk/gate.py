"""The gate: no order leaves without its approval, and it fails closed.

Its one job is to turn names into numbers, ask the core (native, or the twin in plain Python), and
seal the answer. Time is an argument; nothing is published, a denial is a value. It sends nothing
and records nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

import msgspec

from risk.approval import SEAL, ApprovedCancel, ApprovedOrder, ApprovedReplace, Denied
from risk.compiling import (
    CellKey,
    Definition,
    account_limits,
    cells_of,
    hours_of,
    recent_ns,
    side_limits,
    strategy_limits,
)
from risk.errors import LimitsError
from risk.gate_terms import (
    CELLS_MAX,
    HALT_GLOBAL,
    HALT_REDUCING,
    INSTRUMENTS_MAX,
    NAMES_MAX,
    NONE,
    REDUCE_ONLY,
    ROUTES_MAX,
    SCOPE_ACCOUNT,
    SCOPE_BOTH,
    SCOPE_BUY,
    SCOPE_GLOBAL,
    SCOPE_INSTRUMENT,
    SCOPE_SELL,
    SCOPE_STRATEGY,
    SCOPE_VENUE,
    Core,
    HaltWord,
    SideLimits,
)
from risk.gate_twin import GateTwin
from risk.limits import Limits
from risk.orders import AccountState, Request, Side
from risk.reasons import Reason
from risk.tightening import loosened
from risk.trading_hours import Hours
from tickd.backend import Name, choose
from tickd.native import EventBatch, GateCore

__all__ = ["Gate", "HaltScope"]

HaltScope = Literal["global", "venue", "account", "strategy", "instrument"]
ORDERS_MAX: Final = 1 << 14
_MS_NS: Final = 1_000_000
_K = TypeVar("_K")
_SIDES: Final = {"B": 0, "A": 1}
_BITS: Final[dict[Side | None, int]] = {None: SCOPE_BOTH, "B": SCOPE_BUY, "A": SCOPE_SELL}
_WINDOW_BIT: Final = 1 << Reason.TRADING_WINDOW
# Nothing is known of the instrument: nothing may be traded, what is held is kept.
_NOTHING: Final = SideLimits(1, 0, 0, 1, NONE, NONE, NONE, NONE, NONE, NONE, 100, NONE)


@dataclass(slots=True)
class _Instrument:
    index: int
    definition: Definition | None = None
    routes: list[_Route] = field(default_factory=list)


@dataclass(slots=True)
class _Route:
    """An account, a strategy and an instrument, and what the core calls them."""

    index: int
    account: str
    strategy: str
    instrument: int
    venue: str
    symbol: str
    hours: list[Hours]
    from_ns: int = 0
    until_ns: int = 0


class Gate:
    """See the module. One thread: that of the loop which writes to the venues."""

    def __init__(
        self,
        limits: Limits,
        *,
        halt: HaltWord,
        backend: Name | Literal["auto"] = "auto",
        orders_max: int = ORDERS_MAX,
    ) -> None:
        self._core, self.backend = _core(halt, backend, orders_max)
        self._halt = halt
        self._limits = limits
        self._instruments: dict[int, _Instrument] = {}
        self._accounts: dict[str, int] = {}
        self._strategies: dict[str, int] = {}
        self._venues: dict[str, int] = {}
        self._cells: dict[CellKey, int] = {}
        self._pnls: dict[tuple[str, str], int] = {}
        self._routes: dict[tuple[str, str, int], _Route] = {}
        self._apply_settings()

    @property
    def limits(self) -> Limits:
        """The set in force."""
        return self._limits

    # Orders.

    def check(
        self, request: Request, number: int, *, mono_ns: int, wall_ns: int
    ) -> ApprovedOrder | Denied:
        """Reserve an order's exposure and approve it, or say why not."""
        try:
            route = self._routes.get((request.account, request.strategy, request.instrument))
            if route is None or route.symbol != request.symbol or route.venue != request.venue:
                found = self._admit(request, number)
                if isinstance(found, Denied):
                    return found
                route = found
            epoch = self._core.check(
                route.index,
                number,
                request.client_id,
                _SIDES[request.side],
                request.price,
                request.size,
                REDUCE_ONLY if request.reduce_only else 0,
                mono_ns,
                wall_ns,
            )
            if epoch < 0:
                return self._denied(-epoch, number, route, request, (mono_ns, wall_ns))
        except (KeyError, OverflowError, TypeError):
            return Denied(reason=Reason.MALFORMED, vector=1 << Reason.MALFORMED, number=number)
        return ApprovedOrder(request, number, epoch, seal=SEAL)

    def _denied(
        self, reason: int, number: int, route: _Route, request: Request, times_ns: tuple[int, int]
    ) -> ApprovedOrder | Denied:
        mono_ns, wall_ns = times_ns
        vector = self._core.denial()[0]
        if vector & _WINDOW_BIT and not route.from_ns <= wall_ns < route.until_ns:
            # The core knows the hours for a while only; a refusal has changed nothing.
            self._tell_hours(route, wall_ns)
            return self.check(request, number, mono_ns=mono_ns, wall_ns=wall_ns)
        return self._refusal(reason, number)

    def check_replace(
        self, number: int, *, price: int | None, size: int, mono_ns: int, wall_ns: int
    ) -> ApprovedReplace | Denied:
        """Reserve the larger of what is out and what is asked for. price None: as it is."""
        try:
            epoch = self._core.check_replace(number, price, size, mono_ns, wall_ns)
            if epoch < 0 and self._core.denial()[0] & _WINDOW_BIT:
                for route in self._routes.values():
                    if not route.from_ns <= wall_ns < route.until_ns:
                        self._tell_hours(route, wall_ns)
                epoch = self._core.check_replace(number, price, size, mono_ns, wall_ns)
        except (OverflowError, TypeError):
            return Denied(reason=Reason.MALFORMED, vector=1 << Reason.MALFORMED, number=number)
        if epoch < 0:
            return self._refusal(-epoch, number)
        return ApprovedReplace(number, epoch, price=price, size=size, seal=SEAL)

    def check_cancel(self, number: int, *, mono_ns: int) -> ApprovedCancel | Denied:
        """Cancels have a lane of their own; only the venue's limit closes it."""
        reason = self._core.check_cancel(number, mono_ns)
        return self._refusal(-reason, number) if reason else ApprovedCancel(number, seal=SEAL)

    def _refusal(self, reason: int, number: int) -> Denied:
        vector, *figures = self._core.denial()
        named = zip(("limit", "value", "reference"), figures, strict=True)
        return Denied(
            reason=Reason(reason),
            vector=vector,
            number=number,
            figures={name: value for name, value in named if value is not None},
        )

    def confirm(self, approved: ApprovedOrder | ApprovedReplace) -> bool:
        """Whether no halt came since the approval; asked in the step that writes to the venue.

        Any halt, of everything or of a scope, whether or not the order is in it: the order is
        denied then and may be asked for again. Any thread may ask.
        """
        return self._core.confirm(approved.epoch)

    # What becomes of them. False: the gate holds no such order.

    def filled(self, number: int, *, size: int, price: int) -> bool:
        """Move a part of the reservation into the position."""
        del price  # positions are valued at the market
        return self._core.filled(number, size)

    def released(self, number: int) -> bool:
        """Give back what is still reserved: the order is over."""
        return self._core.released(number)

    def replaced(self, number: int, *, price: int | None, size: int) -> bool:
        """Take the venue's word for an order's new price and whole size."""
        return self._core.replaced(number, price, size)

    def replace_refused(self, number: int) -> bool:
        """Keep the order as it was."""
        return self._core.replace_refused(number)

    def late_fill(self, request: Request, *, size: int, price: int) -> None:
        """Take a fill of an order whose reservation is gone."""
        del price
        self._core.late_fill(self._held(request).index, _SIDES[request.side], size)

    def restore(self, request: Request, number: int, *, leaves: int) -> None:
        """Reserve for an order that was out before a restart; nothing is checked.

        Raises LimitsError: there is no room for it; such a start must stay halted.
        """
        route = self._held(request)
        flags = REDUCE_ONLY if request.reduce_only else 0
        if not self._core.restore(
            route.index,
            number,
            request.client_id,
            _SIDES[request.side],
            request.price,
            request.size,
            leaves,
            flags,
        ):
            raise LimitsError(f"no room in the gate for order {number}")

    # What is known of market and money.

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument's definition (JSON), before its first event."""
        known = self._instrument(instrument)
        if known is None:
            return  # beyond the bound: unknown, and so denied
        fields = msgspec.json.decode(definition, type=Definition)
        known.definition = fields
        num, div = fields.worth or (1, 1)
        is_linear = int(fields.worth is not None)
        tick, lot = max(fields.tick, 1), max(fields.lot, 1)
        self._core.instrument(known.index, instrument, tick, lot, num, div, is_linear)
        for route in known.routes:
            route.venue, route.symbol = fields.venue, fields.symbol
            self._tell_route(route)

    def take(self, batch: EventBatch, *, mono_ns: int | None = None) -> None:
        """Take the prices of a burst, as of its receive stamp unless another moment is given."""
        self._core.take(batch, batch.ts_mono_ns if mono_ns is None else mono_ns)

    def quote(self, instrument: int, *, bid: int, ask: int, mono_ns: int) -> None:
        """Take the top of a book from whoever keeps it; a side without levels is 0."""
        self._core.quote(instrument, bid, ask, mono_ns)

    def reference(self, instrument: int) -> int | None:
        """What an instrument is valued at, however old; None: no price came yet."""
        return self._core.reference(instrument)

    def account(self, name: str, state: AccountState, *, mono_ns: int) -> None:
        """Take what a venue says of an account's money."""
        self._core.money(self._account(name), state.equity, state.free, mono_ns)

    def peak(self, account: str) -> int | None:
        """The highest equity of an account that its fall is counted from; None: never told."""
        return self._core.peak(self._account(account))

    def set_peak(self, account: str, peak: int) -> None:
        """Count an account's fall from `peak`, or from what it has now where that is more."""
        self._core.set_peak(self._account(account), peak)

    def set_day_pnl(self, account: str, pnl: int, *, strategy: str = "") -> None:
        """Set the day's profit or loss of an account, or of a strategy on it."""
        at = NONE if not strategy else self._pnl(account, strategy)
        self._core.day_pnl(self._account(account), at, pnl)

    def set_position(self, account: str, strategy: str, instrument: int, size: int) -> None:
        """Set what is held: bought minus sold."""
        self._core.set_position(self._route(account, strategy, instrument).index, size)

    def position(self, account: str, strategy: str, instrument: int) -> tuple[int, int, int]:
        """Position, size of open buys and of open sells, as the gate counts them."""
        route = self._routes.get((account, strategy, instrument))
        return (0, 0, 0) if route is None else self._core.position(route.index)

    # Halts of a part; the halt of everything is in the halt word.

    def halt(self, scope: HaltScope, key: str | int = "", side: Side | None = None) -> None:
        """Stop new orders of a venue, account, strategy or instrument (by its id), or a side.

        An instrument beyond the gate's bound is unknown, which denies: there is nothing to halt.
        """
        found = self._scope(scope, key)
        if found is not None:
            self._core.halt(*found, _BITS[side])

    def lift(self, scope: HaltScope, key: str | int = "", side: Side | None = None) -> None:
        """Take such a halt back."""
        found = self._scope(scope, key)
        if found is not None:
            self._core.lift(*found, _BITS[side])

    def enable(self, strategy: str) -> None:
        """Let a strategy go on that was stopped for repeated executions; a person says so."""
        self._core.enable(self._strategy(strategy))

    def stopped(self) -> list[str]:
        """Strategies that are stopped for repeated executions."""
        return [name for name, at in self._strategies.items() if self._core.is_stopped(at)]

    def reload(self, limits: Limits) -> None:
        """Put another set in force. Raises LimitsError, all of it: it loosens while armed."""
        if not self._halt.word & HALT_GLOBAL:
            loose = loosened(self._limits, limits)
            if loose:
                raise LimitsError(
                    "limits only tighten while armed: " + "; ".join(loose),
                    hint="halt, reload, arm",
                )
        self._limits = limits
        self._apply_settings()
        for account, at in self._accounts.items():
            self._core.account(at, account_limits(limits, account))
        for strategy, at in self._strategies.items():
            self._core.strategy(at, strategy_limits(limits, strategy))
        for venue, at in self._venues.items():
            self._tell_venue(venue, at)
        for route in self._routes.values():
            self._tell_route(route)

    # Names and numbers.

    def _admit(self, request: Request, number: int) -> _Route | Denied:
        """The route of an order that is the first of its kind, or whose names do not fit."""
        known = self._instruments.get(request.instrument)
        if (
            known is None
            or known.definition is None
            or known.definition.venue != request.venue
            or known.definition.symbol != request.symbol
        ):
            return self._unknown(Reason.UNKNOWN_INSTRUMENT, number)
        try:
            return self._route(request.account, request.strategy, request.instrument)
        except LimitsError:
            return self._unknown(Reason.TOO_MANY, number)

    def _unknown(self, reason: Reason, number: int) -> Denied:
        vector, first = 1 << reason, reason
        if self._halt.word & (HALT_GLOBAL | HALT_REDUCING):
            vector, first = vector | 1 << Reason.HALTED, Reason.HALTED
        return Denied(reason=first, vector=vector, number=number)

    def _held(self, request: Request) -> _Route:
        """The route of something that is out, whatever is known of its instrument."""
        route = self._route(request.account, request.strategy, request.instrument)
        if not route.venue:
            route.venue, route.symbol = request.venue, request.symbol
        return route

    def _route(self, account: str, strategy: str, instrument: int) -> _Route:
        """Raises LimitsError: too many of something."""
        route = self._routes.get((account, strategy, instrument))
        if route is not None:
            return route
        known = self._instrument(instrument)
        if known is None or len(self._routes) >= ROUTES_MAX:
            raise LimitsError(f"more than {ROUTES_MAX} routes or too many instruments")
        given = known.definition
        venue, symbol = (given.venue, given.symbol) if given else ("", "")
        route = _Route(len(self._routes), account, strategy, instrument, venue, symbol, [])
        self._tell_route(route)
        self._routes[account, strategy, instrument] = route
        known.routes.append(route)
        return route

    def _tell_route(self, route: _Route) -> None:
        known = self._instruments[route.instrument]
        limits, account, strategy = self._limits, route.account, route.strategy
        keys = (
            self._account(account),
            self._strategy(strategy),
            known.index,
            self._venue(route.venue),
            self._pnl(account, strategy),
        )
        given = known.definition
        if given is None:
            nothing = Definition("", "", "", 0, 0, 1, 1, "1")
            rows = list(cells_of(limits, account, strategy, route.instrument, nothing))
            buy = sell = _NOTHING
        else:
            rows = list(cells_of(limits, account, strategy, route.instrument, given))
            buy, sell = (side_limits(limits, account, strategy, given, each) for each in "BA")
        cells = [(self._cell(key), bought, sold) for key, bought, sold in rows]
        self._core.route(route.index, keys, buy, sell, cells)
        label = "" if given is None else given.label
        route.hours = hours_of(limits, account, strategy, label)
        route.from_ns = route.until_ns = 0

    def _tell_hours(self, route: _Route, wall_ns: int) -> None:
        verdicts = [each.at(wall_ns) for each in route.hours]
        is_open = bool(verdicts) and all(each.is_open for each in verdicts)
        route.from_ns = max((each.from_ns for each in verdicts), default=wall_ns)
        route.until_ns = min((each.until_ns for each in verdicts), default=wall_ns + 1)
        self._core.hours(route.index, int(is_open), route.from_ns, route.until_ns)

    def _apply_settings(self) -> None:
        config = self._limits.config
        self._core.settings(
            config.period_ms * _MS_NS,
            recent_ns(self._limits),
            config.cancel_ratio_window_ms * _MS_NS,
            config.cancel_ratio_orders_min,
        )

    def _instrument(self, instrument: int) -> _Instrument | None:
        known = self._instruments.get(instrument)
        if known is None and len(self._instruments) < INSTRUMENTS_MAX:
            known = self._instruments[instrument] = _Instrument(len(self._instruments))
        return known

    def _account(self, name: str) -> int:
        known = self._accounts.get(name)
        if known is None:
            known = _number(self._accounts, name, NAMES_MAX)
            self._core.account(known, account_limits(self._limits, name))
        return known

    def _strategy(self, name: str) -> int:
        known = self._strategies.get(name)
        if known is None:
            known = _number(self._strategies, name, NAMES_MAX)
            self._core.strategy(known, strategy_limits(self._limits, name))
        return known

    def _venue(self, name: str) -> int:
        known = self._venues.get(name)
        if known is None:
            known = _number(self._venues, name, NAMES_MAX)
            self._tell_venue(name, known)
        return known

    def _tell_venue(self, name: str, at: int) -> None:
        limits = self._limits.venues.get(name)
        if limits is None:
            self._core.venue(at, NONE, NONE, 0)
        else:
            cancels = limits.cancels_max
            window_ns = limits.window_ms * _MS_NS
            self._core.venue(at, limits.messages_max - cancels, cancels, window_ns)

    def _pnl(self, account: str, strategy: str) -> int:
        return _number(self._pnls, (account, strategy), ROUTES_MAX)

    def _cell(self, key: CellKey) -> int:
        return _number(self._cells, key, CELLS_MAX)

    def _scope(self, scope: HaltScope, key: str | int) -> tuple[int, int] | None:
        if scope == "global":
            return (SCOPE_GLOBAL, 0)
        if scope == "instrument":
            known = self._instrument(int(key))
            return None if known is None else (SCOPE_INSTRUMENT, known.index)
        name = str(key)
        if scope == "venue":
            return (SCOPE_VENUE, self._venue(name))
        if scope == "account":
            return (SCOPE_ACCOUNT, self._account(name))
        return (SCOPE_STRATEGY, self._strategy(name))


def _number(names: dict[_K, int], name: _K, most: int) -> int:
    """The number of a name, a new one at first sight. Raises LimitsError: too many."""
    known = names.get(name)
    if known is None:
        if len(names) >= most:
            raise LimitsError(f"more than {most} names: {name}")
        known = names[name] = len(names)
    return known


def _core(halt: HaltWord, backend: Name | Literal["auto"], orders_max: int) -> tuple[Core, Name]:
    name = choose("gate", lambda: None).name if backend == "auto" else backend
    if name == "numpy":
        return GateTwin(halt, orders_max), name
    return GateCore(halt, orders_max), name
