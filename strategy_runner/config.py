"""What an operator says about a strategy: `[[strategies]]`. Its parameters are its own struct."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from tickd.errors import TickdError
from tickd.topics import Pattern, Selection

__all__ = ["StrategyConfig", "given_of"]

_BOUNDS: Final = {
    "queue_events": (1_024, 1 << 24),  # 64 bytes each: 64 KiB to 1 GiB of shared memory
    "restarts_per_hour_max": (1, 3_600),
    "warmup_seconds": (0, 86_400),
}
WhenFull = Literal["conflate", "drop_oldest", "disconnect"]

# The name stands in file names, metrics and records.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_CLASS: Final = re.compile(r"[^:]+:[A-Za-z_]\w*")


class StrategyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One strategy.

    class: `module:Class`, or `path/to/file.py:Class`. topics: what it gets besides clock and its
    own orders. queue_events: what may be on its way to the process before `when_full` applies.
    group: strategies of the same group share a child process; empty = one of its own.
    account: name of the [[accounts]] table that its orders go to; empty: every order is denied.
    restart: whether it is made again when it raised, and its process when that failed.
    warmup_seconds: how much of the raw log is read before it starts; 0 = it starts cold.
    """

    name: str
    class_: str = msgspec.field(name="class")
    topics: tuple[str, ...] = ("*",)
    params: dict[str, Any] = {}
    isolation: Literal["process", "inproc"] = "process"
    group: str = ""
    account: str = ""
    when_full: WhenFull = "conflate"
    policies: dict[str, WhenFull] = {}
    queue_events: int = 32_768
    hang_ms_max: int = 5_000
    memory_bytes_max: int = 1 << 30
    restart: Literal["never", "on_failure"] = "never"
    restarts_per_hour_max: int = 20
    callback_timeout_ms: int = 1_000
    warmup_seconds: int = 300

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"strategy name {self.name!r}: lower-case letters, digits, _ and -, at most 64"
            )
        if self.group and not _NAME.fullmatch(self.group):
            raise ValueError(
                f"strategy {self.name}: group {self.group!r}: lower-case letters, digits, _ and -,"
                " at most 64"
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
        for key, (least, most) in _BOUNDS.items():
            if not least <= (value := getattr(self, key)) <= most:
                raise ValueError(
                    f"strategy {self.name}: {key} is {value}, {least} to {most} possible"
                )


def given_of(config: StrategyConfig) -> dict[str, Any]:
    """Return what its decisions depend on besides events, as JSON has it: a start's record."""
    given = {"class": config.class_, "topics": config.topics, "params": config.params}
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(given))
    return plain
