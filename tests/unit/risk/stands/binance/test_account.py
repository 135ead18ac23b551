"""The stand-in's account: what Binance refuses, and how orders go through their states."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from risk.stands.binance.account import Account, Order, RefusedError


def account(market: str = "usdm") -> Account:
    return Account(market, "USDT", ("BTCUSDT",))  # type: ignore[arg-type]


def place(held: Account, client_id: str = "a", **changes: Any) -> Order:
    asked = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "price": "100",
        "quantity": "2",
        "newClientOrderId": client_id,
        **changes,
    }
    held.place(asked, 1)
    return held.orders[len(held.orders)]


@pytest.mark.parametrize(("market", "code"), [("spot", -2010), ("usdm", -4116)])
def test_client_id_is_taken_while_its_order_is_open(market: str, code: int) -> None:
    held = account(market)
    order = place(held)
    with pytest.raises(RefusedError) as caught:
        place(held)
    assert caught.value.code == code
    held.cancel(order, 2)
    assert place(held).number == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "NOPE"}, -1121),
        ({"quantity": ""}, -1102),
        ({"quantity": "0"}, -1013),
        ({"price": "0"}, -1013),
        ({"quantity": "1000000"}, -2019),
    ],
)
def test_refusals(changes: dict[str, str], code: int) -> None:
    with pytest.raises(RefusedError) as caught:
        place(account(), **changes)
    assert caught.value.code == code


def test_fills_add_up_to_position_and_money() -> None:
    held = account("spot")
    order = place(held)
    (change,) = held.fill(order, Decimal("0.5"), Decimal(99), 2)
    assert (change.order.status, change.execution) == ("PARTIALLY_FILLED", "TRADE")
    held.fill(order, Decimal("1.5"), Decimal(100), 3)
    assert order.status == "FILLED"
    assert change.order.status == "PARTIALLY_FILLED"  # an event does not change any more
    assert held.held == {"BTCUSDT": Decimal(2)}
    fees = sum(each.fee for each in held.trades)
    assert held.money == Decimal(1_000_000) - Decimal("199.5") - fees


def test_orders_that_rest_for_nobody() -> None:
    held = account()
    assert place(held, "i", timeInForce="IOC").status == "EXPIRED"
    market = place(held, "m", type="MARKET", price="")
    assert (market.status, held.trades[-1].price) == ("FILLED", Decimal(100))


def test_amendments() -> None:
    spot = account("spot")
    order = place(spot)
    spot.amend(order, Decimal(1), None, 2)
    assert order.size == 1
    for size in ("1", "1.5", "0"):
        with pytest.raises(RefusedError):
            spot.amend(order, Decimal(size), None, 2)
    usdm = account()
    order = place(usdm)
    usdm.amend(order, Decimal(3), Decimal(90), 2)
    usdm.fill(order, Decimal(1), Decimal(90), 3)
    (change,) = usdm.amend(order, Decimal(1), Decimal(90), 4)
    assert change.order.status == "CANCELED"


def test_only_open_orders_are_found() -> None:
    held = account()
    order = place(held)
    asked = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
    assert held.find(asked) is order
    assert held.find({"symbol": "BTCUSDT", "orderId": "1"}) is order
    held.expire(order, 2)
    for names in (asked, {"symbol": "BTCUSDT", "orderId": "1"}):
        with pytest.raises(RefusedError) as caught:
            held.find(names)
        assert caught.value.code == -2011
