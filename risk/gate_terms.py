"""What the face of the gate hands to either core: integers alone, and the port both have.

Names are numbers here (the face knows which), limits are compiled per route. A route is an account,
a strategy and an instrument; a cell is a key of the limits whose exposure is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from tickd.native import EventBatch

__all__ = [
    "MONEY_CAP",
    "NONE",
    "REDUCE_ONLY",
    "AccountLimits",
    "CellLimits",
    "Core",
    "HaltWord",
    "SideLimits",
    "StrategyLimits",
    "derive_lanes",
    "derive_rate",
]

# No limit: it was written that there is none.
NONE: Final = -1
# Flag of an order.
REDUCE_ONLY: Final = 1
# Bits of the halt word below the epoch.
HALT_GLOBAL: Final = 1
HALT_REDUCING: Final = 2
HALT_EPOCH_SHIFT: Final = 8
# Bits of a halt by scope.
SCOPE_BOTH: Final = 1
SCOPE_BUY: Final = 2
SCOPE_SELL: Final = 4
# Kinds of scope.
SCOPE_GLOBAL, SCOPE_VENUE, SCOPE_ACCOUNT, SCOPE_STRATEGY, SCOPE_INSTRUMENT = range(5)
# Values of money end here, so that sums of a million of them still fit 128 bits.
MONEY_CAP: Final = 1 << 100

ROUTES_MAX: Final = 1 << 12
CELLS_MAX: Final = 1 << 14
NAMES_MAX: Final = 1 << 12
INSTRUMENTS_MAX: Final = 1 << 14
# Open orders of one side of one instrument, for self-trade prevention.
OPEN_PER_SIDE_MAX: Final = 1 << 10
# Orders within the longest duplicate window; client ids that are remembered.
RECENT_MAX: Final = 1 << 14
CLIENT_IDS_MAX: Final = 1 << 15
# Samples of the reference; so many of them per period.
SAMPLES_MAX: Final = 16
SAMPLES_PER_PERIOD: Final = 8


class SideLimits(NamedTuple):
    """Limits of an order by itself, for one side of a route; the tightest of all its rows."""

    is_missing: int
    is_tradable: int
    is_restricted: int
    denies_self_trade: int
    order_qty_max: int
    order_notional_max: int
    collar_bps: int
    period_collar_bps: int
    reference_age_ns_max: int
    duplicate_window_ns: int
    margin_pct: int
    strategy_loss_max: int


class CellLimits(NamedTuple):
    """Limits of one side under one key, checked against that key's own exposure."""

    position_max: int
    gross_max: int
    net_max: int
    open_orders_max: int
    orders_max: int
    orders_window_ns: int


class AccountLimits(NamedTuple):
    """Limits of an account."""

    is_missing: int
    daily_loss_max: int
    drawdown_max: int
    free_balance_min: int
    age_ns_max: int


class StrategyLimits(NamedTuple):
    """Limits of a strategy."""

    is_missing: int
    executions_max: int
    executions_window_ns: int
    cancel_ratio_pct_max: int


class HaltWord(Protocol):
    """epoch << 8 | flags; whoever trips it adds to the epoch."""

    @property
    def word(self) -> int:
        """The word as it is now."""
        ...


class Core(Protocol):
    """The gate in integers. Indices come from the face, each table from 0 without holes."""

    def instrument(  # noqa: PLR0917  integers by position, as the native core takes them
        self, index: int, number: int, tick: int, lot: int, num: int, div: int, is_linear: int
    ) -> None: ...
    def account(self, index: int, limits: AccountLimits) -> None: ...
    def strategy(self, index: int, limits: StrategyLimits) -> None: ...
    def venue(self, index: int, orders_max: int, cancels_max: int, window_ns: int) -> None: ...
    def route(
        self,
        index: int,
        keys: tuple[int, int, int, int, int],
        buy: SideLimits,
        sell: SideLimits,
        cells: Sequence[tuple[int, CellLimits, CellLimits]],
    ) -> None:
        """keys: account, strategy, instrument, venue, PnL of the strategy.

        The first cell is that of account and instrument.
        """

    def settings(self, period_ns: int, recent_ns: int, ratio_ns: int, ratio_min: int) -> None: ...
    def hours(self, route: int, is_open: int, from_ns: int, until_ns: int) -> None: ...
    def money(self, account: int, equity: int, free: int, mono_ns: int) -> None: ...
    def peak(self, account: int) -> int | None: ...
    def set_peak(self, account: int, peak: int) -> None: ...
    def day_pnl(self, account: int, index: int, pnl: int) -> None: ...
    def halt(self, scope: int, index: int, bits: int) -> None: ...
    def lift(self, scope: int, index: int, bits: int) -> None: ...
    def enable(self, strategy: int) -> None: ...
    def is_stopped(self, strategy: int) -> bool: ...
    def take(self, batch: EventBatch, mono_ns: int) -> None: ...
    def quote(self, instrument: int, bid: int, ask: int, mono_ns: int) -> None: ...
    def reference(self, instrument: int) -> int | None: ...
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
        """Return the stamp of the approval, or minus the reason; 0 is a stamp.

        It is the halt word's epoch and the number of scope halts, added: neither goes back.
        """
        ...

    def check_replace(
        self, number: int, price: object, size: object, mono_ns: int, wall_ns: int
    ) -> int: ...
    def check_cancel(self, number: int, mono_ns: int) -> int:
        """Return 0, or minus the reason."""
        ...

    def denial(self) -> tuple[int, int | None, int | None, int | None]:
        """Vector, limit, value and reference of the last refusal."""
        ...

    def confirm(self, approval: int) -> bool: ...
    def filled(self, number: int, size: int) -> bool: ...
    def released(self, number: int) -> bool: ...
    def replaced(self, number: int, price: int | None, size: int) -> bool: ...
    def replace_refused(self, number: int) -> bool: ...
    def late_fill(self, route: int, side: int, size: int) -> None: ...
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
    ) -> bool: ...
    def set_position(self, route: int, size: int) -> None: ...
    def position(self, route: int) -> tuple[int, int, int]:
        """Position, size of open buys, size of open sells."""
        ...

    def cell(self, index: int) -> tuple[int, int, int, int, int]:
        """Worst gross, longest, shortest exposure; open buys and sells by count."""
        ...


def derive_rate(limit: int, window_ns: int) -> tuple[int, int]:
    """Return (burst, ns per token) of which every window of that length holds at most `limit`.

    A bucket with burst b and a token each T lets b + floor(W / T) through in a closed window of
    length W. A fifth of the limit is burst, the rest comes evenly.
    """
    if limit <= 0:
        return (0, window_ns + 1)
    burst = max(1, limit // 5)
    return (burst, _per_token(limit - burst, window_ns))


def derive_lanes(orders_max: int, cancels_max: int, window_ns: int) -> tuple[int, int, int]:
    """Return (burst for orders, burst for cancels, ns per token) of the bucket that both share.

    Every window holds at most both limits together. Cancels may take whatever is there; orders
    need that something stays, at least one, and room in their own share (`derive_rate`), too.
    """
    limit = orders_max + cancels_max
    burst = max(limit // 5, min(limit, 2))
    per = _per_token(limit - burst, window_ns)
    if orders_max <= 0:
        return (0, burst, per)
    return (min(max(1, orders_max // 5), burst - (cancels_max > 0)), burst, per)


def _per_token(rest: int, window_ns: int) -> int:
    """Nanoseconds between tokens of which a window of that length holds `rest`."""
    return -(-window_ns // rest) if rest > 0 else window_ns + 1
