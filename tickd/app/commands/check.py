"""`tickd check`: validate a config file and print the resolved result.

It connects to nothing and starts nothing; the modules of strategies are imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.callbacks.session import check as check_callback
from gateway.subscriptions.carried import Carried
from gateway.venues import registry
from strategy_runner.errors import StrategyError
from strategy_runner.host import check_loads
from tickd.app.backends import decide
from tickd.app.config import Config, load_config
from tickd.app.door_metrics import insecure_of
from tickd.app.http import context_of
from tickd.app.planning import wanted_of
from tickd.app.requirements import missing, require_everything
from tickd.app.signals import require_native
from tickd.config import dump
from tickd.errors import ConfigError, TickdError
from tickd.native import BUILD_PROFILE, VENUES, VERSION
from tickd.topics import Pattern

STAGES = ("tickd", "gateway", "recorder", "strategy_runner", "risk", "backtest")


def check(config: Path, *, startable: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Validate a config file and print the resolved result.

    The classes of [[strategies]] are imported and their parameters looked at; none is started.
    Modules of extras that it needs must be installed, and keys of accounts readable.

    Args:
        config: the TOML file
        startable: only warn of what the daemon can record without: a missing extra, an account's
            key

    Examples:
        tickd check tickd.toml
        tickd check --startable tickd.toml

    """
    resolved = load_config(config)
    check_stages()
    for wanted in wanted_of(resolved):
        name = wanted.config.name
        if registry.is_callback(name):
            check_callback(registry.find_callback(name, VENUES), wanted.config)
        # As far as symbols are named; what patterns select, `tickd plan` asks the venue.
        Carried(registry.find_any(name, VENUES), wanted)
    backends = decide()
    require_native(resolved.indicators, backends)
    check_strategies(config, resolved)
    context_of(resolved.http)  # its certificate can be used
    if startable:
        warn_of_missing(resolved)
    else:
        require_everything(resolved)
    sys.stdout.write(f"# tickd {VERSION}, native {BUILD_PROFILE} build\n")
    for choice in backends:
        sys.stdout.write(f"# {choice.what}: {choice.name}, {choice.reason}\n")
    for note in idle_patterns(resolved):
        sys.stdout.write(f"# note: {note}\n")
    for (what,), is_insecure in insecure_of(resolved).items():
        if is_insecure:
            sys.stdout.write(f"# warning: {what} is insecure, see docs/security.md\n")
    sys.stdout.write(dump(resolved))
    return 0


def warn_of_missing(config: Config) -> None:
    """Say on stderr what the daemon will do without."""
    for each in missing(config):
        remedy = f"; {each.remedy}" if each.remedy else ""
        sys.stderr.write(f"warning: {each.key}: {each.words}{remedy}\n")


def idle_patterns(config: Config) -> list[str]:
    """Patterns of strategies and indicators that name a venue which is not configured."""
    venues = {venue.name for venue in config.venues} | {"node"}  # the clock's
    users = [(f"strategy {each.name}", each.topics) for each in config.strategies]
    users += [(f"indicator {each.name}", each.topics) for each in config.indicators]
    return [
        f"{user}: {text} never comes, there is no [[venues]] named {pattern.venue}"
        for user, topics in users
        for text in topics
        if (pattern := Pattern.parse(text)).venue not in ("*", *venues)
    ]


def check_strategies(path: Path, config: Config) -> None:
    """Raises ConfigError: a strategy has no class, or parameters that the class does not take."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # where a strategy's process looks, too
    for strategy in config.strategies:
        try:
            check_loads(strategy)
        except StrategyError as error:
            raise ConfigError(f"{path}: {error}") from error


def check_stages() -> None:
    """Prove that the generic names `gateway`, `risk` … are ours. Raises TickdError(FATAL)."""
    for name in STAGES:
        module = import_module(name)
        if getattr(module, "__tickd_stage__", None) is not True:
            raise TickdError(
                f"package {name!r} at {module.__file__} is not tickd's",
                hint="tickd is an application: give it a virtual environment of its own",
            )
