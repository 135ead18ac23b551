"""What every session does with its plan: takes wishes, pauses, sheds, knows when turns end.

The half that sessions over sockets and behind an SDK share. How a plan becomes connections is the
other half, in the hooks; it opens none.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import orjson
import structlog

from gateway.config import VenueConfig
from gateway.limits import NS_PER_SECOND
from gateway.shedding import Shedding
from gateway.status import Counters
from gateway.subscriptions.carried import Carried, Change
from gateway.subscriptions.usage import Allowance
from gateway.subscriptions.wishes import Wanted, Wishes
from gateway.venue import Figures, PlanVenue, Stream
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)


class PlannedSession(ABC):
    """The plan of one venue and what is left out of it for now.

    Raises UnknownStreamError, PlanRefusedError (ConfigErrors) when the venue has no such channel
    or too little room.
    """

    def __init__(
        self,
        venue: PlanVenue,
        wanted: Wanted | VenueConfig,
        *,
        tap: RawTap,
        clock: Clock,
    ) -> None:
        # A bad configuration is refused before anything runs.
        self.carried = Carried(venue, Wanted(wanted) if isinstance(wanted, VenueConfig) else wanted)
        self.tap = tap
        self.clock = clock
        self.counters = Counters()
        self.shedding = Shedding()
        self.started = False  # the first plan has been made
        self.version = 1  # of what is to be carried
        self.name = venue.name
        self._pause_cause = ""
        self._causes: dict[str, str] = {}  # stream -> why it was planned or dropped last
        self._changed = asyncio.Event()  # the plan did

    # Hooks --------------------------------------------------------------------------------------

    @abstractmethod
    def _follow(self, change: Change) -> None:
        """The plan is another one: open, close and change connections. Not before `run`."""

    @abstractmethod
    def _look_again(self) -> None:
        """What is to be carried is something else: connections compare."""

    @abstractmethod
    def _asked_for(self, wanted: Wanted) -> None:
        """The venue's list has to cover `wanted` from now on."""

    def _brings(self, stream: Stream) -> frozenset[str]:
        """The channels that are wanted of a stream; a broker's book feed has two."""
        return frozenset({stream.channel})

    # The plan -----------------------------------------------------------------------------------

    @property
    def config(self) -> VenueConfig:
        """The venue's part of the configuration, as of now."""
        return self.carried.wanted.config

    async def _take_turns(self) -> None:
        """For ever: at the end of every slice the next in the rotations."""
        while True:
            self._changed.clear()
            self._apply(self.carried.advance(self.clock.mono_ns()))
            due_ns = self.carried.next_ns
            seconds = None
            if due_ns is not None:
                seconds = max(0.0, (due_ns - self.clock.mono_ns()) / NS_PER_SECOND)
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _apply(self, change: Change) -> None:
        """Make the connections follow the plan; the change itself goes on record first."""
        for words in self.carried.take_warnings():
            log.warning("subscriptions_short", venue=self.name, words=words)
        if change and self.started:
            self._follow(change)

    def _note(self, change: Change) -> None:
        """Put a change of the plan on record and remember the reasons."""
        self._causes.update(dict.fromkeys((*change.added, *change.removed), change.cause))
        self._causes.update(dict.fromkeys(change.moved, "moved"))
        self._record("plan", **change._asdict())
        if change.cause != "rotation":
            log.info(
                "plan_changed",
                venue=self.name,
                cause=change.cause,
                added=len(change.added),
                removed=len(change.removed),
                moved=len(change.moved),
                connections=len(self.carried.places),
            )
        self.counters.plan_changes += 1

    def _record(self, kind: str, **fields: object) -> None:
        record = {"kind": kind, "venue": self.name, **fields}
        self.tap.record(0, "C", orjson.dumps(record))

    def _reconsider(self) -> None:
        self.version += 1
        self._changed.set()
        self._look_again()

    # For the connections ------------------------------------------------------------------------

    def wanted(self, streams: Iterable[Stream]) -> tuple[Stream, ...]:
        """Those of `streams` that are neither given up nor paused."""
        return tuple(
            stream
            for stream in streams
            if not self.shedding.covers(self._brings(stream)) and not self.carried.paused(stream)
        )

    def cause_of(self, stream: Stream) -> str:
        """Why a stream is subscribed or dropped."""
        if self.shedding.covers(self._brings(stream)):
            return self.shedding.cause
        if self.carried.number_of(stream) is not None and self.carried.paused(stream):
            return self._pause_cause
        return self._causes.get(stream.name, "plan")

    # For the composition root -------------------------------------------------------------------

    @property
    def allowance(self) -> Allowance | None:
        """Where the venue meters bytes."""
        return None

    @property
    def can_rank(self) -> bool:
        """Whether the venue's scanner can be asked now."""
        return self.started

    @abstractmethod
    async def figures(self, rank: str) -> tuple[Figures, ...]:
        """What the venue's scanner says of its symbols, as far as `rank` needs it.

        Raises RestFailedError, RestRefusedError, MalformedReplyError, QueryFailedError.
        """

    def check(self, wanted: Wanted) -> Wishes:
        """What `wanted` would come to. Raises UnknownStreamError, PlanRefusedError."""
        return self.carried.check(wanted)

    def want(self, wanted: Wanted, cause: str) -> Change:
        """Carry something else from now on; what stays is not touched.

        Raises UnknownStreamError, PlanRefusedError, and then nothing has changed.
        """
        if self.started:
            change = self.carried.want(wanted, cause)
        else:  # the first plan waits for the definitions
            self.carried.adopt(wanted)
            change = Change(cause)
        self._asked_for(wanted)
        self._apply(change)
        return change

    def pause_below(self, floor: int | None, cause: str, *, stopped: bool = False) -> None:
        """Do without lower priorities than `floor`, on record; None: with everything again.

        `stopped`: without anything, until it is said otherwise.
        """
        if (floor, stopped) == (self.carried.floor, self.carried.stopped):
            return
        if floor is not None or stopped:
            self._pause_cause = cause
        planned = [stream for each in self.carried.places for stream in each.streams]
        paused = [stream for stream in planned if self.carried.paused(stream)]
        self.carried.floor, self.carried.stopped = floor, stopped
        # What comes back comes back for the same reason.
        self._causes.update(dict.fromkeys((stream.name for stream in paused), self._pause_cause))
        self.counters.throttles += 1
        self._record("throttle", cause=cause, paused_below=floor, stopped=stopped)
        self._reconsider()

    def shed(self, channels: Sequence[str], cause: str) -> None:
        """Do without `channels`: unsubscribe them at the venue, on record, until `restore`."""
        if self.shedding.give_up(set(channels) & self.carried.wanted.channels, cause):
            self.counters.sheds += bool(self.shedding.channels)
            log.warning(
                "channels_shed" if self.shedding.channels else "channels_restored",
                venue=self.name,
                channels=sorted(self.shedding.channels),
                cause=cause,
            )
            self._reconsider()

    def restore(self) -> None:
        """Subscribe everything again; books begin with a new snapshot."""
        self.shed((), "")
