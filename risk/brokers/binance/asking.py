"""Questions to one account that take several requests: a snapshot's lists, cancelling everything.

Over REST, so that neither needs a session. It keeps nothing between calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from risk.brokers.binance.errors import CLOCK, NO_SUCH_ORDER, RefusedError, UnclearError
from risk.brokers.binance.listings import Listings, OpenOrder, entries
from risk.brokers.binance.rest import Rest
from risk.brokers.binance.wire import PAGE_MAX, Query, Wire
from risk.errors import BrokerError
from tickd.errors import Action
from tickd.ports import Clock

__all__ = ["cancel_everything", "read_lists"]

# Requests for one list of one symbol; more means that it is not whole.
PAGES_MAX: Final = 128
# Between two listings of open orders: an order on its way needs time to appear.
SETTLE_S: Final = 0.25
# A listing without any of ours must repeat itself before it is believed, for the same reason.
EMPTY_LISTINGS: Final = 2
CANCELS_AT_ONCE: Final = 8

Window = Callable[[int, int], Query]


async def read_lists(
    listings: Listings,
    rest: Rest,
    wire: Wire,
    *,
    symbols: tuple[str, ...],
    currency: str,
    look_back_s: float,
) -> None:
    """Fill `listings`: open orders first, what became of them after it, money last.

    Raises BrokerError: a question got no answer, or one that is no list.
    """
    for query in wire.open_orders_of(symbols):
        listings.add_orders(await rest.ask(query))
    begin_ms = rest.timestamp_ms - round(look_back_s * 1_000)
    for symbol in symbols:
        orders = partial(wire.all_orders, symbol)
        if not await _page(rest, orders, listings.add_orders, begin_ms):
            listings.holes.append(f"{symbol}: more orders than can be listed")
    for symbol in symbols:
        trades = partial(wire.trades, symbol)
        if not await _page(rest, trades, listings.add_trades, begin_ms):
            listings.holes.append(f"{symbol}: more trades than can be listed")
    if wire.market == "usdm":
        listings.add_positions(await rest.ask(wire.positions()))
    listings.add_account(await rest.ask(wire.account()), currency)


async def _page(rest: Rest, ask: Window, add: Callable[[bytes], int], begin_ms: int) -> bool:
    """Ask for all since `begin_ms`, full answers again in halves; whether it is whole.

    So it does not matter which end of a window the venue leaves out, which it does not document.
    """
    left = [(begin_ms, rest.timestamp_ms)]
    for _ in range(PAGES_MAX):
        first_ms, last_ms = left.pop()
        if add(await rest.ask(ask(first_ms, last_ms))) >= PAGE_MAX:
            middle_ms = (first_ms + last_ms) // 2
            if middle_ms == first_ms:
                return False
            left += [(first_ms, middle_ms), (middle_ms + 1, last_ms)]
        if not left:
            return True
    return False


async def cancel_everything(rest: Rest, wire: Wire, *, clock: Clock, timeout_s: float) -> int:
    """Cancel every open order of ours until the venue lists none; how many are left.

    Orders of others stay. Raises BrokerError: it could not be asked even once (FATAL: credentials).
    """
    state = _Cancelling(rest, wire, clock)
    try:
        async with asyncio.timeout(timeout_s):
            await state.run()
    except TimeoutError:
        if state.left is None:
            raise state.error or UnclearError(f"no list of open orders in {timeout_s} s") from None
    return state.left or 0


class _Cancelling:
    def __init__(self, rest: Rest, wire: Wire, clock: Clock) -> None:
        self._rest = rest
        self._wire = wire
        self._clock = clock
        self.left: int | None = None  # as last listed
        self.error: BrokerError | None = None

    async def run(self) -> None:
        """Until nothing of ours is listed. Raises BrokerError(FATAL)."""
        empty = 0
        is_timed = False
        while True:
            pause_s = SETTLE_S
            try:
                if not is_timed:
                    await self._rest.sync_time()
                    is_timed = True
                ours = await self._list()
                self.left = len(ours)
                empty = 0 if ours else empty + 1
                if empty == EMPTY_LISTINGS:
                    return
                await self._cancel(ours)
            except RefusedError as error:
                if error.action is Action.FATAL:
                    raise
                self.error = error
                pause_s = max(pause_s, error.retry_after_s)
                is_timed = is_timed and error.refusal.code != CLOCK
            except BrokerError as error:
                self.error = error
            await self._clock.sleep(pause_s)

    async def _list(self) -> list[OpenOrder]:
        body = await self._rest.send(self._wire.open_orders())
        return [
            each for each in entries(body, OpenOrder) if self._wire.ref_of(each.client_order_id)
        ]

    async def _cancel(self, orders: list[OpenOrder]) -> None:
        """Try each once; what is left is listed again. Raises the last RefusedError of a limit."""
        turns = asyncio.Semaphore(CANCELS_AT_ONCE)
        refused: list[RefusedError] = []

        async def one(order: OpenOrder) -> None:
            async with turns:
                try:
                    await self._rest.send(self._wire.cancel_by_id(order.symbol, order.order_id))
                except RefusedError as error:
                    if error.refusal.code not in NO_SUCH_ORDER:
                        refused.append(error)
                except BrokerError as error:
                    self.error = error

        async with asyncio.TaskGroup() as tasks:
            for order in orders:
                tasks.create_task(one(order), name=f"cancel {order.symbol} {order.order_id}")
        if refused:
            raise refused[-1]
