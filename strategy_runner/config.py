"""What an operator says about a strategy: `[[strategies]]`. Its parameters are its own struct."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from tickd.errors import TickdError
from tickd.topics import Pattern, Selection

__all__ = ["StrategyConfig"]

WhenFull = Literal["conflate", "drop_oldest", "disconnect"]

# The name stands in file names, metrics and records.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_CLASS: Final = re.compile(r"[^:]+:[A-Za-z_]\w*")


class StrategyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One strategy.

    class: `module:Class`, or `path/to/file.py:Class`. topics: what it gets besides clock and its
    own orders. group: strategies of the same group share a child process; empty = one of its own.
    """

    name: str
    class_: str = msgspec.field(name="class")
    topics: tuple[str, ...] = ("*",)
    params: dict[str, Any] = {}
    isolation: Literal["process", "inproc"] = "process"
    group: str = ""
    when_full: WhenFull = "conflate"
    policies: dict[str, WhenFull] = {}
    hang_ms_max: int = 5_000
    memory_bytes_max: int = 1 << 30
    restart: Literal["never", "on_failure"] = "never"
    callback_timeout_ms: int = 1_000

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"strategy name {self.name!r}: lower-case letters, digits, _ and -, at most 64"
            )
        if not _CLASS.fullmatch(self.class_):
            raise ValueError(f"strategy {self.name}: class {self.class_!r} is not module:Class")
        try:
            Selection(self.topics)
            for pattern in self.policies:
                Pattern.parse(pattern)
        except TickdError as error:
            raise ValueError(f"strategy {self.name}: {error}") from error
        for key in ("hang_ms_max", "memory_bytes_max", "callback_timeout_ms"):
            if getattr(self, key) < 1:
                raise ValueError(f"strategy {self.name}: {key} must be positive")
