"""`tickd check`: validate a config file and print the resolved result. Connects to nothing."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from gateway.callbacks.session import check as check_callback
from gateway.subscriptions.carried import Carried
from gateway.venues import registry
from tickd.app.backends import decide
from tickd.app.config import load_config
from tickd.app.planning import wanted_of
from tickd.app.signals import require_native
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
    for wanted in wanted_of(resolved):
        name = wanted.config.name
        if registry.is_callback(name):
            check_callback(registry.find_callback(name, VENUES), wanted.config)
        # As far as symbols are named; what patterns select, `tickd plan` asks the venue.
        Carried(registry.find_any(name, VENUES), wanted)
    backends = decide()
    require_native(resolved.indicators, backends)
    sys.stdout.write(f"# tickd {VERSION}, native {BUILD_PROFILE} build\n")
    for choice in backends:
        sys.stdout.write(f"# {choice.what}: {choice.name}, {choice.reason}\n")
    sys.stdout.write(dump(resolved))
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
