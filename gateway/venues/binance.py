"""What Binance's three markets share: stream names, subscribe messages, instrument lists. Pure.

The markets' own data (URLs, paths, which streams exist and where) stands in their folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
from typing_extensions import Buffer

from gateway.errors import MalformedReplyError, UnknownStreamError, vendor_text
from gateway.instruments import AssetClass, InstrumentDefinition, scale_and_step
from gateway.venue import ClientMessage, Figures, OpenGap, Piece, RestRequest, Stream

TRADING = "TRADING"
_STREAM_PREFIX = b'{"stream":"'
# Longest stream name looked for at the start of a frame; the longest known is below 50 bytes.
_STREAM_NAME_BYTES_MAX = 120


@dataclass(frozen=True, slots=True)
class StreamKind:
    """One class of streams: `<symbol>@<suffix>` feeds `channels` and comes on `endpoint`.

    of_pair: the stream belongs to the pair of the contract (`btcusd` of `BTCUSD_PERP`).
    """

    suffix: str
    channels: tuple[str, ...]
    endpoint: str
    of_pair: bool = False


class _Filter(msgspec.Struct, frozen=True, rename="camel"):
    filter_type: str
    tick_size: str | None = None
    step_size: str | None = None
    max_price: str | None = None
    max_qty: str | None = None


class _Symbol(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    filters: tuple[_Filter, ...]
    status: str | None = None  # COIN-M: contractStatus
    contract_status: str | None = None
    contract_type: str | None = None
    contract_size: int | None = None
    pair: str | None = None
    # What the venue prints: spot gives the asset precisions, the futures markets the two others.
    base_asset_precision: int | None = None
    quote_asset_precision: int | None = None
    price_precision: int | None = None
    quantity_precision: int | None = None


class _ExchangeInfo(msgspec.Struct, frozen=True):
    symbols: tuple[_Symbol, ...]


class _Ticker(msgspec.Struct, rename="camel"):
    """As far as a ranking needs it; COIN-M has no quote volume, its volume counts contracts."""

    symbol: str
    volume: Decimal
    high_price: Decimal
    low_price: Decimal
    last_price: Decimal
    count: int
    quote_volume: Decimal | None = None
    base_volume: Decimal | None = None

    def figures(self) -> Figures:
        last = self.last_price
        turnover = self.quote_volume
        if turnover is None and self.base_volume is not None:
            turnover = self.base_volume * last
        return Figures(
            self.symbol,
            volume_f=float(self.volume),
            turnover_f=None if turnover is None else float(turnover),
            volatility_f=float((self.high_price - self.low_price) / last) if last > 0 else None,
            trades=self.count,
        )


_TICKERS: Final = msgspec.json.Decoder(list[_Ticker])
_EXCHANGE_INFO = msgspec.json.Decoder(_ExchangeInfo)


@dataclass(frozen=True, slots=True)
class BinanceWire:
    """The `Wire` of one Binance market."""

    venue: str
    ws_url: str
    rest_url: str
    endpoints: Mapping[str, str]
    kinds: tuple[StreamKind, ...]
    # depth stream by interval in ms; None in a request asks for `depth_interval_ms`
    depth_suffixes: Mapping[int, str]
    depth_interval_ms: int
    depth_endpoint: str
    streams_per_message_max: int
    instrument_requests_of: Callable[[Sequence[str]], tuple[RestRequest, ...]]
    listing: RestRequest  # the whole list
    tickers: RestRequest  # the last day of every symbol
    ping: bytes | None = None
    # channels that exist by REST only
    rest_channels: tuple[str, ...] = field(default=())

    def streams(
        self, channels: Sequence[str], symbols: Sequence[str], depth_interval_ms: int | None
    ) -> tuple[Stream, ...]:
        kinds = self._kinds(channels, depth_interval_ms)
        found: dict[str, Stream] = {}
        for symbol in symbols:
            for kind in kinds:
                stream = self._stream(kind, symbol)
                found.setdefault(stream.name, stream)
        return tuple(found.values())

    def _kinds(self, channels: Sequence[str], interval_ms: int | None) -> tuple[StreamKind, ...]:
        """The stream classes that feed `channels`, each once."""
        kinds: dict[str, StreamKind] = {}
        for channel in channels:
            if channel == "depth":
                kind = self._depth_kind(
                    self.depth_interval_ms if interval_ms is None else interval_ms
                )
            else:
                kind = self._kind(channel)
            kinds.setdefault(kind.suffix, kind)
        return tuple(kinds.values())

    def _depth_kind(self, interval_ms: int) -> StreamKind:
        suffix = self.depth_suffixes.get(interval_ms)
        if suffix is None:
            raise UnknownStreamError(
                f"{self.venue} has no depth stream every {interval_ms} ms",
                venue=self.venue,
                hint=f"known intervals: {sorted(self.depth_suffixes)}",
            )
        return StreamKind(suffix, ("depth",), self.depth_endpoint)

    def _kind(self, channel: str) -> StreamKind:
        for kind in self.kinds:
            if channel in kind.channels:
                return kind
        known = sorted({"depth", *(name for kind in self.kinds for name in kind.channels)})
        where = "by REST only" if channel in self.rest_channels else "not at all"
        raise UnknownStreamError(
            f"{self.venue} has channel {channel[:40]!r} {where}",
            venue=self.venue,
            hint=f"known channels: {', '.join(known)}",
        )

    def _stream(self, kind: StreamKind, symbol: str) -> Stream:
        owner = symbol.partition("_")[0] if kind.of_pair else symbol
        return Stream(
            name=f"{owner.lower()}@{kind.suffix}",
            channel=kind.channels[0],
            symbol=symbol,
            endpoint=kind.endpoint,
            topics=tuple(f"{channel}.{self.venue}.{owner}" for channel in kind.channels),
        )

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> tuple[ClientMessage, ...]:
        return self._requests("SUBSCRIBE", streams, first_id)

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> tuple[ClientMessage, ...]:
        return self._requests("UNSUBSCRIBE", streams, first_id)

    def _requests(
        self, method: str, streams: Sequence[Stream], first_id: int
    ) -> tuple[ClientMessage, ...]:
        size = self.streams_per_message_max
        return tuple(
            ClientMessage(
                msgspec.json.encode(
                    {
                        "method": method,
                        "params": [stream.name for stream in streams[start : start + size]],
                        "id": first_id + number,
                    }
                ),
                acks=1,
            )
            for number, start in enumerate(range(0, len(streams), size))
        )

    def stream_name(self, payload: Buffer) -> str | None:
        head = bytes(memoryview(payload)[: len(_STREAM_PREFIX) + _STREAM_NAME_BYTES_MAX])
        if not head.startswith(_STREAM_PREFIX):
            return None
        name, quote, _ = head[len(_STREAM_PREFIX) :].partition(b'"')
        return name.decode("ascii", "replace") if quote else None

    def instrument_requests(self, symbols: Sequence[str]) -> tuple[RestRequest, ...]:
        return self.instrument_requests_of(symbols)

    def listing_requests(self) -> tuple[RestRequest, ...]:
        return (self.listing,)

    def ranking_requests(self) -> tuple[RestRequest, ...]:
        return (self.tickers,)

    def rankings(self, body: bytes) -> tuple[Figures, ...]:
        try:
            tickers = _TICKERS.decode(body)
        except msgspec.MsgspecError as error:
            raise MalformedReplyError(
                f"24hr tickers of {self.venue}: {vendor_text(str(error))}", venue=self.venue
            ) from error
        return tuple(each.figures() for each in tickers)

    def instruments(self, body: bytes) -> tuple[InstrumentDefinition, ...]:
        try:
            info = _EXCHANGE_INFO.decode(body)
        except msgspec.MsgspecError as error:
            raise MalformedReplyError(
                f"exchangeInfo of {self.venue}: {vendor_text(str(error))}", venue=self.venue
            ) from error
        found = [definition for symbol in info.symbols if (definition := self._define(symbol))]
        return tuple(found) + self._indexes(info.symbols, found)

    def _define(self, symbol: _Symbol) -> InstrumentDefinition | None:
        """The definition, or None for a symbol without steps (some delisted ones)."""
        price_decimals = symbol.price_precision or symbol.quote_asset_precision or 0
        size_decimals = symbol.quantity_precision or symbol.base_asset_precision or 0
        tick = _step(symbol, "PRICE_FILTER", "tick_size", "max_price", price_decimals)
        lot = _step(symbol, "LOT_SIZE", "step_size", "max_qty", size_decimals)
        if tick is None or lot is None:
            return None
        return InstrumentDefinition(
            venue=self.venue,
            symbol=symbol.symbol,
            asset_class=_asset_class(symbol.contract_type),
            price_scale=tick[0],
            size_scale=lot[0],
            tick=tick[1],
            lot=lot[1],
            multiplier=str(symbol.contract_size or 1),
            trading=(symbol.status or symbol.contract_status or TRADING) == TRADING,
        )

    def _indexes(
        self, symbols: Sequence[_Symbol], found: Sequence[InstrumentDefinition]
    ) -> tuple[InstrumentDefinition, ...]:
        """One index instrument per pair, where index streams belong to pairs."""
        if not any(kind.of_pair for kind in self.kinds):
            return ()
        scales = {definition.symbol: definition for definition in found}
        indexes: dict[str, InstrumentDefinition] = {}
        for symbol in symbols:
            contract = scales.get(symbol.symbol)
            if symbol.pair is None or contract is None or symbol.pair in scales:
                continue
            indexes.setdefault(
                symbol.pair,
                InstrumentDefinition(
                    venue=self.venue,
                    symbol=symbol.pair,
                    asset_class="index",
                    price_scale=contract.price_scale,
                    size_scale=0,
                    tick=contract.tick,
                    lot=1,
                    multiplier="1",
                    trading=False,
                ),
            )
        return tuple(indexes.values())


def _step(
    symbol: _Symbol, filter_type: str, name: str, most: str, decimals: int
) -> tuple[int, int] | None:
    """Scale and mantissa of a step.

    The scale holds what the venue prints, not only the step: orders that rest since before a change
    of the step keep their finer decimals (seen in the recorded spot book of 2024-08-08: sizes of 6
    decimals at a step of 5).
    """
    for found in symbol.filters:
        step = getattr(found, name)
        if found.filter_type == filter_type and step is not None:
            try:
                return scale_and_step(step, decimals=decimals, largest=getattr(found, most))
            except ValueError:  # "0.00000000" switches a filter off
                return None
    return None


def _asset_class(contract_type: str | None) -> AssetClass:
    if contract_type is None:
        return "spot"
    # Also "TRADIFI_PERPETUAL"; dated ones are CURRENT_QUARTER, NEXT_QUARTER, ...
    return "perpetual" if contract_type.endswith("PERPETUAL") else "future"


@dataclass(frozen=True, slots=True)
class BinanceSync:
    """The `Sync` of one Binance market: a REST snapshot of fixed depth."""

    rule: str
    depth_path: str
    depth_levels: int
    depth_weight: int

    def resync(
        self, symbol: str, streams: Sequence[Stream], first_id: int
    ) -> RestRequest | tuple[ClientMessage, ...]:
        del streams, first_id  # snapshots of Binance come by REST
        target = f"{self.depth_path}?symbol={symbol}&limit={self.depth_levels}"
        return RestRequest(target, self.depth_weight)


class HistoryPath(NamedTuple):
    """Where past trades of a channel are asked for, from an id upwards."""

    path: str
    weight: int
    trades_max: int  # in one reply
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class BinanceHistory:
    """The `History` of one Binance market: trades by `fromId`."""

    paths: Mapping[str, HistoryPath]  # by channel
    keeps_seconds: float | None

    @property
    def channels(self) -> frozenset[str]:
        return frozenset(self.paths)

    def pieces(self, gap: OpenGap) -> tuple[Piece, ...]:
        return gap.left

    def request(self, gap: OpenGap, piece: Piece) -> RestRequest:
        found = self.paths[gap.channel]
        # The weight is the same for one trade and for all of them: later pieces come along.
        limit = min(found.trades_max, gap.left[-1][1] - piece[0] + 1)
        target = f"{found.path}?symbol={gap.symbol}&fromId={piece[0]}&limit={limit}"
        return RestRequest(target, found.weight, keyed=found.keyed)
