"""The flight recorder's ring: the last internal events of this process, whatever is logged.

Log events come through structlog, others by `note`; never one per market event. It keeps values, it
opens no file: who wants to be told of each entry is called.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

__all__ = ["ENTRIES_MAX", "Entry", "FlightRing"]

Entry = dict[str, Any]

# Some 200 bytes each. At a busy venue's pace, a connection or two a minute, this is hours.
ENTRIES_MAX: Final = 4_096
TEXT_CHARACTERS_MAX: Final = 512
TRACEBACK_CHARACTERS_MAX: Final = 8_192
# JSON readers differ beyond 64 bits.
_BITS_MAX: Final = 63
# Python writes no integer of more than 4,300 digits; long before that it is no figure.
_DIGITS_BITS_MAX: Final = 1_024
_PLAIN: Final = (bool, int, float, type(None))


class FlightRing:
    """Bounded; any thread may add. `listener` is called with each entry and must return at once."""

    def __init__(self, wall_ns: Callable[[], int], entries_max: int = ENTRIES_MAX) -> None:
        self.wall_ns: Final = wall_ns
        self._entries: deque[Entry] = deque(maxlen=entries_max)
        self._lock = threading.Lock()
        self._number = 0
        self.listener: Callable[[Entry], None] | None = None

    def note(self, event: str, level: str = "info", **fields: object) -> None:
        """Keep an event that is in no log."""
        self._add({"event": event, "level": level, **fields})

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Keep a log event and hand it on: a processor of structlog."""
        self._add({"level": method, **event})
        return event

    def entries(self) -> list[Entry]:
        """What is kept, the oldest first."""
        with self._lock:
            return list(self._entries)

    def _add(self, fields: Mapping[str, object]) -> None:
        kept = {_writable(key): _plain(key, value) for key, value in fields.items()}
        with self._lock:
            self._number += 1
            entry = {"no": self._number, "wall_ns": self.wall_ns(), **kept}
            self._entries.append(entry)
        if self.listener is not None:
            self.listener(entry)


def _plain(key: str, value: object) -> object:
    """A value that JSON has; a secret shows as it prints, an exception with its way."""
    if isinstance(value, int) and value.bit_length() > _BITS_MAX:
        bits = value.bit_length()
        return str(value) if bits <= _DIGITS_BITS_MAX else f"an integer of {bits} bits"
    if isinstance(value, _PLAIN):
        return value
    if key == "exc_info" and isinstance(value, BaseException):
        text = "".join(traceback.format_exception(value))[-TRACEBACK_CHARACTERS_MAX:]
    else:
        text = _printed(value)[:TEXT_CHARACTERS_MAX]
    return _writable(text)


def _printed(value: object) -> str:
    try:
        return str(value)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return f"a {type(value).__name__} that does not print"


def _writable(text: str) -> str:
    """The same without halves of characters, which no file takes."""
    return text.encode(errors="replace").decode()
