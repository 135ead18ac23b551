"""Requests as values: the venue's names, exact decimals, ids that say whose they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.brokers.binance.wire import Call, RequestId, Scales, Wire, decimal
from risk.errors import NotSentError
from tests.harness.binance_stand import request, wanted
from tickd.units import decimal_to_mantissa

SCALES = Scales(2, 5)


def wire(market: str) -> Wire:
    assert market in ("spot", "usdm")
    return Wire(market, "tickd-")  # type: ignore[arg-type]


@given(mantissa=st.integers(1, (1 << 63) - 2), scale=st.integers(0, 18))
def test_decimal_is_exact_and_has_no_tail(mantissa: int, scale: int) -> None:
    text = decimal(mantissa, scale, "price")
    assert decimal_to_mantissa(text, scale) == mantissa
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))


def test_whole_numbers_keep_their_zeros() -> None:
    assert decimal(1_000_00, 2, "price") == "1000"
    assert decimal(1_000, 0, "size") == "1000"


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_limit_order(market: str) -> None:
    assert wire(market).new_order(request(price=52_000_10), "REF001", SCALES) == Call(
        "order.place",
        {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "quantity": "1",
            "newClientOrderId": "tickd-REF001",
            "newOrderRespType": "ACK",
            "price": "52000.1",
            "type": "LIMIT",
            "timeInForce": "GTC",
        },
    )


def test_reduce_only_is_said_to_usdm_alone() -> None:
    asked = request(reduce_only=True, price=None)
    assert wire("usdm").new_order(asked, "R", SCALES).params["reduceOnly"] == "true"
    assert "reduceOnly" not in wire("spot").new_order(asked, "R", SCALES).params


def test_cancel_prefers_the_number_of_the_venue() -> None:
    by_number = wire("spot").cancel(wanted("REF001", "BTCUSDT:77"))
    assert by_number == Call("order.cancel", {"symbol": "BTCUSDT", "orderId": 77})
    for unknown in ("", "BTCUSDT:", "x"):
        assert wire("usdm").cancel(wanted("REF001", unknown)).params == {
            "symbol": "BTCUSDT",
            "origClientOrderId": "tickd-REF001",
        }


def test_replace_of_usdm_names_both_price_and_size() -> None:
    order = wanted("REF001", "BTCUSDT:77", side="A")
    assert wire("usdm").replace(order, price=9_999_00, size=200_000, scales=SCALES) == Call(
        "order.modify",
        {"symbol": "BTCUSDT", "orderId": 77, "side": "SELL", "quantity": "2", "price": "9999"},
    )


def test_replace_of_spot_keeps_our_id() -> None:
    order = wanted("REF001", "BTCUSDT:77")
    assert wire("spot").replace(order, price=order.price, size=50_000, scales=SCALES) == Call(
        "order.amend.keepPriority",
        {"symbol": "BTCUSDT", "orderId": 77, "newQty": "0.5", "newClientOrderId": "tickd-REF001"},
    )


def test_references() -> None:
    ids = wire("usdm")
    assert ids.ref_of("tickd-REF001") == "REF001"
    for foreign in (
        "",
        "tickd-",
        "REF001",
        "web_1",
        "tickd-a b",
        "tickd-" + "x" * 20,
        "autoclose-1",
    ):
        assert ids.ref_of(foreign) == ""
    with pytest.raises(NotSentError):
        ids.client_id("x" * 20)


@given(
    kind=st.sampled_from("ncr"),
    number=st.integers(1, 1 << 40),
    ref=st.from_regex(r"[0-9A-Za-z]{1,19}", fullmatch=True),
)
def test_request_id_says_whose_it_is(kind: str, number: int, ref: str) -> None:
    assert RequestId.read(RequestId.text(kind, number, ref)) == RequestId(kind, ref)


@pytest.mark.parametrize(
    "other", [None, 5, "", "logon", "subscribe", "x1-REF", "n-REF", "n1-", "n1-a b"]
)
def test_ids_of_nobody(other: object) -> None:
    assert RequestId.read(other) is None


def test_questions_of_both_markets() -> None:
    spot, usdm = wire("spot"), wire("usdm")
    assert (spot.open_orders().path, spot.open_orders().weight) == ("/api/v3/openOrders", 80)
    assert (usdm.open_orders().path, usdm.open_orders().weight) == ("/fapi/v1/openOrders", 40)
    few, many = [f"S{number}" for number in range(13)], [f"S{number}" for number in range(14)]
    assert [each.params["symbol"] for each in spot.open_orders_of(few)] == few
    assert spot.open_orders_of(many) == (spot.open_orders(),)
    assert sum(each.weight for each in usdm.open_orders_of(many)) == 14
    assert spot.trades("BTCUSDT", 1, 2).path == "/api/v3/myTrades"
    assert usdm.trades("BTCUSDT", 1, 2).path == "/fapi/v1/userTrades"
    assert usdm.account().path == "/fapi/v3/account"
    assert spot.server_time().security == "open"
    assert usdm.listen_key("POST").security == "keyed"
    window = spot.all_orders("BTCUSDT", 1, 2).params
    assert window == {"symbol": "BTCUSDT", "startTime": 1, "endTime": 2, "limit": 1_000}
