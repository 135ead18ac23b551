"""Binance records to events with json and Decimal: the slow, obvious twin of the native decoder.

It makes the data events of every frame. It knows no continuity: no GAP and BOOK_STATE events, no
repeats of other legs. A frame that it refuses gives no events and stands in `refused`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from tickd.events import ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF, Flag, Kind
from tickd.native import xxh3_hex

EVENT = struct.Struct("<qqQQqqqIHBB")
DEFINITION = (
    "venue",
    "symbol",
    "asset_class",
    "price_scale",
    "size_scale",
    "tick",
    "lot",
    "multiplier",
)
OFF_BOOK = ("INSURANCE_FUND", "ADL", "NA")


class RefusedError(Exception):
    """The frame gives no events."""


class TooFineError(RefusedError):
    """A digit other than zero beyond the scale."""


@dataclass
class Market:
    id: int
    price_scale: int
    size_scale: int


@dataclass
class Frame:
    number: int
    recv_ns: int
    venue: str
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, kind: Kind, market: Market, ts: int, **fields: int | str) -> None:
        flags = int(fields.get("flags", 0))
        if ts == TS_UNDEF:
            flags |= Flag.NO_EVENT_TIME
        elif ts > self.recv_ns:
            flags |= Flag.SKEW
        self.rows.append(
            (
                ts,
                self.recv_ns,
                (self.number << 16) + len(self.rows),
                fields.get("id", ID_UNDEF),
                fields.get("price", PRICE_UNDEF),
                fields.get("size", SIZE_UNDEF),
                fields.get("aux", 0),
                market.id,
                flags,
                int(kind),
                ord(str(fields.get("side", "N"))),
            )
        )


def records(data: bytes) -> Iterator[tuple[int, int, int, str, bytes]]:
    at = 0
    while at < len(data):
        header = data[at : at + 90].split(b" ", 6)
        number, recv, _mono, connection, kind, length = header[:6]
        at += sum(len(part) + 1 for part in header[:6])
        payload = data[at : at + int(length)]
        at += int(length) + 1
        yield int(number), int(recv), int(connection), kind.decode(), payload


def exact(number: Decimal, scale: int) -> int:
    with localcontext(prec=1000):
        mantissa = number.scaleb(scale)
        if mantissa != mantissa.to_integral_value():
            raise TooFineError
        if abs(mantissa) >= PRICE_UNDEF:
            raise RefusedError("overflow")
        return int(mantissa)


def decimal(text: Any) -> Decimal:
    try:
        number = Decimal(text)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise RefusedError("not a number") from error
    if not number.is_finite():
        raise RefusedError("not a number")
    return number


def own(text: str) -> tuple[int, int]:
    number = decimal(text)
    decimals = max(0, -int(number.as_tuple().exponent))
    return exact(number, decimals), decimals


def nanoseconds(time: int) -> int:
    if time < 10**14:
        time *= 10**6
    elif time < 10**17:
        time *= 10**3
    if time >= TS_UNDEF:
        raise RefusedError("overflow")
    return time


class Reference:
    """Feed it records; `events` are the packed 64-byte events in order of their numbers."""

    def __init__(self) -> None:
        self.markets: dict[tuple[str, str], Market] = {}
        self.venues: dict[int, str] = {}
        self.events: list[bytes] = []
        self.refused: list[int] = []

    def feed(self, data: bytes) -> None:
        for number, recv_ns, connection, kind, payload in records(data):
            if kind == "C":
                self.control(json.loads(payload))
                continue
            frame = Frame(number, recv_ns, self.venues[connection])
            try:
                if kind == "R":
                    self.reply(frame, payload)
                else:
                    message = json.loads(payload)
                    self.message(frame, message.get("data", message))
            except (RefusedError, KeyError, ValueError):
                self.refused.append(number)
                continue
            self.events.extend(EVENT.pack(*row) for row in frame.rows)

    def control(self, record: dict[str, Any]) -> None:
        if record["kind"] == "connect":
            self.venues[record["connection"]] = record["venue"]
        if record["kind"] == "instrument":
            text = "|".join(str(record[name]) for name in DEFINITION)
            identity = int(xxh3_hex(text.encode()), 16) & 0xFFFFFFFF or 1
            market = Market(identity, record["price_scale"], record["size_scale"])
            self.markets[record["venue"], record["symbol"]] = market

    def message(self, frame: Frame, data: dict[str, Any]) -> None:
        kind = data.get("e")
        if kind is None and {"u", "s", "b", "B", "a", "A"} <= data.keys():
            kind = "bookTicker"
        if kind is None and ("error" in data or "code" in data or {"result", "id"} <= data.keys()):
            return
        handlers = {
            "trade": self.trade,
            "aggTrade": self.aggregate,
            "bookTicker": self.quote,
            "depthUpdate": self.change,
            "markPriceUpdate": self.mark,
            "indexPriceUpdate": self.index,
            "forceOrder": self.forced,
            "serverShutdown": lambda *_: None,
        }
        handlers[kind](frame, data)

    def market(self, frame: Frame, symbol: str) -> Market:
        return self.markets[frame.venue, symbol]

    def trade(self, frame: Frame, data: dict[str, Any]) -> None:
        self.print(frame, data, "t", 1, 0)

    def aggregate(self, frame: Frame, data: dict[str, Any]) -> None:
        fills = data["l"] - data["f"] + 1
        if fills < 1:
            raise RefusedError("fills")
        self.print(frame, data, "a", fills, Flag.AGGREGATE)

    def print(self, frame: Frame, data: dict[str, Any], key: str, fills: int, flags: int) -> None:
        market = self.market(frame, data["s"])
        if data.get("X") in OFF_BOOK:
            flags |= Flag.OFF_BOOK
        if not isinstance(data["m"], bool):
            raise RefusedError("m")
        frame.add(
            Kind.TRADE,
            market,
            nanoseconds(data["T"]),
            id=data[key],
            price=exact(decimal(data["p"]), market.price_scale),
            size=exact(decimal(data["q"]), market.size_scale),
            aux=fills,
            side="A" if data["m"] else "B",
            flags=flags | Flag.LAST,
        )

    def quote(self, frame: Frame, data: dict[str, Any]) -> None:
        market = self.market(frame, data["s"])
        time = data.get("T", data.get("E"))
        ts = TS_UNDEF if time is None else nanoseconds(time)
        for side, price, size, flags in (("B", "b", "B", 0), ("A", "a", "A", Flag.LAST)):
            frame.add(
                Kind.QUOTE,
                market,
                ts,
                id=data["u"],
                price=exact(decimal(data[price]), market.price_scale),
                size=exact(decimal(data[size]), market.size_scale),
                side=side,
                flags=flags,
            )

    def change(self, frame: Frame, data: dict[str, Any]) -> None:
        ts = nanoseconds(data.get("T", data["E"]))
        previous = data.get("pu", SIZE_UNDEF)
        self.book(frame, data["s"], ts, (data["U"], data["u"], previous), (data["b"], data["a"]), 0)

    def book(
        self,
        frame: Frame,
        symbol: str,
        ts: int,
        ids: tuple[int, int, int],
        sides: tuple[list[Any], list[Any]],
        flags: int,
    ) -> None:
        market = self.market(frame, symbol)
        first, last, previous = ids
        levels = [("B", level) for level in sides[0]] + [("A", level) for level in sides[1]]
        end = Flag.LAST if not levels else 0
        frame.add(
            Kind.DEPTH_HEAD,
            market,
            ts,
            id=last,
            price=first,
            size=previous,
            aux=len(levels),
            flags=flags | end,
        )
        for position, (side, level) in enumerate(levels):
            end = Flag.LAST if position == len(levels) - 1 else 0
            frame.add(
                Kind.DEPTH,
                market,
                ts,
                id=last,
                price=exact(decimal(level[0]), market.price_scale),
                size=exact(decimal(level[1]), market.size_scale),
                aux=position,
                side=side,
                flags=flags | end,
            )

    def mark(self, frame: Frame, data: dict[str, Any]) -> None:
        market = self.market(frame, data["s"])
        ts = nanoseconds(data["E"])
        next_funding = nanoseconds(data["T"]) if data.get("T") else ID_UNDEF
        values = [(Kind.MARK, data["p"], ID_UNDEF)]
        if data.get("i"):
            values.append((Kind.INDEX, data["i"], ID_UNDEF))
        if data.get("r"):
            values.append((Kind.FUNDING, data["r"], next_funding))
        for kind, text, identity in values:
            price, decimals = own(text)
            frame.add(kind, market, ts, id=identity, price=price, aux=decimals, flags=Flag.LAST)

    def index(self, frame: Frame, data: dict[str, Any]) -> None:
        price, decimals = own(data["p"])
        market = self.market(frame, data["i"])
        ts = nanoseconds(data["E"])
        frame.add(Kind.INDEX, market, ts, price=price, aux=decimals, flags=Flag.LAST)

    def forced(self, frame: Frame, data: dict[str, Any]) -> None:
        order = data["o"]
        market = self.market(frame, order["s"])
        try:
            average = exact(decimal(order["ap"]), market.price_scale)
        except (TooFineError, KeyError):
            average = PRICE_UNDEF
        frame.add(
            Kind.LIQUIDATION,
            market,
            nanoseconds(order["T"]),
            price=exact(decimal(order["p"]), market.price_scale),
            size=exact(decimal(order["q"]), market.size_scale),
            aux=average,
            side={"BUY": "B", "SELL": "A"}[order["S"]],
            flags=Flag.LAST,
        )

    def reply(self, frame: Frame, payload: bytes) -> None:
        line, body = payload.split(b"\n", 1)
        _method, target, status = line.decode().split(" ")
        path, _, query = target.partition("?")
        if status != "200" or not path.endswith("/depth"):
            return
        symbol = dict(pair.split("=") for pair in query.split("&"))["symbol"]
        data = json.loads(body)
        time = data.get("T", data.get("E"))
        ts = TS_UNDEF if time is None else nanoseconds(time)
        last = data["lastUpdateId"]
        sides = (data["bids"], data["asks"])
        self.book(frame, symbol, ts, (last, last, SIZE_UNDEF), sides, Flag.SNAPSHOT)
