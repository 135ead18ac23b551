"""What the daemon and a strategy process say to each other besides events, each way.

The start message goes through the pipe, everything else through the rings, as bytes with one of
these numbers. Shapes only; what a process says is checked here, because it runs an operator's code.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import msgspec

from strategy_runner.config import StrategyConfig

__all__ = [
    "Latency",
    "Report",
    "Said",
    "Start",
    "Stopped",
    "StrategyReport",
    "Told",
    "TraceSaid",
    "Warmth",
]

# Of the ring back; 4 MiB: the state of a strategy is at most 1 MiB.
ANSWER_SLOTS: Final = 1 << 16


class Told(IntEnum):
    """To the process."""

    # With the number of the last event that it does not get: those above it follow.
    START = 1
    STOP = 2
    # Number up to which the raw log may be read before the start; answered by READY.
    WARM = 3
    # With a number up to which it has had everything: an image is worth keeping.
    KEEP = 4
    # With last frame, first and last number of a batch that is traced; answered by TRACE.
    TRACE = 5


class Said(IntEnum):
    """By the process."""

    # It has its modules, is as warm as it was asked to be, and waits for START. With the time that
    # warming took, ns.
    READY = 1
    STARTED = 2
    # A canonical line: intent, cancel, state, warm, decisions.
    RECORD = 3
    STOPPED = 4
    REPORT = 5
    # When it had a batch in hand, or that it was slow; only where batches are traced.
    TRACE = 6


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first and only line of the pipe; descriptors are (memory, doorbell)."""

    strategies: tuple[StrategyConfig, ...]
    state_dir: str
    parent: int
    feed: tuple[int, int]
    answers: tuple[int, int]
    # Names the files of the group.
    group: str = ""
    # Directory to warm up from; empty: it starts cold.
    raw_log: str = ""
    warmup_seconds: int = 0
    # It warms up for strategies that run inside of the daemon, and ends.
    warms_only: bool = False
    # Those that ended by themselves in a process before this one.
    over: tuple[str, ...] = ()
    # From the socket to the end of the callbacks: as late it says so; 0: batches are not traced.
    traces_slow_ns: int = 0


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy has ended by itself, or was stopped in order."""

    strategy: str
    reason: str


class TraceSaid(msgspec.Struct, frozen=True, kw_only=True):
    """Portions that held events of a batch: (began, ended, events, last number); monotonic ns.

    is_slow: nobody asked; the portion with this frame ended too late.
    """

    frame_last: int
    portions: tuple[tuple[int, int, int, int], ...] = ()
    is_slow: bool = False


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of a histogram, ns."""

    p50_ns: int = 0
    p99_ns: int = 0
    p999_ns: int = 0
    max_ns: int = 0
    count: int = 0
    sum_ns: int = 0


class Warmth(msgspec.Struct, frozen=True, kw_only=True):
    """What was known before the first event; `notes` say why it is not more.

    Above `known_from` nothing is missing; 0: there was no warm-up.
    """

    known_from: int = 0
    to: int = 0
    from_image: bool = False
    events: int = 0
    took_ms: int = 0
    notes: tuple[str, ...] = ()


class StrategyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `StrategyHost.report` says of one strategy."""

    running: bool
    stopped: str | None = None
    events: int = 0
    decisions: int = 0
    hash: str = ""
    failures: int = 0
    restarts: int = 0
    # It has failed, and comes back.
    waits: bool = False
    timers: int = 0
    latency: Latency = Latency()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`StrategyHost.report`, and how it began; once a second."""

    strategies: dict[str, StrategyReport] = {}
    delay: Latency = Latency()
    # The same by `latency_bounds.BOUNDS_NS`, one count more than bounds.
    delay_counts: tuple[int, ...] = ()
    gc: dict[str, int] = {}
    cache: dict[str, Any] = {}
    warmth: Warmth = Warmth()
