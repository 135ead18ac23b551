"""What the twin of the gate is made of: orders, references, buckets, repeats, the worth of a size.

Plain values and rules of one thing each. What is checked in which order is not here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from risk.gate_terms import (
    MONEY_CAP,
    NONE,
    SAMPLES_MAX,
    SAMPLES_PER_PERIOD,
    AccountLimits,
    CellLimits,
    SideLimits,
    StrategyLimits,
    derive_lanes,
    derive_rate,
)
from risk.reasons import Reason
from tickd.events import PRICE_UNDEF, Flag, Kind, Side, as_array
from tickd.native import EventBatch

__all__ = [
    "Account",
    "Bucket",
    "Check",
    "Instrument",
    "Order",
    "Reference",
    "Repeats",
    "Route",
    "Strategy",
    "Top",
    "Venue",
    "notional",
]

_INT128_MAX: Final = (1 << 127) - 1
# Trades that are no price of now: fetched later, indicative, away from the book, in odd lots.
_NO_TRADE: Final = Flag.BACKFILLED | Flag.TRIAL | Flag.OFF_BOOK | Flag.ODD_LOT
_NO_QUOTE: Final = Flag.BACKFILLED | Flag.TRIAL | Flag.ODD_LOT


def notional(size: int, price: int, num: int, div: int) -> int:
    """Money of a size, rounded up; MONEY_CAP where 128 bits are not enough, or more than it."""
    product = size * price
    if product > _INT128_MAX or product * num > _INT128_MAX:
        return MONEY_CAP
    return min(-(-product * num // div), MONEY_CAP)


class Bucket:
    """GCRA: one integer, the time at which the bucket is full again."""

    __slots__ = ("tat",)

    def __init__(self) -> None:
        self.tat = -(1 << 62)

    def has(self, now: int, limit: int, window_ns: int) -> bool:
        return self.holds(now, *derive_rate(limit, window_ns))

    def take(self, now: int, limit: int, window_ns: int) -> None:
        self.spend(now, derive_rate(limit, window_ns)[1])

    def holds(self, now: int, burst: int, per_ns: int) -> bool:
        """Whether a token is there for whoever may take `burst` of them at once."""
        return max(self.tat, now) + per_ns - burst * per_ns <= now

    def spend(self, now: int, per_ns: int) -> None:
        self.tat = max(self.tat, now) + per_ns


@dataclass(slots=True)
class Order:
    """An order that is not over. reserved: what it may still fill."""

    route: int
    side: int
    price: int | None
    size: int
    reserved: int
    is_reduce_only: bool
    filled: int = 0
    pending: bool = False
    # The price at which it may rest, the keener one while a replace is on its way.
    resting: int | None = None

    def __post_init__(self) -> None:
        self.resting = self.price


class _Event(NamedTuple):
    instrument: int
    kind: int
    side: int
    flags: int
    price: int


@dataclass(slots=True)
class Top:
    """Both sides of a market, as one source says."""

    bid: int = 0
    ask: int = 0
    at_ns: int = 0

    def is_valid(self) -> bool:
        return 0 < self.bid <= self.ask


@dataclass(slots=True)
class Reference:
    """Prices of one instrument by source: quote, a kept book's top, trade; and some time ago."""

    quote: Top = field(default_factory=Top)
    book: Top = field(default_factory=Top)
    trade: int = 0
    trade_ns: int = 0
    # What positions are valued at: the last price there was, however old.
    mark: int | None = None
    samples: list[tuple[int, int, int]] = field(default_factory=list)

    @staticmethod
    def events(batch: EventBatch) -> Iterator[_Event]:
        rows = as_array(batch)
        for row in rows[["instrument", "kind", "side", "flags", "price"]].tolist():
            instrument, kind, side, flags, price = row
            yield _Event(instrument, kind, side, flags, price)

    def take(self, event: _Event, mono_ns: int) -> bool:
        """Take an event of this instrument; whether it was a price."""
        price = 0 if event.price == PRICE_UNDEF else max(event.price, 0)
        if event.kind == Kind.TRADE and not event.flags & _NO_TRADE:
            self.trade, self.trade_ns = price, mono_ns
            return True
        if event.kind == Kind.QUOTE and not event.flags & _NO_QUOTE:
            if event.side == Side.ASK:
                self.quote.ask = price
            else:
                self.quote.bid = price
            self.quote.at_ns = mono_ns
            return True
        return False

    def _chosen(self, now: int | None, age_ns_max: int, period_ns: int) -> int | None:
        """Of quote and book the one that spoke last; a trade where neither is good any more.

        A market that trades moves its quote: one that a trade follows by more than a period, and
        that was not repeated, is dead.
        """

        def is_fresh(at_ns: int) -> bool:
            # Data of the future means that somebody's clock is wrong.
            return now is None or age_ns_max == NONE or 0 <= now - at_ns <= age_ns_max

        tops = [top for top in (self.book, self.quote) if top.is_valid() and is_fresh(top.at_ns)]
        has_trade = self.trade > 0 and is_fresh(self.trade_ns)
        if tops:
            # The first of two that spoke at once: the book.
            top = max(tops, key=lambda top: top.at_ns)
            if not (has_trade and self.trade_ns - top.at_ns > period_ns):
                return (top.bid + top.ask) // 2
        return self.trade if has_trade else None

    def current(self, period_ns: int) -> int | None:
        """The reference, however old."""
        return self._chosen(None, NONE, period_ns)

    def fresh(self, now: int, age_ns_max: int, period_ns: int) -> int | None:
        """The reference if it is no older than that."""
        return self._chosen(now, age_ns_max, period_ns)

    def settle(self, mono_ns: int, period_ns: int) -> None:
        """After a burst: value positions at what it said, and keep a sample of it."""
        price = self.current(period_ns)
        if price is None:
            return
        self.mark = price
        slot = mono_ns // max(1, period_ns // SAMPLES_PER_PERIOD)
        if not self.samples or self.samples[-1][0] < slot:
            self.samples.append((slot, mono_ns, price))
            self.samples = self.samples[-SAMPLES_MAX:]

    def past(self, until_ns: int) -> int:
        """The newest sample that is as old as that, else the oldest there is."""
        old = [price for _, at, price in self.samples if at <= until_ns]
        return old[-1] if old else self.samples[0][2]


class Repeats:
    """Client ids that were used, and what was ordered within the longest duplicate window."""

    def __init__(self, recent_max: int, ids_max: int) -> None:
        self.keep_ns = 0
        self._recent_max, self._ids_max = recent_max, ids_max
        self._recent: deque[tuple[int, tuple[int, int, int, int]]] = deque()
        self._ids: deque[int] = deque()
        self._known: set[int] = set()

    def is_known(self, client_id: int) -> bool:
        return client_id in self._known

    def remember(self, client_id: int) -> None:
        if client_id not in self._known:
            if len(self._ids) == self._ids_max:
                self._known.discard(self._ids.popleft())
            self._ids.append(client_id)
            self._known.add(client_id)

    def expire(self, now: int) -> None:
        while self._recent and now - self._recent[0][0] >= self.keep_ns:
            self._recent.popleft()

    @property
    def is_full(self) -> bool:
        return len(self._recent) >= self._recent_max

    def add(self, now: int, what: tuple[int, int, int, int]) -> None:
        self._recent.append((now, what))

    def last(self, what: tuple[int, int, int, int]) -> int | None:
        """When the same was ordered last."""
        return next((at for at, each in reversed(self._recent) if each == what), None)


@dataclass(slots=True)
class Instrument:
    """Steps, and money = price x size x num / div."""

    id: int
    tick: int
    lot: int
    num: int
    div: int
    is_linear: int
    reference: Reference


@dataclass(slots=True)
class Account:
    """Money of an account."""

    limits: AccountLimits
    equity: int | None = None
    free: int = 0
    peak: int = 0
    # Highest equity of an earlier life.
    kept_peak: int | None = None
    mono_ns: int = 0
    pnl: int | None = None
    # What orders need that were approved since the last state, and since the one before: a state
    # that was asked for while an order was on its way does not have it yet.
    needed: int = 0
    needed_before: int = 0


@dataclass(slots=True)
class Strategy:
    """What a strategy did."""

    limits: StrategyLimits
    executions: list[int] = field(default_factory=list)
    is_tripped: bool = False
    window: int = 0
    orders: int = 0
    cancels: int = 0

    @property
    def is_stopped(self) -> bool:
        return self.is_tripped and self.limits.executions_max != NONE

    def limit(self, limits: StrategyLimits, now: int) -> None:
        """Put other limits in force; executions that were counted stay so."""
        self.limits = limits
        self._keep(now)

    def executed(self, now: int) -> None:
        if self.limits.executions_max != NONE:
            self.executions.append(now)
            self._keep(now)

    def _keep(self, now: int) -> None:
        most = max(0, self.limits.executions_max)
        self.executions = self.executions[-most:] if most else []
        is_whole = most > 0 and len(self.executions) == most
        if is_whole and now - self.executions[0] < self.limits.executions_window_ns:
            self.is_tripped = True

    def turn(self, mono_ns: int, window_ns: int) -> None:
        """Begin to count anew with each window; a clock that goes back begins none."""
        window = mono_ns // window_ns
        if window > self.window:
            self.window, self.orders, self.cancels = window, 0, 0


@dataclass(slots=True)
class Venue:
    """What a venue takes."""

    orders_max: int
    cancels_max: int
    window_ns: int
    # Everything that was sent, and the orders among it.
    messages: Bucket = field(default_factory=Bucket)
    orders: Bucket = field(default_factory=Bucket)

    def lanes(self) -> tuple[int, int, int]:
        """What orders may take at once, what cancels may, and ns per token; both are written."""
        return derive_lanes(self.orders_max, self.cancels_max, self.window_ns)


@dataclass(slots=True)
class Route:
    """An account, a strategy, an instrument."""

    index: int
    account: int
    strategy: int
    instrument: int
    venue: int
    pnl: int
    limits: tuple[SideLimits, SideLimits]
    cells: list[tuple[int, CellLimits, CellLimits]]
    position: int = 0
    is_open: int = 0
    from_ns: int = 0
    until_ns: int = 0


@dataclass(slots=True)
class Check:
    """One order on its way through the checks."""

    route: Route
    number: int
    client_id: int
    side: int
    price: int | None
    size: int
    mono_ns: int
    wall_ns: int
    is_reduce_only: bool
    replacing: Order | None = None
    extra: int = 0  # what is to be reserved beyond what is already
    reduces: bool = False
    need: int = 0
    vector: int = 0
    first: int = 0
    figures: tuple[int | None, int | None, int | None] = (None, None, None)

    @property
    def limits(self) -> SideLimits:
        return self.route.limits[self.side]

    def fail(
        self,
        reason: Reason,
        limit: int | None = None,
        value: int | None = None,
        reference: int | None = None,
    ) -> None:
        if not self.first or reason < self.first:
            self.first = int(reason)
            self.figures = (limit, value, reference)
        self.vector |= 1 << reason
