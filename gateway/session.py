"""The gateway's heart: one state machine for every WebSocket venue.

A session keeps a venue's planned connections ("lines") alive for ever: connect → subscribe →
stream → replace or reconnect, snapshots and instrument lists in the background. Every decision
(when, how long, which, enough?) is a pure function of its own file; this one awaits, calls them,
and handles what goes wrong. It never looks into a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ssl import SSLContext

import structlog
from picows import WSError, WSHandshakeError, ws_connect

from gateway.backoff import Backoff
from gateway.config import VenueConfig
from gateway.definitions import Definitions
from gateway.errors import (
    ConnectFailedError,
    SubscribeRefusedError,
    SubscribeTimeoutError,
    vendor_text,
)
from gateway.leg import MESSAGE_BYTES_MAX, Leg
from gateway.limits import NS_PER_SECOND, RollingLimit, retry_after_seconds
from gateway.plan import ConnectionPlan, plan, streams_of
from gateway.rest import RestClient
from gateway.rotation import Handover, rotate_at_ns, rotation_seconds
from gateway.shedding import Shedding, shed_record
from gateway.snapshots import Snapshots
from gateway.status import Counters, LineState, LineStatus, SessionStatus
from gateway.venue import ClientMessage, RestRequest, Stream, Venue
from gateway.watchdog import SilenceWatch, heartbeat_lost, last_activity
from tickd.errors import TickdError
from tickd.ports import Clock, RawTap

log = structlog.get_logger(__name__)

Activity = Callable[[], Mapping[str, int]]  # topic -> monotonic ns of its last event
Build = Callable[[Sequence[Stream], int], tuple[ClientMessage, ...]]


class Session:
    """One venue, live. Implements `tickd.ports.Source`.

    Args: `activity`: topic -> monotonic ns of its last event, from the decoder's own accounting;
    asked once per second and line. `jitter`: a random fraction in [0, 1). `ssl_context`: None
    takes the system's.
    Raises UnknownStreamError (a ConfigError) when the venue has no such channel.
    """

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        *,
        tap: RawTap,
        clock: Clock,
        activity: Activity,
        jitter: Callable[[], float],
        ssl_context: SSLContext | None = None,
    ) -> None:
        self.venue = venue
        self.config = config
        self.tap = tap
        self.clock = clock
        self.activity = activity
        self.jitter = jitter
        self.ssl_context = ssl_context
        self.counters = Counters()
        self.shedding = Shedding()
        self._connects = RollingLimit(venue.limits.connects)
        self._next_id = 1  # of client messages
        self._tasks: asyncio.TaskGroup | None = None
        self._lines: list[Line] = []
        self._started: set[str] = set()  # symbols that are on a line
        self._starting = False  # the first definitions are there, or were waited for
        streams = streams_of(venue, config, config.symbols)
        plan(venue, config, streams)  # a bad configuration is refused before anything runs
        self._rest = RestClient(
            venue,
            config.rest_url or venue.wire.rest_url,
            timeout_seconds=config.rest_timeout_seconds,
            clock=clock,
            counters=self.counters,
        )
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
            symbols=sorted(
                {topic.split(".", 2)[2] for stream in streams for topic in stream.topics}
                | set(config.symbols)
            ),
            rest=self._rest,
            tap=tap,
            clock=clock,
            jitter=jitter,
            counters=self.counters,
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
                self._start_lines()
        except BaseExceptionGroup as group:
            fatal = _only_tickd_error(group)
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
        if self._starting:
            self._start_lines()

    def _start_lines(self) -> None:
        """Lines for every listed symbol that has none yet; unlisted ones wait for their listing."""
        self._starting = True
        missing = set(self._definitions.missing)
        symbols = [
            symbol
            for symbol in self.config.symbols
            if symbol not in missing and symbol not in self._started
        ]
        if not symbols:
            return
        self._started.update(symbols)
        assert self._tasks is not None
        for planned in plan(self.venue, self.config, streams_of(self.venue, self.config, symbols)):
            line = Line(self, planned)
            self._lines.append(line)
            self._tasks.create_task(
                line.run(), name=f"line {self.venue.name} {planned.endpoint} {len(self._lines)}"
            )

    # For the lines --------------------------------------------------------------------------

    async def connect_slot(self) -> None:
        """Wait until the address may open one more connection."""
        while wait_ns := self._connects.wait_ns(self.clock.mono_ns()):
            await self.clock.sleep(wait_ns / NS_PER_SECOND)
        self._connects.take(self.clock.mono_ns())

    def numbered(
        self, messages: Callable[[int], tuple[ClientMessage, ...]]
    ) -> tuple[ClientMessage, ...]:
        """Client messages with ids of their own."""
        built = messages(self._next_id)
        self._next_id += len(built)
        return built

    def want_snapshot(self, line: Line, symbol: str, connection: int) -> None:
        """The decoder needs a snapshot of `symbol`: ask by REST or on the connection."""
        streams = [
            stream
            for stream in line.plan.streams
            if stream.symbol == symbol and stream.channel == "depth"
        ]
        streams = [*self.shedding.wanted(streams)]
        if self._tasks is None or not streams:
            return
        resync = self.venue.sync.resync(symbol, streams, self._next_id)
        if not isinstance(resync, RestRequest):
            self._next_id += len(resync)
        self._snapshots.want(self._tasks, symbol, resync, line, connection)

    # For the composition root ---------------------------------------------------------------

    def shed(self, channels: Sequence[str], cause: str) -> None:
        """Do without `channels`: unsubscribe them at the venue, on record, until `restore`."""
        if self.shedding.give_up(set(channels) & set(self.config.channels), cause):
            self.counters.sheds += bool(self.shedding.channels)
            log.warning(
                "channels_shed" if self.shedding.channels else "channels_restored",
                venue=self.venue.name,
                channels=sorted(self.shedding.channels),
                cause=cause,
            )
            for line in self._lines:
                line.reconsider()

    def restore(self) -> None:
        """Subscribe everything again; books begin with a new snapshot."""
        self.shed((), "")

    def refresh_instruments(self) -> None:
        """The decoder met an unknown instrument of this venue; at most one request a minute."""
        self._definitions.request()

    def status(self) -> SessionStatus:
        """The picture of this moment."""
        return SessionStatus(
            venue=self.venue.name,
            rule=self.venue.sync.rule,
            symbols_count=len(self.config.symbols),
            symbols_missing=self._definitions.missing,
            instruments_count=self._definitions.count,
            snapshots_pending=self._snapshots.pending,
            rest_weight_used=self._rest.weight_used,
            shed=tuple(sorted(self.shedding.channels)),
            lines=tuple(line.status() for line in self._lines),
        )


class Line:
    """One planned connection, kept alive over successive legs."""

    def __init__(self, session: Session, planned: ConnectionPlan) -> None:
        config = session.config
        limits = session.venue.limits
        self.plan = planned
        self._session = session
        self._clock = session.clock
        self._news = asyncio.Event()  # of any of the legs
        self._legs: list[Leg] = []  # open or opening, oldest first
        self._state: LineState = "waiting"
        self._fault: str | None = None
        self._backoff = Backoff(
            first_seconds=config.backoff_first_seconds,
            cap_seconds=config.backoff_cap_seconds,
            stable_seconds=config.stable_seconds,
        )
        self._watch = SilenceWatch(
            planned.streams, {**limits.silence_seconds, **config.silence_seconds}
        )
        self._rotation_seconds = rotation_seconds(
            limits.lifetime_seconds, config.rotation_margin_seconds, config.rotation_seconds
        )

    async def run(self) -> None:
        """Until cancelled. Raises TickdError(FATAL) only."""
        leg: Leg | None = None
        try:
            while True:
                if leg is None:
                    leg = await self._connect_for_ever()
                cause = await self._hold(leg)
                if cause is None:
                    await self._ended(leg)
                    await self._rest_a_while()
                    leg = None
                else:
                    leg = await self._replace(leg, cause)
        finally:
            for open_leg in self._legs:
                open_leg.cut("session stopped")

    # Connect --------------------------------------------------------------------------------

    async def _connect_for_ever(self) -> Leg:
        while True:
            self._state = "connecting"
            try:
                leg = await self._connect(None)
            except (ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError) as error:
                await self._rest_a_while(self._failed(error))
            else:
                self._streaming()
                return leg

    async def _connect(self, handover: Handover | None) -> Leg:
        """A leg that is open and subscribed.

        Raises ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError, TickdError(FATAL).
        """
        session = self._session
        await session.connect_slot()
        leg = Leg(
            session.venue,
            self.plan,
            tap=session.tap,
            clock=session.clock,
            counters=session.counters,
            news=self._news,
            on_snapshot_wanted=partial(session.want_snapshot, self),
            handover=handover,
        )
        self._legs.append(leg)
        try:
            await self._upgrade(leg)
            session.counters.connects += 1
            log.info(
                "connection_opened",
                venue=session.venue.name,
                connection=leg.connection,
                url=self.plan.url,
                streams=len(self.plan.streams),
            )
            await self._subscribe(leg)
        except TickdError as error:
            leg.cut(str(error))
            self._legs.remove(leg)
            await leg.reap()
            raise
        return leg

    async def _upgrade(self, leg: Leg) -> None:
        session = self._session
        seconds = session.config.connect_timeout_seconds
        venue = session.venue.name
        try:
            async with asyncio.timeout(seconds):
                await ws_connect(
                    lambda: leg,
                    self.plan.url,
                    ssl_context=session.ssl_context,
                    websocket_handshake_timeout=seconds,
                    enable_auto_pong=False,  # the leg answers, and counts
                    max_frame_size=MESSAGE_BYTES_MAX,
                    max_redirects=0,
                    logger_name=venue,
                )
        except WSHandshakeError as error:
            raise self._declined(error) from error
        except TimeoutError as error:
            raise ConnectFailedError(
                f"{self.plan.url}: no connection within {seconds} s", venue=venue
            ) from error
        except (OSError, WSError) as error:
            raise ConnectFailedError(
                f"{self.plan.url}: {vendor_text(str(error) or type(error).__name__)}", venue=venue
            ) from error
        if leg.fault is not None:
            raise leg.fault
        if leg.connection == 0:
            raise ConnectFailedError(f"{self.plan.url}: closed at once", venue=venue)

    def _declined(self, error: WSHandshakeError) -> ConnectFailedError:
        wait = 0.0
        status = 0
        if error.response is not None:
            status = int(error.response.status)
            if status in {418, 429}:
                header = error.response.headers.get("Retry-After")
                wait = retry_after_seconds(
                    status, header, self._backoff.attempts, self._clock.wall_ns()
                )
        return ConnectFailedError(
            f"{self.plan.url}: upgrade declined, status {status}: {vendor_text(str(error))}",
            venue=self._session.venue.name,
            retry_after_seconds=wait,
        )

    async def _subscribe(self, leg: Leg) -> None:
        session = self._session
        leg.streams = session.shedding.wanted(self.plan.streams)
        leg.shed_version = session.shedding.version
        expected = await self._ask(leg, session.venue.wire.subscribe, leg.streams)
        await self._acknowledged(leg, expected)
        if leg.refused and not leg.acks:
            raise SubscribeRefusedError(
                f"{self.plan.url}: subscription refused: {leg.refused[0]}",
                venue=session.venue.name,
                hint="check symbols and channels of this venue",
            )
        leg.reading_since_ns = max(leg.reading_since_ns, self._clock.mono_ns())

    async def _ask(self, leg: Leg, build: Build, streams: Sequence[Stream]) -> int:
        """Send what `build` makes of `streams`; how many answers there are when all have come."""
        messages = self._session.numbered(partial(build, streams)) if streams else ()
        expected = leg.answers + sum(message.acks for message in messages)
        for message in messages:
            await leg.send(message.text)
        return expected

    async def _acknowledged(self, leg: Leg, expected: int) -> None:
        """Wait for answers. Raises ConnectFailedError, SubscribeTimeoutError."""
        session = self._session
        seconds = session.config.subscribe_timeout_seconds
        deadline_ns = self._clock.mono_ns() + round(seconds * NS_PER_SECOND)
        while leg.answers < expected:
            if leg.ended is not None:
                raise ConnectFailedError(
                    f"{self.plan.url}: ended while subscribing: {leg.ended}",
                    venue=session.venue.name,
                )
            if leg.paused:  # acknowledgements cannot be read
                deadline_ns = self._clock.mono_ns() + round(seconds * NS_PER_SECOND)
            if self._clock.mono_ns() >= deadline_ns:
                session.counters.subscribe_timeouts += 1
                raise SubscribeTimeoutError(
                    f"{self.plan.url}: {expected - leg.answers} of {expected} subscriptions not"
                    f" acknowledged within {seconds} s",
                    venue=session.venue.name,
                )
            await self._wait_until(deadline_ns)

    async def _carry_the_wanted(self, leg: Leg) -> str | None:
        """Shed and restore streams on a live connection; why it must be replaced, if so.

        On record around the very moments: `shed` once the venue has stopped sending, `restore`
        before it begins again.
        """
        session = self._session
        if leg.shed_version == session.shedding.version:
            return None
        leg.shed_version = session.shedding.version
        wire, cause = session.venue.wire, session.shedding.cause
        surplus, lacking = session.shedding.difference(self.plan.streams, leg.streams)
        try:
            if surplus:
                expected = await self._ask(leg, wire.unsubscribe, surplus)
                await self._acknowledged(leg, expected)
                leg.streams = tuple(each for each in leg.streams if each not in surplus)
                leg.record(shed_record("shed", leg.connection, surplus, cause))
            if lacking:
                leg.record(shed_record("restore", leg.connection, lacking, cause))
                leg.streams = (*leg.streams, *lacking)
                expected = await self._ask(leg, wire.subscribe, lacking)
                await self._acknowledged(leg, expected)
                leg.reading_since_ns = max(leg.reading_since_ns, self._clock.mono_ns())
        except (ConnectFailedError, SubscribeTimeoutError) as error:
            return None if leg.ended is not None else str(error)
        return None

    # Hold -----------------------------------------------------------------------------------

    async def _hold(self, leg: Leg) -> str | None:
        """Stay with `leg` until it ended (None) or must be replaced (why)."""
        config = self._session.config
        rotate_ns = rotate_at_ns(leg.opened_ns, self._rotation_seconds, self._session.jitter())
        interval_ns = round(config.watchdog_interval_seconds * NS_PER_SECOND)
        while True:
            if leg.ended is not None:
                return None
            if (cause := await self._carry_the_wanted(leg)) is not None:
                return cause
            now_ns = self._clock.mono_ns()
            if not leg.paused:  # a paused socket can neither be judged nor replaced
                if (cause := self._replace_cause(leg, rotate_ns, now_ns)) is not None:
                    return cause
                self._ping_if_due(leg, now_ns)
            wake_ns = now_ns + interval_ns
            if rotate_ns is not None and not leg.paused:
                wake_ns = min(wake_ns, rotate_ns)
            await self._wait_until(wake_ns)

    def _replace_cause(self, leg: Leg, rotate_ns: int | None, now_ns: int) -> str | None:
        if leg.shutdown:
            return "the venue announced a shutdown"
        if rotate_ns is not None and now_ns >= rotate_ns:
            return "rotation"
        cause = self._silence(leg, now_ns)
        if cause is not None:
            self._session.counters.silences += 1
            log.warning(
                "connection_silent",
                venue=self._session.venue.name,
                connection=leg.connection,
                cause=cause,
            )
        return cause

    def _silence(self, leg: Leg, now_ns: int) -> str | None:
        """Why the connection must be held for dead, if so."""
        activity = self._session.activity()
        silent = self._watch.silent(activity, leg.reading_since_ns, now_ns)
        if silent:  # what is given up may be
            carried = {stream.name for stream in leg.streams}
            silent = tuple(name for name in silent if name in carried)
        if silent:
            self._watch.strike(silent, activity)
            more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
            return f"silent: {', '.join(silent[:3])}{more}"
        last_ns = self._last_sign_ns(leg, activity)
        limits = self._session.venue.limits
        if heartbeat_lost(last_ns, now_ns, limits.heartbeat_seconds):
            return "heartbeat lost"
        return None

    def _last_sign_ns(self, leg: Leg, activity: Mapping[str, int]) -> int:
        return max(
            leg.control_ns,
            leg.reading_since_ns,
            max((last_activity(stream, activity) for stream in self.plan.streams), default=0),
        )

    def _ping_if_due(self, leg: Leg, now_ns: int) -> None:
        """The client's ping, where the venue wants one after so much quiet."""
        seconds = self._session.venue.limits.client_ping_seconds
        ping = self._session.venue.wire.ping
        if seconds is None or ping is None:
            return
        last_ns = max(self._last_sign_ns(leg, self._session.activity()), leg.pinged_ns)
        if now_ns - last_ns >= seconds * NS_PER_SECOND:
            leg.ping(ping)

    # Replace --------------------------------------------------------------------------------

    async def _replace(self, old: Leg, cause: str) -> Leg | None:
        """Open a successor, let it take over, close `old`: the successor, or None without any."""
        log.info(
            "connection_replacing",
            venue=self._session.venue.name,
            connection=old.connection,
            cause=cause,
        )
        while old.ended is None:
            self._state = "replacing"
            handover = self._handover()
            try:
                new = await self._connect(handover)
            except (ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError) as error:
                await self._wait_or_end(old, self._failed(error))
                continue
            await self._overlap(old, new, handover)
            if new.ended is not None:
                failed = ConnectFailedError(
                    f"{self.plan.url}: ended while taking over: {new.ended}",
                    venue=self._session.venue.name,
                )
                await self._ended(new)
                await self._wait_or_end(old, self._failed(failed))
                continue
            await old.finish(f"replaced by connection {new.connection}: {cause}")
            await self._ended(old)
            self._session.counters.replacements += 1
            self._streaming()
            return new
        await self._ended(old)
        return None

    def _handover(self) -> Handover:
        config = self._session.config
        return Handover(
            self._session.shedding.wanted(self.plan.streams),
            self._session.activity(),
            self._clock.mono_ns(),
            recent_seconds=config.handover_recent_seconds,
            overlap_seconds=config.handover_overlap_seconds,
            max_seconds=config.handover_max_seconds,
        )

    async def _overlap(self, old: Leg, new: Leg, handover: Handover) -> None:
        """Both run until the new one delivered all that is alive, and the overlap after it."""
        handover.begin(self._clock.mono_ns())
        while old.ended is None and new.ended is None:
            now_ns = self._clock.mono_ns()
            close_ns = handover.close_at_ns()
            if old.paused or new.paused:  # what waits in the sockets must be read first
                close_ns = max(close_ns, now_ns + NS_PER_SECOND)
            if now_ns >= close_ns:
                break
            await self._wait_until(close_ns)
        new.watch_no_more()
        if handover.owed and old.ended is None and new.ended is None:
            self._session.counters.handovers_incomplete += 1
            log.warning(
                "handover_incomplete",
                venue=self._session.venue.name,
                connection=new.connection,
                owed=sorted(handover.owed)[:20],
            )

    # Ends -----------------------------------------------------------------------------------

    async def _ended(self, leg: Leg) -> None:
        """Account for a leg that is over."""
        self._legs.remove(leg)
        lived_ns = self._clock.mono_ns() - leg.opened_ns
        self._backoff.ended(lived_ns / NS_PER_SECOND)
        self._fault = leg.ended
        await leg.reap()

    def _failed(self, error: TickdError) -> float:
        """Account for an attempt; seconds until the next."""
        self._session.counters.connect_failures += 1
        self._fault = str(error)
        at_least = error.retry_after_seconds if isinstance(error, ConnectFailedError) else 0.0
        delay = self._backoff.failed(self._session.jitter(), at_least_seconds=at_least)
        log.warning(
            "connect_failed",
            venue=self._session.venue.name,
            words=str(error),
            attempts=self._backoff.attempts,
            retry_s=round(delay, 3),
        )
        return delay

    async def _rest_a_while(self, seconds: float | None = None) -> None:
        """Without any connection: the backoff's next delay, or `seconds`."""
        self._state = "waiting"
        if seconds is None:
            seconds = self._backoff.failed(self._session.jitter())
        await self._clock.sleep(seconds)

    def _streaming(self) -> None:
        self._state = "streaming"
        self._fault = None

    async def _wait_until(self, due_ns: int) -> None:
        """Until news of a leg, or `due_ns`."""
        seconds = max(0.0, (due_ns - self._clock.mono_ns()) / NS_PER_SECOND)
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def _wait_or_end(self, leg: Leg, seconds: float) -> None:
        due_ns = self._clock.mono_ns() + round(seconds * NS_PER_SECOND)
        while leg.ended is None and self._clock.mono_ns() < due_ns:
            await self._wait_until(due_ns)

    # For the session ------------------------------------------------------------------------

    def reconsider(self) -> None:
        """Which streams are wanted has changed."""
        self._news.set()

    def connection_for(self, asked: int) -> int | None:
        """`asked` while it is open, else the newest open connection, else None."""
        numbers = [leg.connection for leg in self._legs if leg.connection and leg.ended is None]
        if asked in numbers:
            return asked
        return numbers[-1] if numbers else None

    async def send_all(self, connection: int, messages: Sequence[ClientMessage]) -> None:
        """Send on `connection`; a connection that ended needs them no more."""
        for leg in self._legs:
            if leg.connection == connection:
                try:
                    for message in messages:
                        await leg.send(message.text)
                except ConnectFailedError as error:
                    log.info("resubscribe_dropped", words=str(error))
                return

    def status(self) -> LineStatus:
        """The picture of this moment."""
        open_legs = [leg for leg in self._legs if leg.connection and leg.ended is None]
        return LineStatus(
            endpoint=self.plan.endpoint,
            url=self.plan.url,
            streams_count=len(self.plan.streams),
            state=self._state,
            connections=tuple(leg.connection for leg in open_legs),
            opened_mono_ns=open_legs[-1].opened_ns if open_legs else None,
            paused=any(leg.paused for leg in open_legs),
            attempts=self._backoff.attempts,
            fault=self._fault,
            refused=tuple(words for leg in open_legs for words in leg.refused),
        )


def _only_tickd_error(group: BaseExceptionGroup[BaseException]) -> TickdError | None:
    """The TickdError in a group that holds nothing else."""
    matching, rest = group.split(TickdError)
    if matching is None or rest is not None:
        return None
    error: BaseException = matching
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TickdError)
    return error
