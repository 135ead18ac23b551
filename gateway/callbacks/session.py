"""One venue behind a broker's SDK, whatever its plan becomes.

Makes its logins (`login.py`: one planned connection each) follow the plan that
`gateway/subscriptions` draws, asks for contracts and the allowance, and knows what the symbols of
the plan are called today. It decides nothing itself and never looks into a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Final

import msgspec
import structlog

from gateway.callbacks.contracts import Contracts
from gateway.callbacks.guard import LoginBudget
from gateway.callbacks.login import Login
from gateway.callbacks.subscriptions import Target
from gateway.callbacks.venue import CallbackVenue, Contract, SdkClient, Usage
from gateway.config import VenueConfig
from gateway.errors import PlanRefusedError, QueryFailedError, UnknownStreamError, only_tickd_error
from gateway.limits import NS_PER_SECOND
from gateway.planned import PlannedSession
from gateway.status import SdkStatus, SessionStatus
from gateway.subscriptions.carried import Change
from gateway.subscriptions.plan import ConnectionPlan
from gateway.subscriptions.usage import Allowance, Outlook, UsageGuard, UsageReading
from gateway.subscriptions.wishes import Wanted
from gateway.venue import Figures, Stream
from gateway.vitals import Activity
from tickd.ports import Clock, StampedTap

log = structlog.get_logger(__name__)

# Refusals of unknown instruments come per message; contracts are asked for at most this often.
REQUESTED_SECONDS_MIN: Final = 60.0
# Before a failed query of contracts is repeated.
RETRY_SECONDS: Final = 10.0


class CallbackSession(PlannedSession):
    """One venue, live, through its SDK. Implements `tickd.ports.Source`.

    Args: as `gateway.session.Session`.
    Raises UnknownStreamError, PlanRefusedError (ConfigErrors): unknown channel or symbol, too
    little room, no credentials, no SDK.
    """

    def __init__(
        self,
        venue: CallbackVenue,
        wanted: Wanted | VenueConfig,
        *,
        tap: StampedTap,
        clock: Clock,
        activity: Activity,
        jitter: Callable[[], float],
    ) -> None:
        super().__init__(venue, wanted, tap=tap, clock=clock)
        check(venue, self.config)
        self.venue = venue
        self.activity = activity
        self._stamped = tap
        self._jitter = jitter
        sdk, limits = self.config.sdk, venue.limits
        self._budget = LoginBudget(sdk.logins_per_day_max, limits.connects, venue.rests.seconds_min)
        self._contracts = Contracts(
            venue.name, self.carried.wanted, tap=tap, counters=self.counters
        )
        self._shed: set[str] = set()  # names of planned streams that were given up
        self._impossible: set[str] = set()  # the same, of those that cannot be
        self._tasks: asyncio.TaskGroup | None = None
        self._logins: dict[int, Login] = {}  # by number of the plan
        self._leaving: list[Login] = []
        self._asking = False  # a login asks something for all of them
        self._refresh_wanted = False
        self._refreshed_ns: int | None = None
        self._more_not_before_ns = 0  # contracts of single symbols
        self._usage_asked_ns: int | None = None
        self.usage: Usage | None = None
        self._allowance = Allowance(
            UsageGuard(cap_share=sdk.usage_cap_share),
            reset=venue.usage_reset,
            pauses_streams=sdk.usage_pauses == "streams",
            interval_seconds=sdk.usage_interval_seconds,
        )

    async def run(self) -> None:
        """Run until cancelled. Raises TickdError(FATAL) only."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self.started = True
                # What is named in full; patterns wait for the first login's list.
                self._apply(self.carried.listed(self._contracts.listing, "start"))
                self._open_logins()
                tasks.create_task(self._take_turns(), name=f"turns {self.venue.name}")
        except BaseExceptionGroup as group:
            fatal = only_tickd_error(group)
            if fatal is None:
                raise
            raise fatal from group
        finally:
            self._tasks = None

    # The plan -----------------------------------------------------------------------------------

    def _brings(self, stream: Stream) -> frozenset[str]:
        return self.venue.wire.brings(stream) & self.carried.wanted.channels

    def _follow(self, change: Change) -> None:
        if self._tasks is None:
            return
        self._note(change)
        self._open_logins()
        self._reconsider()

    def _open_logins(self) -> None:
        """Logins as planned; one at least, for somebody has to ask for the list."""
        planned = {each.number: each for each in self.carried.places}
        if not planned:
            planned = {1: ConnectionPlan("sdk", self.venue.wire.ws_url, (), 1)}
        for number in [number for number in self._logins if number not in planned]:
            leaving = self._logins.pop(number)
            self._leaving.append(leaving)
            leaving.follow(None)
        for number, place in planned.items():
            if number in self._logins:
                self._logins[number].follow(place)
            else:
                self._open_login(place)

    def _open_login(self, place: ConnectionPlan) -> None:
        assert self._tasks is not None
        login = self._logins[place.number] = Login(
            self,
            place,
            venue=self.venue,
            budget=self._budget,
            shed=self._shed,
            tap=self._stamped,
            clock=self.clock,
            counters=self.counters,
            jitter=self._jitter,
        )
        self._tasks.create_task(login.run(), name=f"login {self.venue.name} {place.number}")

    def _look_again(self) -> None:
        for login in self._every():
            login.reconsider()

    def _asked_for(self, wanted: Wanted) -> None:
        self._contracts.ask_for(wanted)
        if self._contracts.lacks_listing:
            self._refreshed_ns = None
            self._look_again()

    def _every(self) -> tuple[Login, ...]:
        return (*self._logins.values(), *self._leaving)

    # For the logins -----------------------------------------------------------------------------

    def has_slot(self) -> bool:
        """Whether one more login may be open."""
        both = (self.config.connections_max, self.venue.limits.connections_max)
        most = min((each for each in both if each is not None), default=None)
        return most is None or sum(login.is_open for login in self._every()) < most

    def targets(self, login: Login) -> Mapping[Stream, Target]:
        """What `login` is to carry, by the venue's names of today."""
        found: dict[Stream, Target] = {}
        for planned in self.wanted((*login.plan.streams, *self._held_by(login))):
            contract = self._contracts.of(planned.symbol)
            if contract is not None:
                stream = self.venue.wire.resolve(planned, contract)
                if stream is not None:
                    found[stream] = Target(planned, contract)
                else:
                    self._cannot(planned, contract)
        return found

    def _cannot(self, planned: Stream, contract: Contract) -> None:
        """The plan has taken a symbol for something else than its contract says: told once."""
        if planned.name not in self._impossible:
            self._impossible.add(planned.name)
            log.error(
                "stream_impossible",
                venue=self.name,
                stream=planned.name,
                market=contract.market,
                hint="nothing is recorded for it; take its symbol or channel out",
            )

    def _held_by(self, login: Login) -> Iterator[Stream]:
        """What has not arrived elsewhere yet: the old login lets go when the new one has it."""
        for stream in login.planned:
            number = self.carried.number_of(stream)
            if number is None or self._logins.get(number) in (None, login):
                continue
            if stream not in self._logins[number].planned:
                yield stream

    def full(self, count: int) -> None:
        """The broker allows less than its documentation: plan for that, until a reload."""
        wanted = self.carried.wanted
        if not 0 < count < wanted.config.streams_per_connection:
            return
        config = msgspec.structs.replace(wanted.config, streams_per_connection=count)
        log.error("login_full", venue=self.name, streams=count, hint="streams_per_connection")
        try:
            self.want(wanted._replace(config=config), "full")
        except PlanRefusedError as error:
            log.error("plan_refused", venue=self.name, words=str(error), hint=error.hint)  # noqa: TRY400

    def left(self, login: Login) -> None:
        """A login without streams is over."""
        self._leaving.remove(login)

    async def look_after(self, client: SdkClient, login: Login) -> None:
        """Ask for contracts and the allowance, if it is time and no other login does."""
        if self._asking:
            return
        self._asking = True
        try:
            await self._ask_usage(client)
            # Contracts come from a download of a few MB; what is known is good until the reset.
            if not (self._contracts.loaded and self._outlook().must_stop):
                await self._ask_contracts(client, login)
        finally:
            self._asking = False

    async def _ask_contracts(self, client: SdkClient, login: Login) -> None:
        now_ns = self.clock.mono_ns()
        planned = [stream.symbol for place in self.carried.places for stream in place.streams]
        if self._refresh_is_due(now_ns):
            self._refreshed_ns = now_ns
            self._refresh_wanted = False
            await self._contracts.refresh(client, planned, login.record)
        elif now_ns >= self._more_not_before_ns and (more := self._contracts.lacking(planned)):
            if not await self._contracts.add(client, more, login.record):
                self._more_not_before_ns = self.clock.mono_ns() + round(
                    RETRY_SECONDS * NS_PER_SECOND
                )
                return
        else:
            return
        self._apply(self.carried.listed(self._contracts.listing, "listing"))
        self._look_again()

    def _refresh_is_due(self, now_ns: int) -> bool:
        if self._refreshed_ns is None:
            return True
        due_s = self.config.instruments_refresh_seconds
        if self._refresh_wanted:
            due_s = min(due_s, REQUESTED_SECONDS_MIN)
        if not self._contracts.loaded or self._contracts.lacks_listing:
            due_s = min(due_s, RETRY_SECONDS)
        return now_ns - self._refreshed_ns >= due_s * NS_PER_SECOND

    async def _ask_usage(self, client: SdkClient) -> None:
        now_ns = self.clock.mono_ns()
        interval_ns = round(self.config.sdk.usage_interval_seconds * NS_PER_SECOND)
        if self._usage_asked_ns is not None and now_ns - self._usage_asked_ns < interval_ns:
            return
        self._usage_asked_ns = now_ns
        try:
            usage = self.usage = await client.usage()
        except QueryFailedError as error:
            log.warning("usage_failed", venue=self.venue.name, words=str(error))
            return
        self.allowance.observe(
            UsageReading(usage.bytes_used, usage.bytes_max, usage.connections),
            wall_ns=self.clock.wall_ns(),
            mono_ns=self.clock.mono_ns(),
        )

    @property
    def allowance(self) -> Allowance:
        return self._allowance

    def _outlook(self) -> Outlook:
        return self.allowance.outlook(wall_ns=self.clock.wall_ns(), mono_ns=self.clock.mono_ns())

    # For the composition root -------------------------------------------------------------------

    @property
    def client(self) -> SdkClient | None:
        """Of a login that is up, for one query; None: there is none, or no query left for now."""
        if self._outlook().queries_left == 0:
            return None
        return next((each.client for each in self._every() if each.client is not None), None)

    async def ticks(self, contract: Contract, date: str) -> object:
        """All trades of a day, asked on any login that is up. Raises QueryFailedError."""
        return await self._counted().ticks(contract, date)

    async def bars(self, contract: Contract, date: str) -> object:
        """The minute bars of a day, asked on any login that is up. Raises QueryFailedError."""
        return await self._counted().bars(contract, date)

    @property
    def can_rank(self) -> bool:
        """While a login is up and a query is left."""
        return self.client is not None

    async def figures(self, rank: str) -> tuple[Figures, ...]:
        """The broker's scanner, asked on any login that is up. Raises QueryFailedError."""
        return await self._counted().scan(rank)

    def _counted(self) -> SdkClient:
        """For a query that takes its share of the allowance. Raises QueryFailedError."""
        if (client := self.client) is None:
            raise QueryFailedError("no login is up, or no query is left for now", venue=self.name)
        self.allowance.asked()
        self.counters.queries += 1
        return client

    def contract_of(self, code: str) -> Contract | None:
        """The contract under whose `code` round lots arrive."""
        return self._contracts.of_code(code)

    def refresh_instruments(self) -> None:
        """The decoder met an unknown instrument; at most one query a minute."""
        self._refresh_wanted = True

    def status(self) -> SessionStatus:
        """The picture of this moment."""
        carried, now_ns = self.carried, self.clock.mono_ns()
        planned = [stream for each in carried.places for stream in each.streams]
        return SessionStatus(
            venue=self.venue.name,
            rule="whole",
            started=self.started,
            symbols_count=len({stream.symbol for stream in planned}),
            symbols_missing=self._contracts.missing,
            instruments_count=self._contracts.count,
            snapshots_pending=(),
            rest_weight_used=0,
            connects_used=self.config.sdk.logins_per_day_max - self._budget.left(now_ns),
            connects_max=self.config.sdk.logins_per_day_max,
            shed=tuple(sorted(self.shedding.channels)),
            shard=str(carried.wanted.shard),
            streams_count=len(planned),
            streams_paused=sum(map(carried.paused, planned)),
            streams_left_out=len(carried.left_out),
            paused_below=carried.floor,
            stopped=carried.stopped,
            turning=carried.turning,
            refusal=carried.refusal,
            lines=tuple(login.status() for login in self._every()),
            sdk=self._sdk_status(now_ns),
        )

    def _sdk_status(self, now_ns: int) -> SdkStatus:
        """Over all logins."""
        queues = [each.source.queue for each in self._every() if each.source is not None]
        held = [each.subscriptions for each in self._every() if each.subscriptions is not None]
        oldest = [ns for queue in queues if (ns := queue.oldest_mono_ns) is not None]
        markets = {stream.endpoint for each in held for stream in each.carried}
        wall_ns, usage = self.clock.wall_ns(), self.usage
        outlook = self._outlook() if self.allowance.is_known else None
        return SdkStatus(
            queue_depth=sum(queue.depth for queue in queues),
            queue_age_ns=max(0, now_ns - min(oldest)) if oldest else 0,
            logins_left=self._budget.left(now_ns),
            streams_confirmed=sum(len(each.confirmed) for each in held),
            usage_bytes=usage.bytes_used if usage is not None else None,
            usage_bytes_left=usage.bytes_left if usage is not None else None,
            usage_cap_bytes=outlook.cap_bytes if outlook is not None else None,
            usage_remaining_bytes=outlook.remaining_bytes if outlook is not None else None,
            usage_forecast_bytes=outlook.forecast_bytes if outlook is not None else None,
            usage_batch_bytes=outlook.batch_bytes if outlook is not None else None,
            usage_queries_left=outlook.queries_left if outlook is not None else None,
            usage_stopped=outlook is not None and outlook.must_stop,
            usage_connections=usage.connections if usage is not None else None,
            closed_markets=tuple(
                market
                for market in sorted(markets)
                if self.venue.open_since(market, wall_ns) is None
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
