"""Changes of the plan while the daemon runs: the file read again, orders of operators, load.

Each venue's session executes its own plan; what is legal and who is paused first, the pure parts
in gateway/subscriptions say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from gateway.config import VenueConfig
from gateway.errors import PatternError
from gateway.planned import PlannedSession
from gateway.subscriptions.carried import Change
from gateway.subscriptions.patterns import Pattern, explain_nothing, parse
from gateway.subscriptions.shard import Shard
from gateway.subscriptions.throttle import Throttle
from gateway.subscriptions.wishes import Order, Wanted, check_universe
from risk.config import RiskConfig
from risk.limits import LimitsConfig
from tickd.app.config import Config
from tickd.app.control import Command
from tickd.app.rationing import Rationing
from tickd.app.tails import is_watcher
from tickd.app.tap import Tap
from tickd.app.universes import Universes
from tickd.bus import Bus
from tickd.errors import ConfigError, TickdError
from tickd.ports import Clock

log = structlog.get_logger(__name__)

NS_PER_S: Final = 1_000_000_000
LOOK_S: Final = 1.0
ORDERS_MAX: Final = 1_000
# What a reload may change; everything else of a file waits for a restart.
LIVE_SECTIONS: Final = ("plan", "subscriptions", "universes", "venues", "risk")
LIVE_KEYS: Final = (
    "symbols",
    "channels",
    "priority",
    "depth_interval_ms",
    "streams_per_connection",
    "connections_max",
)
# It reads from the raw log again what it misses: its lag is no reason to record less.
UNHURRIED: Final = frozenset({"clickhouse"})


def wanted_of(
    config: Config, universes: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Wanted, ...]:
    """What the file asks of each venue; `universes`: who is in, as far as that is known."""
    shard = Shard.parse(config.plan.shard)
    return tuple(
        Wanted(venue, config.subscriptions, (), shard, universes or {}) for venue in config.venues
    )


class Planning:
    """The plan of a running daemon; one per daemon. Loop thread only."""

    def __init__(
        self,
        config: Config,
        sessions: Sequence[PlannedSession],
        *,
        universes: Universes,
        bus: Bus,
        tap: Tap,
        clock: Clock,
    ) -> None:
        self._config = config
        self._universes = universes
        universes.on_change(self.swap)
        self._sessions = {session.name: session for session in sessions}
        self._bus = bus
        self._tap = tap
        self._clock = clock
        self._reread: Callable[[], Config] | None = None
        self._follow: Callable[[Config], None] = lambda _config: None
        self._throttle = self._new_throttle(config)
        self._rationing = Rationing(sessions, clock=clock)
        self._cause = ""  # of the load that moved the throttle last
        self.lag_s = 0.0  # at the last look
        self.reloads = 0
        self.reloads_refused = 0
        self.refused: str | None = None  # why the file was not taken when it was read last
        self.read_ns = self.taken_ns = clock.wall_ns()  # of the file; the start takes it, too
        self.waiting: tuple[str, ...] = ()  # keys of it that wait for a restart

    @staticmethod
    def _new_throttle(config: Config) -> Throttle:
        bounds = config.plan
        return Throttle(
            resume_load=bounds.lag_resume_ms / bounds.lag_pause_ms,
            step_seconds=bounds.step_seconds,
            hold_seconds=bounds.hold_seconds,
        )

    @property
    def config(self) -> Config:
        """What is in force: of the start, with what reloads changed."""
        return self._config

    @property
    def floor(self) -> int | None:
        """Lower priorities are paused; None: nothing is."""
        return self._throttle.floor

    # Load --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at the lag once a second, until cancelled."""
        while True:
            due_ns = self._clock.mono_ns() + round(LOOK_S * NS_PER_S)
            await self._clock.sleep(LOOK_S)
            self.look(late_ns=self._clock.mono_ns() - due_ns)

    def look(self, *, late_ns: int) -> None:
        """Pause or resume by the lag of this moment. `late_ns`: how late the loop's timer was."""
        ages = (
            queue.oldest_age_s
            for queue in self._bus.stats(worst=0).queues
            if queue.subscription not in UNHURRIED and not is_watcher(queue.subscription)
        )
        self.lag_s = max(late_ns / NS_PER_S, *ages, 0.0)
        load = self.lag_s * 1000 / self._config.plan.lag_pause_ms
        if self._tap.paused:  # the disk does not keep up
            load = max(load, 1.0)
        self.bear(load, "lag")
        if self._rationing.look():
            self._pause()

    def bear(self, load: float, cause: str) -> None:
        """Take a load: 1 and more pauses the lowest priority of all venues first."""
        priorities = frozenset(
            priority
            for session in self._sessions.values()
            for priority in session.carried.wishes.priorities
        )
        if not self._throttle.observe(load, priorities, self._clock.mono_ns()):
            return
        paused = sorted(self._throttle.paused(priorities))
        log.warning("priorities_paused", cause=cause, load=round(load, 3), paused=paused)
        self._cause = cause
        self._pause()

    def _pause(self) -> None:
        """Do what load and allowance ask for together: the stricter counts."""
        for name, session in self._sessions.items():
            floor, cause = self._throttle.floor, self._cause or "usage"
            ration = self._rationing.of(name)
            if ration.floor is not None and (floor is None or ration.floor > floor):
                floor, cause = ration.floor, "usage"
            if ration.stopped:
                cause = "usage"
            session.pause_below(floor, cause, stopped=ration.stopped)

    # The file ----------------------------------------------------------------------------------

    def reread_with(self, reread: Callable[[], Config]) -> None:
        """What reads the file again; raises ConfigError."""
        self._reread = reread

    def follow_with(self, follow: Callable[[Config], None]) -> None:
        """Have `follow` take a file that is in order, too; what it raises refuses the file."""
        self._follow = follow

    def on_hangup(self) -> None:
        """SIGHUP: read the file again; a wrong one changes nothing."""
        try:
            answer = self.reload()
        except TickdError as error:
            log.error("reload_refused", words=str(error), hint=error.hint)  # noqa: TRY400
        else:
            log.info("reloaded", **answer)

    def reload(self) -> dict[str, Any]:
        """Carry what the file says now; orders of the moment end.

        Raises ConfigError, and then nothing has changed.
        """
        if self._reread is None:
            raise ConfigError("this daemon was not started from a file")
        self.read_ns = self._clock.wall_ns()
        try:
            fresh = self._reread()
            waiting = tuple(_waiting(self._config, fresh))
            members = self._universes.members
            wanted = [
                each for each in wanted_of(fresh, members) if each.config.name in self._sessions
            ]
            wanted = [each._replace(config=self._joined(each.config)) for each in wanted]
            for each in wanted:
                self._sessions[each.config.name].check(each)
            self._follow(fresh)
        except TickdError as error:
            self.reloads_refused += 1
            self.refused = str(error)
            raise
        self.refused, self.taken_ns, self.waiting = None, self.read_ns, waiting
        self._config = msgspec.structs.replace(
            self._config,
            plan=fresh.plan,
            subscriptions=fresh.subscriptions,
            universes=fresh.universes,
            risk=_with_limits(self._config.risk, fresh.risk),
        )
        self._universes.follow(fresh.universes)
        floor = self._throttle.floor
        self._throttle = self._new_throttle(self._config)
        self._throttle.floor = floor
        self.reloads += 1
        changes = {
            each.config.name: self._sessions[each.config.name].want(each, "reload")
            for each in wanted
        }
        return {"venues": _counted(changes), "wait_for_restart": list(waiting)}

    def swap(self, universe: str, symbols: tuple[str, ...]) -> bool:
        """Carry these members of `universe` instead; False: that breaks a limit."""
        venue = next((u.venue for u in self._config.universes if u.name == universe), "")
        session = self._sessions.get(venue)
        if session is None:
            return True
        wanted = session.carried.wanted
        members = {**wanted.universes, universe: symbols}
        try:
            session.want(wanted._replace(universes=members), f"universe {universe}")
        except ConfigError as error:
            log.error(  # noqa: TRY400 - the words say it
                "universe_refused", universe=universe, words=str(error), hint=error.hint
            )
            return False
        return True

    def _joined(self, fresh: VenueConfig) -> VenueConfig:
        """The running venue's configuration with what a reload may change."""
        running = self._sessions[fresh.name].config
        return msgspec.structs.replace(running, **{key: getattr(fresh, key) for key in LIVE_KEYS})

    # Orders ------------------------------------------------------------------------------------

    def commands(self) -> dict[str, Command]:
        """The control commands, by name."""
        return {
            "subscribe": self.subscribe,
            "unsubscribe": self.unsubscribe,
            "reload": self._reload_command,
        }

    async def subscribe(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Carry what `patterns` select, too, until the file is read again."""
        priority = request.get("priority")
        return self._order(request, adds=True, priority=priority)

    async def unsubscribe(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Do without what `patterns` select, until the file is read again."""
        return self._order(request, adds=False, priority=None)

    async def _reload_command(self, _: Mapping[str, object]) -> dict[str, Any]:
        return self.reload()

    def _order(
        self, request: Mapping[str, object], *, adds: bool, priority: object
    ) -> dict[str, Any]:
        patterns = list(_patterns(request.get("patterns")))
        if priority is not None and type(priority) is not int:
            raise ConfigError("priority must be a whole number")
        wanted: dict[str, Wanted] = {}
        for pattern in patterns:
            check_universe(pattern, self._config.universes)
            session = self._sessions.get(pattern.venue)
            if session is None:
                raise PatternError(
                    f"pattern {pattern}: this daemon records no venue {pattern.venue[:40]!r}",
                    hint=f"it records {', '.join(sorted(self._sessions)) or 'none'}",
                )
            before = wanted.get(pattern.venue, session.carried.wanted)
            own = before.config.priority if priority is None else priority
            assert isinstance(own, int)
            order = Order(adds, pattern, own)
            orders = (*(each for each in before.orders if each.pattern != pattern), order)
            if len(orders) > ORDERS_MAX:
                raise ConfigError(
                    f"{len(orders)} orders for {pattern.venue}, at most {ORDERS_MAX}",
                    hint="write them into the file and reload it",
                )
            wanted[pattern.venue] = before._replace(orders=orders)
        for venue, each in wanted.items():
            self._refuse_nothing(self._sessions[venue], each, patterns)
        cause = "subscribe" if adds else "unsubscribe"
        changes = {venue: self._sessions[venue].want(each, cause) for venue, each in wanted.items()}
        return {"venues": _counted(changes)}

    @staticmethod
    def _refuse_nothing(
        session: PlannedSession, wanted: Wanted, patterns: Sequence[Pattern]
    ) -> None:
        """Refuse what breaks a limit, and patterns that select nothing the venue lists."""
        session.check(wanted)
        listing = session.carried.listing
        for pattern in patterns:
            if pattern.venue != wanted.config.name or not pattern.is_glob or listing is None:
                continue
            if not any(pattern.matches(symbol) for symbol in listing.names):
                # The list may cover only what was asked for so far.
                if wanted.needs_listing and not session.carried.wanted.needs_listing:
                    continue
                raise PatternError(explain_nothing(pattern, listing.trading))


def _patterns(texts: object) -> Iterator[Pattern]:
    if not isinstance(texts, list) or not texts:
        raise PatternError("no pattern given", hint="venue:symbol@channel, as in okx:BTC-*@trade")
    for text in texts:
        pattern = parse(str(text))
        if pattern.excludes:
            raise PatternError(
                f"pattern {pattern}: an order excludes nothing", hint="use tickd unsubscribe"
            )
        yield pattern


def _counted(changes: Mapping[str, Change]) -> dict[str, dict[str, int]]:
    return {
        venue: {"added": len(change.added), "removed": len(change.removed)}
        for venue, change in changes.items()
    }


def _waiting(running: Config, fresh: Config) -> Iterator[str]:
    """What is different and waits for a restart, by key."""
    for name in Config.__struct_fields__:
        if name not in LIVE_SECTIONS and getattr(running, name) != getattr(fresh, name):
            yield name
    limits = _with_limits(running.risk, fresh.risk)
    for name in RiskConfig.__struct_fields__:
        if getattr(limits, name) != getattr(fresh.risk, name):
            yield f"risk.{name}"
    before = {venue.name: venue for venue in running.venues}
    after = {venue.name: venue for venue in fresh.venues}
    for name in sorted(before.keys() ^ after.keys()):
        yield f"venues {name}"
    for name in sorted(before.keys() & after.keys()):
        for key in VenueConfig.__struct_fields__:
            changed = getattr(before[name], key) != getattr(after[name], key)
            if changed and key not in LIVE_KEYS:
                yield f"venues {name}.{key}"


def _with_limits(running: RiskConfig, fresh: RiskConfig) -> RiskConfig:
    """The running table with the limits of another."""
    limits = {name: getattr(fresh, name) for name in LimitsConfig.__struct_fields__}
    return msgspec.structs.replace(running, **limits)
