"""What a callback session needs to know about a venue behind a broker's SDK.

Shapes only. A venue's folder fills them (`wire.py`, `hours.py`, `limits.py`, `sdk.py`), the
registry joins them. Everything but the client is pure; the client is the only thing that touches
the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.config import SdkConfig
from gateway.instruments import InstrumentDefinition
from gateway.venue import Figures, OpenGap, PlanWire, Rate, Stream, VenueLimits


class Contract(NamedTuple):
    """What the SDK knows of a configured symbol, as far as anything depends on it.

    symbol: as configured; code: under which its data arrives (a continuous month resolves to a
    real one); market: key of the trading hours; handle: the SDK's own object, to subscribe with.
    """

    symbol: str
    code: str
    market: str
    exchange: str
    definitions: tuple[InstrumentDefinition, ...]
    handle: object


class SessionEvent(NamedTuple):
    """What the SDK says about its connection, in the order of its callbacks."""

    resp_code: int
    event_code: int
    info: str
    event: str


class Signal(NamedTuple):
    """What a session event means. `up` and `down` say whether data can flow from here on."""

    up: bool = False
    down: bool = False
    discarded: bool = False  # the SDK let a message go
    resubscribe: bool = False  # the subscriptions are gone


class Usage(NamedTuple):
    """What is left of the allowance, as the venue counts it."""

    connections: int
    bytes_used: int
    bytes_max: int
    bytes_left: int


@dataclass(frozen=True, slots=True)
class LoginRests:
    """How long not to log in, beside `VenueLimits.connects`."""

    seconds_min: float  # between two logins
    suspended_seconds: float  # after "try again later"
    refused_seconds: float  # after wrong credentials: a person has to mend it


class CallbackWire(PlanWire, Protocol):
    """Objects to frames, contracts to streams. Pure.

    A plan is made before anybody has logged in, so that its streams know a symbol and what is
    asked of it, and nothing that only a contract says.
    """

    def resolve(self, planned: Stream, contract: Contract) -> Stream | None:
        """What the venue calls a planned stream today; `endpoint`: the market whose hours it keeps.

        None where the instrument has no such thing.
        """
        ...

    def brings(self, planned: Stream) -> frozenset[str]:
        """The channels that one subscription brings together."""
        ...

    def frame(self, item: object) -> bytes:
        """The raw frame of an object of the SDK or of a SessionEvent: versioned JSON.

        Raises what the object raises; `unreadable` then says so.
        """
        ...

    def unreadable(self, item: object, words: str) -> bytes:
        """The frame that stands for an object that could not be read."""
        ...

    def signal(self, event: SessionEvent) -> Signal:
        """What a session event means."""
        ...


class SdkClient(Protocol):
    """One login through the SDK. A client that was closed is not opened again."""

    async def open(self) -> None:
        """Log in and register the callbacks. Raises ConnectFailedError."""
        ...

    async def contracts(self, symbols: Sequence[str]) -> tuple[Contract, ...]:
        """What is known of `symbols`; unknown ones are left out. Raises QueryFailedError."""
        ...

    async def listing(self) -> tuple[str, ...]:
        """Every symbol that a pattern may select. Raises QueryFailedError."""
        ...

    async def subscribe(self, stream: Stream, contract: Contract) -> None:
        """Ask for a stream; its confirmation is a session event. Raises QueryFailedError."""
        ...

    async def unsubscribe(self, stream: Stream, contract: Contract) -> None:
        """End a stream. Raises QueryFailedError."""
        ...

    async def ticks(self, contract: Contract, date: str) -> object:
        """All trades of a day, as the SDK has them. Raises QueryFailedError."""
        ...

    async def bars(self, contract: Contract, date: str) -> object:
        """The minute bars of a day, as the SDK has them. Raises QueryFailedError."""
        ...

    async def scan(self, rank: str) -> tuple[Figures, ...]:
        """Today's best symbols by a `UniverseConfig.rank`. Raises QueryFailedError."""
        ...

    async def usage(self) -> Usage:
        """What is left of the allowance. Raises QueryFailedError."""
        ...

    async def close(self) -> None:
        """Log out; nothing is called back afterwards. Raises nothing."""


class CallbackHistory(Protocol):
    """What a venue behind an SDK still knows of the past, by the day. Pure."""

    @property
    def queries(self) -> Rate:
        """How often it may be asked: our share of the venue's limit."""
        ...

    @property
    def early_queries_max(self) -> int:
        """Queries of a day while a market trades."""
        ...

    def can_fill(self, gap: OpenGap) -> bool:
        """Whether the answers can tell what is missing in `gap`."""
        ...

    def date_of(self, gap: OpenGap) -> str:
        """The day whose answer fills `gap`."""
        ...

    def over_ns(self, gap: OpenGap) -> int:
        """Wall ns from which on that answer is complete."""
        ...

    def trades_now(self, wall_ns: int) -> bool:
        """Whether any market trades."""
        ...

    def record(self, ticks: object, contract: Contract, date: str) -> tuple[int, bytes]:
        """How many trades an answer has, and the payload of its R record.

        Raises MalformedReplyError.
        """
        ...

    def evidence(self, bars: object, contract: Contract, date: str) -> bytes:
        """The payload of the R record of a day's bars. Raises MalformedReplyError."""
        ...


Put = Callable[[object], None]


class CallbackVenue(NamedTuple):
    """A venue behind an SDK, joined from its folder by the registry.

    package: the SDK's module, which the extra `tickd[<package>]` installs.
    client: makes a client whose callbacks call `put` on the SDK's threads.
    usage_reset: wall ns -> wall ns at which the allowance begins anew.
    open_since: market, wall ns -> since when its continuous trading runs (wall ns), or None.
    """

    name: str
    package: str
    wire: CallbackWire
    limits: VenueLimits
    rests: LoginRests
    client: Callable[[SdkConfig, Put], SdkClient]
    open_since: Callable[[str, int], int | None]
    usage_reset: Callable[[int], int]
    history: CallbackHistory | None = None  # None: what is lost is lost
