"""Shapes of Shioaji's order results, for the stand-in: those classes of the SDK cannot be made.

`Trade` and what hangs on it have the attributes of the real classes (a test compares them), enums
and accounts are the SDK's own. It decides nothing about an order.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import shioaji

__all__ = [
    "Balance",
    "Deal",
    "Health",
    "HealthReason",
    "MarginFigures",
    "OrderResult",
    "OrderStatusInfo",
    "Position",
    "Trade",
]


@dataclass
class Deal:
    """`shioaji.Deal`."""

    seq: str
    price: float
    quantity: int
    ts: float


@dataclass
class OrderResult:
    """`shioaji.OrderResult`: what `Trade.order` is."""

    action: Any
    price: float
    quantity: int
    id: str = ""
    seqno: str = ""
    ordno: str = ""
    time_in_force: Any = None
    price_type: Any = None
    custom_field: str | None = None
    account: Any = None
    daytrade_short: bool | None = None
    order_cond: Any = None
    order_lot: Any = None
    octype: Any = None


@dataclass
class OrderStatusInfo:
    """`shioaji.OrderStatusInfo`: what `Trade.status` is."""

    id: str = ""
    status: Any = shioaji.OrderStatus.Inactive
    status_code: str | None = None
    web_id: str | None = None
    order_datetime: Any = None
    msg: str | None = None
    modified_time: Any = None
    modified_price: float | None = None
    order_quantity: int | None = None
    deal_quantity: int | None = None
    cancel_quantity: int | None = None
    deals: list[Deal] = field(default_factory=list)


@dataclass
class Trade:
    """`shioaji.Trade`. The stand-in's own is kept up; what it hands out may be a copy."""

    contract: Any
    order: OrderResult
    status: OrderStatusInfo

    def copy(self) -> Trade:
        # Enums and accounts of the SDK are shared: they cannot be copied, and never change.
        return Trade(
            self.contract,
            OrderResult(**vars(self.order)),
            OrderStatusInfo(**{**vars(self.status), "deals": deepcopy(self.status.deals)}),
        )


@dataclass
class HealthReason:
    """`shioaji.TradeCacheHealthReason`."""

    event_type: Any
    reason: Any


@dataclass
class Health:
    """`shioaji.TradeCacheHealth`."""

    state: Any
    reasons: list[HealthReason] = field(default_factory=list)


@dataclass
class Balance:
    """`shioaji.AccountBalance`."""

    acc_balance: float
    date: str = "2026-07-14"
    errmsg: str = ""


@dataclass
class MarginFigures:
    """`shioaji.Margin`, as far as anything depends on it."""

    equity: float
    available_margin: float
    initial_margin: float
    future_open_position: float
    option_open_position: float


@dataclass
class Position:
    """`shioaji.StockPosition` and `FuturePosition`, as far as anything depends on them."""

    code: str
    direction: Any
    quantity: int
    price: float
    last_price: float
    pnl: float
