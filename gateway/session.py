"""The gateway's heart: one venue, live, whatever its plan becomes.

A session makes its lines (`gateway/line.py`: one planned connection each) follow the plan that
`gateway/subscriptions` draws from wishes, listing and load, with snapshots and instrument lists in
the background. It decides nothing itself and never looks into a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ssl import SSLContext

import structlog

from gateway.config import VenueConfig
from gateway.definitions import Definitions
from gateway.errors import only_tickd_error
from gateway.filling.filler import Filler
from gateway.limits import NS_PER_SECOND, RollingLimit
from gateway.line import Line
from gateway.planned import PlannedSession
from gateway.rest import RestClient
from gateway.snapshots import Snapshots
from gateway.status import SessionStatus
from gateway.subscriptions.carried import Change
from gateway.subscriptions.wishes import Wanted
from gateway.venue import ClientMessage, Figures, OpenGap, RestRequest, Stream, Venue
from gateway.vitals import Activity
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)

# Between two looks whether a connection may be opened, where only so many may be open.
SLOT_SECONDS = 0.1


class Session(PlannedSession):
    """One venue, live. Implements `tickd.ports.Source`.

    Args: `wanted`: what to carry, or the venue's configuration alone; `activity`: topic ->
    monotonic ns of its last event, from the decoder's own accounting; asked once per second and
    line. `jitter`: a random fraction in [0, 1). `ssl_context`: None takes the system's. `gaps`: the
    decoder's open gaps, asked once per second; `observe_fill`: nanoseconds from a gap to its end.
    Raises UnknownStreamError, PlanRefusedError (ConfigErrors) when the venue has no such channel
    or too little room.
    """

    def __init__(
        self,
        venue: Venue,
        wanted: Wanted | VenueConfig,
        *,
        tap: RawTap,
        clock: Clock,
        activity: Activity,
        jitter: Callable[[], float],
        ssl_context: SSLContext | None = None,
        gaps: Callable[[], Iterable[OpenGap]] = tuple,
        observe_fill: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__(venue, wanted, tap=tap, clock=clock)
        self.venue = venue
        self.activity = activity
        self.jitter = jitter
        self.ssl_context = ssl_context
        self._connects = RollingLimit(venue.limits.connects)
        self._next_id = 1  # of client messages
        self._tasks: asyncio.TaskGroup | None = None
        self._lines: dict[int, Line] = {}  # by number of the plan
        self._leaving: list[Line] = []  # lines without streams, until their connection is closed
        config = self.config
        self._rest = self._new_rest(config)
        self._snapshots = Snapshots(
            venue.name,
            config,
            rest=self._rest,
            tap=tap,
            clock=clock,
            jitter=jitter,
            counters=self.counters,
        )
        self._definitions = Definitions(
            venue,
            config,
            rest=self._rest,
            tap=tap,
            clock=clock,
            jitter=jitter,
            counters=self.counters,
        )
        self._definitions.ask_for(self.carried.wanted)
        self.filler = self._new_filler(gaps, observe_fill)

    def _new_rest(self, config: VenueConfig) -> RestClient:
        return RestClient(
            self.venue,
            config.rest_url or self.venue.wire.rest_url,
            timeout_seconds=config.rest_timeout_seconds,
            clock=self.clock,
            counters=self.counters,
            api_key=config.fill.api_key,
        )

    def _new_filler(
        self, gaps: Callable[[], Iterable[OpenGap]], observe: Callable[[int], None]
    ) -> Filler | None:
        if self.venue.history is None or not self.config.fill.enabled:
            return None
        return Filler(
            self.venue,
            self.config.fill,
            rest=self._rest,
            tap=self.tap,
            clock=self.clock,
            gaps=gaps,
            # Snapshots make live data whole: they go first.
            busy=lambda: bool(self._snapshots.pending),
            jitter=self.jitter,
            observe=observe,
        )

    async def run(self) -> None:
        """Run until cancelled. Raises TickdError(FATAL) only."""
        try:
            async with self._rest, asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(
                    self._definitions.run(self._on_definitions),
                    name=f"instruments {self.venue.name}",
                )
                await self._first_definitions()
                self.started = True
                listing = self._definitions.listing
                # Refused as a whole while nothing is connected; later, as much as there is room.
                self._apply(self.carried.listed(listing, "start", strict=listing is not None))
                tasks.create_task(self._take_turns(), name=f"turns {self.venue.name}")
                if self.filler is not None:
                    tasks.create_task(self.filler.run(), name=f"gaps {self.venue.name}")
        except BaseExceptionGroup as group:
            fatal = only_tickd_error(group)
            if fatal is None:
                raise
            raise fatal from group
        finally:
            self._tasks = None

    async def _first_definitions(self) -> None:
        """Definitions go before frames, but a venue without REST is recorded all the same."""
        try:
            async with asyncio.timeout(self.config.instruments_wait_seconds):
                await self._definitions.loaded.wait()
        except TimeoutError:
            log.warning(
                "instruments_late",
                venue=self.venue.name,
                waited_s=self.config.instruments_wait_seconds,
            )

    def _on_definitions(self) -> None:
        """A list was read: unlisted symbols wait for their listing, patterns may select others."""
        if self.started:
            self._apply(self.carried.listed(self._definitions.listing, "listing"))

    # The plan -------------------------------------------------------------------------------

    def _follow(self, change: Change) -> None:
        """Lines as planned; definitions go on record before any frame that needs them."""
        if self._tasks is None:
            return
        self._definitions.record_for(
            stream for each in self.carried.places for stream in each.streams
        )
        self._note(change)
        planned = {each.number: each for each in self.carried.places}
        for number in [number for number in self._lines if number not in planned]:
            self._leaving.append(self._lines.pop(number))
        for line in (*self._lines.values(), *self._leaving):
            line.follow(planned.get(line.plan.number) if line not in self._leaving else None)
        for number, place in planned.items():
            if number not in self._lines:
                line = self._lines[number] = Line(self, place)
                self._tasks.create_task(
                    line.run(), name=f"line {self.venue.name} {place.endpoint} {number}"
                )
        self._reconsider()

    def _look_again(self) -> None:
        for line in (*self._lines.values(), *self._leaving):
            line.reconsider()

    def _asked_for(self, wanted: Wanted) -> None:
        self._definitions.ask_for(wanted)

    # For the lines --------------------------------------------------------------------------

    def take_slot(self) -> int:
        """Take the right to open one more connection: 0, or nanoseconds until to ask again."""
        now_ns = self.clock.mono_ns()
        wait_ns = self._connects.wait_ns(now_ns)
        most = self.connections_max
        if most is not None and self._open() >= most:
            wait_ns = max(wait_ns, round(SLOT_SECONDS * NS_PER_SECOND))
        if wait_ns == 0:
            self._connects.take(now_ns)
        return wait_ns

    @property
    def connections_max(self) -> int | None:
        """Connections that may be open at once, replacements included."""
        both = (self.config.connections_max, self.venue.limits.connections_max)
        return min((each for each in both if each is not None), default=None)

    def _open(self) -> int:
        return sum(line.legs_count for line in (*self._lines.values(), *self._leaving))

    def numbered(
        self, messages: Callable[[int], tuple[ClientMessage, ...]]
    ) -> tuple[ClientMessage, ...]:
        """Client messages with ids of their own."""
        built = messages(self._next_id)
        self._next_id += len(built)
        return built

    def arrived(self, at: Line, streams: Iterable[Stream]) -> None:
        """The connection of `at` carries `streams` now: lines that they are moving from let go.

        Never `at` itself: it may have opened with streams that have been given to another since.
        """
        every = frozenset(streams)
        for line in (*self._lines.values(), *self._leaving):
            if line is not at and line.let_go(every):
                self.version += 1
                line.reconsider()

    def left(self, line: Line) -> None:
        """A line without streams has closed its connection."""
        self._leaving.remove(line)

    def want_snapshot(self, line: Line, symbol: str, connection: int) -> None:
        """The decoder needs a snapshot of `symbol`: ask by REST or on the connection."""
        streams = [
            stream
            for stream in line.planned
            if stream.symbol == symbol and stream.channel == "depth"
        ]
        streams = [*self.wanted(streams)]
        if self._tasks is None or not streams:
            return
        resync = self.venue.sync.resync(symbol, streams, self._next_id)
        if not isinstance(resync, RestRequest):
            self._next_id += len(resync)
        self._snapshots.want(self._tasks, symbol, resync, line, connection)

    # For the composition root ---------------------------------------------------------------

    async def figures(self, rank: str) -> tuple[Figures, ...]:
        """Of the last day, for every symbol: one reply has what any rank needs."""
        del rank
        found: list[Figures] = []
        for request in self.venue.wire.ranking_requests():
            body = await self._rest.get(request)
            # Some megabytes: longer than a turn of the loop may take.
            found += await asyncio.to_thread(self.venue.wire.rankings, body)
        return tuple(found)

    def refresh_instruments(self) -> None:
        """The decoder met an unknown instrument of this venue; at most one request a minute."""
        self._definitions.request()

    def status(self) -> SessionStatus:
        """The picture of this moment."""
        carried, limits = self.carried, self.venue.limits
        planned = [stream for each in carried.places for stream in each.streams]
        return SessionStatus(
            venue=self.venue.name,
            rule=self.venue.sync.rule,
            started=self.started,
            symbols_count=len({stream.symbol for stream in planned}),
            symbols_missing=self._definitions.missing,
            instruments_count=self._definitions.count,
            snapshots_pending=self._snapshots.pending,
            rest_weight_used=self._rest.weight_used,
            rest_weight_max=limits.rest_weight.events_max,
            connects_used=self._connects.used(self.clock.mono_ns()),
            connects_max=limits.connects.events_max,
            shed=tuple(sorted(self.shedding.channels)),
            shard=str(carried.wanted.shard),
            streams_count=len(planned),
            streams_paused=sum(map(carried.paused, planned)),
            streams_left_out=len(carried.left_out),
            paused_below=carried.floor,
            stopped=carried.stopped,
            turning=carried.turning,
            refusal=carried.refusal,
            lines=tuple(line.status() for line in (*self._lines.values(), *self._leaving)),
        )
