"""Messages of both markets as reports: every status, exact numbers, and what cannot be read.

Events have the fields of Binance's documentation (user-data-stream.md, Event Order Update; read
2026-11-21), with numbers of our own.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from risk.brokers.binance.config import Market
from risk.brokers.binance.errors import Refusal
from risk.brokers.binance.reports import Answer, Heard, Reader, fee_units
from risk.brokers.binance.wire import RequestId, Scales, Wire
from risk.orders import Report, ReportKind
from tests.harness.binance_stand import SCALES
from tickd.errors import TickdError

MARKETS: tuple[Market, ...] = ("spot", "usdm")
T_MS = 1_499_405_658_657


def reader(market: Market) -> Reader:
    return Reader(market, Wire(market, "tickd-"), SCALES.get)


def spot_event(**changes: Any) -> dict[str, Any]:
    return {
        "e": "executionReport",
        "E": T_MS + 1,
        "s": "BTCUSDT",
        "c": "tickd-REF001",
        "S": "BUY",
        "o": "LIMIT",
        "f": "GTC",
        "q": "1.00000000",
        "p": "52000.10000000",
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": "",
        "x": "NEW",
        "X": "NEW",
        "r": "NONE",
        "i": 4293153,
        "l": "0.00000000",
        "z": "0.00000000",
        "L": "0.00000000",
        "n": "0",
        "N": None,
        "T": T_MS,
        "t": -1,
        "I": 8641984,
        "w": True,
        "m": False,
        "M": False,
        "O": T_MS,
        "Z": "0.00000000",
        "Y": "0.00000000",
        "Q": "0.00000000",
        "W": T_MS,
        "V": "NONE",
        "new field of tomorrow": {"x": [1]},
        **changes,
    }


def usdm_event(**changes: Any) -> dict[str, Any]:
    inner = {
        "s": "BTCUSDT",
        "c": "tickd-REF001",
        "S": "BUY",
        "o": "LIMIT",
        "f": "GTC",
        "q": "1",
        "p": "52000.1",
        "ap": "0",
        "sp": "0",
        "x": "NEW",
        "X": "NEW",
        "i": 4293153,
        "l": "0",
        "z": "0",
        "L": "0",
        "T": T_MS,
        "t": 0,
        "b": "0",
        "a": "9.91",
        "m": False,
        "R": False,
        "wt": "CONTRACT_PRICE",
        "ot": "LIMIT",
        "ps": "BOTH",
        "cp": False,
        "rp": "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_TAKER",
        "pm": "OPPONENT",
        "gtd": 0,
        **changes,
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": T_MS + 1, "T": T_MS, "o": inner}


def hear(market: Market, **changes: Any) -> Heard:
    event = spot_event(**changes) if market == "spot" else usdm_event(**changes)
    return reader(market).event(msgspec.json.encode(event))


def report(market: Market, **changes: Any) -> Report:
    heard = hear(market, **changes)
    assert heard.kind == "report", heard
    assert heard.report is not None
    return heard.report


# Events -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("market", MARKETS)
def test_new_is_an_acknowledgement(market: Market) -> None:
    assert report(market) == Report(
        kind=ReportKind.ACKED,
        ref="REF001",
        venue_id="BTCUSDT:4293153",
        cum_size=0,
        ts_event_ns=T_MS * 1_000_000,
    )


@pytest.mark.parametrize("market", MARKETS)
def test_trade_is_a_fill_with_exact_numbers(market: Market) -> None:
    said = report(
        market,
        x="TRADE",
        X="PARTIALLY_FILLED",
        l="0.00123",
        z="0.50123",
        L="51999.99",
        n="0.02558400",
        N="BNB",
        t=77,
    )
    assert said == Report(
        kind=ReportKind.FILL,
        ref="REF001",
        venue_id="BTCUSDT:4293153",
        exec_id="BTCUSDT:77",
        price=51_999_99,
        size=123,
        cum_size=50_123,
        fee=2_558_400,
        fee_currency="BNB",
        ts_event_ns=T_MS * 1_000_000,
    )


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize(
    ("execution", "status", "kind"),
    [
        ("CANCELED", "CANCELED", ReportKind.CANCELLED),
        ("EXPIRED", "EXPIRED", ReportKind.EXPIRED),
        ("EXPIRED", "EXPIRED_IN_MATCH", ReportKind.EXPIRED),
        ("TRADE_PREVENTION", "EXPIRED_IN_MATCH", ReportKind.EXPIRED),
        ("REJECTED", "REJECTED", ReportKind.REJECTED),
    ],
)
def test_ends(market: Market, execution: str, status: str, kind: ReportKind) -> None:
    said = report(market, x=execution, X=status, z="0.25")
    assert (said.kind, said.cum_size, said.code) == (kind, 25_000, status)
    assert (said.price, said.size) == (None, None)


def test_reject_reason_of_spot_is_told() -> None:
    said = report("spot", x="REJECTED", X="REJECTED", r="INSUFFICIENT_BALANCES")
    assert said.reason == "INSUFFICIENT_BALANCES"


@pytest.mark.parametrize(("market", "execution"), [("spot", "REPLACED"), ("usdm", "AMENDMENT")])
def test_amendments_tell_the_whole_order(market: Market, execution: str) -> None:
    said = report(market, x=execution, X="PARTIALLY_FILLED", q="0.75", p="51000", z="0.5")
    assert said.kind is ReportKind.REPLACED
    assert (said.price, said.size, said.cum_size) == (51_000_00, 75_000, 50_000)


def test_liquidation_of_our_own_order_is_a_fill() -> None:
    said = report("usdm", x="CALCULATED", X="FILLED", l="1", z="1", L="50000", t=5)
    assert (said.kind, said.price) == (ReportKind.FILL, 50_000_00)


def test_cancel_of_spot_names_its_order_beside_its_own_id() -> None:
    said = report("spot", c="cancel-by-somebody", C="tickd-REF001", x="CANCELED", X="CANCELED")
    assert (said.ref, said.kind) == ("REF001", ReportKind.CANCELLED)


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("client_id", ["web_1", "autoclose-1", "adl_autoclose", "other-REF001", ""])
def test_orders_of_others(market: Market, client_id: str) -> None:
    assert hear(market, c=client_id).kind == "foreign"


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize(
    "changes",
    [
        {"x": "TRADE", "X": "FILLED", "l": "0.000001", "z": "1", "L": "1", "t": 5},  # too fine
        {"x": "TRADE", "X": "FILLED", "l": "1", "z": "1", "L": "0.001", "t": 5},
        {"x": "TRADE", "X": "FILLED", "l": "99999999999999999999", "z": "1", "L": "1", "t": 5},
        {"x": "TRADE", "X": "FILLED", "l": "NaN", "z": "1", "L": "1", "t": 5},
        {"x": "TRADE", "X": "FILLED", "l": "1e3", "z": "1", "L": "1", "t": 5},
        {"x": "TRADE", "X": "FILLED", "l": "0", "z": "1", "L": "1", "t": 5},
        {"x": "TRADE", "X": "FILLED", "l": "1", "z": "1", "L": "1", "t": -1},
        {"x": "TRADE", "X": "FILLED", "l": "1", "z": "1", "L": "1", "t": 5, "n": "much"},
        {"z": ""},
        {"z": 5},
        {"i": "x"},
        {"x": "TRADE", "X": "FILLED", "i": "x"},
        {"T": None},
        {"s": "NOPEUSDT"},  # no scales
        {"x": "TELEPORTED", "X": "NEW"},
        {"x": "CANCELED", "X": "NEW"},
        {"x": "EXPIRED", "X": "SOMETHING_NEW"},
    ],
)
def test_what_cannot_be_read_puts_its_order_in_doubt(
    market: Market, changes: dict[str, Any]
) -> None:
    said = report(market, **changes)
    # A fill that cannot be counted is told as one: the router must know that something traded.
    kind = ReportKind.FILL if changes.get("x") == "TRADE" else ReportKind.IN_DOUBT
    assert (said.kind, said.ref, said.code) == (kind, "REF001", "unreadable")
    assert (said.exec_id, said.price, said.size, said.cum_size) == ("", None, None, None)
    assert said.reason


def test_usdm_without_a_trade_says_trade_0() -> None:
    trade = {"x": "TRADE", "X": "FILLED", "l": "1", "z": "1", "L": "1", "t": 0}
    assert report("usdm", **trade).code == "unreadable"
    assert report("spot", **trade).exec_id == "BTCUSDT:0"  # of a new symbol the first trade


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'{"e":5}', b'{"e":"executionReport"', b"\xff", b'"x"'],
)
def test_what_names_no_order_is_a_hole_in_the_stream(market: Market, body: bytes) -> None:
    assert reader(market).event(body).kind == "unreadable"


def test_order_event_that_names_no_order_is_a_hole() -> None:
    assert reader("spot").event(b'{"e":"executionReport","c":5}').kind == "unreadable"
    assert reader("usdm").event(b'{"e":"ORDER_TRADE_UPDATE"}').kind == "unreadable"
    assert reader("usdm").event(b'{"e":"ORDER_TRADE_UPDATE","o":{"c":""}}').kind == "unreadable"


def test_other_events() -> None:
    for name in ("outboundAccountPosition", "balanceUpdate", "ACCOUNT_UPDATE", "TRADE_LITE"):
        assert reader("usdm").event(b'{"e":"%s"}' % name.encode()).kind == "idle"
    for name in ("eventStreamTerminated", "listenKeyExpired", "serverShutdown"):
        assert reader("spot").event(b'{"e":"%s"}' % name.encode()).kind == "over"
    assert reader("spot").event(b'{"e":"newsOfTomorrow"}').kind == "unknown"
    assert reader("spot").event(b"{}").kind == "unknown"


# Answers ----------------------------------------------------------------------------------------

NEW, CANCEL, REPLACE = (RequestId(kind, "REF001") for kind in "ncr")
PLACED = {
    "symbol": "BTCUSDT",
    "orderId": 12569099453,
    "orderListId": -1,
    "clientOrderId": "tickd-REF001",
    "transactTime": T_MS,
}
MODIFIED = {
    "orderId": 328971409,
    "symbol": "BTCUSDT",
    "status": "NEW",
    "clientOrderId": "tickd-REF001",
    "price": "43769.10",
    "avgPrice": "0.00",
    "origQty": "0.110",
    "executedQty": "0.010",
    "updateTime": T_MS,
}


def accepted(market: Market, request: RequestId, result: object) -> Report:
    return reader(market).accepted(request, msgspec.Raw(msgspec.json.encode(result)))


def test_answer_to_a_new_order() -> None:
    assert accepted("spot", NEW, PLACED) == Report(
        kind=ReportKind.ACKED,
        ref="REF001",
        venue_id="BTCUSDT:12569099453",
        ts_event_ns=T_MS * 1_000_000,
    )
    # An acknowledgement says nothing of fills: it may be older than they are.
    assert accepted("usdm", NEW, MODIFIED).cum_size is None


def test_answer_to_a_cancel() -> None:
    cancelled = {
        **MODIFIED,
        "clientOrderId": "own-id-of-the-cancel",
        "origClientOrderId": "tickd-REF001",
        "status": "CANCELED",
    }
    said = accepted("spot", CANCEL, cancelled)
    assert (said.kind, said.cum_size, said.code) == (ReportKind.CANCELLED, 1_000, "CANCELED")


def test_answer_to_a_replace() -> None:
    said = accepted("usdm", REPLACE, MODIFIED)
    assert (said.kind, said.price, said.size) == (ReportKind.REPLACED, 43_769_10, 11_000)
    amended = {
        "transactTime": T_MS,
        "executionId": 75,
        "amendedOrder": {
            "symbol": "BTCUSDT",
            "orderId": 33,
            "orderListId": -1,
            "origClientOrderId": "tickd-REF001",
            "clientOrderId": "tickd-REF001",
            "price": "6.00000000",
            "qty": "5.00000000",
            "executedQty": "0.00000000",
            "status": "NEW",
        },
    }
    said = accepted("spot", REPLACE, amended)
    assert (said.kind, said.price, said.size) == (ReportKind.REPLACED, 6_00, 500_000)
    assert said.venue_id == "BTCUSDT:33"


def test_modification_that_ended_the_order() -> None:
    said = accepted("usdm", REPLACE, {**MODIFIED, "status": "CANCELED"})
    assert (said.kind, said.cum_size) == (ReportKind.CANCELLED, 1_000)


@pytest.mark.parametrize(
    ("request_id", "result"),
    [
        (NEW, None),
        (NEW, []),
        (NEW, {"symbol": "BTCUSDT"}),
        (NEW, {**PLACED, "clientOrderId": "tickd-OTHER1"}),
        (NEW, {**PLACED, "symbol": "NOPEUSDT"}),
        (NEW, {**PLACED, "status": "SOMETHING_NEW"}),
        (CANCEL, {**MODIFIED, "status": "NEW"}),
        (REPLACE, {**MODIFIED, "price": "0.001"}),
        (REPLACE, {**MODIFIED, "origQty": ""}),
    ],
)
def test_answers_that_cannot_be_read_are_in_doubt(request_id: RequestId, result: object) -> None:
    said = accepted("usdm", request_id, result)
    assert (said.kind, said.ref, said.code) == (ReportKind.IN_DOUBT, "REF001", "unreadable")


@pytest.mark.parametrize(
    ("request_id", "kind"),
    [
        (NEW, ReportKind.REJECTED),
        (CANCEL, ReportKind.CANCEL_REJECTED),
        (REPLACE, ReportKind.REPLACE_REJECTED),
    ],
)
def test_refusals(request_id: RequestId, kind: ReportKind) -> None:
    said = reader("spot").refused(request_id, Refusal(400, -1013, "Filter failure: LOT_SIZE"))
    assert said == Report(kind=kind, ref="REF001", code="-1013", reason="Filter failure: LOT_SIZE")
    unclear = reader("spot").refused(request_id, Refusal(504, -1007, "Timeout"))
    assert (unclear.kind, unclear.code) == (ReportKind.IN_DOUBT, "-1007")
    assert reader("spot").refused(request_id, Refusal(502, 0, "")).code == "http 502"


def test_duplicate_is_a_doubt_of_the_new_order_alone() -> None:
    duplicate = Refusal(400, -4116, "ClientOrderId is duplicated.")
    assert reader("usdm").refused(NEW, duplicate).kind is ReportKind.IN_DOUBT
    assert reader("usdm").refused(CANCEL, duplicate).kind is ReportKind.CANCEL_REJECTED


def test_message_of_the_websocket_api_is_an_answer_or_an_event() -> None:
    decoder = msgspec.json.Decoder(Answer)
    answer = decoder.decode(b'{"id":"n1-A","status":200,"result":{"a":1},"rateLimits":[]}')
    assert not answer.is_event
    event = decoder.decode(b'{"subscriptionId":0,"event":{"e":"x"}}')
    assert event.is_event
    assert bytes(event.event) == b'{"e":"x"}'


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        ("0.00000001", 1),
        ("12.5", 1_250_000_000),
        ("0.000000001", 1),  # finer than a unit: against us
        ("0.000000010", 1),
        ("-0.07819010", -7_819_010),
        ("-0.000000019", -1),
    ],
)
def test_fees(text: str | None, units: int) -> None:
    assert fee_units(text) == units


@pytest.mark.parametrize("text", ["x", "1e-9", "0.00000000x", ".", "1.2.3", "999999999999999999"])
def test_fees_that_are_none(text: str) -> None:
    with pytest.raises(TickdError):
        fee_units(text)


def test_a_fill_is_read_by_the_scales_that_its_order_was_sent_with() -> None:
    def own(ref: str, venue_id: str) -> Scales | None:
        return Scales(1, 2) if (ref, venue_id) == ("REF001", "BTCUSDT:4293153") else None

    fill = {"x": "TRADE", "X": "PARTIALLY_FILLED", "t": 5, "L": "52000.10", "l": "0.25"}
    redefined = Reader("spot", Wire("spot", "tickd-"), SCALES.get, own)
    report = redefined.event(msgspec.json.encode(spot_event(**fill, z="0.25"))).report
    assert report is not None
    assert (report.kind, report.price, report.size) == (ReportKind.FILL, 520_001, 25)
    # What does not fit those scales is a fill without numbers: an alarm, not another number.
    finer = spot_event(**{**fill, "L": "52000.15"}, z="0.25")
    report = redefined.event(msgspec.json.encode(finer)).report
    assert report is not None
    assert (report.kind, report.price, report.size) == (ReportKind.FILL, None, None)
