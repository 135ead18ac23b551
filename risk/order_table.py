"""All orders that are known, by every name they have, and what is held by their fills.

Bounded: orders that are over leave in the order in which they ended. It judges no report and
sends nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final, final

from risk.order_facts import Order, State
from risk.order_numbers import number_of
from risk.orders import Request
from risk.outbox_format import Carried, Held
from risk.recovery import carried_of
from tickd.ports import Clock

__all__ = ["AccountBooks", "OrderTable"]

_UNKNOWN: Final = State.UNKNOWN
TwinKey = tuple[str, str, int, str, int | None, int]


def twin_key(request: Request) -> TwinKey:
    """What makes two requests the same intent."""
    return (
        request.strategy,
        request.account,
        request.instrument,
        request.side,
        request.price,
        request.size,
    )


@final
class OrderTable:
    """`done_max` orders that are over stay, for late fills."""

    def __init__(self, *, done_max: int, clock: Clock) -> None:
        self._done_max = done_max
        self._clock = clock
        self.open: dict[int, Order] = {}
        self.unknown: dict[int, Order] = {}
        self._known: dict[int, Order] = {}
        self._by_ref: dict[str, Order] = {}
        self._by_client: dict[int, Order] = {}
        # (account, the venue's id)
        self._by_venue: dict[tuple[str, str], Order] = {}
        self._done: deque[int] = deque()
        self._twins: Counter[TwinKey] = Counter()
        # By account, strategy and instrument.
        self._held: dict[tuple[str, str, int], Held] = {}
        self._held_by_symbol: dict[str, Counter[str]] = {}

    def add(self, order: Order) -> None:
        number = order.number
        self._known[number] = order
        self._by_ref[order.ref] = order
        self._by_client[order.request.client_id] = order
        if order.venue_id:
            self.name(order)
        if order.is_over:
            self._finish(number)
        else:
            self.open[number] = order
            if order.state == _UNKNOWN:
                self._enter(order)

    def name(self, order: Order) -> None:
        """The venue's id of an order became known."""
        self._by_venue[order.request.account, order.venue_id] = order

    def moved(self, order: Order, before: State) -> None:
        """An order's state is another one."""
        after = order.state
        if before == _UNKNOWN:
            del self.unknown[order.number]
            key = twin_key(order.request)
            self._twins[key] -= 1
            if not self._twins[key]:
                del self._twins[key]
        if after == _UNKNOWN:
            self._enter(order)
        elif order.is_over and order.number in self.open:
            del self.open[order.number]
            self._finish(order.number)

    def _enter(self, order: Order) -> None:
        self.unknown[order.number] = order
        order.unknown_mono_ns = self._clock.mono_ns()
        self._twins[twin_key(order.request)] += 1

    def _finish(self, number: int) -> None:
        self._done.append(number)
        while len(self._done) > self._done_max:
            self._drop(self._known.pop(self._done.popleft()))

    def _drop(self, order: Order) -> None:
        del self._by_ref[order.ref]
        # Names may have been given to another order since.
        if self._by_client.get(order.request.client_id) is order:
            del self._by_client[order.request.client_id]
        key = (order.request.account, order.venue_id)
        if self._by_venue.get(key) is order:
            del self._by_venue[key]

    def has_unknown_twin(self, request: Request) -> bool:
        return bool(self._twins) and twin_key(request) in self._twins

    def of_client(self, client_id: int) -> Order | None:
        return self._by_client.get(client_id)

    def of_ref(self, ref: str) -> Order | None:
        return self._by_ref.get(ref)

    def of_number(self, number: int) -> Order | None:
        return self._known.get(number)

    def find(self, account: str, ref: str, venue_id: str) -> Order | None:
        """An order of `account`, by either name."""
        order = self._by_ref.get(ref)
        if order is not None and order.request.account == account:
            return order
        return self._by_venue.get((account, venue_id)) if venue_id and order is None else None

    def known(self) -> list[Order]:
        """Every order that is known, oldest first."""
        return sorted(self._known.values(), key=lambda order: order.number)

    # --- what is held ------------------------------------------------------------------------

    def hold(self, request: Request, size: int) -> None:
        """Add an execution."""
        signed = size if request.side == "B" else -size
        key = (request.account, request.strategy, request.instrument)
        before = self._held[key].size if key in self._held else 0
        self.set_held(Held(*key, request.symbol, before + signed))

    def set_held(self, held: Held) -> None:
        key = (held.account, held.strategy, held.instrument)
        before = self._held[key].size if key in self._held else 0
        self._held[key] = held
        by_symbol = self._held_by_symbol.setdefault(held.account, Counter())
        by_symbol[held.symbol] += held.size - before

    def held_by_symbol(self, account: str) -> Mapping[str, int]:
        return self._held_by_symbol.get(account, {})

    # --- what a new outbox begins with -------------------------------------------------------

    def kept(self) -> Iterable[int]:
        return list(self._known)

    def carried(self, number: int) -> Carried | None:
        order = self._known.get(number)
        return None if order is None else carried_of(order, self._clock.wall_ns())

    def held(self) -> list[Held]:
        return list(self._held.values())


@final
class AccountBooks:
    """One account's part of a table, as the resolver reads it."""

    def __init__(self, table: OrderTable, account: str, number_next: int) -> None:
        self._table = table
        self._account = account
        # Below it every number is ours.
        self._number_next = number_next

    def open_orders(self) -> list[Order]:
        return [
            order for order in self._table.open.values() if order.request.account == self._account
        ]

    def find(self, ref: str, venue_id: str) -> Order | None:
        return self._table.find(self._account, ref, venue_id)

    def is_forgotten(self, ref: str) -> bool:
        number = number_of(ref)
        is_ours = number is not None and number < self._number_next
        return is_ours and self._table.of_ref(ref) is None

    def held(self) -> Mapping[str, int]:
        return self._table.held_by_symbol(self._account)
