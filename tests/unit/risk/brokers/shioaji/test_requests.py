"""Requests to the SDK's order objects: made of the real package's own classes."""

import pytest

from risk.brokers.shioaji.inbox import Item
from risk.brokers.shioaji.requests import change_of, shape_of
from risk.brokers.shioaji.sdk import ShioajiOrders
from risk.brokers.shioaji.wire import Scales
from risk.errors import NotSentError
from risk.orders import Request, Wanted
from tests.harness.order_requests import config, request, wanted

shioaji = pytest.importorskip("shioaji")

SCALES = Scales(2, 0)


def native(asked: Request, ref: str = "00000A", *, market="stock", market_price_type="MKT"):
    shape = shape_of(asked, ref, market=market, scales=SCALES, market_price_type=market_price_type)
    heard: list[Item] = []
    client = ShioajiOrders(config(market=market), heard.append, None)
    kind = shioaji.AccountType.Stock if market == "stock" else shioaji.AccountType.Future
    client.account = shioaji.Account(kind, "A123456789", "9A95", "1234567", True, "x")
    return client.native(shape)


def test_limit_order_of_round_lots():
    order = native(request())
    assert isinstance(order, shioaji.StockOrder)
    assert order.action == shioaji.Action.Buy
    assert (order.price, order.quantity) == (580.5, 3)
    assert order.price_type == shioaji.StockPriceType.LMT
    assert order.time_in_force == shioaji.TimeInForce.ROD
    assert order.order_lot == shioaji.StockOrderLot.Common
    assert order.order_cond == shioaji.StockOrderCond.Cash
    assert order.custom_field == "00000A"
    assert order.account.account_id == "1234567"


@pytest.mark.parametrize(("time", "native_time"), [("gtc", "ROD"), ("ioc", "IOC"), ("fok", "FOK")])
def test_times_in_force(time, native_time):
    assert native(request(time_in_force=time)).time_in_force.value == native_time
    futures = native(request(symbol="TXFF6", time_in_force=time), market="futures")
    assert futures.time_in_force.value == native_time


def test_market_order_of_a_stock():
    order = native(request(price=None, side="A"))
    assert order.price_type == shioaji.StockPriceType.MKT
    assert order.action == shioaji.Action.Sell
    assert order.price == 0.0


def test_odd_lots_are_shares_and_limit_orders_of_the_day_only():
    order = native(request(symbol="2330-ODD", size=123))
    assert order.order_lot == shioaji.StockOrderLot.IntradayOdd
    assert order.quantity == 123
    for changes in ({"price": None}, {"time_in_force": "ioc"}, {"time_in_force": "fok"}):
        with pytest.raises(NotSentError, match="odd lots"):
            native(request(symbol="2330-ODD", **changes))


def test_futures_order_and_its_market_price_types():
    order = native(request(symbol="TXFF6", price=2_150_000), market="futures")
    assert isinstance(order, shioaji.FuturesOrder)
    assert order.octype == shioaji.FuturesOCType.Auto
    assert order.price_type == shioaji.FuturesPriceType.LMT
    market = request(symbol="TXFF6", price=None, time_in_force="ioc")
    assert native(market, market="futures").price_type == shioaji.FuturesPriceType.MKT
    ranged = native(request(symbol="TXFF6", price=None), market="futures", market_price_type="MKP")
    assert ranged.price_type == shioaji.FuturesPriceType.MKP
    with pytest.raises(NotSentError, match="9938"):
        native(request(symbol="TXFF6", price=None), market="futures")


def test_reduce_only_closes_futures_and_never_buys_stocks():
    order = native(request(symbol="TXFF6", reduce_only=True), market="futures")
    assert order.octype == shioaji.FuturesOCType.Cover
    assert native(request(side="A", reduce_only=True)).action == shioaji.Action.Sell
    with pytest.raises(NotSentError, match="short sales"):
        native(request(reduce_only=True))


@pytest.mark.parametrize("ref", ["", "1234567", "ab-c", "中文", "a b", "A\n"])
def test_a_reference_that_the_venue_would_not_keep_is_refused(ref):
    with pytest.raises(NotSentError, match="letters and digits"):
        native(request(), ref)


@pytest.mark.parametrize(
    "changes", [{"time_in_force": "post_only"}, {"size": 0}, {"size": -1}, {"price": 0}]
)
def test_what_the_venue_does_not_have_never_leaves(changes):
    with pytest.raises(NotSentError):
        native(request(**changes))


def test_a_size_that_is_no_whole_lot_never_leaves():
    with pytest.raises(NotSentError, match="no count"):
        shape_of(
            request(size=1500),
            "00000A",
            market="stock",
            scales=Scales(2, 3),
            market_price_type="MKT",
        )


def test_a_change_is_one_price_or_what_is_to_be_taken_away():
    order: Wanted = wanted("00000A")
    assert change_of(order, price=57_000, size=3, scales=SCALES) == (570.0, None)
    assert change_of(order, price=58_050, size=1, scales=SCALES) == (None, 2)


@pytest.mark.parametrize(
    ("changes", "price", "size", "words"),
    [
        ({}, 57_000, 2, "not both"),
        ({}, 58_050, 3, "nothing"),
        ({}, 58_050, 4, "only be reduced"),
        ({}, None, 3, "market order"),
        ({"price": None}, 57_000, 3, "market order"),
        ({"symbol": "2330-ODD"}, 57_000, 3, "odd-lot"),
    ],
)
def test_a_change_that_the_venue_does_not_have_never_leaves(changes, price, size, words):
    with pytest.raises(NotSentError, match=words):
        change_of(wanted("00000A", **changes), price=price, size=size, scales=SCALES)
