"""What was approved, as the SDK wants to hear it: the fields of its order objects.

Pure: plain values with the SDK's own names and enum texts; `sdk.py` makes the objects. What the
venue cannot do is refused here, before it leaves.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from risk.brokers.shioaji.numbers import MalformedError, plain_float
from risk.brokers.shioaji.wire import ODD_SUFFIX, VENUE, Scales
from risk.errors import NotSentError
from risk.orders import Request, TimeInForce, Wanted

__all__ = ["REF_PATTERN", "Change", "OrderShape", "change_of", "shape_of"]

# "custom_field: memo field, only letters and numbers are allowed, and the maximum length is 6":
# https://sinotrade.github.io/tutor/order/Stock/, read 2026-11-21. The SDK itself takes anything.
REF_PATTERN: Final = re.compile(r"[0-9A-Za-z]{1,6}")
# The venue has no order that lasts longer than the session: ROD is "rest of day".
_TIMES: Final[dict[TimeInForce, str]] = {"gtc": "ROD", "ioc": "IOC", "fok": "FOK"}


class OrderShape(NamedTuple):
    """An order as the SDK's constructors take it; of the other market's fields none is used."""

    market: Literal["stock", "futures"]
    action: str
    price: float
    quantity: int
    price_type: str
    time_in_force: str
    custom_field: str
    order_lot: str = ""  # stocks
    order_cond: str = ""
    octype: str = ""  # futures and options


class Change(NamedTuple):
    """One of both: the SDK changes the price, or takes some of the quantity away."""

    price: float | None
    less: int | None


def refuse(words: str, hint: str = "") -> NotSentError:
    return NotSentError(f"{VENUE}: {words}", venue=VENUE, hint=hint or None)


def shape_of(
    request: Request,
    ref: str,
    *,
    market: Literal["stock", "futures"],
    scales: Scales,
    market_price_type: str,
) -> OrderShape:
    """The order of `request`. Raises NotSentError: the venue has no such order."""
    if not REF_PATTERN.fullmatch(ref):
        raise refuse(f"reference {ref[:20]!r} is not 1 to 6 letters and digits")
    time = _TIMES.get(request.time_in_force)
    if time is None:
        raise refuse(f"no {request.time_in_force} orders")
    try:
        price = 0.0 if request.price is None else plain_float(request.price, scales.price)
        quantity = _quantity(request.size, scales)
    except MalformedError as error:
        raise refuse(str(error)) from error
    if request.price is not None and request.price <= 0 and market == "stock":
        raise refuse(f"price {request.price} of a stock")
    action = "Buy" if request.side == "B" else "Sell"
    if market == "futures":
        price_type = "LMT" if request.price is not None else market_price_type
        if price_type == "MKT" and time == "ROD":
            raise refuse(
                "a market order on futures must be ioc or fok (the exchange's 9938)",
                "or market_price_type = 'MKP'",
            )
        octype = "Cover" if request.reduce_only else "Auto"
        return OrderShape(market, action, price, quantity, price_type, time, ref, octype=octype)
    if request.reduce_only and action == "Buy":
        raise refuse("a buy of stocks reduces nothing: short sales are not supported")
    odd = request.symbol.endswith(ODD_SUFFIX)
    if odd and (request.price is None or time != "ROD"):
        raise refuse("odd lots take limit orders for the rest of the day only")
    return OrderShape(
        "stock",
        action,
        price,
        quantity,
        "LMT" if request.price is not None else "MKT",
        time,
        ref,
        order_lot="IntradayOdd" if odd else "Common",
        order_cond="Cash",
    )


def change_of(order: Wanted, *, price: int | None, size: int, scales: Scales) -> Change:
    """What to ask for so that `order` has this price and whole size. Raises NotSentError."""
    new_price = price != order.price
    less = order.size - size
    if new_price and less:
        raise refuse("price or size, not both in one step")
    if not new_price and not less:
        raise refuse("nothing to change")
    if new_price:
        if price is None or order.price is None:
            raise refuse("a market order has no price to change")
        if order.symbol.endswith(ODD_SUFFIX):
            raise refuse("the price of an odd-lot order cannot be changed")
        try:
            return Change(plain_float(price, scales.price), None)
        except MalformedError as error:
            raise refuse(str(error)) from error
    if less < 0:
        raise refuse("a size can only be reduced")
    try:
        return Change(None, _quantity(less, scales))
    except MalformedError as error:
        raise refuse(str(error)) from error


def _quantity(size: int, scales: Scales) -> int:
    exact = Decimal(size).scaleb(-scales.size)
    if exact != exact.to_integral_value() or exact <= 0:
        raise MalformedError(f"size {size} is no count of lots, shares or contracts")
    return int(exact)
