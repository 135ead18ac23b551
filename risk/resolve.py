"""What a venue's lists prove about our orders, and where its books and ours differ.

Pure. An order that is listed exists; one that is not listed is gone only after two healthy
snapshots far enough apart, both asked for after we last sent or heard anything of it, with
positions that agree. What is not proven stays as it is. Proofs are given as reports, which drive
the orders' machine like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Final, Protocol, final

import msgspec

from risk.order import LISTED
from risk.order_facts import Doubt, Order, State
from risk.orders import Report, ReportKind, Snapshot, VenueOrder

__all__ = [
    "NOT_APPLIED",
    "NOT_FOUND",
    "Books",
    "Difference",
    "DifferenceKind",
    "Resolver",
    "Verdict",
]

# Codes of reports that are conclusions: the venue never had the order, has it no more, or has not
# done what was asked.
NOT_FOUND: Final = "NOT_FOUND"
NOT_LISTED: Final = "NOT_LISTED"
NOT_APPLIED: Final = "NOT_APPLIED"
_ENDS: Final = {
    "cancelled": ReportKind.CANCELLED,
    "expired": ReportKind.EXPIRED,
    "rejected": ReportKind.REJECTED,
}


class DifferenceKind(IntEnum):
    """In what the venue's books and ours differ."""

    # Open at the venue and not ours: reported, never touched.
    FOREIGN_ORDER = 1
    FOREIGN_FILL = 2
    POSITION = 3
    # Ours, and more than one order fits: it stays UNKNOWN.
    AMBIGUOUS = 4
    # Open at the venue with a ref of ours that no order is known of: nothing is reserved for it.
    LOST_ORDER = 5


_OURS: Final = (DifferenceKind.POSITION, DifferenceKind.AMBIGUOUS, DifferenceKind.LOST_ORDER)


class Difference(msgspec.Struct, frozen=True):
    """ours, theirs: sizes; number: of our order where there is one."""

    kind: DifferenceKind
    symbol: str
    ours: int = 0
    theirs: int = 0
    name: str = ""
    number: int = 0

    @property
    def is_ours(self) -> bool:
        """Whether it is about orders or positions of ours: nobody knows what is out, or held."""
        return self.kind in _OURS


class Verdict(msgspec.Struct, frozen=True):
    """reports: what is proven, by order number.

    is_clean: the snapshot was healthy, its positions are ours, and we know all its orders of ours.
    """

    reports: list[tuple[int, Report]]
    differences: list[Difference]
    is_clean: bool


class Books(Protocol):
    """What we know of an account."""

    def open_orders(self) -> Iterable[Order]:
        """Orders that are not over."""
        ...

    def find(self, ref: str, venue_id: str) -> Order | None:
        """Any order that is still known, by either name."""
        ...

    def is_forgotten(self, ref: str) -> bool:
        """Whether it is a ref of ours that no order is known of any more."""
        ...

    def held(self) -> Mapping[str, int]:
        """Bought minus sold of the account, by symbol."""
        ...


@final
class Resolver:
    """One account's evidence from snapshot to snapshot."""

    def __init__(self, *, absence_ns: int) -> None:
        self._absence_ns = absence_ns
        # When the first of two snapshots was asked for that show an order in this way.
        self._seen: dict[tuple[int, str], int] = {}

    def look(self, snapshot: Snapshot, books: Books) -> Verdict:
        """Return what `snapshot` proves, together with those before it."""
        reports: list[tuple[int, Report]] = []
        differences: list[Difference] = []
        fresh_fills = self._fills(snapshot, books, reports, differences)
        held = Counter(books.held())
        for order, size in fresh_fills.values():
            held[order.request.symbol] += size if order.request.side == "B" else -size
        is_settled = self._positions(snapshot, held, differences)
        listed = self._listed(snapshot, books, differences)
        open_orders = list(books.open_orders())
        for order in open_orders:
            if order.state == State.PENDING_NEW or order.asked_mono_ns >= snapshot.asked_mono_ns:
                continue
            fresh = fresh_fills.get(order.number)
            filled = order.filled + (0 if fresh is None else fresh[1])
            venue_order = listed.get(order.number)
            if venue_order is not None:
                found = self._present(order, venue_order, snapshot)
            elif is_settled(order.request.symbol):
                found = self._absent(order, filled, snapshot)
            else:
                found = []
            reports += ((order.number, report) for report in found)
        alive = {order.number for order in open_orders}
        self._seen = {key: at for key, at in self._seen.items() if key[0] in alive}
        is_clean = snapshot.is_healthy and not any(each.is_ours for each in differences)
        return Verdict(reports, differences, is_clean)

    def _fills(
        self,
        snapshot: Snapshot,
        books: Books,
        reports: list[tuple[int, Report]],
        differences: list[Difference],
    ) -> dict[int, tuple[Order, int]]:
        """Executions we were not told of, to be taken first; how much that is of each order."""
        fresh: dict[int, tuple[Order, int]] = {}
        told: set[tuple[int, str]] = set()
        for fill in snapshot.fills:
            order = books.find(fill.ref, fill.venue_id)
            if order is None and books.is_forgotten(fill.ref):
                # Long over; what it may have traded since shows in the position.
                continue
            if order is None:
                name = fill.exec_id or fill.venue_id or fill.ref
                foreign = Difference(
                    DifferenceKind.FOREIGN_FILL, "", theirs=fill.size or 0, name=name
                )
                differences.append(foreign)
                continue
            key = (order.number, fill.exec_id)
            if fill.exec_id in order.executions or key in told or not fill.exec_id:
                continue
            told.add(key)
            reports.append((order.number, fill))
            before = fresh.get(order.number, (order, 0))[1]
            # What an operator has booked does not move the position again.
            fresh[order.number] = (order, before + (fill.size or 0))
        return {
            number: (order, max(size - order.assumed, 0)) for number, (order, size) in fresh.items()
        }

    @staticmethod
    def _positions(
        snapshot: Snapshot, held: Counter[str], differences: list[Difference]
    ) -> Callable[[str], bool]:
        """Compare what is held; the answer says for which symbols it is the same."""
        theirs: Counter[str] = Counter()
        for position in snapshot.positions:
            theirs[position.symbol] += position.size
        apart = sorted(symbol for symbol in {*theirs, *held} if theirs[symbol] != held[symbol])
        if snapshot.is_healthy:
            differences += (
                Difference(
                    DifferenceKind.POSITION, symbol, ours=held[symbol], theirs=theirs[symbol]
                )
                for symbol in apart
            )
        return lambda symbol: symbol not in apart

    def _listed(
        self, snapshot: Snapshot, books: Books, differences: list[Difference]
    ) -> dict[int, VenueOrder]:
        """Match the venue's orders with ours: by ref, by its id, then only if nothing else fits."""
        listed: dict[int, VenueOrder] = {}
        nameless: list[VenueOrder] = []
        for each in snapshot.orders:
            order = books.find(each.ref, each.venue_id)
            if order is not None:
                listed[order.number] = each
            elif not each.ref:
                nameless.append(each)
            elif each.is_open:
                is_lost = books.is_forgotten(each.ref)
                kind = DifferenceKind.LOST_ORDER if is_lost else DifferenceKind.FOREIGN_ORDER
                differences.append(_stranger(each, kind))
        wanted = [
            order
            for order in books.open_orders()
            if order.doubts & Doubt.NEW
            and not order.venue_id
            and order.number not in listed
            and order.asked_mono_ns < snapshot.asked_mono_ns
        ]
        for each in nameless:
            fitting = [order for order in wanted if _fits(order, each)]
            rivals = [other for other in nameless if fitting and _fits(fitting[0], other)]
            if len(fitting) == 1 and len(rivals) == 1:
                listed[fitting[0].number] = each
            elif fitting:
                differences += (
                    Difference(
                        DifferenceKind.AMBIGUOUS,
                        each.symbol,
                        theirs=each.size,
                        name=each.venue_id,
                        number=order.number,
                    )
                    for order in fitting
                )
                for order in fitting:
                    # Listed or not, nobody can say: no evidence of absence either.
                    self._forget(order)
            elif each.is_open:
                differences.append(_stranger(each, DifferenceKind.FOREIGN_ORDER))
        ambiguous = {each.number for each in differences if each.kind == DifferenceKind.AMBIGUOUS}
        return {number: each for number, each in listed.items() if number not in ambiguous}

    def _present(self, order: Order, listed: VenueOrder, snapshot: Snapshot) -> list[Report]:
        """A listed order exists; of one that is over, what was asked for is over, too."""
        # Proof that it is there holds even where something was heard meanwhile.
        reports: list[Report] = []
        is_fresh = order.heard_mono_ns < snapshot.asked_mono_ns
        kind = ReportKind.ACKED
        is_complete = listed.cum_size >= listed.size
        if not listed.is_open and not (listed.end == "filled" and is_complete):
            kind = _ENDS.get(listed.end, ReportKind.CANCELLED)
        if is_fresh and snapshot.is_healthy:
            reports += self._values(order, listed, snapshot)
        is_news = (
            kind is not ReportKind.ACKED
            or bool(order.doubts & ~(Doubt.CANCEL | Doubt.REPLACE))
            or not order.is_acked
            or (bool(listed.venue_id) and not order.venue_id)
            or listed.cum_size > order.cum
        )
        if is_news and (is_fresh or not order.is_acked):
            reports.append(
                Report(
                    kind=kind,
                    ref=order.ref,
                    venue_id=listed.venue_id,
                    cum_size=listed.cum_size,
                    code=LISTED,
                )
            )
        return reports

    def _values(self, order: Order, listed: VenueOrder, snapshot: Snapshot) -> list[Report]:
        """What works at the venue: another price or size than here, or the old ones after all."""
        reports: list[Report] = []
        if (listed.price, listed.size) != (order.price, order.size):
            reports.append(
                Report(
                    kind=ReportKind.REPLACED,
                    ref=order.ref,
                    venue_id=listed.venue_id,
                    price=listed.price,
                    size=listed.size,
                    code=LISTED,
                )
            )
        elif order.replace_asked and (
            not listed.is_open
            or (order.doubts & Doubt.REPLACE and self._twice(order, "replace", snapshot))
        ):
            reports.append(
                Report(kind=ReportKind.REPLACE_REJECTED, ref=order.ref, code=NOT_APPLIED)
            )
        is_cancelling = listed.is_open and order.doubts & Doubt.CANCEL
        if is_cancelling and self._twice(order, "cancel", snapshot):
            reports.append(Report(kind=ReportKind.CANCEL_REJECTED, ref=order.ref, code=NOT_APPLIED))
        return reports

    def _absent(self, order: Order, filled: int, snapshot: Snapshot) -> list[Report]:
        if not snapshot.is_healthy or order.heard_mono_ns >= snapshot.asked_mono_ns:
            return []
        if order.cum > filled or filled > order.filled + order.leaves:
            return []  # it has traded more than the lists show: they are not whole
        if not self._twice(order, "absent", snapshot):
            return []
        if order.is_acked or filled:
            kind, code = ReportKind.CANCELLED, NOT_LISTED
        else:
            kind, code = ReportKind.REJECTED, NOT_FOUND
        return [Report(kind=kind, ref=order.ref, cum_size=filled, code=code)]

    def _twice(self, order: Order, what: str, snapshot: Snapshot) -> bool:
        """Whether this is the second snapshot, far enough from the first, that shows the same."""
        key = (order.number, what)
        first_ns = self._seen.get(key)
        since_ns = max(order.asked_mono_ns, order.heard_mono_ns)
        if first_ns is None or first_ns <= since_ns:
            self._seen[key] = snapshot.asked_mono_ns
            return False
        return snapshot.asked_mono_ns - first_ns >= self._absence_ns

    def _forget(self, order: Order) -> None:
        for key in [key for key in self._seen if key[0] == order.number]:
            del self._seen[key]


def _fits(order: Order, listed: VenueOrder) -> bool:
    request = order.request
    return (listed.symbol, listed.side, listed.price, listed.size) == (
        request.symbol,
        request.side,
        order.price,
        order.size,
    )


def _stranger(listed: VenueOrder, kind: DifferenceKind) -> Difference:
    return Difference(kind, listed.symbol, theirs=listed.size, name=listed.ref or listed.venue_id)
