"""What each reason means, in a sentence for an operator: the table of docs/risk.md.

A test keeps the page in step. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from risk.reasons import Reason

__all__ = ["MEANINGS", "table"]

MEANINGS: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.HALTED: "the halt word stops everything; where it allows reductions, verified ones",
        Reason.HALTED_SCOPE: "the venue, account, strategy or instrument is halted",
        Reason.SIDE_HALTED: "this side is halted, of everything or of one of those",
        Reason.NON_FINITE: "price or size is no whole number of 64 bits: NaN, infinite, text",
        Reason.BAD_QTY: "the size is zero or negative; of a replace, no more than is filled",
        Reason.UNKNOWN_INSTRUMENT: "no definition, or venue and symbol are not those of the number",
        Reason.NOT_TRADABLE: "`tradable` is not written, or false, or the contract is inverse",
        Reason.RESTRICTED: "on the restricted list, or under a row that says so",
        Reason.TRADING_WINDOW: "outside the hours of one of its rows",
        Reason.BAD_TICK: "the price is not positive or no multiple of the tick",
        Reason.BAD_LOT: "the size is no multiple of the lot",
        Reason.MISSING_LIMIT: "a limit that must be written is given by no row that applies",
        Reason.MAX_ORDER_QTY: "larger than `order_qty_max`",
        Reason.MISSING_REFERENCE: "no price was ever seen of it, or of what is held under a key",
        Reason.STALE_REFERENCE: "the last price is older than `reference_age_ms_max`, or of later",
        Reason.PRICE_COLLAR: "further than `collar_bps` from the price of now, on either side",
        Reason.PERIOD_COLLAR: "further than `period_collar_bps` from the price `period_ms` ago",
        Reason.MAX_NOTIONAL: "worth more than `order_notional_max`, at the worst price it may get",
        Reason.REDUCE_ONLY: "larger than what this side can still take off the account's position",
        Reason.POSITION_LIMIT: "position, open orders and this one pass `position_max`",
        Reason.GROSS_EXPOSURE: "the worst case of everything under a key passes `gross_max`",
        Reason.NET_EXPOSURE: "longs less shorts under a key, at worst, pass `net_max`",
        Reason.MAX_OPEN_ORDERS: "`open_orders_max` of this side are open under a key",
        Reason.SELF_TRADE: "would meet an order of ours in the same instrument",
        Reason.DUPLICATE: "the number, client id or content is one we had; a replace is pending",
        Reason.REPEATED_EXECUTION: "`executions_max` executions within the window stopped it",
        Reason.CANCEL_RATIO: "more cancels and replaces per hundred orders than allowed",
        Reason.DAILY_LOSS: "the day's loss of the account, or of the strategy on it, is reached",
        Reason.DRAWDOWN: "equity fell by `drawdown_max` from its highest",
        Reason.MISSING_ACCOUNT: "nothing is known of the account's money, or of the day's PnL",
        Reason.STALE_ACCOUNT: "that is older than `account_age_ms_max`, or of later",
        Reason.FREE_BALANCE: "less than `free_balance_min` would be left",
        Reason.RATE_SIDE: "`orders_max` of this side under a key is used up for now",
        Reason.RATE_VENUE: "the venue's allowance, or the share of orders, is used up for now",
        Reason.BURST_TOO_SMALL: "the limit lets not even one message through",
        Reason.OVERFLOW: "a figure is beyond 1e22 units of currency",
        Reason.TOO_MANY: "a table of the gate is full",
        Reason.OUTBOX: "the outbox takes no record",
        Reason.BROKER_DOWN: "the broker's line is down",
        Reason.NOT_RECONCILED: "the account was not yet compared with the venue",
        Reason.UNKNOWN_TWIN: "an order of the same intent is UNKNOWN",
        Reason.MALFORMED: (
            "a field is of another type or range; a market order has no price to keep"
        ),
        Reason.NO_SUCH_ORDER: "a replace or cancel of an order that is not held, or is taken back",
    }
)


def table() -> str:
    """The table of all reasons, in the order of the checks."""
    rows = [f"| {int(each)} | `{each.name}` | {MEANINGS[each]} |" for each in Reason]
    return "\n".join(["| bit | reason | an order is refused because |", "|--:|:--|:--|", *rows])
