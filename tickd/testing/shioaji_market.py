"""What trades at the stand-in for Shioaji's broker: contracts, totals, the next object of a topic.

It delivers nothing and knows no client; `shioaji_stand_in.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import shioaji

from tickd.testing.shioaji_objects import (
    Ladder,
    futures_book,
    futures_summary,
    futures_tick,
    index_quote,
    odd_lot,
    stock_book,
    stock_summary,
    stock_tick,
    with_code,
)

__all__ = [
    "UNUSED",
    "Fault",
    "Listing",
    "Market",
    "PastBars",
    "PastTicks",
    "ScannedStock",
    "Trading",
    "UsageFigures",
]


class Listing(NamedTuple):
    """A contract of the broker; `kind` as the SDK's wire says it."""

    code: str
    kind: str = "STK"  # STK FUT OPT IND
    target_code: str | None = None

    @property
    def exchange(self) -> str:
        return "TSE" if self.kind in ("STK", "IND") else "TAIFEX"

    def info(self) -> Any:
        """An object of the SDK's contract classes (those that can be made without a login)."""
        match self.kind:
            case "STK":
                return shioaji.Stock(self.exchange, self.code, unit=1000)
            case "IND":
                return shioaji.Index(self.exchange, self.code)
            case "FUT":
                return shioaji.Future(
                    self.code, exchange="TAIFEX", multiplier=200, target_code=self.target_code
                )
        return shioaji.Option(self.code, exchange="TAIFEX", multiplier=50)


class UsageFigures(NamedTuple):
    """What `usage()` returns; the SDK's own class cannot be made."""

    connections: int
    bytes: int
    limit_bytes: int
    remaining_bytes: int


UNUSED: Final = UsageFigures(1, 0, 500 << 20, 500 << 20)


class PastTicks(NamedTuple):
    """What `ticks()` returns, as columns; the SDK's own class cannot be made."""

    ts: tuple[int, ...] = ()  # ns of Taiwan's clock, as if it were UTC
    close: tuple[float, ...] = ()
    volume: tuple[int, ...] = ()
    tick_type: tuple[int, ...] = ()


class PastBars(NamedTuple):
    """What `kbars()` returns, as columns; the SDK's own class cannot be made."""

    ts: tuple[int, ...] = ()
    Open: tuple[float, ...] = ()
    High: tuple[float, ...] = ()
    Low: tuple[float, ...] = ()
    Close: tuple[float, ...] = ()
    Volume: tuple[int, ...] = ()
    Amount: tuple[float, ...] = ()


class Fault(NamedTuple):
    """Something that goes wrong once `after` callbacks of data were delivered.

    kind: `event` (session event `value`; 1, 2 and 12 end the delivery, 0 and 13 begin it again),
    `silence` (`value` callbacks happen at the market and are not delivered), `duplicate` (the last
    object `value` times more), `jump` (`value` lots trade unseen in every code), `stall` (`value`
    ms in somebody else's callback: what the market does meanwhile comes in one flood), `trial`
    (`value` trial matches of every stock).
    """

    after: int
    kind: str
    value: int = 0


@dataclass
class Market:
    """One code's trading."""

    total_volume: int = 0
    price: int = 100
    past: list[tuple[int, float, int, int]] | None = None  # None: nothing is remembered

    def trade(self, when: datetime, lots: int) -> None:
        """Lots change hands, whoever is told."""
        self.total_volume += lots
        if self.past is None:
            return
        ns = round(when.replace(tzinfo=UTC).timestamp() * 1_000_000) * 1000
        self.past.append((ns, float(self.price), lots, 1))


@dataclass
class ScannedStock:
    """What a scanner says of a stock; the SDK's own class cannot be made."""

    code: str
    total_volume: int
    total_amount: int = 0
    high: float = 11.0
    low: float = 9.0
    close: float = 10.0

    @property
    def rank_value(self) -> float:
        return float(self.total_volume)


@dataclass
class Trading:
    """All markets of the broker; every object that is asked for moves them on by `step`."""

    listings: Sequence[Listing]
    start: datetime
    step: timedelta = timedelta(milliseconds=1)
    remembers: bool = False  # what was traded, for `ticks()`
    usage: UsageFigures = UNUSED
    empty_answers: int = 0  # queries beyond the traffic limit

    def __post_init__(self) -> None:
        self.now = self.start
        self.by_code = {listing.code: listing for listing in self.listings}
        # Odd lots have a total of their own.
        self.markets = {
            (listing.code, odd): Market(past=[] if self.remembers else None)
            for listing in self.listings
            for odd in (False, True)
        }

    def event(self, subscription: tuple[str, str, bool]) -> Any:
        """The next object of a subscription (code, quote type, odd lots)."""
        code, quote_type, odd = subscription
        listing = self.by_code[code]
        data_code = listing.target_code or code
        market = self.markets[code, odd]
        self.now += self.step
        when, price = self.now, str(market.price)
        futures = listing.kind in ("FUT", "OPT")
        if listing.kind == "IND":
            return with_code(index_quote(when, price=price), data_code)
        if quote_type == "tick":
            market.trade(when, 1)
            make: Callable[..., Any] = futures_tick if futures else stock_tick
            item = make(data_code, when, price=price, volume=1, total_volume=market.total_volume)
        elif quote_type == "bid_ask":
            bids, asks = self.ladders(market)
            book: Callable[..., Any] = futures_book if futures else stock_book
            item = book(data_code, when, bids=bids, asks=asks)
        else:
            bids, asks = self.ladders(market)
            whole: Callable[..., Any] = futures_summary if futures else stock_summary
            item = whole(
                data_code, when, price=price, total_volume=market.total_volume, bids=bids, asks=asks
            )
        return odd_lot(item) if odd else item

    def past(self, code: str, date: str) -> PastTicks:
        """Everything that was traded in round lots of `code`, if it was on `date`."""
        market = self.markets.get((code, False))
        if market is None or not market.past or date != f"{self.start:%Y-%m-%d}":
            return PastTicks()
        return PastTicks(*zip(*market.past, strict=True))

    def has_allowance(self) -> bool:
        """Whether a query gets its data; beyond the traffic limit it is answered with nothing."""
        if self.usage.remaining_bytes > 0:
            return True
        self.empty_answers += 1
        return False

    def scanned(self) -> list[ScannedStock]:
        """Every stock by its running volume."""
        return [
            ScannedStock(each.code, self.markets[each.code, False].total_volume)
            for each in self.listings
            if each.kind == "STK"
        ]

    def trial(self, code: str) -> Any:
        """A trial match of a stock."""
        market = self.markets[code, False]
        return stock_tick(
            code,
            self.now,
            price=str(market.price),
            volume=777,
            total_volume=market.total_volume,
            simtrade=True,
        )

    def ladders(self, market: Market) -> tuple[Ladder, Ladder]:
        price = market.price
        bids = [(str(price - level), 10 + level) for level in range(5)]
        asks = [(str(price + 1 + level), 20 + level) for level in range(5)]
        return bids, asks
