"""Objects of Shioaji's own classes, made without a login, for tests and for the stand-in.

The SDK builds them from msgpack arrays of fixed positions (1.7.9; each position was checked with
distinct values). It delivers nothing and keeps no market.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import shioaji

__all__ = [
    "Ladder",
    "futures_book",
    "futures_summary",
    "futures_tick",
    "index_quote",
    "odd_lot",
    "stock_book",
    "stock_summary",
    "stock_tick",
    "with_code",
]

_PACK: Final = msgspec.msgpack.Encoder().encode
Ladder = Sequence[tuple[str, int]]


def _moment(when: datetime) -> list[str]:
    return [f"{when:%Y/%m/%d}", f"{when:%H:%M:%S.%f}"]


def _sides(bids: Ladder, asks: Ladder) -> list[list[Any]]:
    """Prices, volumes and changes of both sides, five levels each, padded as the venue pads."""
    found: list[list[Any]] = []
    for ladder in (bids, asks):
        padded = [*ladder, *([("0", 0)] * (5 - len(ladder)))]
        found += [[price for price, _ in padded], [size for _, size in padded], [0] * 5]
    return found


def stock_tick(
    code: str,
    when: datetime,
    *,
    price: str,
    volume: int,
    total_volume: int,
    tick_type: int = 1,
    suspend: bool = False,
    simtrade: bool = False,
    closing: str | None = "0",
) -> Any:
    """A TickSTKv1; `when` is naive Taiwan time. `closing` None: its `to_dict(raw=True)` panics."""
    head: list[Any] = [code, *_moment(when), price, price, price, price, price, price, price]
    head += [volume, total_volume, tick_type, 3, "0", 0, 0, 0, 0, 0]
    head += [0, closing, closing, closing, closing, 0, "0", int(suspend), int(simtrade)]
    return shioaji.TickSTKv1.from_msgpack(_PACK(head))


def stock_book(
    code: str,
    when: datetime,
    *,
    bids: Ladder,
    asks: Ladder,
    suspend: bool = False,
    simtrade: bool = False,
) -> Any:
    """A BidAskSTKv1."""
    fields = [code, *_moment(when), *_sides(bids, asks), int(suspend), int(simtrade)]
    return shioaji.BidAskSTKv1.from_msgpack(_PACK(fields))


def futures_tick(
    code: str,
    when: datetime,
    *,
    price: str,
    volume: int,
    total_volume: int,
    tick_type: int = 1,
    underlying: str = "0",
    simtrade: bool = False,
) -> Any:
    """A TickFOPv1."""
    fields: list[Any] = [code, *_moment(when), price, underlying, 0, 0, price, price, price, price]
    fields += [price, price, volume, total_volume, tick_type, 3, "0", "0", int(simtrade)]
    return shioaji.TickFOPv1.from_msgpack(_PACK(fields))


def futures_book(
    code: str,
    when: datetime,
    *,
    bids: Ladder,
    asks: Ladder,
    underlying: str = "0",
    simtrade: bool = False,
) -> Any:
    """A BidAskFOPv1."""
    totals = [sum(size for _, size in ladder) for ladder in (bids, asks)]
    fields = [code, *_moment(when), *totals, *_sides(bids, asks)]
    fields += ["0", "0", 0, 0, underlying, int(simtrade)]
    return shioaji.BidAskFOPv1.from_msgpack(_PACK(fields))


def stock_summary(
    code: str, when: datetime, *, price: str, total_volume: int, bids: Ladder, asks: Ladder
) -> Any:
    """A QuoteSTKv1 of a change of the book: its volume is 0."""
    fields: list[Any] = [code, *_moment(when), price, price, price, price, price, price, price]
    fields += [0, total_volume, 1, 3, "0", 0, 0, 0, 0, 0, 0, "0", "0", "0", "0", 0, "0"]
    fields += [*_sides(bids, asks), 0, 0, 0]
    return shioaji.QuoteSTKv1.from_msgpack(_PACK(fields))


def futures_summary(
    code: str, when: datetime, *, price: str, total_volume: int, bids: Ladder, asks: Ladder
) -> Any:
    """A QuoteFOPv1 of a change of the book."""
    fields: list[Any] = [code, *_moment(when), price, price, price, price, price, price, price]
    fields += [price, 0, total_volume, 1, 3, "0", "0", 0, 0, 0, 0]
    fields += [*_sides(bids, asks), "0", "0", 0, 0, 0]
    return shioaji.QuoteFOPv1.from_msgpack(_PACK(fields))


def index_quote(when: datetime, *, price: str) -> Any:
    """A QuoteIdxV1. Its code comes from the topic, so that one made like this has none."""
    day, time = _moment(when)
    fields = {"Date": day, "Time": time}
    fields |= dict.fromkeys(("Reference", "Open", "High", "Low", "Close"), price)
    return shioaji.QuoteIdxV1.from_msgpack(_PACK(fields))


class _Told:
    """An object with what the SDK only knows from the topic: the code, or that it is odd lots."""

    def __init__(self, item: Any, told: dict[str, object]) -> None:
        self._item = item
        self._told = told
        self.exchange = item.exchange

    def to_dict(self, raw: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - the SDK's
        return {**self._item.to_dict(raw=raw), **self._told}


def _like(item: Any, told: dict[str, object]) -> Any:
    return type(type(item).__name__, (_Told,), {})(item, told)


def odd_lot(item: Any) -> Any:
    """`item` as it comes from an odd-lot topic."""
    return _like(item, {"intraday_odd": True})


def with_code(item: Any, code: str) -> Any:
    """An index quote as it comes from the topic of `code`."""
    return _like(item, {"code": code})
