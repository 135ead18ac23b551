"""The port of a broker: one venue's order entry behind the router.

Shapes only. A broker translates and transports; it retries no order, keeps no order state beyond
what its protocol needs, and lets nothing out that does not come as an `ApprovedOrder`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

import msgspec

from risk.approval import ApprovedOrder
from risk.orders import Report, Snapshot, Wanted
from risk.positions import Key, Position
from tickd.native import EventBatch
from tickd.ports import Clock

__all__ = [
    "AccountSection",
    "Broker",
    "BrokerContext",
    "BrokerKind",
    "Market",
    "OnReport",
    "Traded",
]

# Given at construction; called on the loop's thread, may be called within `send`.
OnReport = Callable[[Report], None]
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class AccountSection(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="broker"
):
    """An `[[accounts]]` table; a broker's own struct adds its keys and its name as `tag`.

    name: stands in limits, records and metrics. currency: what its instruments settle in.
    """

    name: str
    currency: str = "USDT"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"account name {self.name!r}: lower-case letters, digits, _ and -, at most 64"
            )


class Traded(NamedTuple):
    """What a broker has to know of an instrument to write and to read numbers."""

    number: int
    symbol: str
    price_scale: int
    size_scale: int
    multiplier: str


class Market(Protocol):
    """What is seen of the market, for a broker that plays one."""

    def on_batch(self, take: Callable[[EventBatch], None]) -> None:
        """Have `take` called with each burst, before any strategy sees it. Raises nothing."""

    def on_definition(self, define: Callable[[int, bytes], None]) -> None:
        """Have `define` called with each definition (number, JSON), before a batch that uses it.

        Raises nothing.
        """


class BrokerContext(NamedTuple):
    """What a broker may use of the daemon.

    confirm: whether an approval still stands: asked in the very step of the write, by a broker that
    writes on a thread of its own. instrument: the newest definition of a symbol, or None. held:
    what our own books say of the account, for a venue that lives with us. is_halted: whether
    everything is; a venue's dead man's switch then hears nothing, so that it cancels, too. ordered:
    the instrument of an order that is known, by our reference or the venue's id: its numbers are
    read by that one's scales, whatever its symbol means by now.
    """

    clock: Clock
    on_report: OnReport
    confirm: Callable[[ApprovedOrder], bool]
    instrument: Callable[[str], Traded | None]
    market: Market
    held: Callable[[], Iterable[tuple[Key, Position]]]
    is_halted: Callable[[], bool]
    ordered: Callable[[str, str], Traded | None] = lambda _ref, _venue_id: None


class BrokerKind(NamedTuple):
    """A broker as the registry finds it.

    venue: whose instruments an account of it trades. is_local: it has no orders outside of this
    process. check: whether the credentials of an account can be used, without its venue; raises
    ConfigError.
    """

    make: Callable[[AccountSection, BrokerContext], Broker]
    venue: Callable[[AccountSection], str]
    is_local: bool = False
    check: Callable[[AccountSection], None] = lambda _section: None


class Broker(Protocol):
    """One account at one venue."""

    @property
    def is_up(self) -> bool:
        """Whether an order sent now would leave at once."""
        ...

    async def run(self) -> None:
        """Connect, listen, come back after every loss; until cancelled.

        Raises TickdError(FATAL): credentials refused, or a configuration that cannot work.
        """

    def send(self, order: ApprovedOrder, ref: str) -> None:
        """Write a new order to the venue in this very step; never waits.

        Raises NotSentError: nothing left, for certain. BrokerError: it may have left.
        """

    def cancel(self, order: Wanted) -> None:
        """Ask for an order to be taken back. Raises as `send`."""

    def replace(self, order: Wanted, *, price: int | None, size: int) -> None:
        """Ask for another price and whole size. Raises as `send`."""

    async def snapshot(self) -> Snapshot:
        """List orders, fills, positions and the account.

        Raises BrokerError: it could not be asked; RETRY.
        """
        ...

    async def cancel_all(self) -> int:
        """Cancel every open order of ours at the venue until it lists none; return what is left.

        Works without `run`, from a process of its own. Bounded by its own deadline. Raises
        BrokerError: the venue could not be asked.
        """
        ...
