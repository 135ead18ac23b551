"""Limits as the gate compares them: rows of text become integers, per route and per key.

Of all rows that an order is under, the tightest counts where the order is looked at by itself;
where a sum is, each key keeps its own. Pure; it decides about no order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

import msgspec

from risk.gate_terms import NONE, AccountLimits, CellLimits, SideLimits, StrategyLimits
from risk.limits import (
    ACCOUNT_FIELDS,
    MARGIN_PCT,
    MONEY_FIELDS,
    QTY_FIELDS,
    QTY_SCALE,
    REQUIRED,
    STRATEGY_FIELDS,
    UNLIMITED,
    LimitConfig,
    Limits,
    money,
    quantity,
)
from risk.orders import MONEY_SCALE
from risk.trading_hours import Hours, parse_hours

__all__ = [
    "CellKey",
    "Definition",
    "account_limits",
    "cells_of",
    "hours_of",
    "recent_ns",
    "side_limits",
    "strategy_limits",
]

_INT64_MAX: Final = (1 << 63) - 1
_MS_NS: Final = 1_000_000
_MS_FIELDS: Final = ("reference_age_ms_max", "duplicate_window_ms", "account_age_ms_max")
# More of it is tighter.
_MORE: Final = ("duplicate_window_ms", "free_balance_min")
# Account, strategy, and the instrument: by name where money is summed, by number where sizes are.
CellKey = tuple[str, str, str | int]
_SUMS: Final = ("gross_max", "net_max", "open_orders_max", "orders_max")
# What has a worth in money; an index has none, and of what is not known nobody can say.
_LINEAR_CLASSES: Final = ("spot", "stock", "perpetual", "future", "option")
# Quoted in dollars of which no venue has any: the contract settles in the coin before them. So do
# BTCUSD_PERP, BTCUSD_241227, BTC-USD-SWAP; not BTCUSDT, BTC-USDC-SWAP.
_COIN_SETTLED: Final = re.compile(r"[A-Z0-9]+-?USD(?![A-Z0-9])")
_OF_ORDERS: Final = tuple(
    name for name in REQUIRED if name not in (*STRATEGY_FIELDS, *ACCOUNT_FIELDS)
)


class Definition(msgspec.Struct, frozen=True):
    """An instrument as the gate needs it; the rest of its definition is not read."""

    venue: str
    symbol: str
    asset_class: str
    price_scale: int
    size_scale: int
    tick: int
    lot: int
    multiplier: str

    @property
    def label(self) -> str:
        return f"{self.venue}:{self.symbol}"

    @property
    def worth(self) -> tuple[int, int] | None:
        """(num, div): money = price x size x num / div. None: not linear, or out of bounds."""
        if self.tick < 1 or self.lot < 1 or not self._is_linear:
            return None
        try:
            multiplier = Decimal(self.multiplier)
        except InvalidOperation:
            return None
        if not multiplier.is_finite() or multiplier <= 0:
            return None
        up, down = multiplier.as_integer_ratio()
        shift = MONEY_SCALE - self.price_scale - self.size_scale
        num, div = up * 10 ** max(shift, 0), down * 10 ** max(-shift, 0)
        common = math.gcd(num, div)
        num, div = num // common, div // common
        return (num, div) if max(num, div) <= _INT64_MAX else None

    @property
    def _is_linear(self) -> bool:
        """Whether price times size is money, as far as the definition tells; in doubt it is not.

        Contracts that settle in the coin they are about are worth size / price. A definition does
        not name what it settles in, but its symbol names what it is quoted in.
        """
        if self.asset_class not in _LINEAR_CLASSES:
            return False
        return self.asset_class == "spot" or not _COIN_SETTLED.match(self.symbol)


class _Value(NamedTuple):
    """A limit in integers; `size_scale` is the instrument's."""

    name: str
    size_scale: int

    def of(self, row: LimitConfig) -> int | None:
        """None: the row says nothing about it."""
        given = getattr(row, self.name)
        if given is None:
            return None
        if given == UNLIMITED:
            return NONE
        if self.name in MONEY_FIELDS:
            return money(given)
        if self.name in QTY_FIELDS:
            units: int = quantity(given) // 10 ** (QTY_SCALE - self.size_scale)
            return min(units, _INT64_MAX)
        whole: int = int(given) * (_MS_NS if self.name in _MS_FIELDS else 1)
        return min(whole, _INT64_MAX)


def _tightest(name: str, rows: Iterable[LimitConfig], size_scale: int = 0) -> int:
    """NONE where all rows say so, and where none says anything (`is_missing` tells)."""
    value = _Value(name, size_scale)
    values = [each for row in rows if (each := value.of(row)) not in (None, NONE)]
    if not values:
        return NONE
    numbers = [each for each in values if each is not None]
    return max(numbers) if name in _MORE else min(numbers)


def _is_given(name: str, rows: Iterable[LimitConfig]) -> bool:
    return any(getattr(row, name) is not None for row in rows)


def side_limits(
    limits: Limits, account: str, strategy: str, definition: Definition, side: str
) -> SideLimits:
    """Everything that an order of a route is compared with by itself."""
    rows = limits.rows(account, strategy, definition.label, side)
    scale = definition.size_scale
    said = [row.tradable for row in rows if row.tradable is not None]
    own = [row for row in rows if row.strategy]
    return SideLimits(
        is_missing=int(not all(_is_given(name, rows) for name in _OF_ORDERS)),
        is_tradable=int(bool(said) and all(said)),
        is_restricted=int(
            definition.label in limits.restricted or any(row.restricted for row in rows)
        ),
        # An exception must be said, and `deny` in any row that applies ends it.
        denies_self_trade=int({row.self_trade for row in rows} - {None} != {"allow"}),
        order_qty_max=_tightest("order_qty_max", rows, scale),
        order_notional_max=_tightest("order_notional_max", rows),
        collar_bps=_tightest("collar_bps", rows),
        period_collar_bps=_tightest("period_collar_bps", rows),
        reference_age_ns_max=_tightest("reference_age_ms_max", rows),
        duplicate_window_ns=_tightest("duplicate_window_ms", rows),
        margin_pct=max(
            (row.margin_pct for row in rows if row.margin_pct is not None), default=MARGIN_PCT
        ),
        strategy_loss_max=_tightest("daily_loss_max", own),
    )


def account_limits(limits: Limits, account: str) -> AccountLimits:
    """Of an account, whoever trades on it."""
    rows = [
        row
        for row in limits.config.limits
        if row.account in ("", account) and not (row.strategy or row.instrument)
    ]
    return AccountLimits(
        is_missing=int(not all(_is_given(name, rows) for name in ACCOUNT_FIELDS)),
        daily_loss_max=_tightest("daily_loss_max", rows),
        drawdown_max=_tightest("drawdown_max", rows),
        free_balance_min=_tightest("free_balance_min", rows),
        age_ns_max=_tightest("account_age_ms_max", rows),
    )


def strategy_limits(limits: Limits, strategy: str) -> StrategyLimits:
    """Of a strategy, wherever it trades."""
    rows = [
        row
        for row in limits.config.limits
        if row.strategy in ("", strategy) and not (row.account or row.instrument)
    ]
    given = [row for row in rows if row.executions_max not in (None, UNLIMITED)]
    return StrategyLimits(
        is_missing=int(not all(_is_given(name, rows) for name in STRATEGY_FIELDS)),
        executions_max=_tightest("executions_max", rows),
        executions_window_ns=max((row.executions_window_ms for row in given), default=0) * _MS_NS,
        cancel_ratio_pct_max=_tightest("cancel_ratio_pct_max", rows),
    )


_NO_CELL: Final = CellLimits(NONE, NONE, NONE, NONE, NONE, 0)


def cells_of(
    limits: Limits, account: str, strategy: str, instrument: int, definition: Definition
) -> Iterator[tuple[CellKey, CellLimits, CellLimits]]:
    """Every key whose sum a route is part of, first that of account and instrument."""
    cells: dict[CellKey, list[CellLimits]] = {(account, "", instrument): [_NO_CELL, _NO_CELL]}
    scale = definition.size_scale
    for at, side in enumerate(("B", "A")):
        for row in limits.rows(account, strategy, definition.label, side):
            if _is_given("position_max", [row]):
                # Sizes of different instruments have no sum: each is bounded by itself.
                both = cells.setdefault((row.account, row.strategy, instrument), [_NO_CELL] * 2)
                most = _tightest("position_max", [row], scale)
                known = both[at].position_max
                tightest = most if known == NONE else known if most == NONE else min(most, known)
                both[at] = both[at]._replace(position_max=tightest)
            if any(_is_given(name, [row]) for name in _SUMS):
                both = cells.setdefault(row.key, [_NO_CELL] * 2)
                given = {name: _tightest(name, [row]) for name in _SUMS if _is_given(name, [row])}
                both[at] = both[at]._replace(**given)
                if _is_given("orders_max", [row]):
                    window_ns = row.orders_window_ms * _MS_NS
                    both[at] = both[at]._replace(orders_window_ns=window_ns)
    for key, (buy, sell) in cells.items():
        yield key, buy, sell


def hours_of(limits: Limits, account: str, strategy: str, label: str) -> list[Hours]:
    """All of them must be open."""
    rows = limits.rows(account, strategy, label, "B")
    return [parse_hours(row.hours, row.timezone) for row in rows if row.hours is not None]


def recent_ns(limits: Limits) -> int:
    """The longest window in which the same order is a duplicate."""
    return max(0, _tightest("duplicate_window_ms", limits.config.limits))
