"""Messages, answers and failures to reports, without threads: whose they are, what they mean."""

import pytest

from risk.brokers.shioaji.correlation import Correlation, Entry
from risk.brokers.shioaji.inbox import Raised, Refused
from risk.brokers.shioaji.lanes import CancelJob, ChangeJob, PlaceJob
from risk.brokers.shioaji.requests import Change
from risk.brokers.shioaji.translate import Translator
from risk.brokers.shioaji.wire import Scales
from risk.orders import ReportKind
from tests.harness.order_requests import approved
from tickd.testing.shioaji_order_messages import deal_message, order_message

SCALES = Scales(2, 0)
SECRET = "a-secret"
NO_REF = {"custom_field": ""}


class Answer:
    """What a call's own callback hands over, as far as anything reads it."""

    class Order:
        id = "de616839"

    class Status:
        status = "PendingSubmit"
        msg = ""

    order, status = Order, Status


def made(*, size=3, is_sent=True):
    known = Correlation()
    translator = Translator(known, {"2330": SCALES, "TXFF6": SCALES}.get, (SECRET,))
    if is_sent:
        known.add(Entry("00000A", approved(size=size), SCALES))
    return known, translator


def kinds(reports):
    return [(each.kind.name, each.ref) for each in reports]


def test_a_message_with_our_field_finds_its_order_and_ties_its_id():
    known, translator = made()
    assert kinds(translator.told("SORDER", order_message(), 0).reports) == [("ACKED", "00000A")]
    message = deal_message(custom_field="")
    assert kinds(translator.told("SDEAL", message, 0).reports) == [("FILL", "00000A")]
    assert known.of_id("de616839") is known.of_ref("00000A")


def test_a_message_without_our_field_waits_for_the_answer_of_its_call():
    _, translator = made()
    message = deal_message(futures=True)
    assert translator.told("FDEAL", message, 0).reports == []
    out = translator.answered("00000A", Answer(), True)
    assert kinds(out.reports) == [("FILL", "00000A")]


@pytest.mark.parametrize(
    ("status", "of_place", "of_cancel"),
    [
        ("Submitted", ["ACKED"], []),
        ("Failed", ["REJECTED"], []),  # the cancel may have failed, and the order may be open
        ("Cancelled", ["CANCELLED"], ["CANCELLED"]),
        ("PendingSubmit", [], []),
    ],
)
def test_the_answer_of_a_cancel_tells_of_nothing_but_the_cancel(status, of_place, of_cancel):
    for is_new, told in ((True, of_place), (False, of_cancel)):
        _, translator = made()
        answer = Answer()
        answer.status = type("Status", (), {"status": status, "msg": ""})
        reports = translator.answered("00000A", answer, is_new).reports
        assert [each.kind.name for each in reports] == told


def test_what_nobody_claims_is_told_by_the_venues_id():
    _, translator = made()
    translator.told("FDEAL", deal_message(futures=True), 5)
    assert translator.overdue(9, 5) == []
    (report,) = translator.overdue(10, 5)
    assert (report.kind, report.ref, report.venue_id) == (ReportKind.FILL, "", "de616839")


def test_without_an_order_under_way_a_foreign_message_does_not_wait():
    _, translator = made(is_sent=False)
    out = translator.told("SDEAL", deal_message(custom_field=""), 0)
    assert kinds(out.reports) == [("FILL", "")]
    unknown = deal_message(custom_field="", code="9999", trade_id="other")
    assert kinds(translator.told("SDEAL", unknown, 0).reports) == [("IN_DOUBT", "")]


def test_an_order_of_the_life_before_is_told_under_its_field():
    _, translator = made(is_sent=False)
    out = translator.told("SDEAL", deal_message(custom_field="OLD001"), 0)
    assert kinds(out.reports) == [("FILL", "OLD001")]


def test_an_order_of_the_life_before_is_read_by_the_scales_it_was_sent_with():
    own = {("OLD001", "de616839"): Scales(4, 0)}
    translator = Translator(
        Correlation(), {"2330": SCALES}.get, own=lambda ref, venue_id: own.get((ref, venue_id))
    )
    (mine,) = translator.told("SDEAL", deal_message(custom_field="OLD001"), 0).reports
    other = deal_message(custom_field="OLD002", trade_id="other")
    (theirs,) = translator.told("SDEAL", other, 0).reports
    assert mine.price == theirs.price * 100


def test_one_event_id_counts_once_and_none_counts_always():
    known, translator = made()
    for event_id, count in (("v1:a:1:1", 1), ("", 3)):
        message = order_message(event_id=event_id)
        told = [translator.told("SORDER", message, 0).reports for _ in range(3)]
        assert sum(map(len, told)) == count
    assert known.duplicates == 2


def test_a_cancel_that_waits_goes_when_the_id_comes_and_not_for_an_order_that_is_over():
    known, translator = made()
    entry = known.of_ref("00000A")
    entry.cancel_since_ns = 1
    assert translator.told("SORDER", order_message(), 0).cancels == [entry]
    assert entry.cancel_since_ns is None
    known, translator = made()
    known.of_ref("00000A").cancel_since_ns = 1
    out = translator.told("SORDER", order_message(code="9938"), 0)
    assert kinds(out.reports) == [("REJECTED", "00000A")]
    assert out.cancels == []


def test_a_late_deal_of_a_cancelled_order_is_still_a_fill():
    _, translator = made()
    translator.told("SORDER", order_message(op="Cancel", cancelled=3), 0)
    assert kinds(translator.told("SDEAL", deal_message(**NO_REF), 0).reports) == [
        ("FILL", "00000A")
    ]


@pytest.mark.parametrize("cancelled", [1, 2], ids=["this change", "all changes"])
def test_a_second_reduction_is_understood_however_the_venue_counts(cancelled):
    known, translator = made(size=3)
    entry = known.of_ref("00000A")
    entry.asked_size = 2
    (first,) = translator.told("SORDER", order_message(op="UpdateQty", cancelled=1), 0).reports
    assert (first.kind, first.size) == (ReportKind.REPLACED, 2)
    entry.asked_size = 1
    message = order_message(op="UpdateQty", cancelled=cancelled)
    (second,) = translator.told("SORDER", message, 0).reports
    assert (second.kind, second.size, second.price) == (ReportKind.REPLACED, 1, 58_050)


def test_a_change_that_is_not_what_was_asked_for_is_in_doubt():
    known, translator = made()
    known.of_ref("00000A").asked_size = 2
    message = order_message(op="UpdateQty", cancelled=3)
    (report,) = translator.told("SORDER", message, 0).reports
    assert (report.kind, report.code) == (ReportKind.IN_DOUBT, "REPLACE_MISMATCH")
    known, translator = made()
    known.of_ref("00000A").asked_price = 57_000
    message = order_message(op="UpdatePrice", modified_price=570.05)
    (report,) = translator.told("SORDER", message, 0).reports
    assert (report.kind, report.code) == (ReportKind.IN_DOUBT, "REPLACE_MISMATCH")


def test_a_change_by_hand_is_told_from_the_message_alone():
    _, translator = made()
    message = order_message(op="UpdatePrice", modified_price=570.05)
    (report,) = translator.told("SORDER", message, 0).reports
    assert (report.kind, report.price, report.size) == (ReportKind.REPLACED, 57_005, 3)


def test_a_price_off_the_grid_is_in_doubt_and_never_rounded():
    _, translator = made()
    (report,) = translator.told("SDEAL", deal_message(price=580.055), 0).reports
    assert (report.kind, report.ref, report.code) == (ReportKind.IN_DOUBT, "00000A", "MALFORMED")


def test_a_message_that_nobody_can_attribute_loses_everything():
    _, translator = made()
    out = translator.told("SDEAL", {}, 0)
    assert out.reports == []
    assert out.lost


PLACE = PlaceJob(approved(), "00000A", None, None, 0)
CHANGE = ChangeJob(approved(), "00000A", "v1", None, Change(570.0, None), 0)
CANCEL = CancelJob("00000A", "v1", None, 0)


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (PLACE, ReportKind.REJECTED),
        (CHANGE, ReportKind.REPLACE_REJECTED),
        (CANCEL, ReportKind.CANCEL_REJECTED),
    ],
)
def test_what_never_left_is_refused_and_what_raised_is_in_doubt_unless_proven(job, kind):
    known, translator = made()
    known.of_ref("00000A").asked_price = 57_000
    report = translator.refused(Refused(job, "HALTED", "words"))
    assert (report.kind, report.code) == (kind, "HALTED")
    assert known.of_ref("00000A").is_over is (job is PLACE)
    if job is CHANGE:
        assert known.of_ref("00000A").asked_price is None

    class BadRequestError(Exception):
        pass

    proven = translator.raised(Raised(job, BadRequestError(f"no {SECRET}")))
    assert (proven.kind, proven.code, proven.reason) == (kind, "BadRequestError", "no ***")
    doubtful = translator.raised(Raised(job, RuntimeError(f"no {SECRET}")))
    assert (doubtful.kind, doubtful.reason) == (ReportKind.IN_DOUBT, "no ***")


def test_orders_are_forgotten_only_when_they_are_over_and_the_table_is_full(monkeypatch):
    monkeypatch.setattr("risk.brokers.shioaji.correlation.ENTRIES_MAX", 3)
    known = Correlation()
    entries = [Entry(f"R{n}", approved(), SCALES) for n in range(4)]
    for entry in entries[:3]:
        known.add(entry)
    known.identify(entries[0], "id0")
    known.finish(entries[1])
    known.add(entries[3])
    assert known.of_ref("R1") is None
    assert known.of_id("id0") is entries[0]
    assert known.of_ref("R2") is entries[2]
