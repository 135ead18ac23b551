"""One planned login: one connection at the broker, kept alive, with what the plan gives it.

Log in → subscribe → hold → log in again, for ever and within the person's login budget. The SDK
reconnects by itself; this watches it do so, and takes over when that comes to nothing. It never
looks into a frame, and what it carries the session says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import orjson
import structlog

from gateway.backoff import Backoff
from gateway.callbacks.guard import FlapGuard, LoginBudget
from gateway.callbacks.source import CallbackSource
from gateway.callbacks.subscriptions import Subscriptions, Target
from gateway.callbacks.venue import CallbackVenue, SdkClient, SessionEvent
from gateway.config import VenueConfig
from gateway.errors import ConnectFailedError, vendor_text
from gateway.limits import NS_PER_SECOND
from gateway.status import Counters, LineState, LineStatus, LineTotals
from gateway.subscriptions.plan import ConnectionPlan, room_of
from gateway.venue import Stream
from tickd.ports import Clock, Notice, StampedTap

log = structlog.get_logger(__name__)

# Between two looks whether a login may be opened, where only so many may be open.
SLOT_SECONDS = 0.1


class Host(Protocol):
    """What a login needs of its session."""

    @property
    def config(self) -> VenueConfig: ...

    def activity(self) -> Mapping[str, int]:
        """Topic -> monotonic ns of its last event."""
        ...

    def has_slot(self) -> bool:
        """Whether one more login may be open."""
        ...

    def targets(self, login: Login) -> Mapping[Stream, Target]:
        """What a login is to carry now, by the venue's names."""
        ...

    def cause_of(self, stream: Stream) -> str:
        """Why a planned stream is subscribed or dropped."""
        ...

    async def look_after(self, client: SdkClient, login: Login) -> None:
        """Ask what the session wants to know, if it is time and no other login does."""
        ...

    def full(self, count: int) -> None:
        """A login took so many subscriptions and no more."""
        ...

    def left(self, login: Login) -> None:
        """A login without streams is over."""
        ...


class Login:
    """See the module. Loop only."""

    def __init__(
        self,
        host: Host,
        place: ConnectionPlan,
        *,
        venue: CallbackVenue,
        budget: LoginBudget,
        shed: set[str],
        tap: StampedTap,
        clock: Clock,
        counters: Counters,
        jitter: Callable[[], float],
    ) -> None:
        self._host = host
        self.plan = place
        self._venue = venue
        self._budget = budget
        self._shed = shed
        self._tap = tap
        self._clock = clock
        self._counters = counters
        self._jitter = jitter
        config = host.config
        self._flaps = FlapGuard(
            flaps_max=config.sdk.flaps_max,
            window_seconds=config.sdk.flap_window_seconds,
            pause_seconds=config.sdk.flap_pause_seconds,
        )
        self._backoff = Backoff(
            first_seconds=config.backoff_first_seconds,
            cap_seconds=config.backoff_cap_seconds,
            stable_seconds=config.stable_seconds,
        )
        self._leaving = False
        self._state: LineState = "waiting"
        self._fault: str | None = None
        self._totals = LineTotals()
        self._news = asyncio.Event()
        self._opened_ns = 0
        self._down_since_ns: int | None = None  # the SDK reconnects, or says nothing
        self.is_open = False  # the broker counts it
        self.client: SdkClient | None = None  # while it is up
        self.source: CallbackSource | None = None
        self.subscriptions: Subscriptions | None = None

    # The plan -----------------------------------------------------------------------------------

    def follow(self, place: ConnectionPlan | None) -> None:
        """Carry another set of streams; None: none at all, for good."""
        self._leaving = place is None
        self.plan = place if place is not None else self.plan._replace(streams=())
        self._news.set()

    def reconsider(self) -> None:
        """What is to be carried may be something else."""
        self._news.set()

    @property
    def planned(self) -> tuple[Stream, ...]:
        """What is subscribed on this login, as the plan names it."""
        return self.subscriptions.planned if self.subscriptions is not None else ()

    # Log in -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled or left without streams. Raises TickdError(FATAL) only."""
        while not self._leaving:
            if not await self._slot():
                break
            try:
                cause = await self._one_login()
            except ConnectFailedError as error:
                self._counters.login_failures += 1
                self._counters.connect_failures += 1
                # The broker's rests are the person's, not this connection's.
                self._budget.rest(self._clock.mono_ns(), error.retry_after_seconds)
                delay = self._backoff.failed(self._jitter())
                await self._rest(str(error), delay)
                continue
            if self._leaving:
                break
            lived_s = (self._clock.mono_ns() - self._opened_ns) / NS_PER_SECOND
            self._backoff.ended(lived_s)
            delay = self._backoff.failed(
                self._jitter(), at_least_seconds=self._flaps.pause_seconds()
            )
            await self._rest(cause, delay)
        self._host.left(self)

    async def _rest(self, words: str, seconds: float) -> None:
        self._state, self._fault, self._totals.last_end = "waiting", words, words
        log.warning(
            "login_ended",
            venue=self._venue.name,
            login=self.plan.number,
            words=words,
            attempts=self._backoff.attempts,
            retry_s=round(seconds, 3),
        )
        await self._clock.sleep(seconds)

    async def _slot(self) -> bool:
        """Wait until budget and connections allow a login; False: none is needed any more."""
        while not self._leaving:
            now_ns = self._clock.mono_ns()
            wait_s = self._budget.wait_ns(now_ns) / NS_PER_SECOND
            if self._budget.left(now_ns) == 0:
                self._fault = "no login left today"
                log.error("logins_used_up", venue=self._venue.name, wait_s=wait_s)
            if not wait_s and not self._host.has_slot():
                wait_s = SLOT_SECONDS
            if not wait_s:
                # At once, so that no other login sees the same room.
                self._budget.take(now_ns)
                self.is_open = True
                return True
            await self._clock.sleep(wait_s)
        return False

    async def _one_login(self) -> str:
        """From login to logout; why it ended. Raises ConnectFailedError, TickdError(FATAL)."""
        self._state = "connecting"
        config = self._host.config
        source = self.source = CallbackSource(
            self._venue.wire,
            venue=self._venue.name,
            tap=self._tap,
            clock=self._clock,
            counters=self._counters,
            totals=self._totals,
            records_max=config.sdk.queue_records_max,
            gather_ms=config.sdk.gather_ms,
            on_event=self._on_event,
            on_notice=self._on_notice,
            on_data_without_connection=self._up,
            on_fault=self._news.set,
        )
        client = self._venue.client(config.sdk, source.put)
        self.subscriptions = Subscriptions(
            self._venue, config, client, self._clock, shed=self._shed
        )
        self._opened_ns, self._down_since_ns = self._clock.mono_ns(), None
        reason = "session stopped"
        try:
            self._counters.logins += 1
            self._totals.tries += 1
            await client.open()
            log.info("login_succeeded", venue=self._venue.name, login=self.plan.number)
            self._up()
            self.client = client
            self._fault = None
            self._state = "streaming"
            reason = await self._hold(client, source, self.subscriptions)
        finally:
            self.client = None
            source.end(reason)
            await client.close()
            self.subscriptions.forget()
            self.is_open = False
        return reason

    # Hold ---------------------------------------------------------------------------------------

    async def _hold(
        self, client: SdkClient, source: CallbackSource, subscriptions: Subscriptions
    ) -> str:
        """Stay while the login is of use; why it is not any more."""
        while True:
            if source.fault is not None:
                raise source.fault
            if (cause := self._lost_cause(self._clock.mono_ns())) is not None:
                return cause
            await self._host.look_after(client, self)
            if self._down_since_ns is None and not source.paused:
                await subscriptions.carry(
                    self._host.targets(self),
                    self._host.cause_of,
                    self.record,
                    room=room_of(self._venue, self._host.config).per_connection,
                )
                self._counters.streams_renewed += await subscriptions.renew_silent(
                    self._host.activity(), self._clock.mono_ns()
                )
                self._fault = subscriptions.fault
                if subscriptions.full_at is not None:
                    self._host.full(subscriptions.full_at)
                    subscriptions.full_at = None
            if self._leaving and not subscriptions.carried:
                return "no streams are left"
            await self._wait(self._host.config.watchdog_interval_seconds)

    def _lost_cause(self, now_ns: int) -> str | None:
        config = self._host.config.sdk
        if self._flaps.flapping:
            self._counters.flaps += 1
            return f"the session went down {config.flaps_max} times"
        if self._down_since_ns is None:
            return None
        seconds = config.down_seconds_max
        if now_ns - self._down_since_ns >= seconds * NS_PER_SECOND:
            return f"the SDK has not reconnected within {seconds} s"
        return None

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    def record(self, fields: dict[str, object]) -> None:
        """Put a fact about this connection into the raw log."""
        connection = self.source.connection if self.source is not None else 0
        told = {"venue": self._venue.name, "connection": connection} | fields
        self._tap.record(connection, "C", orjson.dumps(told))

    # The source ---------------------------------------------------------------------------------

    def _up(self) -> None:
        """Data can flow: a connection of the raw log begins."""
        assert self.source is not None
        assert self.subscriptions is not None
        self.source.open(self.url, [stream.name for stream in self.subscriptions.carried])
        if self._down_since_ns is not None:
            self._down_since_ns = None
            self.subscriptions.verify(self._clock.mono_ns())
        self._news.set()

    def _on_event(self, event: SessionEvent) -> None:
        assert self.source is not None
        assert self.subscriptions is not None
        signal = self._venue.wire.signal(event)
        level = log.debug  # a confirmation, say
        if any(signal):
            level = log.info if signal.up else log.warning
        level(
            "sdk_event",
            venue=self._venue.name,
            login=self.plan.number,
            code=event.event_code,
            info=vendor_text(event.info),
            words=vendor_text(event.event),
        )
        now_ns = self._clock.mono_ns()
        if signal.down:
            if self._down_since_ns is None:
                self._down_since_ns = now_ns
                self.subscriptions.note_activity(self._host.activity())
                self._flaps.ended(now_ns)
            self.source.close(f"session event {event.event_code}")
        if signal.up:
            self._up()
        if signal.discarded:
            self.source.lose("overflow", self._clock.wall_ns(), 1)
        if signal.resubscribe:
            self.subscriptions.forget()
        self._news.set()

    def _on_notice(self, notice: Notice) -> None:
        assert self.subscriptions is not None
        if notice.kind == "subscribed":
            self.subscriptions.confirmed.add(notice.text)
        elif notice.kind == "refused":
            self._counters.subscribe_refusals += 1
            self.subscriptions.refused(notice.text)
            log.error("subscription_refused", venue=self._venue.name, words=notice.text)
        self._news.set()

    # The picture --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """What the raw log calls it."""
        sdk = self._host.config.sdk
        return f"{self._venue.name}:{'simulation' if sdk.simulation else 'production'}"

    def status(self) -> LineStatus:
        """The picture of this moment."""
        source, subscriptions = self.source, self.subscriptions
        connection = source.connection if source is not None else 0
        return LineStatus(
            number=self.plan.number,
            endpoint=self.plan.endpoint,
            url=self.url,
            streams_count=len(self.plan.streams),
            state=self._state if self._down_since_ns is None else "connecting",
            connections=(connection,) if connection else (),
            opened_mono_ns=self._opened_ns if connection else None,
            paused=source is not None and source.paused,
            attempts=self._backoff.attempts,
            messages_used=subscriptions.calls_used if subscriptions is not None else 0,
            messages_max=self._venue.limits.client_messages.events_max,
            tries=self._totals.tries,
            bytes_received=self._totals.received,
            last_end=self._totals.last_end,
            ends=dict(self._totals.ends),
            fault=self._fault,
            refused=tuple(subscriptions.refusals) if subscriptions is not None else (),
        )
