"""The configuration of the whole program: the stages' own structs under one roof.

It composes and checks relations between stages; each stage explains its own keys in
`<stage>/config.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gateway.config import PlanConfig, SubscriptionConfig, UniverseConfig, VenueConfig
from gateway.subscriptions.patterns import parse
from gateway.subscriptions.shard import Shard
from gateway.subscriptions.wishes import check_patterns
from recorder.config import (
    ClickHouseConfig,
    DiskGuardConfig,
    RawLogConfig,
    RepairConfig,
    SinkConfig,
)
from recorder.probes.config import PostgresConfig
from recorder.ship.config import ShipConfig
from recorder.sinks.registry import AnySinkSection, name_of
from risk.brokers.registry import AnyAccountSection
from risk.config import RiskConfig
from strategy_runner.config import StrategyConfig
from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.wants import check_groups
from tickd.app.http_config import HttpConfig
from tickd.app.logs import LogConfig
from tickd.app.tracing_config import TracingConfig
from tickd.config import load

NODE_MAX = 65_535
VENUES_WAIT_SECONDS_MAX = 3600
# Each has metrics of its own.
UNIVERSES_MAX = 32


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this daemon is.

    id: stands in every row; two daemons that share tables need different ones. loop_core: the
    number of a core that the event loop alone gets; None: the system decides. venues_wait_seconds:
    how long a supervisor is not told READY because venues are not live yet.
    """

    id: int = 1
    state_dir: str = "data"
    shutdown_timeout_ms: int = 20_000
    loop_core: int | None = None
    venues_wait_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.id <= NODE_MAX:
            raise ValueError(f"node.id is {self.id}, 0 to {NODE_MAX} possible")
        if self.shutdown_timeout_ms < 1:
            raise ValueError("node.shutdown_timeout_ms must be positive")
        if not 0 <= self.venues_wait_seconds <= VENUES_WAIT_SECONDS_MAX:
            raise ValueError(
                f"node.venues_wait_seconds is {self.venues_wait_seconds}, "
                f"0 to {VENUES_WAIT_SECONDS_MAX} possible"
            )


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A daemon. `clickhouse.url = "embedded"` starts the embedded server."""

    node: NodeConfig = NodeConfig()
    raw_log: RawLogConfig = RawLogConfig()
    clickhouse: ClickHouseConfig = ClickHouseConfig()
    sink: SinkConfig = SinkConfig()
    disk_guard: DiskGuardConfig = DiskGuardConfig()
    ship: ShipConfig = ShipConfig()
    repair: RepairConfig = RepairConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()
    tracing: TracingConfig = TracingConfig()
    postgres: PostgresConfig = PostgresConfig()
    plan: PlanConfig = PlanConfig()
    risk: RiskConfig = RiskConfig()
    venues: tuple[VenueConfig, ...] = ()
    subscriptions: tuple[SubscriptionConfig, ...] = ()
    universes: tuple[UniverseConfig, ...] = ()
    sinks: tuple[AnySinkSection, ...] = ()
    accounts: tuple[AnyAccountSection, ...] = ()
    strategies: tuple[StrategyConfig, ...] = ()
    indicators: tuple[IndicatorConfig, ...] = ()

    def __post_init__(self) -> None:
        names = [venue.name for venue in self.venues]
        if len(set(names)) != len(names):
            raise ValueError("a venue is listed twice; put its symbols into one [[venues]] table")
        if len({name_of(sink) for sink in self.sinks}) != len(self.sinks):
            raise ValueError("a sink is listed twice; there is one of each")
        for table in ("universes", "subscriptions", "indicators", "strategies", "accounts"):
            if twice := _twice(each.name for each in getattr(self, table)):
                raise ValueError(f"two [[{table}]] have the same name: {twice}")
        check_groups(self.strategies)
        check_patterns(self.subscriptions, names, self.universes)
        self._check_universes(names)
        self._check_symbols()
        self._check_accounts()

    def _check_universes(self, names: list[str]) -> None:
        if len(self.universes) > UNIVERSES_MAX:
            raise ValueError(f"{len(self.universes)} [[universes]], at most {UNIVERSES_MAX}")
        for universe in self.universes:
            if universe.venue not in names:
                raise ValueError(
                    f"universe {universe.name}: venue {universe.venue} has no [[venues]] table"
                )

    def _check_symbols(self) -> None:
        selected = {parse(text).venue for group in self.subscriptions for text in group.patterns}
        for venue in self.venues:
            if not venue.symbols and venue.name not in selected:
                raise ValueError(
                    f"venue {venue.name}: no symbols, and no pattern of [[subscriptions]] names it"
                )

    def _check_accounts(self) -> None:
        """A name with a slip in it would be a limit that never applies."""
        accounts = [each.name for each in self.accounts]
        strategies = [each.name for each in self.strategies]
        venues = [each.name for each in self.venues]
        for strategy in self.strategies:
            _check_name(f"strategy {strategy.name}", "accounts", strategy.account, accounts)
        for number, row in enumerate(self.risk.limits):
            where = f"risk.limits[{number}]"
            _check_name(where, "accounts", row.account, accounts)
            _check_name(where, "strategies", row.strategy, strategies)
            _check_name(where, "venues", row.instrument.partition(":")[0], venues)
        for number, venue in enumerate(self.risk.venues):
            _check_name(f"risk.venues[{number}]", "venues", venue.venue, venues)
        for label in self.risk.restricted:
            _check_name(f"risk.restricted {label}", "venues", label.partition(":")[0], venues)

    @property
    def state_dir(self) -> Path:
        return Path(self.node.state_dir)


def _check_name(where: str, what: str, name: str, known: list[str]) -> None:
    if name and name not in known:
        there = ", ".join(known) or "none"
        raise ValueError(f"{where}: no [[{what}]] table is called {name!r}; there are: {there}")


def configured_instruments(config: Config) -> set[str]:
    """`venue:symbol` of every symbol that the file names by itself, without a glob or a ranking."""
    named = {f"{venue.name}:{symbol}" for venue in config.venues for symbol in venue.symbols}
    patterns = (parse(text) for group in config.subscriptions for text in group.patterns)
    named |= {f"{e.venue}:{e.symbol}" for e in patterns if e.exact and not e.excludes}
    named |= {row.instrument for row in config.risk.limits if row.instrument}
    # Accounts say only the symbol; which venue's it is, their broker knows.
    symbols = {symbol for each in config.accounts for symbol in getattr(each, "symbols", ())}
    named |= {f"{venue.name}:{symbol}" for venue in config.venues for symbol in symbols}
    return named | set(config.risk.restricted)


def _twice(names: Iterable[str]) -> str:
    """Return the first name that comes again, else nothing."""
    counts = Counter(names)
    return next((name for name, count in counts.items() if count > 1), "")


def load_config(path: Path) -> Config:
    """Return the configuration of a file with environment overrides. Raises ConfigError."""
    return load(path, Config, os.environ)


def load_shard(path: Path, shard: str | None) -> Config:
    """`load_config` with `plan.shard` from the command line. Raises ConfigError."""
    config = load_config(path)
    if shard is None:
        return config
    Shard.parse(shard)
    return msgspec.structs.replace(config, plan=msgspec.structs.replace(config.plan, shard=shard))
