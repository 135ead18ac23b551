"""`Strategy`: what a strategy's author fills in. Nothing here runs it.

Override what you need; what is not overridden costs nothing. Any callback but `on_batch` may be
`async def` where the strategy has a process of its own.

What a callback receives is a view: reused for the next event, unless you keep it, then it stays
yours as it is. A book is live: it goes on changing.
"""

from __future__ import annotations

import msgspec

from strategy_runner.context import Context
from strategy_runner.timers import Timer
from tickd.native import EventBatch, L2Book, Order, Quote, Signal, Trade

__all__ = ["Strategy"]

_Result = object


class Strategy:
    """The base class. `Config` is the type of `params` in the TOML; override it by a subclass.

    Time is `context.now_ns`, never the machine's: that makes a replay decide the same.
    """

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
        """No parameters."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.context = context

    def on_start(self) -> _Result:
        """Before the first event; there is no time yet. Make timers, read `context.state`."""

    def on_trade(self, trade: Trade) -> _Result:
        """Take a trade."""

    def on_quote(self, quote: Quote) -> _Result:
        """Take a two-sided best bid and offer."""

    def on_book(self, book: L2Book) -> _Result:
        """Take the live book after a depth message changed it."""

    def on_signal(self, signal: Signal) -> _Result:
        """Take an indicator's value."""

    def on_batch(self, events: EventBatch) -> _Result:
        """Take a run of events at once: the fast path; `tickd.events.as_array` makes columns.

        Where a run ends depends on the traffic, so it decides nothing: it gathers, and `on_timer`
        or `on_order` decide. Runs never reach over a clock record or an order's news.
        """

    def on_timer(self, timer: Timer) -> _Result:
        """Take a timer of `context.call_at` or `context.call_every`."""

    def on_order(self, order: Order) -> _Result:
        """Take what became of an order of this strategy."""

    def on_stop(self) -> _Result:
        """After the last event; not after a failure."""
