"""What lists prove, and what they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import structs

from risk.order import apply, ask_cancel, ask_replace, doubt, mark_sent
from risk.order_facts import Doubt, Order, State
from risk.orders import Report, ReportKind, Request, Snapshot, VenueOrder, VenuePosition
from risk.recovery import order_of
from risk.resolve import DifferenceKind, Resolver, Verdict

T = 1_000


class OneOrder:
    """Books with one order."""

    def __init__(self, order: Order) -> None:
        self.order = order

    def open_orders(self) -> Iterable[Order]:
        return [] if self.order.is_over else [self.order]

    def find(self, ref: str, venue_id: str) -> Order | None:
        fits = ref == self.order.ref or (venue_id and venue_id == self.order.venue_id)
        return self.order if fits else None

    def is_forgotten(self, ref: str) -> bool:
        return ref == "000000"

    def held(self) -> Mapping[str, int]:
        return {"ABC": self.order.filled}

    def take(self, verdict: Verdict) -> Order:
        for number, report in verdict.reports:
            assert number == self.order.number
            apply(self.order, report)
        return self.order


def sent() -> Order:
    request = Request(
        client_id=1,
        strategy="s",
        account="a",
        instrument=7,
        venue="sim",
        symbol="ABC",
        side="B",
        price=100,
        size=10,
    )
    order = order_of(request, 5)
    mark_sent(order, 10)
    return order


def acked() -> Order:
    order = sent()
    apply(order, Report(kind=ReportKind.ACKED, ref=order.ref, venue_id="V1"))
    order.heard_mono_ns = 20
    return order


def listed(**given: Any) -> VenueOrder:
    fields = {"ref": "000005", "venue_id": "V1", "symbol": "ABC", "side": "B", "price": 100}
    return VenueOrder(**{**fields, "size": 10, "cum_size": 0, "is_open": True, **given})


def snapshot(
    at: int,
    *orders: VenueOrder,
    fills: tuple[Report, ...] = (),
    position: int = 0,
    is_healthy: bool = True,
) -> Snapshot:
    return Snapshot(
        asked_mono_ns=at,
        is_healthy=is_healthy,
        orders=orders,
        fills=fills,
        positions=(VenuePosition(symbol="ABC", size=position),),
        account=None,
    )


def fill(exec_id: str, size: int, **given: Any) -> Report:
    fields = {"ref": "000005", "exec_id": exec_id, "price": 100, "size": size}
    return Report(kind=ReportKind.FILL, **{**fields, **given})


def test_filled_by_the_list_and_its_executions_is_filled() -> None:
    books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
    over = listed(is_open=False, end="filled", cum_size=10)
    found = snapshot(100, over, fills=(fill("E1", 10),), position=10)
    assert books.take(resolver.look(found, books)).state is State.FILLED


def test_filled_by_the_list_without_executions_waits_for_them() -> None:
    books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
    over = listed(is_open=False, end="filled", cum_size=10)
    order = books.take(resolver.look(snapshot(100, over, position=10), books))
    assert (order.state, order.cum, order.filled) == (State.ACKED, 10, 0)
    assert doubt(order, Doubt.FILLS).after is State.UNKNOWN


def test_list_that_was_asked_for_before_the_last_word_ends_nothing() -> None:
    books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
    books.order.heard_mono_ns = 200
    for at in (100, 150, 100 + 2 * T):
        verdict = resolver.look(snapshot(at), books)
        assert verdict.reports == []
    # Only this one and the one before it were asked for after it.
    assert books.take(resolver.look(snapshot(100 + 4 * T), books)).state is State.CANCELLED


def test_something_heard_between_two_lists_begins_the_count_anew() -> None:
    books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
    assert resolver.look(snapshot(100), books).reports == []
    books.order.heard_mono_ns = 100 + T
    assert resolver.look(snapshot(100 + 2 * T), books).reports == []
    assert resolver.look(snapshot(100 + 3 * T), books).reports != []


def test_replacement_in_doubt_is_what_the_list_says() -> None:
    for price, expected in ((105, 105), (100, 100)):
        books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
        ask_replace(books.order, 105, 10, 30)
        doubt(books.order, Doubt.REPLACE)
        for at in (100, 100 + T):
            books.take(resolver.look(snapshot(at, listed(price=price)), books))
        assert (books.order.state, books.order.price) == (State.ACKED, expected)


def test_cancel_in_doubt_of_a_listed_order_needs_two_lists() -> None:
    books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
    ask_cancel(books.order, 30)
    doubt(books.order, Doubt.CANCEL)
    assert books.take(resolver.look(snapshot(100, listed()), books)).state is State.UNKNOWN
    assert books.take(resolver.look(snapshot(100 + T, listed()), books)).state is State.ACKED


def test_unhealthy_list_proves_presence_and_executions_only() -> None:
    books, resolver = OneOrder(sent()), Resolver(absence_ns=T)
    doubt(books.order, Doubt.NEW)
    found = snapshot(100, listed(cum_size=3), fills=(fill("E1", 3),), position=77, is_healthy=False)
    verdict = resolver.look(found, books)
    assert not verdict.is_clean
    assert verdict.differences == []
    assert books.take(verdict).state is State.PARTIAL
    for at in (100 + 2 * T, 100 + 4 * T):
        assert resolver.look(snapshot(at, position=3, is_healthy=False), books).reports == []


def test_foreign_orders_and_executions_are_differences_and_never_reports() -> None:
    books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
    found = snapshot(
        100,
        listed(),
        listed(ref="web-1", venue_id="V9"),
        fills=(fill("E9", 1, ref="web-1"), fill("E8", 1, ref="000000")),
    )
    verdict = resolver.look(found, books)
    assert verdict.reports == []
    assert [each.kind for each in verdict.differences] == [
        DifferenceKind.FOREIGN_FILL,
        DifferenceKind.FOREIGN_ORDER,
    ]
    assert verdict.is_clean


def test_an_open_order_with_a_ref_of_ours_that_nobody_knows_is_lost_and_no_clean_end() -> None:
    books, resolver = OneOrder(acked()), Resolver(absence_ns=T)
    lost = listed(ref="000000", venue_id="V9")
    verdict = resolver.look(snapshot(100, listed(), lost), books)
    assert [each.kind for each in verdict.differences] == [DifferenceKind.LOST_ORDER]
    assert verdict.differences[0].is_ours
    assert not verdict.is_clean
    assert verdict.reports == []
    over = structs.replace(lost, is_open=False)
    assert resolver.look(snapshot(100 + T, listed(), over), books).is_clean


def test_order_that_waits_for_the_disk_is_not_missed() -> None:
    order = sent()
    order.state = State.PENDING_NEW
    order.asked_mono_ns = 0
    books, resolver = OneOrder(order), Resolver(absence_ns=T)
    for at in (100, 100 + 2 * T):
        assert resolver.look(snapshot(at), books).reports == []
