"""The account of the stand-in: orders, trades, money; every change yields the order's new state.

Pure: decimals and times in, values out. There is no book: orders rest until somebody says that they
are filled; market orders fill at once at the last price that was named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

__all__ = ["Account", "Change", "Order", "RefusedError", "Trade"]

Market = Literal["spot", "usdm"]
OPEN: Final = frozenset({"NEW", "PARTIALLY_FILLED"})
FEE_RATE: Final = Decimal("0.0004")
MONEY_AT_START: Final = Decimal(1_000_000)


class RefusedError(Exception):
    """What the venue answers with a 400."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@dataclass(slots=True)
class Order:
    """One order; quantities are decimals as the venue prints them."""

    symbol: str
    number: int
    client_id: str
    side: str
    kind: str
    time_in_force: str
    price: Decimal
    size: Decimal
    reduce_only: bool
    time_ms: int
    status: str = "NEW"
    filled: Decimal = Decimal(0)
    paid: Decimal = Decimal(0)
    update_ms: int = 0


@dataclass(frozen=True, slots=True)
class Trade:
    """One execution."""

    number: int
    order: Order
    price: Decimal
    size: Decimal
    fee: Decimal
    fee_asset: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """What an event tells: how an order stood then."""

    execution: str
    order: Order  # a copy
    time_ms: int
    trade: Trade | None = None
    cancel_id: str = ""  # spot: the client id of the cancel itself


@dataclass
class Account:
    """One account in one market."""

    market: Market
    currency: str
    symbols: tuple[str, ...]
    last_price: Decimal = Decimal(100)
    is_hedged: bool = False
    orders: dict[int, Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    held: dict[str, Decimal] = field(default_factory=dict)  # bought minus sold, by symbol
    money: Decimal = MONEY_AT_START

    # Asked for ------------------------------------------------------------------------------

    def place(self, asked: dict[str, str], now_ms: int) -> list[Change]:
        """Raises RefusedError."""
        for name in ("symbol", "side", "type", "quantity"):
            if not asked.get(name):
                raise RefusedError(-1102, f"Mandatory parameter '{name}' was not sent.")
        if asked["symbol"] not in self.symbols:
            raise RefusedError(-1121, "Invalid symbol.")
        client_id = asked.get("newClientOrderId") or f"web_{len(self.orders)}"
        self._refuse_duplicate(client_id)
        price, size = Decimal(asked.get("price") or 0), Decimal(asked["quantity"])
        if size <= 0 or (price <= 0 and asked["type"] != "MARKET"):
            raise RefusedError(-1013, "Filter failure: LOT_SIZE")
        if (price or self.last_price) * size > self.money:
            if self.market == "usdm":
                raise RefusedError(-2019, "Margin is insufficient.")
            raise RefusedError(-2010, "Account has insufficient balance for requested action.")
        number = len(self.orders) + 1
        order = Order(
            asked["symbol"],
            number,
            client_id,
            asked["side"],
            asked["type"],
            asked.get("timeInForce", "GTC"),
            price,
            size,
            asked.get("reduceOnly") == "true",
            now_ms,
            update_ms=now_ms,
        )
        self.orders[number] = order
        changes = [self._change("NEW", order, now_ms)]
        if order.kind == "MARKET":
            changes += self.fill(order, size, self.last_price, now_ms)
        elif order.time_in_force in {"IOC", "FOK"}:  # there is no book to take from
            changes += self.expire(order, now_ms)
        return changes

    def _refuse_duplicate(self, client_id: str) -> None:
        """The id of a closed order is free again, as at the venue."""
        if any(each.client_id == client_id for each in self.open_orders()):
            if self.market == "usdm":
                raise RefusedError(-4116, "ClientOrderId is duplicated.")
            raise RefusedError(-2010, "Duplicate order sent.")

    def cancel(self, order: Order, now_ms: int, cancel_id: str = "") -> list[Change]:
        order.status, order.update_ms = "CANCELED", now_ms
        return [self._change("CANCELED", order, now_ms, cancel_id=cancel_id)]

    def expire(self, order: Order, now_ms: int, status: str = "EXPIRED") -> list[Change]:
        order.status, order.update_ms = status, now_ms
        execution = "EXPIRED"
        if status == "EXPIRED_IN_MATCH" and self.market == "spot":
            execution = "TRADE_PREVENTION"
        return [self._change(execution, order, now_ms)]

    def amend(
        self, order: Order, size: Decimal, price: Decimal | None, now_ms: int
    ) -> list[Change]:
        """Raises RefusedError. What leaves nothing to fill is cancelled, as USD-M does."""
        if size <= order.filled and self.market == "usdm":
            return self.cancel(order, now_ms)
        if price is None and not order.filled < size < order.size:
            raise RefusedError(-2038, "Order amend rejected.")
        order.size, order.update_ms = size, now_ms
        order.price = order.price if price is None else price
        name = "REPLACED" if self.market == "spot" else "AMENDMENT"
        return [self._change(name, order, now_ms)]

    def fill(self, order: Order, size: Decimal, price: Decimal, now_ms: int) -> list[Change]:
        fee = size * price * FEE_RATE
        trade = Trade(
            len(self.trades) + 1,
            order,
            price,
            size,
            fee.quantize(Decimal("1.00000000")),
            self.currency,
            now_ms,
        )
        self.trades.append(trade)
        order.filled += size
        order.paid += size * price
        order.update_ms = now_ms
        order.status = "FILLED" if order.filled >= order.size else "PARTIALLY_FILLED"
        signed = size if order.side == "BUY" else -size
        self.held[order.symbol] = self.held.get(order.symbol, Decimal(0)) + signed
        self.money -= trade.fee + (signed * price if self.market == "spot" else 0)
        return [self._change("TRADE", order, now_ms, trade)]

    def _change(
        self,
        execution: str,
        order: Order,
        now_ms: int,
        trade: Trade | None = None,
        cancel_id: str = "",
    ) -> Change:
        copy = Order(*(getattr(order, name) for name in Order.__slots__))
        return Change(execution, copy, now_ms, trade, cancel_id)

    # Found ----------------------------------------------------------------------------------

    def open_orders(self) -> list[Order]:
        return [each for each in self.orders.values() if each.status in OPEN]

    def find(self, asked: dict[str, str]) -> Order:
        """The open order that a request names. Raises RefusedError."""
        for each in reversed(self.orders.values()):
            named = asked.get("orderId") == str(each.number) or (
                "orderId" not in asked and asked.get("origClientOrderId") == each.client_id
            )
            if named and each.symbol == asked.get("symbol") and each.status in OPEN:
                return each
        raise RefusedError(-2011, "Unknown order sent.")
