"""What is asked of the venue beside orders: its lists as a snapshot, and cancel-all over them.

Within the venue's limits of calls, a portion a turn of the loop. It keeps nothing and decides
nothing about an order's state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, final

import structlog

from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.brokers.shioaji.correlation import Correlation
from risk.brokers.shioaji.lanes import CancelJob
from risk.brokers.shioaji.line import Line
from risk.brokers.shioaji.listing import Deals, Lists, funds_of, is_open, order_of, positions_of
from risk.brokers.shioaji.rate import NS_PER_SECOND, CallRate
from risk.brokers.shioaji.requests import REF_PATTERN
from risk.brokers.shioaji.sdk import ShioajiOrders
from risk.brokers.shioaji.wire import PANIC, VENUE, Scales, none_known, text_of, words_of
from risk.orders import AccountState, Snapshot, VenueOrder, VenuePosition
from tickd.ports import Clock

__all__ = ["Queries"]

log = structlog.get_logger(__name__)

ACCOUNTING_WINDOW_S: Final = 5.0
ACCOUNTING_CALLS: Final = 3  # of a snapshot: records, positions, money
# Of a snapshot, between two turns of the loop: about 20 µs each.
PORTION: Final = 16
# Before an order is asked for again that is still listed after its cancel.
AGAIN_SECONDS: Final = 3.0
RELIST_SECONDS: Final = 0.5


class _Reading:
    """A snapshot in the making: what could be read, and whether everything could."""

    def __init__(self, deals: Deals) -> None:
        self.deals = deals
        self.orders: list[VenueOrder] = []
        self.positions: tuple[VenuePosition, ...] = ()
        self.account: AccountState | None = None
        self.is_whole = True


@final
class Queries:
    """See the module. Loop only."""

    def __init__(
        self,
        config: ShioajiAccountConfig,
        *,
        known: Correlation,
        scales_of: Callable[[str], Scales | None],
        own: Callable[[str, str], Scales | None] = none_known,
        rate: CallRate,
        clock: Clock,
    ) -> None:
        self._config = config
        self._known = known
        self._scales_of = scales_of
        self._own = own
        self._rate = rate
        self._accounting = CallRate(config.accounting_per_5s_max, ACCOUNTING_WINDOW_S)
        self._clock = clock

    async def snapshot(self, line: Line) -> Snapshot:
        """Everything listed; healthy where all of it could be read. Raises BrokerError."""
        for _ in range(ACCOUNTING_CALLS):
            await self._room(self._accounting)
        await self._room(self._rate)
        asked_ns = self._clock.mono_ns()
        lists = await line.query(partial(_lists, line.client), "lists")
        reading = _Reading(Deals(self._scales_of, self._known, lists.refs, self._own))
        jobs: list[Callable[[], object]] = [
            *(partial(reading.deals.record, *each) for each in lists.records),
            *(partial(reading.deals.trade, each) for each in lists.trades),
            *(partial(self._order, each, reading) for each in lists.trades),
            partial(self._money, lists, reading),
        ]
        for number, job in enumerate(jobs):
            self._try(job, reading)
            if number % PORTION == PORTION - 1:
                await asyncio.sleep(0)
        return Snapshot(
            asked_mono_ns=asked_ns,
            is_healthy=reading.is_whole and not lists.health,
            orders=tuple(reading.orders),
            fills=reading.deals.all(),
            positions=reading.positions,
            account=reading.account,
        )

    def _try(self, job: Callable[[], object], reading: _Reading) -> None:
        try:
            job()
        except (ValueError, TypeError, AttributeError) as error:
            self._unreadable(error, reading)
        except BaseException as error:
            if type(error).__name__ == PANIC:
                self._unreadable(error, reading)
                return
            raise

    def _unreadable(self, error: BaseException, reading: _Reading) -> None:
        reading.is_whole = False
        log.error("order_list_unreadable", venue=VENUE, words=words_of(error))

    def _order(self, trade: Any, reading: _Reading) -> None:
        listed = order_of(trade, self._scales_of, self._known, self._own)
        if listed is not None:
            reading.orders.append(listed)

    def _money(self, lists: Lists, reading: _Reading) -> None:
        reading.positions = positions_of(lists.positions, self._config.market, self._scales_of)
        reading.account = funds_of(lists.funds, lists.positions, self._config)

    async def _room(self, rate: CallRate, *, urgent: bool = False) -> None:
        while wait_ns := rate.take(self._clock.mono_ns(), urgent=urgent):
            await self._clock.sleep(wait_ns / NS_PER_SECOND)

    async def cancel_all(self, line: Line) -> int:
        """Ask, list again, ask again; what is left at the deadline. Raises BrokerError."""
        deadline_ns = self._clock.mono_ns() + round(self._config.cancel_all_seconds * NS_PER_SECOND)
        asked: dict[str, int] = {}
        while True:
            await self._room(self._rate, urgent=True)
            trades = await line.query(partial(_orders, line.client), "orders")
            left = [each for each in trades if is_open(each) and self._is_ours(each)]
            now_ns = self._clock.mono_ns()
            if not left or now_ns >= deadline_ns:
                return len(left)
            for trade in left:
                venue_id = text_of(trade.order.id)
                since_ns = asked.get(venue_id)
                if since_ns is None or now_ns - since_ns >= AGAIN_SECONDS * NS_PER_SECOND:
                    asked[venue_id] = now_ns
                    ref = text_of(trade.order.custom_field)
                    line.lanes.put(CancelJob(ref, venue_id, trade, now_ns))
            await self._clock.sleep(RELIST_SECONDS)

    def _is_ours(self, trade: Any) -> bool:
        if self._config.cancels_foreign:
            return True
        known = self._known.of_id(text_of(trade.order.id)) is not None
        return known or bool(REF_PATTERN.fullmatch(text_of(trade.order.custom_field)))


def _orders(client: ShioajiOrders) -> list[Any]:
    client.refresh()
    return client.cached()


def _lists(client: ShioajiOrders) -> Lists:
    """Everything of a snapshot, on a thread."""
    trades = _orders(client)
    records, positions, funds = client.records(), client.positions(), client.funds()
    refs = {text_of(each.order.id): text_of(each.order.custom_field) for each in trades}
    return Lists(trades, refs, records, positions, funds, client.health())
