"""What the supervisor is told: datagrams to the socket that systemd names, or to nobody.

It says what it is given; what is true at which moment is decided in `tickd/app/supervision.py`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ["Lifeline", "Notifier", "bytes_moved", "take_supervisor"]

# How often a lifeline looks, and for how long it asks: a look that comes late must not end a life.
LOOK_S: Final = 1.0
EXTEND_S: Final = 15


class Notifier:
    """One supervisor's socket. Any thread; never waits, never raises."""

    def __init__(self, address: str | None) -> None:
        """Args: `address`: a path, or `@name` for an abstract socket; None: nobody listens."""
        self._address = address or None
        self.failures_total = 0

    @property
    def listens(self) -> bool:
        return self._address is not None

    def tell(self, *lines: str) -> None:
        """Send `KEY=value` lines as one message."""
        if self._address is None:
            return
        abstract = self._address.startswith("@")
        address = "\0" + self._address[1:] if abstract else self._address
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            with socket.socket(socket.AF_UNIX, kind) as sender:
                sender.connect(address)
                sender.sendall("\n".join(lines).encode())
        except OSError:  # a supervisor that is being replaced, or one whose queue is full
            self.failures_total += 1

    def more_time(self, seconds: int = EXTEND_S) -> None:
        """Ask that the start, or the stop, may take so much longer from now on."""
        self.tell(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")


def take_supervisor(environment: MutableMapping[str, str], pid: int) -> tuple[Notifier, float]:
    """Return the notifier and the watchdog's full time, s; 0 without one.

    What names them is taken out: no child is to speak for the daemon.
    """
    address = environment.pop("NOTIFY_SOCKET", None)
    period_us = environment.pop("WATCHDOG_USEC", "")
    meant = environment.pop("WATCHDOG_PID", "")
    watched = period_us.isdecimal() and meant in ("", str(pid))
    return Notifier(address), int(period_us) / 1e6 if watched else 0.0


def bytes_moved(io: Path = Path("/proc/self/io")) -> int:
    """Bytes that this process has read and written so far; 0 where the system does not say."""
    try:
        lines = io.read_text().splitlines()
    except OSError:
        return 0
    figures = dict(line.split(": ", 1) for line in lines)
    return int(figures.get("rchar", 0)) + int(figures.get("wchar", 0))


class Lifeline:
    """Asks for more time as long as bytes move, from a thread: the loop may be busy or not there.

    For recovery, which reads the raw log, and for the drain, which writes: neither is cut off while
    it gets on, and one that hangs is.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        moved: Callable[[], int] = bytes_moved,
        look_s: float = LOOK_S,
    ) -> None:
        self._notifier = notifier
        self._moved = moved
        self._look_s = look_s
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = 0

    def look(self) -> bool:
        """Ask for more time if something moved since the last look; whether it did."""
        moved = self._moved()
        # The look itself reads a few hundred bytes.
        progressed = moved - self._seen > _OWN_BYTES
        self._seen = moved
        if progressed:
            self._notifier.more_time()
        return progressed

    def start(self) -> None:
        if self._notifier.listens and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lifeline", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        self.look()
        while not self._over.wait(self._look_s):
            self.look()


# What one look may have moved by itself, and a few log lines beside it.
_OWN_BYTES: Final = 4096
