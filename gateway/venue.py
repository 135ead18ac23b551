"""What the session needs to know about a venue: its streams, requests and limits.

Shapes only. A venue's folder fills them (`gateway/venues/<venue>/{wire,sync,limits}.py`), the
registry joins them to a `Venue`. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from typing_extensions import Buffer

from gateway.instruments import InstrumentDefinition


class Stream(NamedTuple):
    """One subscription at a venue.

    name: as the venue names it (`btcusdt@trade`), and as `Wire.stream_name` reads it in a frame.
    topics: tickd topics whose activity proves that the stream lives
        (`trade.binance-spot.BTCUSDT`).
    endpoint: key of `Wire.endpoints` on which it is delivered.
    """

    name: str
    channel: str
    symbol: str
    endpoint: str
    topics: tuple[str, ...]


class ClientMessage(NamedTuple):
    """One text message to the venue and how many acknowledgements (decoder notices) it earns."""

    text: bytes
    acks: int


class RestRequest(NamedTuple):
    """GET `target` (path and query, as in the record); takes `weight` of the allowance.

    keyed: the venue wants to know who asks (`VenueLimits.key_header`).
    """

    target: str
    weight: int
    keyed: bool = False


Piece = tuple[int, int]  # first and last id


class OpenGap(NamedTuple):
    """A gap of the decoder's ledger (`Decoder.gaps`).

    seq: of its GAP event, which is its name; session: the one whose running totals the ids are, 0
    where ids are ids; left: what is still missing of first..last, in order.
    """

    seq: int
    venue: str
    symbol: str
    channel: str
    cause: int
    since_ns: int
    until_ns: int
    session: int
    first: int
    last: int
    left: tuple[Piece, ...]

    @property
    def missing(self) -> int:
        """How many ids are still missing."""
        return sum(last - first + 1 for first, last in self.left)


class Rate(NamedTuple):
    """At most `events_max` in any `window_seconds`."""

    events_max: int
    window_seconds: float


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """A venue's limits as data; each venue's `limits.py` gives sources and dates.

    The rates are enforced as sliding windows (`gateway/limits.py`), the counts by the plan
    (`gateway/subscriptions/plan.py`) before anything connects. What a venue without WebSockets
    calls by other names has its place here, too: a login is a connect, a query takes REST weight,
    a subscribe request is a client message, a topic is a stream.
    """

    client_messages: Rate  # per connection; requests, pings and pongs together
    connects: Rate  # per address; attempts count
    rest_weight: Rate  # per address
    streams_max: int  # per connection
    streams_per_message_max: int  # in one subscribe message
    message_bytes_max: int  # of one subscribe message
    lifetime_seconds: float | None  # of a connection, cut by the venue; None: no known end
    heartbeat_seconds: float | None  # a connection without any frame for so long is dead
    client_ping_seconds: float | None  # the venue wants a ping of ours this often
    weight_header: str | None  # reply header with the weight used up in the window
    # channel -> a stream without a message for so long is suspect; absent: may be silent for ever
    silence_seconds: Mapping[str, float] = field(default_factory=dict)
    connections_max: int | None = None  # open at once, per address or person; None: not known
    streams_total_max: int | None = None  # over all connections; None: not known
    key_header: str | None = None  # request header that says who asks, where a request needs it


class Figures(NamedTuple):
    """What is known of one symbol over the lookback, for comparison only; None: not said."""

    symbol: str
    volume_f: float | None = None  # in units of the instrument
    turnover_f: float | None = None  # in money
    volatility_f: float | None = None  # of any kind that a source compares its symbols by
    trades: float | None = None

    def value(self, rank: str) -> float | None:
        """What `rank` orders by."""
        return {
            "volume": self.volume_f,
            "turnover": self.turnover_f,
            "volatility": self.volatility_f,
            "trades": self.trades,
        }[rank]


class PlanWire(Protocol):
    """What a plan needs to know of a venue's streams. Pure."""

    @property
    def ws_url(self) -> str:
        """Scheme, host and port, no path: what `VenueConfig.ws_url` replaces."""
        ...

    @property
    def endpoints(self) -> Mapping[str, str]:
        """Endpoint name -> path of the WebSocket URL."""
        ...

    def streams(
        self, channels: Sequence[str], symbols: Sequence[str], depth_interval_ms: int | None
    ) -> tuple[Stream, ...]:
        """Every stream once, symbols together; a depth of None is the venue's recommended one.

        What a symbol cannot have by its very name is left out. Raises UnknownStreamError.
        """
        ...


class Wire(PlanWire, Protocol):
    """How a venue is spoken to: streams, messages, instrument lists. Pure."""

    @property
    def rest_url(self) -> str:
        """Scheme, host and port, no path: what `VenueConfig.rest_url` replaces."""
        ...

    @property
    def ping(self) -> bytes | None:
        """The text message of a client ping; None: protocol pings by the server are enough."""
        ...

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> tuple[ClientMessage, ...]:
        """The messages that subscribe `streams`, numbered from `first_id`, within the limits."""
        ...

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> tuple[ClientMessage, ...]:
        """The messages that end `streams`, as `subscribe`."""
        ...

    def stream_name(self, payload: Buffer) -> str | None:
        """The `Stream.name` of a data frame, else None. Asked during handovers only."""
        ...

    def instrument_requests(self, symbols: Sequence[str]) -> tuple[RestRequest, ...]:
        """What to ask for the definitions of `symbols`; replies go to `instruments`."""
        ...

    def listing_requests(self) -> tuple[RestRequest, ...]:
        """What to ask for the definitions of every symbol; replies go to `instruments`."""
        ...

    def ranking_requests(self) -> tuple[RestRequest, ...]:
        """What to ask for the last day's figures of every symbol; replies go to `rankings`."""
        ...

    def rankings(self, body: bytes) -> tuple[Figures, ...]:
        """All figures in a reply. Raises MalformedReplyError."""
        ...

    def instruments(self, body: bytes) -> tuple[InstrumentDefinition, ...]:
        """All definitions in a reply. Raises MalformedReplyError."""
        ...


class Sync(Protocol):
    """How a venue's books are made whole again. Pure; the rule is native (`book/sync.rs`)."""

    @property
    def rule(self) -> str:
        """The native rule's name, for status and documentation."""
        ...

    def resync(
        self, symbol: str, streams: Sequence[Stream], first_id: int
    ) -> RestRequest | tuple[ClientMessage, ...]:
        """What brings a snapshot of `symbol`.

        Either a REST request, or messages to send on the connection that has its depth `streams`.
        """
        ...


class History(Protocol):
    """What a venue still knows of the past, asked by id. Pure; replies are read natively."""

    @property
    def channels(self) -> frozenset[str]:
        """Channels whose gaps can be filled."""
        ...

    @property
    def keeps_seconds(self) -> float | None:
        """How long the venue keeps what it sent; None: for ever."""
        ...

    def pieces(self, gap: OpenGap) -> tuple[Piece, ...]:
        """What is left of `gap`, in the order in which to ask for it."""
        ...

    def request(self, gap: OpenGap, piece: Piece) -> RestRequest:
        """What brings `piece`, or as much of it as one reply holds."""
        ...


class _NoBooks:
    """For venues without a depth channel."""

    rule = "none"

    def resync(
        self, symbol: str, streams: Sequence[Stream], first_id: int
    ) -> RestRequest | tuple[ClientMessage, ...]:
        """Nothing to do: nobody asks."""
        del symbol, streams, first_id
        return ()


NO_BOOKS: Final[Sync] = _NoBooks()


class PlanVenue(Protocol):
    """What `gateway/subscriptions` plans for: a `Venue`, or one behind a broker's SDK."""

    @property
    def name(self) -> str: ...

    @property
    def wire(self) -> PlanWire: ...

    @property
    def limits(self) -> VenueLimits: ...


class Venue(NamedTuple):
    """A venue, joined from its folder by the registry."""

    name: str
    wire: Wire
    sync: Sync
    limits: VenueLimits
    history: History | None = None  # None: what is lost is lost
