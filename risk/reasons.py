"""Why the gate, or the router behind it, refuses: one number each, in the order of the checks.

A reason's number is its bit in the vector that goes on record. Numbers are never used again.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Reason"]


class Reason(IntEnum):
    """The order in which checks run; the first that fails is the answer."""

    HALTED = 1
    HALTED_SCOPE = 2
    SIDE_HALTED = 3
    NON_FINITE = 4
    BAD_QTY = 5
    UNKNOWN_INSTRUMENT = 6
    NOT_TRADABLE = 7
    RESTRICTED = 8
    TRADING_WINDOW = 9
    BAD_TICK = 10
    BAD_LOT = 11
    MISSING_LIMIT = 12
    MAX_ORDER_QTY = 13
    MISSING_REFERENCE = 14
    STALE_REFERENCE = 15
    PRICE_COLLAR = 16
    PERIOD_COLLAR = 17
    MAX_NOTIONAL = 18
    REDUCE_ONLY = 19
    POSITION_LIMIT = 20
    GROSS_EXPOSURE = 21
    NET_EXPOSURE = 22
    MAX_OPEN_ORDERS = 23
    SELF_TRADE = 24
    DUPLICATE = 25
    REPEATED_EXECUTION = 26
    CANCEL_RATIO = 27
    DAILY_LOSS = 28
    DRAWDOWN = 29
    MISSING_ACCOUNT = 30
    STALE_ACCOUNT = 31
    FREE_BALANCE = 32
    RATE_SIDE = 33
    RATE_VENUE = 34
    BURST_TOO_SMALL = 35
    OVERFLOW = 36
    TOO_MANY = 37
    # Of the router.
    OUTBOX = 40
    BROKER_DOWN = 41
    NOT_RECONCILED = 42
    UNKNOWN_TWIN = 43
    MALFORMED = 44
    NO_SUCH_ORDER = 45
