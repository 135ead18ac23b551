"""`tickd check`: validate a config file and print the resolved result. Connects to nothing."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from gateway.callbacks.session import check as check_callback
from gateway.plan import plan, streams_of
from gateway.venues import registry
from tickd.app.config import load_config
from tickd.config import dump
from tickd.errors import TickdError
from tickd.native import BUILD_PROFILE, VENUES, VERSION

STAGES = ("tickd", "gateway", "recorder", "strategy_runner", "risk", "backtest")


def check(config: Path) -> int:
    """Validate a config file and print the resolved result.

    Args:
        config: the TOML file

    Example:
        tickd check tickd.toml

    """
    resolved = load_config(config)
    check_stages()
    for venue_config in resolved.venues:
        if registry.is_callback(venue_config.name):
            check_callback(registry.find_callback(venue_config.name, VENUES), venue_config)
            continue
        venue = registry.find(venue_config.name, VENUES)
        plan(venue, venue_config, streams_of(venue, venue_config, venue_config.symbols))
    sys.stdout.write(f"# tickd {VERSION}, native {BUILD_PROFILE} build\n{dump(resolved)}")
    return 0


def check_stages() -> None:
    """Prove that the generic names `gateway`, `risk` … are ours. Raises TickdError(FATAL)."""
    for name in STAGES:
        module = import_module(name)
        if getattr(module, "__tickd_stage__", None) is not True:
            raise TickdError(
                f"package {name!r} at {module.__file__} is not tickd's",
                hint="tickd is an application: give it a virtual environment of its own",
            )
