"""A small market and a paper exchange in it: prices and sizes are small whole numbers.

Times are nanoseconds from 0. A batch holds whole messages; each message is a list of records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tickd.events import EVENT, PRICE_UNDEF, SIZE_UNDEF, Flag, Kind, Side
from tickd.native import EventBatch, PaperExchange

INSTRUMENT = 7
OTHER = 9
SIDES = {"B": Side.BID, "A": Side.ASK, "N": Side.NONE}
ACKED, FILL, CANCELLED, EXPIRED, REJECTED, CANCEL_REJECTED, REPLACED, REPLACE_REJECTED = range(1, 9)

Message = list[dict[str, Any]]


def definition(**other: object) -> bytes:
    told = {
        "venue": "okx",
        "symbol": "ABC",
        "asset_class": "perpetual",
        "price_scale": 0,
        "size_scale": 0,
        "tick": 1,
        "lot": 1,
        "multiplier": "1",
    }
    return json.dumps(told | other).encode()


def config(**other: object) -> bytes:
    told: dict[str, object] = {
        "seed": 1,
        "queue": "risk_averse",
        "queue_power": 2,
        "entry_ns": [0],
        "response_ns": [0],
        "maker_rate": 0,
        "taker_rate": 0,
        "sell_rate": 0,
        "unit_fee": 0,
        "open_orders_max": 1000,
    }
    return json.dumps(told | other).encode()


def trade(at: int, price: int, size: int, side: str, flags: int = 0) -> Message:
    """`side`: who took."""
    return [
        {
            "kind": Kind.TRADE,
            "ts_recv": at,
            "price": price,
            "size": size,
            "side": SIDES[side],
            "flags": Flag.LAST | flags,
        }
    ]


def quote(at: int, bid: tuple[int, int] | None, ask: tuple[int, int] | None) -> Message:
    def half(side: str, level: tuple[int, int] | None, flags: int) -> dict[str, Any]:
        price, size = level or (PRICE_UNDEF, SIZE_UNDEF)
        where = {"ts_recv": at, "price": price, "size": size, "side": SIDES[side]}
        return {"kind": Kind.QUOTE, "flags": flags, **where}

    return [half("B", bid, 0), half("A", ask, Flag.LAST)]


def depth(
    at: int,
    update: int,
    levels: Sequence[tuple[str, int, int]],
    *,
    previous: int | None = None,
    snapshot: bool = False,
) -> Message:
    """A message of OKX: `previous` id, or a snapshot."""
    flags = Flag.SNAPSHOT if snapshot else 0
    head = {
        "kind": Kind.DEPTH_HEAD,
        "ts_recv": at,
        "id": update,
        "price": update,
        "size": SIZE_UNDEF if previous is None else previous,
        "aux": len(levels),
        "flags": flags,
    }
    rows = [
        {
            "kind": Kind.DEPTH,
            "ts_recv": at,
            "id": update,
            "price": price,
            "size": size,
            "side": SIDES[side],
            "flags": flags,
        }
        for side, price, size in levels
    ]
    message = [head, *rows]
    message[-1]["flags"] |= Flag.LAST
    return message


def batches(
    messages: Sequence[Message],
    cut: Iterable[int] = (),
    *,
    instrument: int = INSTRUMENT,
    seq: int = 1 << 16,
) -> list[EventBatch]:
    """The messages as batches that end before the messages numbered in `cut`.

    Within a batch events are grouped by kind of channel, as the decoder groups them.
    """
    ends = [*sorted({each for each in cut if 0 < each < len(messages)}), len(messages)]
    start, found = 0, []
    for end in ends:
        groups: dict[str, list[dict[str, Any]]] = {}
        for message in messages[start:end]:
            kind = message[0]["kind"]
            group = groups.setdefault(
                {Kind.TRADE: "trade", Kind.QUOTE: "quote"}.get(kind, "depth"), []
            )
            for record in message:
                group.append({"instrument": instrument, **record, "seq": seq})
                seq += 1
        start = end
        rows = [record for group in groups.values() for record in group]
        events = np.zeros(len(rows), EVENT)
        events["side"] = Side.NONE
        for number, row in enumerate(rows):
            for name, value in row.items():
                events[name][number] = value
        ranges, at = [], 0
        for topic, group in enumerate(groups.values()):
            ranges.append((topic, at, at + len(group)))
            at += len(group)
        if rows:
            found.append(EventBatch.from_events(events.tobytes(), ranges))
    return found


class World:
    """An exchange, and everything that it said, in the order of hearing."""

    def __init__(self, *, follow: bool = False, contract: bytes | None = None, **other: object):
        self.exchange = PaperExchange(config(**other))
        self.exchange.define(INSTRUMENT, contract or definition(), follow)
        self.heard: list[tuple[Any, ...]] = []
        self._seq = 1 << 20

    def market(self, *messages: Message, instrument: int = INSTRUMENT) -> list[tuple[Any, ...]]:
        """Give messages as one batch; what was heard by its end."""
        (batch,) = batches(messages, instrument=instrument, seq=self._seq)
        self._seq += len(batch)
        return self._note(self.exchange.take(batch))

    def send(
        self,
        at: int,
        number: int,
        side: str,
        price: int | None,
        size: int,
        kind: str = "gtc",
        *,
        reduce_only: bool = False,
    ) -> None:
        self.exchange.submit(at, number, INSTRUMENT, side, price, size, kind, reduce_only)

    def pass_to(self, at: int) -> list[tuple[Any, ...]]:
        return self._note(self.exchange.advance(at))

    def _note(self, heard: list[tuple[Any, ...]] | None) -> list[tuple[Any, ...]]:
        self.heard += heard or []
        return heard or []

    def fills(self, number: int | None = None) -> list[tuple[int, int, int]]:
        """(when at the venue, price, size) of what was traded."""
        told = [report for _, _, report in self.exchange.executions(0)]
        return [(each[9], each[4], each[5]) for each in told if number in (None, each[1])]


def short(heard: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """(kind, number), and of a fill also price and size, or the reason of what was refused."""
    told = []
    for kind, number, _, _, price, size, _, _, reason, _ in heard:
        more = (price, size) if kind in (FILL, REPLACED) else (reason,) if reason else ()
        told.append((kind, number, *more))
    return told
