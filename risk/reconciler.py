"""The router's slow half: asks venues for their lists, lets evidence settle doubts, cancels all.

It awaits, with a limit on every wait; what the lists prove is risk/resolve.py's business, what
becomes of an order the router's. It resends no order: only questions and cancels are repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol, final

from risk.approval import Denied
from risk.asking import Asking
from risk.brokers.port import Broker
from risk.errors import BrokerError
from risk.order_facts import Order
from risk.order_numbers import number_of
from risk.order_table import AccountBooks, OrderTable
from risk.orders import Report, Snapshot, VenueOrder, Wanted
from risk.resolve import Difference, DifferenceKind, Resolver, Verdict
from risk.router_config import RouterConfig
from tickd.ports import Clock

__all__ = ["Desk", "Reconciler"]

_NS_PER_MS: Final = 1_000_000
_TICK_S: Final = 0.02
# So many intervals after its last healthy lists an account counts as unreconciled again.
STALE_INTERVALS: Final = 3
_Essence = tuple[int, str, int, str]


class Desk(Protocol):
    """The router, as it is needed here. None of these raises."""

    @property
    def is_carrying(self) -> bool:
        """Whether the next tick has more of the same to do."""
        ...

    @property
    def number_next(self) -> int:
        """All refs below it are ours."""
        ...

    def tick(self) -> None:
        """Look at the clock."""
        ...

    def take(self, order: Order, report: Report) -> None:
        """Drive an order by a conclusion."""
        ...

    def trip(self, order: Order, what: str) -> None:
        """Halt the order's instrument."""
        ...

    def take_back(self, order: Order, *, is_again: bool) -> Denied | None:
        """Ask for an order to be cancelled."""
        ...

    def cancel_failed(self, account: str, error: Exception) -> None:
        """Orders of an account cannot be taken back, for a bug; a person should hear of it."""
        ...

    def differs(self, account: str, difference: Difference) -> None:
        """Two snapshots in a row differ from our books in the same way."""
        ...


@final
class Reconciler:
    """Evidence of all accounts. on_snapshot: whoever else lives on snapshots."""

    def __init__(
        self,
        desk: Desk,
        *,
        config: RouterConfig,
        brokers: Mapping[str, Broker],
        table: OrderTable,
        clock: Clock,
        on_snapshot: Callable[[str, Snapshot], None],
    ) -> None:
        self._desk = desk
        self._config = config
        self._brokers = brokers
        self._asking = Asking(brokers)
        self._table = table
        self._clock = clock
        self._on_snapshot = on_snapshot
        absence_ns = config.absence_ms_min * _NS_PER_MS
        self._resolvers = {account: Resolver(absence_ns=absence_ns) for account in brokers}
        # By account: what the last snapshot differed in; whether it was healthy and agreed.
        self.differences: dict[str, list[Difference]] = {account: [] for account in brokers}
        self._is_clean = dict.fromkeys(brokers, False)
        # When its last healthy lists were asked for; None: not since the line changed.
        self._healthy_ns: dict[str, int | None] = dict.fromkeys(brokers)
        # Whether a question since then came to nothing.
        self._is_failing = dict.fromkeys(brokers, False)
        self._told: dict[str, set[_Essence]] = {account: set() for account in brokers}
        self.failures_count = 0
        self.snapshots_count = 0
        # Which accounts are halted by themselves, and hold up no other; the wiring gives it.
        self.is_aside: Callable[[str], bool] = lambda _account: False

    # --- evidence ----------------------------------------------------------------------------

    def line_changed(self, account: str) -> None:
        """What was known of the account may be old: it counts as unreconciled until it is asked."""
        self._is_clean[account] = False
        self._healthy_ns[account] = None

    def problems(self, of: str = "") -> list[str]:
        """What stands against arming, for people; empty: books and venues agree.

        Accounts that are halted by themselves stand against none but their own, which is `of`.
        """
        found: list[str] = []
        for order in self._table.open.values():
            account = order.request.account
            if account != of and self.is_aside(account):
                continue
            if account not in self._brokers:
                found.append(f"order {order.ref} is of {account}, which is not configured")
            elif order.number in self._table.unknown:
                found.append(f"order {order.ref} of {account} is UNKNOWN")
        for account, is_clean in self._is_clean.items():
            if account != of and self.is_aside(account):
                continue
            stale = self._staleness(account)
            if stale is not None or not is_clean:
                found.append(stale or f"{account} is not reconciled")
            found += (_words(account, each) for each in self.differences[account] if each.is_ours)
        return found

    def unverified(self, account: str, symbol: str) -> str | None:
        """Why the venue's word on what an account holds of a symbol cannot be gone by; or None."""
        if (stale := self._staleness(account)) is not None:
            return stale
        of_symbol = (each for each in self.differences[account] if each.symbol == symbol)
        return next((_words(account, each) for each in of_symbol if each.is_ours), None)

    def _staleness(self, account: str) -> str | None:
        """Why the venue's last lists say nothing of now; None: they are recent."""
        healthy_ns = self._healthy_ns.get(account)
        if healthy_ns is None:
            return f"{account} is not reconciled"
        limit_ms = STALE_INTERVALS * self._config.reconcile_interval_ms
        if not self._is_failing[account]:
            limit_ms += self._config.snapshot_timeout_ms  # the next ones may be under way
        age_ns = self._clock.mono_ns() - healthy_ns
        if age_ns <= limit_ms * _NS_PER_MS:
            return None
        return f"{account} is not reconciled: its last healthy lists are {age_ns // 10**9} s old"

    def take_snapshot(self, account: str, snapshot: Snapshot) -> Verdict:
        """Let a snapshot settle what it can."""
        self.snapshots_count += 1
        verdict = self._resolvers[account].look(snapshot, self._books(account))
        for number, report in verdict.reports:
            order = self._table.of_number(number)
            if order is not None:
                self._desk.take(order, report)
        before = {_essence(each) for each in self.differences[account]}
        for each in verdict.differences:
            if each.kind is DifferenceKind.AMBIGUOUS:
                order = self._table.of_number(each.number)
                if order is not None:
                    self._desk.trip(order, "AMBIGUOUS")
            elif _essence(each) in before - self._told[account]:
                self._told[account].add(_essence(each))
                self._desk.differs(account, each)
        if snapshot.is_healthy:
            # What is gone and comes back is told again.
            self._told[account] &= {_essence(each) for each in verdict.differences}
            self.differences[account] = verdict.differences
            self._is_clean[account] = verdict.is_clean
            self._healthy_ns[account] = snapshot.asked_mono_ns
        self._is_failing[account] = not snapshot.is_healthy
        self._on_snapshot(account, snapshot)
        return verdict

    def _books(self, account: str) -> AccountBooks:
        return AccountBooks(self._table, account, self._desk.number_next)

    async def reconcile(self, account: str, *, timeout_ms: int | None = None) -> Snapshot | None:
        """Ask a venue for its lists and use them; None: it did not answer."""
        limit_ms = self._config.snapshot_timeout_ms if timeout_ms is None else timeout_ms
        snapshot = await self._asking.snapshot(account, timeout_ms=limit_ms)
        if snapshot is None:
            self.failures_count += 1
            self._is_failing[account] = True
            return None
        self.take_snapshot(account, snapshot)
        return snapshot

    # --- loops -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch the clock and ask every venue again and again; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_clock(), name="risk.router.clock")
            for account in self._brokers:
                group.create_task(self._watch_account(account), name=f"risk.router.{account}")

    async def _watch_clock(self) -> None:
        while True:
            self._desk.tick()
            await self._clock.sleep(0 if self._desk.is_carrying else _TICK_S)

    async def _watch_account(self, account: str) -> None:
        pause_ns = self._config.reconcile_interval_ms * _NS_PER_MS
        while True:
            asked_ns = self._clock.mono_ns()
            await self.reconcile(account)
            while True:
                await self._clock.sleep(self._config.resolve_interval_ms / 1000)
                is_due = self._clock.mono_ns() - asked_ns >= pause_ns
                if is_due or not self._is_clean[account] or self._is_in_doubt(account):
                    break

    def _is_in_doubt(self, account: str) -> bool:
        return any(order.request.account == account for order in self._table.unknown.values())

    # --- cancel all --------------------------------------------------------------------------

    async def cancel_all(self, only: Callable[[Order], bool] | None = None) -> int:
        """Cancel, wait, list again, until the venues list none of ours; return what is left.

        only: which orders, and only their accounts are asked; all of ours by default, and an
        account that is halted by itself and does not answer holds up no other. Bounded by
        cancel_all_timeout_ms.
        """
        started_ns = self._clock.mono_ns()
        limit_ns = self._config.cancel_all_timeout_ms * _NS_PER_MS
        accounts = set(self._brokers) if only is None else set()
        asked: set[int] = set()
        # Accounts where something broke; a person is told of each once.
        failed: set[str] = set()
        while True:
            # Once each: an order that no list shows is left in peace, so that absence can be proof.
            for order in self._chosen(only):
                if order.request.account not in self._brokers:
                    continue  # nobody to ask
                accounts.add(order.request.account)
                if order.number not in asked and self._is_taken_back(order, failed, started_ns):
                    asked.add(order.number)
            await self._clock.sleep(self._config.cancel_all_interval_ms / 1000)
            strangers, silent = await self._list_all(accounts, only, failed)
            aside = {each for each in silent if only is None and self.is_aside(each)}
            is_whole = silent == aside
            names = [order.request.account for order in self._chosen(only)]
            left = strangers + sum(name not in aside for name in names)
            if is_whole and left == sum(name not in self._brokers for name in names):
                return left
            if self._clock.mono_ns() - started_ns >= limit_ns:
                # Where a venue does not answer nobody knows that nothing is left.
                return left if is_whole else max(left, 1)

    async def _list_all(
        self, accounts: Collection[str], only: Callable[[Order], bool] | None, failed: set[str]
    ) -> tuple[int, set[str]]:
        """Cancel what is listed; return the orders nobody knew, and who did not answer.

        All accounts at once: one that hangs, or breaks, holds up no other.
        """
        limit_ms = min(self._config.snapshot_timeout_ms, self._config.cancel_all_timeout_ms)
        strangers, silent = 0, set[str]()

        async def list_one(account: str) -> None:
            nonlocal strangers
            silent.add(account)
            with self._asking.apart(account, failed, self._desk.cancel_failed):
                snapshot = await self.reconcile(account, timeout_ms=limit_ms)
                if snapshot is not None and snapshot.is_healthy:
                    strangers += self._cancel_listed(account, snapshot, only)
                    silent.discard(account)

        async with asyncio.TaskGroup() as group:
            for account in accounts:
                group.create_task(list_one(account), name=f"risk.cancel_all.{account}")
        return strangers, silent

    def _is_taken_back(self, order: Order, failed: set[str], since_ns: int) -> bool:
        account = order.request.account
        if order.cancel_asked and order.asked_mono_ns > since_ns:
            return True  # a wish that was refused before went out meanwhile
        with self._asking.apart(account, failed, self._desk.cancel_failed):
            return not self._desk.take_back(order, is_again=True)
        return False

    def _chosen(self, only: Callable[[Order], bool] | None) -> list[Order]:
        return [order for order in self._table.open.values() if only is None or only(order)]

    def _cancel_listed(
        self, account: str, snapshot: Snapshot, only: Callable[[Order], bool] | None
    ) -> int:
        """Cancel again what is still listed; return how many of those the table has forgotten."""
        strangers = 0
        for each in snapshot.orders:
            if not each.is_open:
                continue
            order = self._table.find(account, each.ref, each.venue_id)
            if order is not None:
                if not order.is_over and (only is None or only(order)):
                    self._desk.take_back(order, is_again=True)
            elif only is None and self._is_ours(each):
                strangers += 1
                self._cancel_stranger(account, each)
        return strangers

    def _is_ours(self, listed: VenueOrder) -> bool:
        number = number_of(listed.ref)
        return number is not None and number < self._desk.number_next

    def _cancel_stranger(self, account: str, listed: VenueOrder) -> None:
        """An order with a ref of ours that the table does not know any more."""
        wanted = Wanted(
            number=number_of(listed.ref) or 0,
            ref=listed.ref,
            venue_id=listed.venue_id,
            instrument=0,
            symbol=listed.symbol,
            side=listed.side,
            price=listed.price,
            size=listed.size,
        )
        try:
            self._asking.cancel(account, wanted)
        except BrokerError:
            self.failures_count += 1  # it is listed again, and asked for again


def _words(account: str, difference: Difference) -> str:
    """What a difference of ours is, for people."""
    symbol, name = difference.symbol, difference.name
    if difference.kind is DifferenceKind.POSITION:
        return (
            f"{account}: position in {symbol} is {difference.ours} here, {difference.theirs} there"
        )
    if difference.kind is DifferenceKind.LOST_ORDER:
        return (
            f"{account}: order {name} in {symbol} is ours, open at the venue and not known here: "
            "tickd risk kill cancels it, or cancel it there"
        )
    return f"{account}: order {name} in {symbol} at the venue fits more than one of ours"


def _essence(difference: Difference) -> _Essence:
    """What makes a difference the same in two snapshots, whatever traded in between."""
    delta = difference.theirs - difference.ours
    return (int(difference.kind), difference.symbol, delta, difference.name)
