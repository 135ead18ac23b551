"""What systemd is told, and when: READY, the watchdog's pings, STATUS, the end.

READY: recovery is done, the raw log can be written, and every venue is live or was declared
degraded. A ping: the loop turned and the pipeline got on. How it is said is
`tickd/app/notifying.py`'s, what "got on" means `tickd/app/watchdog.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, final

import structlog

from gateway.status import SessionStatus
from tickd.app.notifying import Lifeline, Notifier, take_supervisor
from tickd.app.parts import Parts
from tickd.app.picture import venue_waits_for
from tickd.telemetry.latency_bounds import BOUNDS_NS

__all__ = [
    "NOBODY",
    "Figures",
    "Supervision",
    "Supervisor",
    "quantile",
    "recovering",
    "status_line",
    "supervisor_here",
]

log = structlog.get_logger(__name__)

TURN_S: Final = 0.5  # how often READY is reconsidered; a ping comes at most so late
PINGS_PER_PERIOD: Final = 3
LOOK_S: Final = 10.0  # between looks at the pipeline when no watchdog waits for them
STATUS_S: Final = 2.0
NS_PER_S: Final = 1_000_000_000


class Supervisor(NamedTuple):
    """Whoever started this process, and how long it lets a daemon be silent; 0: for ever."""

    notifier: Notifier
    period_s: float


NOBODY: Final = Supervisor(Notifier(None), 0.0)


def supervisor_here() -> Supervisor:
    """Return who the environment names; it forgets it."""
    return Supervisor(*take_supervisor(os.environ, os.getpid()))


@contextmanager
def recovering(supervisor: Supervisor) -> Iterator[None]:
    """Tell that the log is being recovered, and ask for time as long as that gets on."""
    supervisor.notifier.tell("STATUS=recovering the raw log")
    with Lifeline(supervisor.notifier):
        yield


class Figures(NamedTuple):
    """What the STATUS line says."""

    live: int
    feeds: int
    events_per_s: float
    lag_s: float
    disk_used: float
    orders: str
    trouble: str = ""


def status_line(figures: Figures) -> str:
    """One line for `systemctl status`."""
    parts = [
        f"{figures.live}/{figures.feeds} feeds live",
        f"{_short(figures.events_per_s)} ev/s",
        f"lag {figures.lag_s * 1e3:.1f} ms",
        f"{figures.disk_used:.0%} disk".replace("%", " %"),
        figures.orders if figures.orders == "armed" else figures.orders.upper(),
    ]
    return ", ".join([*parts, figures.trouble] if figures.trouble else parts)


def _short(number: float) -> str:
    if number < 1e3:
        return f"{number:.0f}"
    return f"{number / 1e3:.0f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def quantile(q: float, now: Sequence[int], before: Sequence[int]) -> float:
    """The bound, s, below which a share `q` lies of what came between two readings; 0: none."""
    counts = [new - old for new, old in zip(now, before, strict=True)]
    wanted, seen = q * sum(counts), 0
    if not wanted:
        return 0.0
    for bound_ns, count in zip(BOUNDS_NS, counts, strict=False):
        seen += count
        if seen >= wanted:
            return bound_ns / NS_PER_S
    return BOUNDS_NS[-1] / NS_PER_S


@final
class Supervision:
    """One daemon under a supervisor, or under none. Loop thread only."""

    def __init__(self, parts: Parts, supervisor: Supervisor = NOBODY) -> None:
        self._parts = parts
        self._notifier, self._period_s = supervisor
        self._lifeline = Lifeline(self._notifier)
        self._look_s = self._period_s / PINGS_PER_PERIOD or LOOK_S
        self._looked_ns = 0
        self._is_stopping = False
        self._started_ns = parts.clock.mono_ns()
        self._asked_until_ns = 0
        self._latencies: Sequence[int] = parts.tap.publish_latency.counts(BOUNDS_NS)
        self._events = 0
        self._told_ns = self._started_ns
        self.ready = False
        self.degraded: tuple[str, ...] = ()  # what venues wait for, though READY was said

    async def run(self) -> None:
        """Tell the supervisor how it stands, for ever; raises CancelledError only."""
        clock = self._parts.clock
        while True:
            self.turn(clock.mono_ns())
            await clock.sleep(min(TURN_S, self._look_s))

    def turn(self, now_ns: int) -> None:
        """Tell what is due at this moment."""
        if not self.ready and not self._is_stopping:
            self._consider(now_ns)
        if now_ns - self._looked_ns >= self._look_s * NS_PER_S:
            self._looked_ns = now_ns
            self._look()
        if not self._is_stopping and now_ns - self._told_ns >= STATUS_S * NS_PER_S:
            self.tell_status(now_ns)

    def stopping(self) -> None:
        """The drain begins; it may take its time as long as it writes."""
        self._is_stopping = True
        self._notifier.tell("STOPPING=1", "STATUS=draining")
        # The drain's own deadlines and a bit: they end it, not the supervisor.
        self._notifier.more_time(round(self._parts.config.node.shutdown_timeout_ms / 1000) + 5)
        self._lifeline.start()

    def tell_status(self, now_ns: int) -> None:
        if self._notifier.listens:
            self._notifier.tell("STATUS=" + status_line(self._figures(now_ns)))
        self._told_ns = now_ns

    # ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        watchdog = self._parts.watchdog
        if watchdog.look():
            self._notifier.tell("WATCHDOG=1")
        else:
            log.error("watchdog_withheld", stuck=watchdog.stuck, period_s=self._period_s)

    def _consider(self, now_ns: int) -> None:
        """Say READY if it is true."""
        fault = self._parts.raw_log.fault
        waiting = [venue_waits_for(each) for each in self._statuses()]
        waiting = [each for each in waiting if each]
        waited_s = (now_ns - self._started_ns) / NS_PER_S
        late = waited_s >= self._parts.config.node.venues_wait_seconds
        if fault is not None or (waiting and not late):
            self._wait(now_ns, f"raw log: {fault}" if fault is not None else waiting[0])
            return
        self.ready, self.degraded = True, tuple(waiting)
        if waiting:
            log.warning("venues_degraded", waiting_for=waiting, waited_s=round(waited_s, 1))
        log.info("daemon_ready", venues=len(self._parts.sessions), degraded=len(waiting))
        self._notifier.tell("READY=1", "STATUS=" + status_line(self._figures(now_ns)))

    def _wait(self, now_ns: int, reason: str) -> None:
        """The loop turns and knows what it waits for: that is no hang."""
        if now_ns >= self._asked_until_ns:
            self._asked_until_ns = now_ns + 5 * NS_PER_S
            self._notifier.more_time()
            self._notifier.tell(f"STATUS=waiting for {reason}")

    def _statuses(self) -> list[SessionStatus]:
        return [session.status() for session in self._parts.sessions]

    def _figures(self, now_ns: int) -> Figures:
        parts = self._parts
        waiting = [venue_waits_for(each) for each in self._statuses()]
        counters: Mapping[str, int] = parts.decoder.counters()
        events = counters.get("events", 0)
        latencies = parts.tap.publish_latency.counts(BOUNDS_NS)
        seconds = max((now_ns - self._told_ns) / NS_PER_S, 1e-3)
        figures = Figures(
            live=sum(not each for each in waiting),
            feeds=len(waiting),
            events_per_s=(events - self._events) / seconds,
            lag_s=quantile(0.99, latencies, self._latencies),
            disk_used=self._disk_used(),
            orders=parts.halting.draw()["state"],
            trouble=self._trouble(),
        )
        self._events, self._latencies, self._told_ns = events, latencies, now_ns
        return figures

    def _disk_used(self) -> float:
        """Of the fullest filesystem that the daemon writes to."""
        spaces = [disk.guard.space for disk in self._parts.disk.disks]
        shares = (1 - each.free_bytes / each.total_bytes for each in spaces if each.total_bytes)
        return max(shares, default=0.0)

    def _trouble(self) -> str:
        parts = self._parts
        if parts.raw_log.fault is not None:
            return f"raw log: {parts.raw_log.fault}"
        if parts.watchdog.stuck:
            return f"{parts.watchdog.stuck} stands still"
        return "sockets paused" if parts.tap.paused else ""
