"""One state machine for every venue behind a broker's SDK.

Log in → contracts → subscribe → hold → log in again, for ever and within the login budget. The SDK
reconnects by itself; this session watches it do so, and takes over when that comes to nothing. It
never looks into a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import orjson
import structlog

from gateway.backoff import Backoff
from gateway.callbacks.contracts import Contracts
from gateway.callbacks.guard import FlapGuard, LoginBudget
from gateway.callbacks.source import CallbackSource
from gateway.callbacks.subscriptions import Subscriptions
from gateway.callbacks.venue import CallbackVenue, Contract, SdkClient, SessionEvent, Usage
from gateway.config import VenueConfig
from gateway.errors import ConnectFailedError, QueryFailedError, UnknownStreamError, vendor_text
from gateway.limits import NS_PER_SECOND
from gateway.shedding import Shedding
from gateway.status import Counters, LineState, LineStatus, SdkStatus, SessionStatus
from gateway.venue import Stream
from tickd.ports import Clock, Notice, StampedTap

log = structlog.get_logger(__name__)

Activity = Callable[[], Mapping[str, int]]  # topic -> monotonic ns of its last event
# Refusals of unknown instruments come per message; contracts are asked for at most this often.
REQUESTED_SECONDS_MIN: Final = 60.0
# Before a failed query of contracts is repeated.
RETRY_SECONDS: Final = 10.0


class CallbackSession:
    """One venue, live, through its SDK. Implements `tickd.ports.Source`.

    Args: `activity`: topic -> monotonic ns of its last event; `jitter`: a random fraction in
    [0, 1).
    Raises UnknownStreamError (a ConfigError): unknown channel or symbol, more subscriptions than
    a login may have, no credentials.
    """

    def __init__(
        self,
        venue: CallbackVenue,
        config: VenueConfig,
        *,
        tap: StampedTap,
        clock: Clock,
        activity: Activity,
        jitter: Callable[[], float],
    ) -> None:
        check(venue, config)
        self.venue = venue
        self.config = config
        self.counters = Counters()
        self.shedding = Shedding()
        self._tap = tap
        self._clock = clock
        self._activity = activity
        self._jitter = jitter
        sdk, limits = config.sdk, venue.limits
        self._budget = LoginBudget(sdk.logins_per_day_max, limits.logins, limits.login_seconds_min)
        self._flaps = FlapGuard(
            flaps_max=sdk.flaps_max,
            window_seconds=sdk.flap_window_seconds,
            pause_seconds=sdk.flap_pause_seconds,
        )
        self._backoff = Backoff(
            first_seconds=config.backoff_first_seconds,
            cap_seconds=config.backoff_cap_seconds,
            stable_seconds=config.stable_seconds,
        )
        self._contracts = Contracts(venue.name, config.symbols, tap=tap, counters=self.counters)
        self._refresh_wanted = False
        self._state: LineState = "waiting"
        self._fault: str | None = None
        self._news = asyncio.Event()
        self._source: CallbackSource | None = None
        self._subscriptions: Subscriptions | None = None
        self._opened_ns = 0
        self._down_since_ns: int | None = None  # the SDK reconnects, or says nothing
        self.client: SdkClient | None = None  # of this moment's login, once it can be asked
        self.usage: Usage | None = None  # as of the last question

    async def run(self) -> None:
        """Run until cancelled. Raises TickdError(FATAL) only."""
        while True:
            await self._login_slot()
            try:
                cause = await self._one_login()
            except ConnectFailedError as error:
                self.counters.login_failures += 1
                self.counters.connect_failures += 1
                delay = self._backoff.failed(
                    self._jitter(), at_least_seconds=error.retry_after_seconds
                )
                self._rests(str(error), delay)
                await self._clock.sleep(delay)
                continue
            lived_s = (self._clock.mono_ns() - self._opened_ns) / NS_PER_SECOND
            self._backoff.ended(lived_s)
            delay = self._backoff.failed(
                self._jitter(), at_least_seconds=self._flaps.pause_seconds()
            )
            self._rests(cause, delay)
            await self._clock.sleep(delay)

    def _rests(self, words: str, seconds: float) -> None:
        self._state, self._fault = "waiting", words
        log.warning(
            "login_ended",
            venue=self.venue.name,
            words=words,
            attempts=self._backoff.attempts,
            retry_s=round(seconds, 3),
        )

    async def _login_slot(self) -> None:
        """Wait until the budget allows a login."""
        while wait_ns := self._budget.wait_ns(self._clock.mono_ns()):
            if self._budget.left(self._clock.mono_ns()) == 0:
                self._fault = "no login left today"
                log.error("logins_used_up", venue=self.venue.name, wait_s=wait_ns / NS_PER_SECOND)
            await self._clock.sleep(wait_ns / NS_PER_SECOND)
        self._budget.take(self._clock.mono_ns())

    async def _one_login(self) -> str:
        """From login to logout; why it ended. Raises ConnectFailedError, TickdError(FATAL)."""
        self._state = "connecting"
        source = self._source = CallbackSource(
            self.venue.wire,
            venue=self.venue.name,
            tap=self._tap,
            clock=self._clock,
            counters=self.counters,
            records_max=self.config.sdk.queue_records_max,
            gather_ms=self.config.sdk.gather_ms,
            on_event=self._on_event,
            on_notice=self._on_notice,
            on_data_without_connection=self._up,
            on_fault=self._news.set,
        )
        client = self.venue.client(self.config.sdk, source.put)
        self._subscriptions = Subscriptions(self.venue, self.config, client, self._clock)
        self._opened_ns, self._down_since_ns = self._clock.mono_ns(), None
        reason = "session stopped"
        try:
            self.counters.logins += 1
            await client.open()
            log.info("login_succeeded", venue=self.venue.name)
            self._up()
            await self._refresh(client)
            self._fault = None
            self._state, self.client = "streaming", client
            reason = await self._hold(client, source)
        finally:
            self.client = None
            source.end(reason)
            await client.close()
        return reason

    # Hold ---------------------------------------------------------------------------------------

    async def _hold(self, client: SdkClient, source: CallbackSource) -> str:
        """Stay while the session is of use; why it is not any more."""
        assert self._subscriptions is not None
        config = self.config
        refreshed_ns = asked_ns = self._clock.mono_ns()
        while True:
            if source.fault is not None:
                raise source.fault
            now_ns = self._clock.mono_ns()
            if (cause := self._lost_cause(now_ns)) is not None:
                return cause
            age_s = (now_ns - refreshed_ns) / NS_PER_SECOND
            due_s = config.instruments_refresh_seconds
            if self._refresh_wanted:
                due_s = min(due_s, REQUESTED_SECONDS_MIN)
            if not self._contracts.loaded:
                due_s = min(due_s, RETRY_SECONDS)
            if age_s >= due_s:
                refreshed_ns = now_ns
                await self._refresh(client)
            if now_ns - asked_ns >= config.sdk.usage_interval_seconds * NS_PER_SECOND:
                asked_ns = now_ns
                await self._ask_usage(client)
            if self._down_since_ns is None and not source.paused:
                wanted = self.shedding.wanted(self._streams())
                await self._subscriptions.carry(
                    wanted, self._contracts.known, self.shedding.cause, self._record
                )
                self.counters.streams_renewed += await self._subscriptions.renew_silent(
                    self._activity(), self._clock.mono_ns()
                )
                self._fault = self._subscriptions.fault
            await self._wait(config.watchdog_interval_seconds)

    def _lost_cause(self, now_ns: int) -> str | None:
        if self._flaps.flapping:
            self.counters.flaps += 1
            return f"the session went down {self.config.sdk.flaps_max} times"
        if self._down_since_ns is None:
            return None
        seconds = self.config.sdk.down_seconds_max
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

    async def _ask_usage(self, client: SdkClient) -> None:
        try:
            self.usage = await client.usage()
        except QueryFailedError as error:
            log.warning("usage_failed", venue=self.venue.name, words=str(error))

    async def _refresh(self, client: SdkClient) -> None:
        self._refresh_wanted = False
        await self._contracts.refresh(client, self._record)

    def _record(self, fields: dict[str, object]) -> None:
        connection = self._source.connection if self._source is not None else 0
        told = {"venue": self.venue.name, "connection": connection} | fields
        self._tap.record(connection, "C", orjson.dumps(told))

    def _streams(self) -> tuple[Stream, ...]:
        return self.venue.wire.streams(self.config.channels, self._contracts.known)

    # The source ---------------------------------------------------------------------------------

    def _up(self) -> None:
        """Data can flow: a connection of the raw log begins."""
        assert self._source is not None
        assert self._subscriptions is not None
        self._source.open(self._url(), [stream.name for stream in self._subscriptions.carried])
        if self._down_since_ns is not None:
            self._down_since_ns = None
            self._subscriptions.verify(self._clock.mono_ns())
        self._news.set()

    def _on_event(self, event: SessionEvent) -> None:
        assert self._source is not None
        assert self._subscriptions is not None
        signal = self.venue.wire.signal(event)
        level = log.debug  # a confirmation, say
        if any(signal):
            level = log.info if signal.up else log.warning
        level(
            "sdk_event",
            venue=self.venue.name,
            code=event.event_code,
            info=vendor_text(event.info),
            words=vendor_text(event.event),
        )
        now_ns = self._clock.mono_ns()
        if signal.down:
            if self._down_since_ns is None:
                self._down_since_ns = now_ns
                self._subscriptions.note_activity(self._activity())
                self._flaps.ended(now_ns)
            self._source.close(f"session event {event.event_code}")
        if signal.up:
            self._up()
        if signal.discarded:
            self._source.lose("overflow", self._clock.wall_ns(), 1)
        if signal.resubscribe:
            self._subscriptions.forget()
        self._news.set()

    def _on_notice(self, notice: Notice) -> None:
        assert self._subscriptions is not None
        if notice.kind == "subscribed":
            self._subscriptions.confirmed.add(notice.text)
        elif notice.kind == "refused":
            self.counters.subscribe_refusals += 1
            self._subscriptions.refused(notice.text)
            log.error("subscription_refused", venue=self.venue.name, words=notice.text)
        self._news.set()

    def _url(self) -> str:
        return f"{self.venue.name}:{'simulation' if self.config.sdk.simulation else 'production'}"

    # For the composition root -------------------------------------------------------------------

    def shed(self, channels: Sequence[str], cause: str) -> None:
        """Do without `channels` until `restore`, as `gateway.session.Session.shed`."""
        if self.shedding.give_up(set(channels) & set(self.config.channels), cause):
            self.counters.sheds += bool(self.shedding.channels)
            self._news.set()

    def restore(self) -> None:
        """Subscribe everything again."""
        self.shed((), "")

    def contract_of(self, code: str) -> Contract | None:
        """The contract under whose `code` round lots arrive."""
        for each in self._contracts.known:
            if each.code == code and each.market != "odd":
                return each
        return None

    def refresh_instruments(self) -> None:
        """The decoder met an unknown instrument; at most one query a minute."""
        self._refresh_wanted = True

    def status(self) -> SessionStatus:
        """The picture of this moment."""
        source, subscriptions, usage = self._source, self._subscriptions, self.usage
        now_ns, wall_ns = self._clock.mono_ns(), self._clock.wall_ns()
        carried = subscriptions.carried if subscriptions is not None else ()
        connection = source.connection if source is not None else 0
        oldest_ns = source.queue.oldest_mono_ns if source is not None else None
        markets = sorted({stream.endpoint for stream in carried})
        line = LineStatus(
            endpoint="sdk",
            url=self._url(),
            streams_count=len(carried),
            state=self._state if self._down_since_ns is None else "connecting",
            connections=(connection,) if connection else (),
            opened_mono_ns=self._opened_ns if connection else None,
            paused=source is not None and source.paused,
            attempts=self._backoff.attempts,
            fault=self._fault,
            refused=tuple(subscriptions.refusals) if subscriptions is not None else (),
        )
        return SessionStatus(
            venue=self.venue.name,
            rule="whole",
            symbols_count=len(self.config.symbols),
            symbols_missing=self._contracts.missing,
            instruments_count=self._contracts.count,
            snapshots_pending=(),
            rest_weight_used=0,
            shed=tuple(sorted(self.shedding.channels)),
            lines=(line,),
            sdk=SdkStatus(
                queue_depth=source.queue.depth if source is not None else 0,
                queue_age_ns=max(0, now_ns - oldest_ns) if oldest_ns is not None else 0,
                logins_left=self._budget.left(now_ns),
                streams_confirmed=len(subscriptions.confirmed) if subscriptions is not None else 0,
                usage_bytes=usage.bytes_used if usage is not None else None,
                usage_bytes_left=usage.bytes_left if usage is not None else None,
                usage_connections=usage.connections if usage is not None else None,
                closed_markets=tuple(
                    market for market in markets if self.venue.open_since(market, wall_ns) is None
                ),
            ),
        )


def check(venue: CallbackVenue, config: VenueConfig) -> None:
    """Refuse what can be refused before anybody logs in. Raises UnknownStreamError."""
    if config.sdk.api_key is None or config.sdk.secret_key is None:
        raise UnknownStreamError(
            f"venue {venue.name} needs credentials",
            venue=venue.name,
            hint='[venues.sdk] api_key = { file = "…" } and secret_key = { file = "…" }',
        )
    if find_spec(venue.package) is None:
        raise UnknownStreamError(
            f"venue {venue.name} needs its SDK, which is not installed",
            venue=venue.name,
            hint=f"pip install 'tickd[{venue.package}]'",
        )
    count = venue.wire.check(config.channels, config.symbols)
    allowed = config.sdk.subscriptions_max or venue.limits.subscriptions_max
    if count > allowed:
        raise UnknownStreamError(
            f"venue {venue.name}: {count} subscriptions, a login has {allowed}",
            venue=venue.name,
            hint=f"{allowed * len(config.symbols) // count} symbols with these channels fit",
        )
