"""One planned connection, kept alive for ever: connect → subscribe → hold → replace or reconnect.

Every decision is a pure function of its own file; this one awaits, calls them, and handles what
goes wrong. It never looks into a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.backoff import Backoff
from gateway.errors import ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError
from gateway.leg import Leg
from gateway.limits import NS_PER_SECOND
from gateway.rotation import Handover, rotate_at_ns, rotation_seconds
from gateway.status import LineState, LineStatus, LineTotals
from gateway.subscribing import Subscriber
from gateway.subscriptions.plan import ConnectionPlan
from gateway.upgrading import upgrade
from gateway.venue import ClientMessage, Stream
from gateway.vitals import Vitals
from tickd.errors import TickdError

if TYPE_CHECKING:
    from gateway.session import Session

log = structlog.get_logger(__name__)


class Line:
    """One planned connection, kept alive over successive legs until it has no streams."""

    def __init__(self, session: Session, planned: ConnectionPlan) -> None:
        config = session.config
        self.plan = planned
        # Streams that belong to another line now, until that one has them.
        self._held: dict[Stream, None] = {}
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
        self._vitals = Vitals(session.venue, config, session.activity, session.counters)
        self._vitals.follow(planned.streams)
        lifetime = session.venue.limits.lifetime_seconds
        self._rotation_seconds = rotation_seconds(
            lifetime, config.rotation_margin_seconds, config.rotation_seconds
        )
        self._subscriber = Subscriber(
            session.venue,
            planned.url,
            timeout_seconds=config.subscribe_timeout_seconds,
            clock=session.clock,
            counters=session.counters,
            numbered=session.numbered,
            wait_until=self._wait_until,
        )
        self._totals = LineTotals()

    async def run(self) -> None:
        """Until cancelled, or without any streams. Raises TickdError(FATAL) only."""
        leg: Leg | None = None
        try:
            while not self._is_done or leg is not None:
                if leg is None:
                    leg = await self._connect_for_ever()
                    continue
                cause = await self._hold(leg)
                if cause is not None:
                    leg = await self._replace(leg, cause)
                    continue
                await self._ended(leg)
                leg = None
                if not self._is_done:
                    await self._rest_a_while()
            self._session.left(self)
        finally:
            for open_leg in self._legs:
                open_leg.cut("session stopped")

    # The plan -------------------------------------------------------------------------------

    @property
    def planned(self) -> tuple[Stream, ...]:
        """What belongs here, and what has not arrived elsewhere yet."""
        return (*self.plan.streams, *self._held)

    @property
    def legs_count(self) -> int:
        """Connections open or being opened."""
        return sum(leg.ended is None for leg in self._legs)

    @property
    def _is_done(self) -> bool:
        return not self.plan.streams and not self._held

    def follow(self, planned: ConnectionPlan | None) -> None:
        """Carry another set of streams; None: none at all, for good."""
        before = dict.fromkeys(self.planned)
        self.plan = planned if planned is not None else self.plan._replace(streams=())
        carried = {stream for leg in self._legs if leg.ended is None for stream in leg.streams}
        own = frozenset(self.plan.streams)
        self._held = {stream: None for stream in before if stream in carried - own}
        self._vitals.follow(self.plan.streams)

    def let_go(self, arrived: frozenset[Stream]) -> bool:
        """Another line carries `arrived`; whether that changes anything here."""
        mine = self._held.keys() & arrived
        for stream in mine:
            del self._held[stream]
        return bool(mine)

    # Connect --------------------------------------------------------------------------------

    async def _connect_for_ever(self) -> Leg | None:
        """An open leg; None: there is nothing left to open one for."""
        while await self._slot(None):
            self._state = "connecting"
            try:
                leg = await self._connect(None)
            except (ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError) as error:
                await self._rest_a_while(self._failed(error))
            else:
                self._streaming()
                return leg
        return None

    async def _connect(self, handover: Handover | None) -> Leg:
        """A leg that is open and subscribed.

        Raises ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError, TickdError(FATAL).
        """
        session = self._session
        self._totals.tries += 1
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
            await upgrade(
                leg,
                self.plan.url,
                venue=session.venue.name,
                timeout_seconds=session.config.connect_timeout_seconds,
                attempts=self._backoff.attempts,
                clock=self._clock,
                ssl_context=session.ssl_context,
            )
            session.counters.connects += 1
            leg.version = session.version
            await self._subscriber.begin(leg, session.wanted(self.planned))
            session.arrived(self, leg.streams)
        except TickdError as error:
            leg.cut(str(error))
            self._legs.remove(leg)
            await leg.reap()
            raise
        return leg

    async def _carry_the_wanted(self, leg: Leg) -> str | None:
        """Change the streams of a live connection; why it must be replaced, if so."""
        session = self._session
        if leg.version == session.version:
            return None
        leg.version = session.version
        wanted = session.wanted(self.planned)
        try:
            session.arrived(self, await self._subscriber.change(leg, wanted, session.cause_of))
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
            if self._is_done:
                await leg.finish("no streams are left")
                return None
            now_ns = self._clock.mono_ns()
            if not leg.paused:  # a paused socket can neither be judged nor replaced
                if (cause := self._replace_cause(leg, rotate_ns, now_ns)) is not None:
                    return cause
                self._vitals.ping_if_due(leg, now_ns)
            wake_ns = now_ns + interval_ns
            if rotate_ns is not None and not leg.paused:
                wake_ns = min(wake_ns, rotate_ns)
            await self._wait_until(wake_ns)

    def _replace_cause(self, leg: Leg, rotate_ns: int | None, now_ns: int) -> str | None:
        if leg.shutdown:
            return "the venue announced a shutdown"
        if rotate_ns is not None and now_ns >= rotate_ns:
            return "rotation"
        return self._vitals.fault(leg, now_ns)

    # Replace --------------------------------------------------------------------------------

    async def _replace(self, old: Leg, cause: str) -> Leg | None:
        """Open a successor, let it take over, close `old`: who is left, or None."""
        log.info(
            "connection_replacing",
            venue=self._session.venue.name,
            connection=old.connection,
            cause=cause,
        )
        self._state = "replacing"
        while await self._slot(old):
            session = self._session
            handover = Handover.within(
                session.config,
                session.wanted(self.planned),
                session.activity(),
                self._clock.mono_ns(),
            )
            try:
                new = await self._connect(handover)
            except (ConnectFailedError, SubscribeRefusedError, SubscribeTimeoutError) as error:
                await self._wait_or_end(old, self._failed(error))
                continue
            await self._overlap(old, new, handover)
            if new.ended is not None:
                failed = ConnectFailedError(
                    f"{self.plan.url}: ended while taking over: {new.ended}",
                    venue=session.venue.name,
                )
                await self._ended(new)
                await self._wait_or_end(old, self._failed(failed))
                continue
            await old.finish(f"replaced by connection {new.connection}: {cause}")
            await self._ended(old)
            session.counters.replacements += 1
            self._streaming()
            return new
        if old.ended is None:
            return old  # without streams: it needs no successor
        await self._ended(old)
        return None

    async def _slot(self, old: Leg | None) -> bool:
        """Wait until one more connection may be opened; False: none is needed any more.

        Meanwhile `old`, which it is to replace, follows the plan.
        """
        while not self._is_done and (old is None or old.ended is None):
            if (wait_ns := self._session.take_slot()) == 0:
                return True
            if old is not None:
                await self._carry_the_wanted(old)
            await self._wait_until(self._clock.mono_ns() + wait_ns)
        return False

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
        self._totals.ended(leg.ended or "", leg.bytes_received)
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
        """Which streams are wanted has changed; for nobody else is anything held."""
        session = self._session
        awaited = (each for each in self._held if session.carried.number_of(each) is not None)
        self._held = dict.fromkeys(session.wanted(awaited))
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
            number=self.plan.number,
            endpoint=self.plan.endpoint,
            url=self.plan.url,
            streams_count=len(self.plan.streams),
            state=self._state,
            connections=tuple(leg.connection for leg in open_legs),
            opened_mono_ns=open_legs[-1].opened_ns if open_legs else None,
            paused=any(leg.paused for leg in open_legs),
            attempts=self._backoff.attempts,
            messages_used=max((leg.messages_used for leg in open_legs), default=0),
            messages_max=self._session.venue.limits.client_messages.events_max,
            tries=self._totals.tries,
            bytes_received=self._totals.received + sum(leg.bytes_received for leg in self._legs),
            last_end=self._totals.last_end,
            ends=dict(self._totals.ends),
            fault=self._fault,
            refused=tuple(words for leg in open_legs for words in leg.refused),
        )
