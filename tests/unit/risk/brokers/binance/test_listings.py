"""REST lists as the parts of a snapshot; a list with a hole is not whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from risk.brokers.binance.config import Market
from risk.brokers.binance.listings import Listings
from risk.brokers.binance.wire import Scales, Wire
from risk.errors import BrokerError
from risk.orders import AccountState, VenueOrder, VenuePosition
from tests.harness.binance_stand import SCALES
from tickd.errors import Action

ORDER = {
    "symbol": "BTCUSDT",
    "orderId": 7,
    "orderListId": -1,
    "clientOrderId": "tickd-REF001",
    "price": "52000.10000000",
    "origQty": "1.00000000",
    "executedQty": "0.25000000",
    "status": "PARTIALLY_FILLED",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "side": "SELL",
    "unheard of": None,
}
TRADE = {
    "symbol": "BTCUSDT",
    "id": 28457,
    "orderId": 7,
    "price": "52000.10",
    "qty": "0.25",
    "commission": "10.10000000",
    "commissionAsset": "BNB",
    "time": 1499865549590,
    "isBuyer": True,
}


def listings(market: Market = "usdm") -> Listings:
    return Listings(market, Wire(market, "tickd-"), SCALES.get, tuple(SCALES))


def body(*entries: object) -> bytes:
    return msgspec.json.encode(list(entries))


def test_order() -> None:
    lists = listings()
    assert lists.add_orders(body(ORDER)) == 1
    assert lists.orders == (
        VenueOrder(
            ref="REF001",
            venue_id="BTCUSDT:7",
            symbol="BTCUSDT",
            side="A",
            price=52_000_10,
            size=100_000,
            cum_size=25_000,
            is_open=True,
        ),
    )
    assert not lists.holes


@pytest.mark.parametrize(
    ("status", "is_open", "end"),
    [
        ("NEW", True, ""),
        ("PENDING_NEW", True, ""),
        ("PENDING_CANCEL", True, ""),
        ("PARTIALLY_FILLED", True, ""),
        ("FILLED", False, "filled"),
        ("CANCELED", False, "cancelled"),
        ("EXPIRED", False, "expired"),
        ("EXPIRED_IN_MATCH", False, "expired"),
        ("REJECTED", False, "rejected"),
    ],
)
def test_every_status(status: str, is_open: bool, end: str) -> None:
    lists = listings()
    lists.add_orders(body({**ORDER, "status": status}))
    assert [(each.is_open, each.end) for each in lists.orders] == [(is_open, end)]


def test_later_list_says_what_became_of_an_order() -> None:
    lists = listings()
    lists.add_orders(body(ORDER))
    lists.add_orders(body({**ORDER, "status": "FILLED", "executedQty": "1"}))
    assert [(each.is_open, each.cum_size) for each in lists.orders] == [(False, 100_000)]


def test_market_order_has_no_price() -> None:
    lists = listings()
    lists.add_orders(body({**ORDER, "type": "MARKET", "price": "0"}))
    assert lists.orders[0].price is None


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "SOMETHING_NEW"},
        {"side": "BOTH"},
        {"price": "0.001"},
        {"executedQty": "1e-5"},
        {"orderId": "x"},
        {"symbol": "NOPEUSDT"},
    ],
)
def test_entry_that_cannot_be_read_is_a_hole_and_the_others_count(changes: dict[str, Any]) -> None:
    lists = listings()
    assert lists.add_orders(body({**ORDER, **changes}, {**ORDER, "orderId": 8})) == 2
    assert [each.venue_id for each in lists.orders] == ["BTCUSDT:8"]
    assert len(lists.holes) == 1


def test_orders_of_others_count_in_our_symbols_alone() -> None:
    lists = listings()
    foreign = {**ORDER, "clientOrderId": "web_1"}
    lists.add_orders(body(foreign, {**foreign, "symbol": "DOGEUSDT", "price": "0.000001"}))
    assert [each.ref for each in lists.orders] == [""]
    assert not lists.holes


def test_fill_gets_our_reference_from_its_order() -> None:
    lists = listings()
    assert lists.add_trades(body(TRADE, {**TRADE, "id": 5, "orderId": 99, "time": 5})) == 2
    lists.add_orders(body(ORDER))
    first, second = lists.fills
    assert (first.ref, first.venue_id, first.exec_id) == ("", "BTCUSDT:99", "BTCUSDT:5")
    assert (second.ref, second.price, second.size) == ("REF001", 52_000_10, 25_000)
    assert (second.fee, second.fee_currency) == (1_010_000_000, "BNB")


def test_trade_listed_twice_is_one_fill() -> None:
    lists = listings()
    lists.add_trades(body(TRADE))
    lists.add_trades(body(TRADE, {**TRADE, "qty": "x", "id": 9}))
    assert len(lists.fills) == 1
    assert len(lists.holes) == 1


@pytest.mark.parametrize("broken", [b"", b'[{"symbol":"BTC', b"{}", b"null", b'{"code":-1}'])
def test_body_that_is_no_list_is_an_error(broken: bytes) -> None:
    for add in (listings().add_orders, listings().add_trades, listings().add_positions):
        with pytest.raises(BrokerError) as caught:
            add(broken)
        assert caught.value.action is Action.RETRY


def test_positions_of_usdm() -> None:
    lists = listings()
    held = {"symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "-0.010"}
    others = [{**held, "symbol": "DOGEUSDT"}, {**held, "symbol": "ETHUSDT", "positionAmt": "0.0"}]
    lists.add_positions(body(held, *others))
    assert lists.positions == (VenuePosition(symbol="BTCUSDT", size=-1_000),)
    lists.add_positions(body({**held, "positionAmt": "0.000000001"}))
    assert len(lists.holes) == 1
    with pytest.raises(BrokerError, match="one-way") as caught:
        lists.add_positions(body({**held, "positionSide": "SHORT"}))
    assert caught.value.action is Action.FATAL


def test_money_of_usdm_is_that_of_one_asset() -> None:
    asset = {
        "asset": "USDT",
        "walletBalance": "23.72469206",
        "unrealizedProfit": "-0.72469206",
        "marginBalance": "23.00000000",
        "initialMargin": "3.00000000",
        "availableBalance": "20.00000000",
    }
    lists = listings()
    lists.add_account(msgspec.json.encode({"assets": [{**asset, "asset": "BNB"}, asset]}), "USDT")
    assert lists.account == AccountState(
        currency="USDT",
        equity=2_300_000_000,
        free=2_000_000_000,
        margin_used=300_000_000,
        unrealised=-72_469_206,
    )
    lists = listings()
    lists.add_account(msgspec.json.encode({"assets": [{**asset, "asset": "BNB"}]}), "USDT")
    assert lists.account is None
    assert lists.holes == ["no money in USDT"]


def test_balances_of_spot_are_positions_and_money() -> None:
    balances = [
        {"asset": "BTC", "free": "1.34471129", "locked": "0.08600000"},
        {"asset": "DOGE", "free": "5.00000000", "locked": "0.00000000"},
        {"asset": "USDT", "free": "1021.21000000", "locked": "1.00000000"},
    ]
    lists = listings("spot")
    lists.add_account(msgspec.json.encode({"balances": balances}), "USDT")
    assert lists.account == AccountState(
        currency="USDT", equity=102_221_000_000, free=102_121_000_000
    )
    # Cut at the scale of sizes, not rounded.
    assert lists.positions == (VenuePosition(symbol="BTCUSDT", size=134_471 + 8_600),)
    lists = listings("spot")
    lists.add_account(b'{"balances":[]}', "USDT")
    assert lists.account == AccountState(currency="USDT", equity=0, free=0)


@pytest.mark.parametrize("broken", [b"", b"[]", b'{"balances":[{"asset":"USDT","free":1}]}'])
def test_account_that_cannot_be_read(broken: bytes) -> None:
    with pytest.raises(BrokerError, match="account"):
        listings("spot").add_account(broken, "USDT")


def test_an_order_of_an_older_definition_is_listed_by_the_scales_it_was_sent_with() -> None:
    def own(ref: str, venue_id: str) -> Scales | None:
        return Scales(1, 2) if (ref, venue_id) == ("REF001", "BTCUSDT:7") else None

    lists = Listings("usdm", Wire("usdm", "tickd-"), SCALES.get, tuple(SCALES), own)
    lists.add_orders(body(ORDER, {**ORDER, "orderId": 8, "clientOrderId": "tickd-REF002"}))
    lists.add_trades(body(TRADE))
    mine, theirs = lists.orders
    assert (mine.price, mine.size, mine.cum_size) == (520_001, 100, 25)
    assert (theirs.price, theirs.size) == (5_200_010, 100_000)
    assert [(each.price, each.size) for each in lists.fills] == [(520_001, 25)]
    # What does not fit them is not told at all.
    lists.add_trades(body({**TRADE, "id": 28458, "price": "52000.15"}))
    assert len(lists.fills) == 1
    assert lists.holes
