"""How many connections a port has at a time, and for how long: so that nobody takes them all.

A connection has its place from the moment it is accepted, TLS or not. It reads no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol, final

__all__ = ["Doorkeeper"]


class _Timer(Protocol):
    def cancel(self) -> None: ...


CallLater = Callable[..., _Timer]


@final
class Doorkeeper:
    """`admit` is a protocol factory around another, `make`. Loop thread only."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        call_later: CallLater,
        *,
        count_max: int,
        lifetime_s: float,
        handshake_s: float,
    ) -> None:
        """`handshake_s`: how long a TLS handshake may take, whose failure nobody tells; 0: none."""
        self._make: Final = make
        self._call_later: Final = call_later
        self._count_max: Final = count_max
        self._lifetime_s: Final = lifetime_s
        self._handshake_s: Final = handshake_s
        self.count = 0
        self.turned_away_total = 0

    def admit(self) -> asyncio.Protocol:
        """Return who serves a connection that was just accepted, or who ends it."""
        if self.count >= self._count_max:
            self.turned_away_total += 1
            return _TurnedAway()
        self.count += 1
        return _Guest(self._make(), self)

    def call_later(self, seconds: float, what: Callable[[], object]) -> _Timer:
        return self._call_later(seconds, what)

    @property
    def lifetime_s(self) -> float:
        return self._lifetime_s

    @property
    def handshake_s(self) -> float:
        return self._handshake_s

    def left(self) -> None:
        """One of the connections is over."""
        self.count -= 1


class _TurnedAway(asyncio.Protocol):
    """Ends its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _abort(transport)


class _Guest(asyncio.Protocol):
    """Hands everything to the one who serves, and gives the place back once."""

    __slots__ = ("_doorkeeper", "_inner", "_is_over", "_timer")

    def __init__(self, inner: asyncio.Protocol, doorkeeper: Doorkeeper) -> None:
        self._inner = inner
        self._doorkeeper = doorkeeper
        self._is_over = False
        self._timer: _Timer | None = None
        if doorkeeper.handshake_s:
            # Twice the time: the transport has given up by then.
            self._timer = doorkeeper.call_later(2 * doorkeeper.handshake_s, self._leave)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._doorkeeper.call_later(
            self._doorkeeper.lifetime_s, lambda: _abort(transport)
        )
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._inner.connection_lost(exc)

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_over:
            self._is_over = True
            self._doorkeeper.left()

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def _abort(transport: Any) -> None:  # what asyncio and uvloop give has no common class
    transport.abort()
