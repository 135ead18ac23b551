"""Order and deal messages, statuses, errors and session events, told in the words of the router.

Method: the tables are gone through with every member of the real package's own enums and
exceptions, so that a new one cannot pass unnoticed.
"""

import pytest

from risk.brokers.shioaji.numbers import MalformedError
from risk.brokers.shioaji.wire import (
    Scales,
    classify,
    deal_of,
    is_refused_login,
    message_of,
    session_signal,
    status_report,
    verdict_of,
    words_of,
)
from risk.orders import ReportKind
from tickd.testing.shioaji_order_messages import deal_message, order_message

shioaji = pytest.importorskip("shioaji")

from tickd.testing.shioaji_trades import OrderResult, OrderStatusInfo, Trade  # noqa: E402

SCALES = Scales(2, 0)
K = ReportKind


def members(kind):
    found = (getattr(kind, name) for name in dir(kind) if not name.startswith("_"))
    return {each.value: each for each in found if isinstance(each, kind)}


def trade(status, msg="", order_id="id1"):
    order = OrderResult(shioaji.Action.Buy, 580.5, 3, id=order_id, custom_field="00000A")
    contract = shioaji.BaseContract("STK", "TSE", "2330")
    return Trade(contract, order, OrderStatusInfo(id=order_id, status=status, msg=msg))


@pytest.mark.parametrize(
    ("op", "code", "kind"),
    [
        ("New", "00", K.ACKED),
        ("New", "9938", K.REJECTED),
        ("Cancel", "00", K.CANCELLED),
        ("Cancel", "88", K.CANCEL_REJECTED),
        ("UpdatePrice", "00", K.REPLACED),
        ("UpdatePrice", "0", K.REPLACE_REJECTED),
        ("UpdateQty", "00", K.REPLACED),
        ("UpdateQty", "", K.REPLACE_REJECTED),
        ("Reject", "00", K.REJECTED),
        ("Reject", "11", K.REJECTED),
        ("Later", "00", None),
    ],
)
def test_op_code_00_is_success_and_everything_else_a_failure(op, code, kind):
    read = message_of(shioaji.OrderState.StockOrder, order_message(op=op, code=code))
    assert classify(read) is kind


def test_every_operation_of_the_package_has_a_meaning():
    for op in members(shioaji.OpType):
        for code in ("00", "99"):
            read = message_of("SORDER", order_message(op=op, code=code))
            assert classify(read) is not None, op


def test_every_status_of_the_package_has_a_meaning():
    told = {}
    for name, status in members(shioaji.OrderStatus).items():
        report = status_report(trade(status), "00000A")
        told[name] = None if report is None else report.kind
    assert told == {
        "Inactive": None,
        "PendingSubmit": None,
        "PreSubmitted": K.ACKED,
        "Submitted": K.ACKED,
        "PartFilled": K.ACKED,
        "Filled": K.ACKED,
        "Cancelled": K.CANCELLED,
        "Failed": K.REJECTED,
    }


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("非委託時間", K.REJECTED),
        ("處理中, 請再確認委託狀態", K.IN_DOUBT),
        ("連線逾時,請再確認委託狀態", K.IN_DOUBT),
        ("忙線中, 請稍後再查", K.IN_DOUBT),
    ],
)
def test_a_failed_order_whose_words_are_not_sure_is_in_doubt(words, kind):
    report = status_report(trade(shioaji.OrderStatus.Failed, words), "00000A")
    assert report is not None
    assert (report.kind, report.reason, report.venue_id) == (kind, words, "id1")


def test_every_exception_of_the_package_is_a_refusal_only_where_it_proves_one():
    kinds = [each for each in vars(shioaji).values() if isinstance(each, type)]
    mine = [each for each in kinds if issubclass(each, shioaji.ShioajiError)]
    refused = {each.__name__ for each in mine if verdict_of(each("x")) == "refused"}
    assert refused == {
        "AccountNotProvideError",
        "AccountNotSignError",
        "AuthError",
        "BadRequestError",
        "CaError",
        "CaExpiredError",
        "CaPasswordError",
        "ShioajiPermissionError",
        "ShioajiTypeError",
        "ShioajiValueError",
        "TokenError",
        "ValidationError",
    }
    for doubtful in ("OrderOutcomeUnknownError", "ShioajiTimeoutError", "ServerError"):
        assert doubtful in {each.__name__ for each in mine}
        assert verdict_of(getattr(shioaji, doubtful)("x")) == "in_doubt"
    assert verdict_of(RuntimeError("x")) == "in_doubt"


def test_only_what_a_person_must_mend_ends_the_logins():
    assert is_refused_login(shioaji.CaPasswordError("x"))
    assert is_refused_login(shioaji.TokenError("x"))
    assert not is_refused_login(shioaji.SystemMaintenance("x"))
    assert not is_refused_login(shioaji.ShioajiConnectionError("x"))


@pytest.mark.parametrize("state", ["StockDeal", "FuturesDeal"])
def test_a_deal_is_a_fill_of_exact_numbers_under_its_orders_id(state):
    message = deal_message(futures=state == "FuturesDeal")
    read = message_of(getattr(shioaji.OrderState, state), message)
    report = deal_of(read, "00000A", SCALES)
    assert (report.kind, report.price, report.size) == (K.FILL, 58_050, 2)
    assert (report.venue_id, report.exec_id) == ("de616839", "de616839.j5006396")
    assert report.ts_event_ns == 1_673_334_371_492_948_000
    assert read.symbol == ("TXFF6" if state == "FuturesDeal" else "2330")


def test_an_odd_lot_is_an_instrument_of_its_own():
    assert message_of("SDEAL", deal_message(order_lot="IntradayOdd")).symbol == "2330-ODD"
    assert message_of("SORDER", order_message(order_lot="IntradayOdd")).symbol == "2330-ODD"


@pytest.mark.parametrize("lacking", ["trade_id", "exchange_seq", "price", "quantity"])
def test_a_deal_without_its_identity_or_numbers_is_refused(lacking):
    message = deal_message()
    del message[lacking]
    with pytest.raises(MalformedError):
        message_of("SDEAL", message)
    with pytest.raises(MalformedError):
        deal_of(message_of("SDEAL", deal_message(**{lacking: ""})), "00000A", SCALES)


@pytest.mark.parametrize("message", [{}, {"operation": None}, {"operation": {}, "order": {}}])
def test_a_truncated_message_is_refused(message):
    with pytest.raises(MalformedError):
        message_of("SORDER", message)
    with pytest.raises(MalformedError, match="unknown kind"):
        message_of("XORDER", order_message())


@pytest.mark.parametrize(
    ("code", "moment"),
    [(0, "up"), (13, "up"), (1, "down"), (2, "down"), (12, "down"), (4, ""), (16, ""), (99, "")],
)
def test_session_events_say_whether_orders_can_flow(code, moment):
    assert session_signal(code) == moment


def test_vendor_words_are_cut_cleaned_and_without_secrets():
    assert words_of("a\nb\x00c secret", ("secret",)) == "a b c ***"
    assert len(words_of("x" * 1000)) == 200
