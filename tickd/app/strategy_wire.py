"""What the daemon and a strategy process say to each other besides events, each way.

The start message goes through the pipe, everything else through the rings, as bytes with one of
these numbers. Shapes only; what a process says is checked here, because it runs an operator's code.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import msgspec

from strategy_runner.config import StrategyConfig

__all__ = ["Latency", "Report", "Said", "Start", "Stopped", "StrategyReport", "Told"]

# Of the ring back; 4 MiB: the state of a strategy is at most 1 MiB.
ANSWER_SLOTS: Final = 1 << 16


class Told(IntEnum):
    """To the process."""

    START = 1
    STOP = 2


class Said(IntEnum):
    """By the process."""

    # It has its modules, and waits for START.
    READY = 1
    STARTED = 2
    # A canonical line: intent, cancel, state, decisions.
    RECORD = 3
    STOPPED = 4
    REPORT = 5


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first and only line of the pipe; descriptors are (memory, doorbell)."""

    strategies: tuple[StrategyConfig, ...]
    state_dir: str
    parent: int
    feed: tuple[int, int]
    answers: tuple[int, int]


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy has ended by itself, or was stopped in order."""

    strategy: str
    reason: str


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of a histogram, ns."""

    p50_ns: int = 0
    p99_ns: int = 0
    p999_ns: int = 0
    max_ns: int = 0
    count: int = 0
    sum_ns: int = 0


class StrategyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `StrategyHost.report` says of one strategy."""

    running: bool
    stopped: str | None = None
    events: int = 0
    decisions: int = 0
    hash: str = ""
    failures: int = 0
    timers: int = 0
    latency: Latency = Latency()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`StrategyHost.report`, once a second."""

    strategies: dict[str, StrategyReport] = {}
    delay: Latency = Latency()
    gc: dict[str, int] = {}
    cache: dict[str, Any] = {}
