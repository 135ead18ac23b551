"""How many connections a port has at a time, and for how long: so that nobody takes them all.

A connection gets its place before anything else happens to it: who finds none has no TLS handshake
either, and no descriptor of ours. It reads no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar, final

__all__ = ["Doorkeeper", "Served"]


class _Timer(Protocol):
    def cancel(self) -> None: ...


CallLater = Callable[..., _Timer]
Served = asyncio.Protocol | asyncio.BufferedProtocol
S = TypeVar("S", asyncio.Protocol, asyncio.BufferedProtocol)


@final
class Doorkeeper:
    """`admit` is a protocol factory around another, `make`; for TLS, too, of the raw transport.

    Loop thread only.
    """

    def __init__(
        self,
        make: Callable[[], Served],
        call_later: CallLater,
        *,
        count_max: int,
        lifetime_s: float,
    ) -> None:
        self._make: Final = make
        self._call_later: Final = call_later
        self._count_max: Final = count_max
        self._lifetime_s: Final = lifetime_s
        self.count = 0
        self.turned_away_total = 0

    def admit(self) -> asyncio.Protocol:
        """Return who meets a connection that was just accepted."""
        return _Arrival(self)

    def arrived(self, transport: Any) -> None:
        """Give it a place and the one who serves it, or end it."""
        if self.count >= self._count_max:
            self.turned_away_total += 1
            transport.abort()
            return
        inner = self._make()
        timer = self._call_later(self._lifetime_s, transport.abort)
        guest: _Guest[Any]
        if isinstance(inner, asyncio.BufferedProtocol):
            guest = _BufferedGuest(inner, self, timer)
        else:
            guest = _StreamingGuest(inner, self, timer)
        transport.set_protocol(guest)  # from now on it hears of the end, whatever happens
        self.count += 1
        guest.connection_made(transport)

    def left(self) -> None:
        """One of the connections is over."""
        self.count -= 1


class _Arrival(asyncio.Protocol):
    """Stands in until the doorkeeper has decided."""

    __slots__ = ("_doorkeeper",)

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        try:
            self._doorkeeper.arrived(transport)
        except BaseException:
            _abort(transport)
            raise


class _Guest(asyncio.BaseProtocol, Generic[S]):
    """Hands everything to the one who serves, and gives the place back at the end."""

    def __init__(self, inner: S, doorkeeper: Doorkeeper, timer: _Timer) -> None:
        self._inner: Final[S] = inner
        self._doorkeeper: Final = doorkeeper
        self._timer: Final = timer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._doorkeeper.left()
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


# The loops ask for the class, and treat the two kinds differently.
class _StreamingGuest(_Guest[asyncio.Protocol], asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)


class _BufferedGuest(_Guest[asyncio.BufferedProtocol], asyncio.BufferedProtocol):
    def get_buffer(self, sizehint: int) -> Any:  # a writable buffer of any kind
        return self._inner.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.buffer_updated(nbytes)


def _abort(transport: Any) -> None:  # what asyncio and uvloop give has no common class
    transport.abort()
