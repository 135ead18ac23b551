"""What Binance lists over REST: orders, trades, positions, money.

Pure: bodies in, the parts of a `Snapshot` out. An entry that cannot be read makes the list not
whole, because of a list with a hole absence proves nothing; the entries beside it still count.

Sources, read 2026-11-21: binance-spot-api-docs rest-api.md (openOrders, allOrders, myTrades,
account); developers.binance.com derivatives/usds-margined-futures (openOrders, allOrders,
userTrades, positionRisk v3, account v3).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal, TypeVar

import msgspec

from risk.brokers.binance.config import Market
from risk.brokers.binance.errors import vendor_text
from risk.brokers.binance.reports import (
    NS_PER_MS,
    OwnScales,
    ScalesOf,
    fee_units,
    none_known,
    qualified,
)
from risk.brokers.binance.wire import Scales, Wire
from risk.errors import BrokerError
from risk.orders import (
    MONEY_SCALE,
    AccountState,
    Report,
    ReportKind,
    Side,
    VenueOrder,
    VenuePosition,
)
from tickd.errors import Action, TickdError
from tickd.units import decimal_to_mantissa

__all__ = ["Listings", "OpenOrder", "entries"]

T = TypeVar("T")

_SIDES: Final[dict[str, Side]] = {"BUY": "B", "SELL": "A"}
End = Literal["", "filled", "cancelled", "expired", "rejected"]
# Every status that either market documents; another one makes the list not whole.
_ENDS: Final[dict[str, End]] = {
    "NEW": "",
    "PENDING_NEW": "",
    "PARTIALLY_FILLED": "",
    "PENDING_CANCEL": "",
    "FILLED": "filled",
    "CANCELED": "cancelled",
    "EXPIRED": "expired",
    "EXPIRED_IN_MATCH": "expired",
    "REJECTED": "rejected",
}


class OpenOrder(msgspec.Struct, rename="camel"):
    """As much of an open order as a cancel needs: it takes no scales."""

    symbol: str
    order_id: int
    client_order_id: str = ""


class _Order(msgspec.Struct, rename="camel"):
    symbol: str
    order_id: int
    client_order_id: str
    price: str
    orig_qty: str
    executed_qty: str
    status: str
    side: str
    type: str = ""


class _Trade(msgspec.Struct, rename="camel"):
    symbol: str
    id: int
    order_id: int
    price: str
    qty: str
    commission: str
    commission_asset: str
    time: int


class _Position(msgspec.Struct, rename="camel"):
    symbol: str
    position_amt: str
    position_side: str = "BOTH"


class _Balance(msgspec.Struct):
    asset: str
    free: str
    locked: str


class _SpotAccount(msgspec.Struct):
    balances: tuple[_Balance, ...]


class _Asset(msgspec.Struct, rename="camel"):
    asset: str
    margin_balance: str
    available_balance: str
    initial_margin: str
    unrealized_profit: str


class _UsdmAccount(msgspec.Struct):
    assets: tuple[_Asset, ...]


def entries(body: bytes, kind: type[T]) -> list[T]:
    """Raises BrokerError: the body is no such list."""
    try:
        return msgspec.json.decode(body, type=list[kind])  # type: ignore[valid-type]
    except msgspec.MsgspecError as error:
        raise BrokerError(f"a list that cannot be read: {vendor_text(str(error))}") from error


class Listings:
    """One snapshot's lists, filled one after the other."""

    def __init__(
        self,
        market: Market,
        wire: Wire,
        scales_of: ScalesOf,
        symbols: Collection[str],
        own: OwnScales = none_known,
    ) -> None:
        self._spot: Final = market == "spot"
        self._wire: Final = wire
        self._scales_of: Final = scales_of
        self._own: Final = own
        self._symbols: Final = frozenset(symbols)
        self._orders: dict[str, VenueOrder] = {}
        self._fills: dict[str, Report] = {}
        self._positions: dict[str, VenuePosition] = {}
        self.account: AccountState | None = None
        self.holes: list[str] = []  # why a list is not whole

    @property
    def orders(self) -> tuple[VenueOrder, ...]:
        return tuple(self._orders.values())

    @property
    def fills(self) -> tuple[Report, ...]:
        """In the order of their trades, with our reference where its order is listed."""
        found = sorted(self._fills.values(), key=lambda each: each.ts_event_ns or 0)
        return tuple(msgspec.structs.replace(each, ref=self._ref(each)) for each in found)

    @property
    def positions(self) -> tuple[VenuePosition, ...]:
        return tuple(self._positions.values())

    def _ref(self, fill: Report) -> str:
        order = self._orders.get(fill.venue_id)
        return order.ref if order is not None else ""

    # Orders and trades ----------------------------------------------------------------------

    def add_orders(self, body: bytes) -> int:
        """Take a list of orders, newer than the ones before; how many it holds.

        Orders of others in other symbols are none of ours, and have no scales.
        Raises BrokerError: no list.
        """
        raw = entries(body, msgspec.Raw)
        for each in raw:
            try:
                order = msgspec.json.decode(each, type=_Order)
                ours = bool(self._wire.ref_of(order.client_order_id))
                if not ours and order.symbol not in self._symbols:
                    continue
                listed = self._listed(order)
            except (msgspec.MsgspecError, TickdError) as error:
                self.holes.append(f"an order: {vendor_text(str(error))}")
            else:
                self._orders[listed.venue_id] = listed
        return len(raw)

    def _listed(self, order: _Order) -> VenueOrder:
        ref = self._wire.ref_of(order.client_order_id)
        venue_id = qualified(order.symbol, order.order_id)
        scales = self._own(ref, venue_id) or self._scales(order.symbol)
        end = _ENDS.get(order.status)
        side = _SIDES.get(order.side)
        if end is None or side is None:
            raise TickdError(f"status {vendor_text(order.status)}, side {vendor_text(order.side)}")
        market = order.type == "MARKET"
        return VenueOrder(
            ref=ref,
            venue_id=venue_id,
            symbol=order.symbol,
            side=side,
            price=None if market else decimal_to_mantissa(order.price, scales.price),
            size=decimal_to_mantissa(order.orig_qty, scales.size),
            cum_size=decimal_to_mantissa(order.executed_qty, scales.size),
            is_open=not end,
            end=end,
        )

    def add_trades(self, body: bytes) -> int:
        """Take a list of trades; how many it holds. Raises BrokerError: no list."""
        raw = entries(body, msgspec.Raw)
        for each in raw:
            try:
                trade = msgspec.json.decode(each, type=_Trade)
                fill = self._fill(trade)
            except (msgspec.MsgspecError, TickdError) as error:
                self.holes.append(f"a trade: {vendor_text(str(error))}")
            else:
                self._fills[fill.exec_id] = fill
        return len(raw)

    def _fill(self, trade: _Trade) -> Report:
        venue_id = qualified(trade.symbol, trade.order_id)
        listed = self._orders.get(venue_id)
        ref = "" if listed is None else listed.ref
        scales = self._own(ref, venue_id) or self._scales(trade.symbol)
        return Report(
            kind=ReportKind.FILL,
            venue_id=venue_id,
            exec_id=qualified(trade.symbol, trade.id),
            price=decimal_to_mantissa(trade.price, scales.price),
            size=decimal_to_mantissa(trade.qty, scales.size),
            fee=fee_units(trade.commission),
            fee_currency=trade.commission_asset,
            ts_event_ns=trade.time * NS_PER_MS,
        )

    # Positions and money --------------------------------------------------------------------

    def add_positions(self, body: bytes) -> None:
        """USD-M. Raises BrokerError: no list; FATAL: positions of two sides are held."""
        for each in entries(body, _Position):
            try:
                if each.symbol not in self._symbols:
                    continue
                size = decimal_to_mantissa(each.position_amt, self._scales(each.symbol).size)
            except TickdError as error:
                self.holes.append(f"a position: {vendor_text(str(error))}")
                continue
            if each.position_side != "BOTH":
                raise BrokerError(
                    f"{vendor_text(each.symbol)} has a position of side "
                    f"{vendor_text(each.position_side)}: only one-way mode is supported",
                    action=Action.FATAL,
                )
            if size:
                self._positions[each.symbol] = VenuePosition(symbol=each.symbol, size=size)

    def add_account(self, body: bytes, currency: str) -> None:
        """Take the money, and of spot the balances as positions. Raises BrokerError: no account."""
        try:
            if self._spot:
                self._add_balances(msgspec.json.decode(body, type=_SpotAccount).balances, currency)
            else:
                self._add_assets(msgspec.json.decode(body, type=_UsdmAccount).assets, currency)
        except (msgspec.MsgspecError, TickdError) as error:
            raise BrokerError(f"an account that cannot be read: {vendor_text(str(error))}") from (
                error
            )

    def _add_balances(self, balances: Iterable[_Balance], currency: str) -> None:
        """An asset without a balance is not listed; dust finer than the size scale is cut off."""
        # Of the currency none at all is a balance of 0.
        self.account = AccountState(currency=currency, equity=0, free=0)
        held = {each.asset: each for each in balances}
        money = held.get(currency)
        if money is not None:
            free = decimal_to_mantissa(money.free, MONEY_SCALE)
            locked = decimal_to_mantissa(money.locked, MONEY_SCALE)
            self.account = AccountState(currency=currency, equity=free + locked, free=free)
        for symbol in sorted(self._symbols):
            balance = held.get(symbol.removesuffix(currency))
            if balance is None:
                continue
            scale = self._scales(symbol).size
            size = _floor(balance.free, scale) + _floor(balance.locked, scale)
            if size:
                self._positions[symbol] = VenuePosition(symbol=symbol, size=size)

    def _add_assets(self, assets: Iterable[_Asset], currency: str) -> None:
        for each in assets:
            if each.asset == currency:
                self.account = AccountState(
                    currency=currency,
                    equity=decimal_to_mantissa(each.margin_balance, MONEY_SCALE),
                    free=decimal_to_mantissa(each.available_balance, MONEY_SCALE),
                    margin_used=decimal_to_mantissa(each.initial_margin, MONEY_SCALE),
                    unrealised=decimal_to_mantissa(each.unrealized_profit, MONEY_SCALE),
                )
                return
        self.holes.append(f"no money in {currency}")

    def _scales(self, symbol: str) -> Scales:
        scales = self._scales_of(symbol)
        if scales is None:
            raise TickdError(f"{vendor_text(symbol)} has no known scales")
        return scales


def _floor(text: str, scale: int) -> int:
    whole, _, decimals = text.partition(".")
    cut = decimals[:scale]
    return decimal_to_mantissa(f"{whole}.{cut}" if cut else whole, scale)
