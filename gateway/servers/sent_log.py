"""The sent-log: what a server handed to its sockets, one line `connection stream json` per message.

Tests compare it with what the daemon recorded. It writes in the event loop on purpose: a line must
not lag behind the socket by more than the flush interval; servers of tests may afford it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

FLUSH_INTERVAL_NS: Final = 100_000_000
BUFFER_BYTES: Final = 1 << 20


class SentLog:
    """An append-only file; a log without a path takes everything and writes nothing."""

    def __init__(self, path: str | None) -> None:
        # Open as long as the server is: closed by `close`.
        self._file = None if path is None else Path(path).open("ab", buffering=BUFFER_BYTES)  # noqa: SIM115
        self._flushed_ns = 0

    @property
    def is_on(self) -> bool:
        return self._file is not None

    def append(self, lines: bytes | bytearray, now_ns: int) -> None:
        """Keep complete lines; on disk 100 ms later, if the server still calls."""
        if self._file is None:
            return
        if lines:
            self._file.write(lines)
        if now_ns - self._flushed_ns >= FLUSH_INTERVAL_NS:
            self._file.flush()
            self._flushed_ns = now_ns

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
