"""The venue's lists as orders, deals, positions and money."""

from dataclasses import replace

import pytest

from risk.brokers.shioaji.correlation import Correlation, Entry
from risk.brokers.shioaji.listing import Deals, funds_of, is_open, order_of, positions_of
from risk.brokers.shioaji.numbers import MalformedError
from risk.brokers.shioaji.wire import Scales
from risk.orders import AccountState
from tests.harness.order_requests import approved, config
from tickd.testing.shioaji_order_messages import deal_message

shioaji = pytest.importorskip("shioaji")

from tickd.testing.shioaji_trades import (  # noqa: E402
    Balance,
    Deal,
    MarginFigures,
    OrderResult,
    OrderStatusInfo,
    Position,
    Trade,
)

SCALES = Scales(2, 0)
S = shioaji.OrderStatus


def trade(status=S.Submitted, *, quantity=3, dealt=0, cancelled=0, **order):
    fields = {
        "id": "id1",
        "custom_field": "00000A",
        "price_type": shioaji.PriceType.LMT,
        "order_lot": shioaji.StockOrderLot.Common,
    }
    result = OrderResult(shioaji.Action.Sell, 580.5, quantity, **{**fields, **order})
    info = OrderStatusInfo(id="id1", status=status, deal_quantity=dealt, cancel_quantity=cancelled)
    return Trade(shioaji.BaseContract("STK", "TSE", "2330"), result, info)


def listed(each):
    order = order_of(each, {"2330": SCALES, "2330-ODD": SCALES}.get, Correlation())
    assert order is not None
    return order


def test_a_working_order_with_its_change_of_price():
    each = trade(S.PartFilled, dealt=1)
    each.status.modified_price = 579.0
    order = listed(each)
    assert (order.ref, order.venue_id, order.side) == ("00000A", "id1", "A")
    assert (order.price, order.size, order.cum_size) == (57_900, 3, 1)
    assert (order.is_open, order.end) == (True, "")


@pytest.mark.parametrize(
    ("status", "dealt", "cancelled", "end"),
    [
        ("Filled", 3, 0, "filled"),
        ("Cancelled", 1, 2, "cancelled"),
        ("Failed", 0, 0, "rejected"),
        # Seen by others: reduced, then cancelled, and still listed as Submitted.
        ("Submitted", 1, 2, "cancelled"),
        ("Submitted", 0, 3, "cancelled"),
    ],
)
def test_an_order_of_which_nothing_is_left_is_over(status, dealt, cancelled, end):
    order = listed(trade(S(status), dealt=dealt, cancelled=cancelled))
    assert (order.is_open, order.end, order.cum_size) == (False, end, dealt)


@pytest.mark.parametrize("status", ["Inactive", "PendingSubmit", "PreSubmitted", "Submitted"])
def test_an_order_that_is_on_its_way_is_open(status):
    assert is_open(trade(S(status)))


def test_an_order_that_was_reduced_has_its_smaller_size():
    assert listed(trade(cancelled=1)).size == 2


def test_a_market_order_has_no_price_and_an_unknown_instrument_is_left_out():
    assert listed(trade(price_type=shioaji.PriceType.MKT)).price is None
    assert order_of(trade(), lambda symbol: None, Correlation()) is None
    with pytest.raises(MalformedError):
        listed(_off_grid())


def _off_grid():
    each = trade()
    each.order = replace(each.order, price=580.555)
    return each


def test_deals_of_records_and_trades_are_told_once_each():
    known = Correlation()
    entry = Entry("00000A", approved(), SCALES)
    known.add(entry)
    known.identify(entry, "id1")
    each = trade(S.PartFilled, dealt=3)
    each.status.deals = [
        Deal("000001", 580.5, 2, 1.5),
        Deal("000002", 580.5, 1, 1.5),
    ]
    deals = Deals({"2330": SCALES}.get, known, {})
    message = deal_message(trade_id="id1", custom_field="")
    deals.record("SDEAL", message)
    deals.record("SORDER", {})
    deals.trade(each)
    fills = deals.all()
    assert [(fill.exec_id, fill.size, fill.ref) for fill in fills] == [
        ("id1.j5006396", 2, "00000A"),
        ("id1.000002", 1, "00000A"),
    ]


def test_trades_of_another_life_tell_no_deals_that_their_messages_may_have_told():
    each = trade(S.Filled, dealt=3)
    each.status.deals = [Deal("000001", 580.5, 3, 1.5)]
    deals = Deals({"2330": SCALES}.get, Correlation(), {})
    deals.trade(each)
    assert deals.all() == ()


def test_positions_are_bought_minus_sold_in_lots_and_the_rest_in_shares():
    buy, sell = shioaji.Action.Buy, shioaji.Action.Sell
    held = [
        Position("2330", buy, 2_500, 1.0, 1.0, 0.0),
        Position("2317", sell, 1_000, 1.0, 1.0, 0.0),
        Position("2454", buy, 300, 1.0, 1.0, 0.0),
    ]
    found = {each.symbol: each.size for each in positions_of(held, "stock", lambda _: SCALES)}
    assert found == {"2330": 2, "2330-ODD": 500, "2317": -1, "2454-ODD": 300}
    futures = [Position("TXFF6", buy, 2, 1.0, 1.0, 0.0), Position("TXFF6", sell, 3, 1.0, 1.0, 0.0)]
    (position,) = positions_of(futures, "futures", lambda _: SCALES)
    assert (position.symbol, position.size) == ("TXFF6", -1)


def test_money_of_each_kind_of_account():
    futures = funds_of(MarginFigures(500.5, 300.25, 184.0, -1.5, 0.5), [], config(market="futures"))
    assert futures == AccountState(
        currency="TWD",
        equity=50_050_000_000,
        free=30_025_000_000,
        margin_used=18_400_000_000,
        unrealised=-100_000_000,
    )
    held = [Position("2330", shioaji.Action.Buy, 1_000, 500.0, 600.0, 100_000.0)]
    stock = funds_of(Balance(1_000.5), held, config())
    assert stock == AccountState(
        currency="TWD",
        equity=60_100_050_000_000,
        free=100_050_000_000,
        unrealised=100_000 * 10**8,
    )


def test_a_balance_with_an_error_or_of_the_test_environment_is_none():
    assert funds_of(Balance(0.0, errmsg="查無銀行交割帳號"), [], config()) is None
    simulation = config(simulation=True, ca_path="", ca_password=None)
    assert funds_of(Balance(0.0), [], simulation) is None


def test_a_record_of_another_life_gets_its_reference_from_its_trade():
    deals = Deals({"TXFF6": SCALES}.get, Correlation(), {"de616839": "OLD001"})
    deals.record("FDEAL", deal_message(futures=True))
    (fill,) = deals.all()
    assert (fill.ref, fill.exec_id) == ("OLD001", "de616839.j5006396")


def test_a_second_deal_like_one_that_was_borrowed_counts_as_well():
    entry = Entry("00000A", approved(), SCALES)
    entry.borrow_deal("id1.000001", 58_050, 1)
    assert entry.name_deal("id1.j1", 58_050, 1) == "id1.000001"
    assert entry.name_deal("id1.j2", 58_050, 1) == "id1.j2"
    assert entry.name_deal("id1.j1", 58_050, 1) == "id1.000001"
    assert len(entry.deals) == 2
