"""OKX v5: channels and where they live, subscribe messages, instrument lists. Quirks: README.md.

Pure. A stream's name is `channel:instId`, as the decoder's notices say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

import msgspec
from typing_extensions import Buffer

from gateway.errors import MalformedReplyError, UnknownStreamError, vendor_text
from gateway.instruments import AssetClass, InstrumentDefinition, scale_and_step
from gateway.venue import ClientMessage, Figures, RestRequest, Stream, Wire
from gateway.venues.okx.limits import INSTRUMENTS_WEIGHT, LIMITS

VENUE: Final = "okx"
# What the decoder appends to the name of an index: OKX calls the index of BTC-USDT as the pair.
INDEX_SUFFIX: Final = "-INDEX"
# An index has no tick; its events carry their own decimals, so any constant scale will do, as
# long as every list that mentions the index gives the same.
INDEX_SCALE: Final = 8
# Others: suspend, preopen, test.
LIVE: Final = "live"
# What patterns select from; options are listed per underlying only and must be named.
LISTED_TYPES: Final = ("SPOT", "SWAP", "FUTURES")
# The longest known instId (an option) has 24 characters.
_HEAD_BYTES_MAX: Final = 160


class Channel(NamedTuple):
    """An OKX channel: its name, the endpoint that delivers it."""

    name: str
    endpoint: str


CHANNELS: Final[Mapping[str, Channel]] = {
    "trade": Channel("trades-all", "business"),
    "aggtrade": Channel("trades", "public"),
    "quote": Channel("bbo-tbt", "public"),
    "depth": Channel("books", "public"),
    "mark": Channel("mark-price", "public"),
    "index": Channel("index-tickers", "public"),
    "funding": Channel("funding-rate", "public"),
    "open_interest": Channel("open-interest", "public"),
}
# `books` changes every 100 ms; the 10 ms channels need a login (error 64003).
DEPTH_INTERVAL_MS: Final = 100


class _Row(msgspec.Struct, frozen=True, rename="camel"):
    inst_id: str
    inst_type: str
    tick_sz: str = ""
    lot_sz: str = ""
    ct_val: str = ""
    ct_mult: str = ""
    uly: str = ""
    state: str = LIVE


class _Reply(msgspec.Struct, frozen=True):
    code: str
    data: tuple[_Row, ...]
    msg: str = ""


class _Arg(msgspec.Struct, frozen=True, rename="camel"):
    channel: str
    inst_id: str


class _Ticker(msgspec.Struct, rename={"inst_id": "instId", "volume_coin": "volCcy24h"}):
    """As far as a ranking needs it. A price that there is not is an empty text."""

    inst_id: str
    last: str
    high24h: str
    low24h: str
    vol24h: str
    volume_coin: str  # in the quote currency for spot, in coins else

    def figures(self) -> Figures:
        last, high, low = _number(self.last), _number(self.high24h), _number(self.low24h)
        coins = _number(self.volume_coin)
        is_spot = instrument_type(self.inst_id) == "SPOT"
        turnover = coins if is_spot or coins is None or last is None else coins * last
        known = last is not None and high is not None and low is not None and last > 0
        return Figures(
            self.inst_id,
            volume_f=_number(self.vol24h),
            turnover_f=turnover,
            volatility_f=(high - low) / last if known else None,  # type: ignore[operator]
        )


class _Tickers(msgspec.Struct):
    code: str
    data: list[_Ticker] = []


def _number(text: str) -> float | None:
    """For a comparison; None where the venue says nothing."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


_TICKERS: Final = msgspec.json.Decoder(_Tickers)
_REPLY = msgspec.json.Decoder(_Reply)
_ASSET_CLASSES: Final[Mapping[str, AssetClass]] = {
    "SPOT": "spot",
    "SWAP": "perpetual",
    "FUTURES": "future",
    "OPTION": "option",
}


def request(operation: str, streams: Sequence[Stream], number: int) -> bytes:
    """One client message about `streams`."""
    args = [_Arg(*stream.name.split(":", 1)) for stream in streams]
    return msgspec.json.encode({"id": str(number), "op": operation, "args": args})


def instrument_type(symbol: str) -> str:
    """The list on which `symbol` stands, by its shape (`BTC-USDT-SWAP`, `BTC-USD-260327` ...)."""
    parts = symbol.split("-")
    if parts[-1] == "SWAP":
        return "SWAP"
    return {2: "SPOT", 3: "FUTURES", 5: "OPTION"}.get(len(parts), "SPOT")


def pair(symbol: str) -> str:
    """The underlying index of `symbol`: its first two parts."""
    return "-".join(symbol.split("-")[:2])


@dataclass(frozen=True, slots=True)
class OkxWire:
    """The `Wire` of OKX."""

    ws_url: str
    rest_url: str
    endpoints: Mapping[str, str]
    ping: bytes | None

    def streams(
        self, channels: Sequence[str], symbols: Sequence[str], depth_interval_ms: int | None
    ) -> tuple[Stream, ...]:
        if depth_interval_ms not in (None, DEPTH_INTERVAL_MS):
            raise UnknownStreamError(
                f"{VENUE} has no depth stream every {depth_interval_ms} ms",
                venue=VENUE,
                hint=f"known intervals: [{DEPTH_INTERVAL_MS}]",
            )
        found: dict[str, Stream] = {}
        for symbol in symbols:
            for name in channels:
                stream = _stream(name, symbol)
                found.setdefault(stream.name, stream)
        return tuple(found.values())

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> tuple[ClientMessage, ...]:
        return tuple(
            ClientMessage(request("subscribe", part, first_id + number), acks=len(part))
            for number, part in enumerate(_parts(streams))
        )

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> tuple[ClientMessage, ...]:
        """Not waited for: the decoder gives no notice of these answers (see `OkxSync`)."""
        return tuple(
            ClientMessage(request("unsubscribe", part, first_id + number), acks=0)
            for number, part in enumerate(_parts(streams))
        )

    def stream_name(self, payload: Buffer) -> str | None:
        head = bytes(memoryview(payload)[:_HEAD_BYTES_MAX])
        prefix, _, rest = head.partition(b'{"channel":"')
        channel, _, rest = rest.partition(b'","instId":"')
        symbol, quote, _ = rest.partition(b'"')
        if prefix != b'{"arg":' or not quote:
            return None  # an event, a pong, or another key order than ever seen
        return f"{channel.decode('ascii', 'replace')}:{symbol.decode('ascii', 'replace')}"

    def instrument_requests(self, symbols: Sequence[str]) -> tuple[RestRequest, ...]:
        """One list per instrument type; options are listed per underlying."""
        targets: dict[str, None] = {}
        for symbol in symbols:
            kind = instrument_type(symbol)
            family = f"&instFamily={pair(symbol)}" if kind == "OPTION" else ""
            targets[f"/api/v5/public/instruments?instType={kind}{family}"] = None
        return tuple(RestRequest(target, INSTRUMENTS_WEIGHT) for target in targets)

    def listing_requests(self) -> tuple[RestRequest, ...]:
        return tuple(
            RestRequest(f"/api/v5/public/instruments?instType={kind}", INSTRUMENTS_WEIGHT)
            for kind in LISTED_TYPES
        )

    def ranking_requests(self) -> tuple[RestRequest, ...]:
        return tuple(
            RestRequest(f"/api/v5/market/tickers?instType={kind}", INSTRUMENTS_WEIGHT)
            for kind in LISTED_TYPES
        )

    def rankings(self, body: bytes) -> tuple[Figures, ...]:
        try:
            reply = _TICKERS.decode(body)
        except msgspec.MsgspecError as error:
            raise MalformedReplyError(
                f"tickers of {VENUE}: {vendor_text(str(error))}", venue=VENUE
            ) from error
        if reply.code != "0":
            raise MalformedReplyError(f"tickers of {VENUE}: code {reply.code[:20]}", venue=VENUE)
        return tuple(each.figures() for each in reply.data)

    def instruments(self, body: bytes) -> tuple[InstrumentDefinition, ...]:
        try:
            reply = _REPLY.decode(body)
        except msgspec.MsgspecError as error:
            raise MalformedReplyError(
                f"instruments of {VENUE}: {vendor_text(str(error))}", venue=VENUE
            ) from error
        if reply.code != "0":
            raise MalformedReplyError(
                f"instruments of {VENUE}: code {vendor_text(reply.code)} {vendor_text(reply.msg)}",
                venue=VENUE,
            )
        found: dict[str, InstrumentDefinition] = {}
        for row in reply.data:
            for definition in _define(row):
                found.setdefault(definition.symbol, definition)
        return tuple(found.values())


def _parts(streams: Sequence[Stream]) -> list[Sequence[Stream]]:
    size = LIMITS.streams_per_message_max
    return [streams[start : start + size] for start in range(0, len(streams), size)]


def _stream(channel: str, symbol: str) -> Stream:
    known = CHANNELS.get(channel)
    if known is None:
        raise UnknownStreamError(
            f"{VENUE} has channel {channel[:40]!r} not at all",
            venue=VENUE,
            hint=f"known channels: {', '.join(CHANNELS)}",
        )
    is_index = channel == "index"
    instrument = pair(symbol) if is_index else symbol
    owner = instrument + INDEX_SUFFIX if is_index else symbol
    return Stream(
        name=f"{known.name}:{instrument}",
        channel=channel,
        symbol=symbol,
        endpoint=known.endpoint,
        topics=(f"{channel}.{VENUE}.{owner}",),
    )


def _define(row: _Row) -> Iterator[InstrumentDefinition]:
    """The instrument of a row and its index; nothing for one without steps (not yet listed)."""
    asset_class = _ASSET_CLASSES.get(row.inst_type)
    try:
        price_scale, tick = scale_and_step(row.tick_sz)
        size_scale, lot = scale_and_step(row.lot_sz)
        multiplier = _multiplier(row)
    except ValueError:
        return
    if asset_class is None:
        return
    yield InstrumentDefinition(
        venue=VENUE,
        symbol=row.inst_id,
        asset_class=asset_class,
        price_scale=price_scale,
        size_scale=size_scale,
        tick=tick,
        lot=lot,
        multiplier=multiplier,
        trading=row.state == LIVE,
    )
    yield InstrumentDefinition(
        venue=VENUE,
        symbol=(row.uly or row.inst_id) + INDEX_SUFFIX,
        asset_class="index",
        price_scale=INDEX_SCALE,
        size_scale=0,
        tick=1,
        lot=1,
        multiplier="1",
        trading=False,
    )


def _multiplier(row: _Row) -> str:
    """Contract value times multiplier, as plain text; `1` for spot. Raises ValueError."""
    try:
        value = Decimal(row.ct_val or "1") * Decimal(row.ct_mult or "1")
    except InvalidOperation as error:
        raise ValueError(f"contract value {row.ct_val[:40]!r} is no decimal") from error
    if not value.is_finite():
        raise ValueError(f"contract value {row.ct_val[:40]!r} is no number")
    return f"{value.normalize():f}"


WIRE: Final[Wire] = OkxWire(
    ws_url="wss://ws.okx.com:8443",
    rest_url="https://www.okx.com",
    endpoints={"public": "/ws/v5/public", "business": "/ws/v5/business"},
    ping=b"ping",
)
