"""Shioaji: channels and topics, the SDK's objects as frames, its session events. README.md: quirks.

Pure, and it does not import the SDK: objects are read through what they can do (`to_dict`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

import orjson

from gateway.callbacks.venue import CallbackWire, Contract, SessionEvent, Signal
from gateway.errors import UnknownStreamError
from gateway.venue import Stream

VENUE: Final = "shioaji"
# Of the frame's form; `native/core/src/decode/shioaji.rs` reads it.
VERSION: Final = 1
# What trades beside the round lots is an instrument of its own. The first is for configurations,
# the decoder appends both.
ODD_SUFFIX: Final = "-ODD"
TRIAL_SUFFIX: Final = "-TRIAL"
# Decimals of the SDK: exact texts in a frame, whatever type they have in Python.
DECIMALS: Final = frozenset(
    {
        "amount",
        "amount_sum",
        "ask_price",
        "avg_price",
        "bid_price",
        "close",
        "closing_oddlot_amount",
        "closing_oddlot_ask_price",
        "closing_oddlot_bid_price",
        "closing_oddlot_close",
        "first_derived_ask_price",
        "first_derived_bid_price",
        "fixed_trade_amount",
        "high",
        "low",
        "open",
        "pct_chg",
        "price_chg",
        "reference",
        "total_amount",
        "underlying_price",
    }
)


class Feed(NamedTuple):
    """One kind of subscription: the SDK's quote type, what it is called in topics."""

    quote_type: str  # value of `shioaji.QuoteType`
    prefix: str  # of the topic
    version: str


TICK: Final = Feed("tick", "TIC", "v1")
BOOK: Final = Feed("bid_ask", "QUO", "v1")
SUMMARY: Final = Feed("quote", "QUO", "v2")
# A BidAsk brings the best prices and the book: two channels of tickd, one subscription.
FEEDS: Final[Mapping[str, Feed]] = {
    "trade": TICK,
    "quote": BOOK,
    "depth": BOOK,
    "summary": SUMMARY,
    "index": SUMMARY,
}
# A subscription is known by the first of its channels.
_CHANNEL: Final = {TICK: "trade", BOOK: "quote", SUMMARY: "summary"}
# All subscriptions go the same way.
ENDPOINT: Final = "sdk"
# Codes of the exchanges: TAIEX is IX0001; IR for return indices nobody has seen here.
_INDEX: Final = re.compile(r"I[XR]\d{4}", re.ASCII)
# Exchanges as topics spell them.
_SPELLED: Final = {"TAIFEX": "TFE"}
_KINDS: Final = {"stock": "STK", "odd": "ODD", "futures": "FOP", "option": "FOP", "index": "IND"}


class Readable(Protocol):
    """What the SDK's tick, book and quote objects can do."""

    @property
    def exchange(self) -> object:
        """An `Exchange`, also where `to_dict` leaves it out."""
        ...

    def to_dict(self, raw: bool) -> dict[str, Any]:  # noqa: FBT001 - the SDK's
        """All fields; raw: decimals and times as text."""
        ...


Plain = Callable[[dict[str, Any]], dict[str, Any]]


class ShioajiWire:
    """The `CallbackWire` of Shioaji. Remembers which classes hand out floats."""

    def __init__(self) -> None:
        self._heads: dict[tuple[type, object], bytes] = {}
        self._plain: dict[type, Plain] = {}

    ws_url = f"sdk://{VENUE}"
    endpoints: Mapping[str, str] = {ENDPOINT: ""}

    def streams(
        self, channels: Sequence[str], symbols: Sequence[str], depth_interval_ms: int | None
    ) -> tuple[Stream, ...]:
        """Named by feed and symbol; the topic is known with the contract (`resolve`)."""
        del depth_interval_ms  # the venue has one
        self._check(channels, symbols)
        found: dict[str, Stream] = {}
        for symbol in symbols:
            for channel in channels:
                if (channel == "index") == _is_index(symbol):
                    stream = _planned(FEEDS[channel], symbol)
                    found.setdefault(stream.name, stream)
        return tuple(found.values())

    def _check(self, channels: Sequence[str], symbols: Sequence[str]) -> None:
        for channel in channels:
            if channel not in FEEDS:
                raise UnknownStreamError(
                    f"{VENUE} has channel {channel[:40]!r} not at all",
                    venue=VENUE,
                    hint=f"known channels: {', '.join(FEEDS)}",
                )
        for symbol in symbols:
            if symbol.endswith(TRIAL_SUFFIX):
                raise UnknownStreamError(
                    f"{VENUE} has no symbol {symbol[:40]!r}",
                    venue=VENUE,
                    hint=f"trial matches come with {symbol.removesuffix(TRIAL_SUFFIX)!r}",
                )
            if symbol.endswith(ODD_SUFFIX) and "summary" in channels:
                raise UnknownStreamError(
                    f"{VENUE} has no channel 'summary' of odd lots ({symbol[:40]!r})",
                    venue=VENUE,
                    hint="channels trade, quote and depth",
                )

    def resolve(self, planned: Stream, contract: Contract) -> Stream | None:
        return _stream(planned.channel, contract)

    def brings(self, planned: Stream) -> frozenset[str]:
        return (
            frozenset({"quote", "depth"})
            if planned.channel == "quote"
            else frozenset({planned.channel})
        )

    def frame(self, item: object) -> bytes:
        if isinstance(item, SessionEvent):
            return _event_frame(item)
        kind = type(item)
        readable: Readable = item  # type: ignore[assignment]  # else AttributeError: unreadable
        fields = readable.to_dict(raw=True)
        plain = self._plain.get(kind)
        if plain is None:
            plain = self._plain[kind] = _exact if _has_floats(fields) else _as_it_is
        exchange = fields.pop("exchange", None) or readable.exchange
        head = self._heads.get((kind, exchange))
        if head is None:
            head = self._heads[kind, exchange] = b'{"v":%d,"class":%s,"exchange":%s,' % (
                VERSION,
                orjson.dumps(kind.__name__),
                orjson.dumps(_text_of(exchange)),
            )
        return head + orjson.dumps(plain(fields), default=_text_of)[1:]

    def unreadable(self, item: object, words: str) -> bytes:
        return orjson.dumps(
            {"v": VERSION, "class": "Unreadable", "of": type(item).__name__, "words": words}
        )

    def signal(self, event: SessionEvent) -> Signal:
        """Solace's session events; those left out say nothing about the data."""
        match event.event_code:
            case 0 | 13:
                return Signal(up=True)
            case 1 | 2 | 12:
                return Signal(down=True)
            case 5:
                return Signal(discarded=True)
            case 17:
                return Signal(resubscribe=True)
        return Signal()


def _event_frame(event: SessionEvent) -> bytes:
    return orjson.dumps({"v": VERSION, "class": "SessionEvent"} | event._asdict())


def _has_floats(fields: Mapping[str, object]) -> bool:
    return any(isinstance(value, float) for value in _decimals_in(fields))


def _decimals_in(fields: Mapping[str, object]) -> list[object]:
    found: list[object] = []
    for name in DECIMALS & fields.keys():
        value = fields[name]
        found += value if isinstance(value, list) else [value]
    return found


def _as_it_is(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def _exact(fields: dict[str, Any]) -> dict[str, Any]:
    """Floats as the shortest text that means them: the SDK had the text before it had the float."""
    for name in DECIMALS & fields.keys():
        value = fields[name]
        fields[name] = [_text(each) for each in value] if isinstance(value, list) else _text(value)
    return fields


def _text(value: object) -> object:
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else value


def _text_of(value: object) -> str:
    """Of what JSON has no word for: decimals, times, the SDK's enumerations."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Enum):
        return str(value.value)
    return str(getattr(value, "value", value))  # the SDK's enumerations are native classes


def topic(feed: Feed, market: str, exchange: str, code: str) -> str:
    """The name of a stream, as a confirmation (event 16) spells it."""
    version = "v1" if market == "index" else feed.version
    prefix = "QUO" if market == "index" else feed.prefix
    place = _SPELLED.get(exchange, exchange)
    return f"{prefix}/{version}/{_KINDS[market]}/*/{place}/{code}"


def _is_index(symbol: str) -> bool:
    """Indices of the exchanges have such codes, and nothing else does."""
    return _INDEX.fullmatch(symbol) is not None


def _planned(feed: Feed, symbol: str) -> Stream:
    """What a plan calls a subscription: its topic is not known before the contract is."""
    channel = "index" if _is_index(symbol) else _CHANNEL[feed]
    return Stream(f"{feed.quote_type}:{symbol}", channel, symbol, ENDPOINT, ())


def _stream(channel: str, contract: Contract) -> Stream | None:
    """None where the instrument has no such channel: an index has nothing else, others no index."""
    is_index = contract.market == "index"
    if (channel == "index") != is_index:
        return None
    feed = FEEDS[channel]
    symbol = contract.code + (ODD_SUFFIX if contract.market == "odd" else "")
    if is_index:
        topics: tuple[str, ...] = (f"index.{VENUE}.{symbol}",)
    else:
        channels = ("trade",) if feed is TICK else ("quote", "depth")
        topics = tuple(
            f"{each}.{VENUE}.{symbol}{trial}" for trial in ("", TRIAL_SUFFIX) for each in channels
        )
    return Stream(
        name=topic(feed, contract.market, contract.exchange, contract.code),
        channel=channel,
        symbol=contract.symbol,
        endpoint=contract.market,
        topics=topics,
    )


WIRE: Final[CallbackWire] = ShioajiWire()
