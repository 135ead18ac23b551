"""From the name of a class to the class, and from its parameters to its typed config.

It imports code of the operator's; what that code raises is the caller's to contain.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from strategy_runner.errors import StrategyError
from strategy_runner.strategy import Strategy

__all__ = ["config_of", "strategy_class"]


def strategy_class(name: str) -> type[Strategy]:
    """Return the class of `module:Class` or `path/to/file.py:Class`.

    Raises StrategyError where there is none, and whatever importing the module raises.
    """
    place, _, attribute = name.rpartition(":")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    found = getattr(module, attribute, None)
    if found is None:
        raise StrategyError(f"{place} has no {attribute}")
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise StrategyError(f"{name} is no subclass of strategy_runner.strategy.Strategy")
    return found


def config_of(strategy: type[Strategy], params: dict[str, Any]) -> Strategy.Config:
    """Return the strategy's own config. Raises StrategyError: unknown key, wrong type."""
    try:
        return msgspec.convert(params, strategy.Config)
    except msgspec.ValidationError as error:
        known = ", ".join(strategy.Config.__struct_fields__) or "none"
        raise StrategyError(
            f"params of {strategy.__name__}: {error}", hint=f"its parameters: {known}"
        ) from error


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise StrategyError(
            f"no module {name}", hint="install it, set PYTHONPATH, or name a file: file.py:Class"
        ) from error


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise StrategyError(f"no file {path}")
    # Its own name, so that two files of the same name do not meet.
    name = f"tickd_strategy_{path.resolve().as_posix().encode().hex()}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StrategyError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
