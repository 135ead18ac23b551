"""The narrow ports at which stages meet; stages implement or receive them, `tickd/app` joins them.

No code here, only shapes. Each docstring lists what a method may raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from typing_extensions import Buffer

RecordType = Literal["W", "B", "R", "C", "K"]


class Notice(NamedTuple):
    """What the decoder tells the session that owns a connection.

    kind: `subscribed`, `refused` (text = the venue's words), `shutdown` (reconnect at once),
    `snapshot_wanted` (text = symbol), `pong`.
    """

    connection: int
    frame_no: int
    kind: str
    text: str


class Leg(Protocol):
    """One connection, as the raw tap sees it."""

    def on_notice(self, notice: Notice) -> None:
        """Take a notice of the decoder; raises nothing."""

    def pause_reading(self) -> None:
        """Stop reading the socket: the raw log cannot keep up. Raises nothing."""

    def resume_reading(self) -> None:
        """Read again. Raises nothing."""


class RawTap(Protocol):
    """Where frames enter: first the raw log, then the decoder, then the bus."""

    def open(
        self, *, venue: str, url: str, streams: Sequence[str], leg: Leg, backfill: bool = False
    ) -> int:
        """Record a new connection and return its node-wide number.

        backfill: it brings what is missing; the decoder reads it in quarantine.
        Raises TickdError(FATAL) when the log is closed.
        """
        ...

    def frame(self, connection: int, payload: Buffer) -> None:
        """Stamp and append one text message.

        The view may die with the call. Raises nothing: a full log pauses legs.
        """

    def record(self, connection: int, record_type: RecordType, payload: Buffer) -> int:
        """Append a REST reply, binary message or control record.

        Return its frame number. Raises as `open`.
        """
        ...

    def close(self, connection: int, reason: str) -> None:
        """Record the end of a connection. Raises nothing."""


class StampedTap(RawTap, Protocol):
    """A raw tap that also takes what was received, and stamped, on another thread."""

    def stamped(self, connection: int, frames: list[tuple[bytes, int, int]]) -> None:
        """Append text messages: (payload, wall ns, monotonic ns) each, in this order.

        Raises nothing: a full log pauses legs.
        """


class Source(Protocol):
    """A venue session, live or replayed."""

    async def run(self) -> None:
        """Run until cancelled (live) or to the end (finite). Raises TickdError(FATAL) only."""


class Clock(Protocol):
    """The only way to ask for the time."""

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC."""
        ...

    def mono_ns(self) -> int:
        """Monotonic nanoseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; raises CancelledError only."""
