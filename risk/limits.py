"""The limits of an operator: `[[risk.limits]]`, `[[risk.venues]]`, checked as a whole.

A row holds for everything that its key names: nothing (all), an account, a strategy, an instrument,
or several of them together, and one side or both. What no row gives is missing, and a missing limit
denies; that there is none must be written: `"unlimited"`. It says what is written, not whether an
order passes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from risk.errors import LimitsError
from risk.orders import MONEY_SCALE
from risk.trading_hours import parse_hours
from tickd.errors import TickdError
from tickd.units import decimal_to_mantissa

__all__ = [
    "ACCOUNT_FIELDS",
    "AMOUNTS",
    "MARGIN_PCT",
    "MONEY_FIELDS",
    "QTY_FIELDS",
    "QTY_SCALE",
    "REQUIRED",
    "STRATEGY_FIELDS",
    "UNLIMITED",
    "Amount",
    "LimitConfig",
    "Limits",
    "LimitsConfig",
    "VenueLimitConfig",
    "money",
    "quantity",
    "violations",
]

UNLIMITED: Final = "unlimited"
Amount = int | str
AMOUNT_MAX: Final = (1 << 63) - 1

# What must be said for every order, by some row. `tradable` has a reason of its own.
REQUIRED: Final = (
    "hours",
    "order_qty_max",
    "order_notional_max",
    "collar_bps",
    "period_collar_bps",
    "reference_age_ms_max",
    "position_max",
    "gross_max",
    "net_max",
    "open_orders_max",
    "orders_max",
    "duplicate_window_ms",
    "executions_max",
    "cancel_ratio_pct_max",
    "daily_loss_max",
    "drawdown_max",
    "free_balance_min",
    "account_age_ms_max",
)
QTY_FIELDS: Final = ("order_qty_max", "position_max")
MONEY_FIELDS: Final = (
    "order_notional_max",
    "gross_max",
    "net_max",
    "daily_loss_max",
    "drawdown_max",
    "free_balance_min",
)
AMOUNTS: Final = tuple(name for name in REQUIRED if name != "hours")
# Of each strategy, of each account: the rest of the key would mean nothing.
STRATEGY_FIELDS: Final = ("executions_max", "cancel_ratio_pct_max")
ACCOUNT_FIELDS: Final = ("drawdown_max", "free_balance_min", "account_age_ms_max")
# Zero would mean: never; that is what `tradable = false` is for.
POSITIVE_FIELDS: Final = ("reference_age_ms_max", "account_age_ms_max", "executions_max")
EXECUTIONS_MAX: Final = 4_096
_MOST: Final = {"executions_max": EXECUTIONS_MAX, "duplicate_window_ms": 600_000}
QTY_SCALE: Final = 18
# Of an order's worth, what it takes of the free balance where no row says.
MARGIN_PCT: Final = 100
CANCEL_PCT_MAX: Final = 50
_INSTRUMENT: Final = re.compile(r"[a-z0-9-]+:\S+")


class LimitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row. Quantities are decimal text in units of the instrument, money decimal text.

    An empty part of the key is no condition. gross_max, net_max, open_orders_max and orders_max
    bound the sum over everything under the key; position_max bounds each instrument under it.
    """

    account: str = ""
    strategy: str = ""
    instrument: str = ""
    side: Literal["", "B", "A"] = ""
    tradable: bool | None = None
    restricted: bool = False
    self_trade: Literal["deny", "allow"] | None = None  # no row says: deny
    hours: tuple[str, ...] | None = None
    timezone: str = "UTC"
    order_qty_max: Amount | None = None
    order_notional_max: Amount | None = None
    collar_bps: Amount | None = None
    period_collar_bps: Amount | None = None
    reference_age_ms_max: Amount | None = None
    position_max: Amount | None = None
    gross_max: Amount | None = None
    net_max: Amount | None = None
    open_orders_max: Amount | None = None
    orders_max: Amount | None = None
    orders_window_ms: int = 1_000
    duplicate_window_ms: Amount | None = None
    executions_max: Amount | None = None
    executions_window_ms: int = 60_000
    cancel_ratio_pct_max: Amount | None = None
    daily_loss_max: Amount | None = None
    drawdown_max: Amount | None = None
    free_balance_min: Amount | None = None
    margin_pct: int | None = None
    account_age_ms_max: Amount | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Account, strategy, instrument."""
        return (self.account, self.strategy, self.instrument)

    def covers(self, account: str, strategy: str, instrument: str, side: str) -> bool:
        """Whether an order of these is under this row."""
        return (
            self.account in ("", account)
            and self.strategy in ("", strategy)
            and self.instrument in ("", instrument)
            and self.side in ("", side)
        )


class VenueLimitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a venue takes in any window of that length, orders and cancels together."""

    venue: str
    messages_max: int
    window_ms: int
    cancel_pct: int = 20  # of them orders may not take; cancels may take all

    @property
    def cancels_max(self) -> int:
        """What orders leave of any window."""
        return max(1, self.messages_max * self.cancel_pct // 100)


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    limits: tuple[LimitConfig, ...] = ()
    venues: tuple[VenueLimitConfig, ...] = ()
    restricted: tuple[str, ...] = ()  # venue:symbol that nobody may trade
    # How long ago the reference of period_collar_bps was; a trade that much younger ends a quote.
    period_ms: int = 10_000
    cancel_ratio_window_ms: int = 60_000
    cancel_ratio_orders_min: int = 20  # below so many orders in the window, no ratio


class Limits:
    """A valid set. Raises LimitsError with every violation."""

    def __init__(self, config: LimitsConfig) -> None:
        found = violations(config)
        if found:
            raise LimitsError("limits refused: " + "; ".join(found))
        self.config: Final = config
        self.venues: Final = {each.venue: each for each in config.venues}
        self.restricted: Final = frozenset(config.restricted)
        content = msgspec.json.encode(config, order="deterministic")
        # What a decision was made under, on record.
        self.hash: Final = hashlib.sha256(content).hexdigest()[:16]

    def rows(self, account: str, strategy: str, instrument: str, side: str) -> list[LimitConfig]:
        """Every row that such an order is under."""
        return [
            row for row in self.config.limits if row.covers(account, strategy, instrument, side)
        ]

    def may_trade(self, venue: str, symbol: str) -> bool:
        """Whether there is anybody at all who may trade it: a look at names, before any order."""
        label = f"{venue}:{symbol}"
        rows = [row for row in self.config.limits if row.instrument in ("", label)]
        return (
            venue in self.venues
            and label not in self.restricted
            and any(row.tradable for row in rows)
        )


def money(amount: Amount) -> int:
    """Units of 1e-8 of the account's currency. Raises TickdError: no decimal number."""
    return decimal_to_mantissa(str(amount), MONEY_SCALE)


def quantity(amount: Amount) -> int:
    """Units of 1e-18 of the instrument's unit of size. Raises TickdError: no decimal number."""
    whole, _, part = str(amount).partition(".")
    if part and not (part.isdecimal() and len(part) <= QTY_SCALE):
        raise TickdError(f"not a decimal number: {amount!r}")
    units = decimal_to_mantissa(whole, 0) * 10**QTY_SCALE
    rest = int((part or "0").ljust(QTY_SCALE, "0"))
    return units - rest if whole.startswith("-") else units + rest


def violations(config: LimitsConfig) -> list[str]:
    """Everything that is wrong with a set, in the order of its rows."""
    found: list[str] = []
    for at, row in enumerate(config.limits):
        found += (f"limits[{at}]: {each}" for each in _of_row(row))
    found += _twice(config)
    for venue in config.venues:
        found += (f"venue {venue.venue or '?'}: {each}" for each in _of_venue(venue))
    names = [venue.venue for venue in config.venues]
    twice = sorted({name for name in names if names.count(name) > 1})
    found += (f"venue {name} stands twice" for name in twice)
    found += (
        f"restricted {name!r} is not venue:symbol"
        for name in config.restricted
        if not _INSTRUMENT.fullmatch(name)
    )
    for name in ("period_ms", "cancel_ratio_window_ms", "cancel_ratio_orders_min"):
        if getattr(config, name) < 1:
            found.append(f"{name} must be positive")
    return found


def _of_row(row: LimitConfig) -> Iterator[str]:
    if row.instrument and not _INSTRUMENT.fullmatch(row.instrument):
        yield f"instrument {row.instrument!r} is not venue:symbol"
    for name in AMOUNTS:
        amount = getattr(row, name)
        if amount is not None and amount != UNLIMITED:
            yield from _of_amount(name, amount)
    for fields, part in ((STRATEGY_FIELDS, "strategy"), (ACCOUNT_FIELDS, "account")):
        others = [each for each in ("account", "strategy", "instrument", "side") if each != part]
        yield from _only_under(row, fields, others, f"each {part}")
    yield from _only_under(row, ("daily_loss_max",), ["instrument", "side"], "each account")
    yield from _only_under(row, ("tradable", "hours"), ["side"], "both sides")
    if row.hours is not None:
        try:
            parse_hours(row.hours, row.timezone)
        except ValueError as error:
            yield str(error)
    for name in ("orders_window_ms", "executions_window_ms"):
        if not 1 <= getattr(row, name) <= 86_400_000:
            yield f"{name} is not between 1 and a day"
    if row.margin_pct is not None and not 0 <= row.margin_pct <= 1_000:
        yield f"margin_pct {row.margin_pct} is not between 0 and 1000"


def _only_under(
    row: LimitConfig, fields: tuple[str, ...], others: list[str], what: str
) -> Iterator[str]:
    for name in fields:
        if getattr(row, name) is not None:
            wrong = [each for each in others if getattr(row, each)]
            if wrong:
                yield f"{name} is for {what}, it cannot be by {' and '.join(wrong)}"


def _of_amount(name: str, amount: Amount) -> Iterator[str]:
    try:
        if name in MONEY_FIELDS:
            value = money(amount)
        elif name in QTY_FIELDS:
            value = quantity(amount)
        elif isinstance(amount, int):
            value = amount
        else:
            yield f"{name} {amount!r} is neither a whole number nor {UNLIMITED!r}"
            return
    except TickdError as error:
        yield f"{name}: {error}"
        return
    if value < 0 or (value == 0 and name in POSITIVE_FIELDS):
        yield f"{name} {amount!r} must {'not be negative' if value < 0 else 'be positive'}"
    most = _MOST.get(name, AMOUNT_MAX)
    if value > most and name not in QTY_FIELDS:
        yield f"{name} {amount!r} is more than {most}"


def _twice(config: LimitsConfig) -> Iterator[str]:
    """The same limit for the same key and side, in two rows: nobody knows which was meant."""
    seen: dict[tuple[object, ...], int] = {}
    for at, row in enumerate(config.limits):
        for name in REQUIRED:
            if getattr(row, name) is None:
                continue
            for side in (row.side,) if row.side else ("B", "A"):
                first = seen.setdefault((row.key, side, name), at)
                if first != at:
                    yield f"limits[{at}]: {name} stands in limits[{first}], same key and side"
                    break


def _of_venue(venue: VenueLimitConfig) -> Iterator[str]:
    if not venue.venue:
        yield "no name"
    if venue.messages_max < 2:
        yield "messages_max must be at least 2: one order and its cancel"
    if not 1 <= venue.window_ms <= 86_400_000:
        yield "window_ms is not between 1 and a day"
    if not 1 <= venue.cancel_pct <= CANCEL_PCT_MAX:
        yield f"cancel_pct {venue.cancel_pct} is not between 1 and {CANCEL_PCT_MAX}"
