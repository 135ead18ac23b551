"""The indicators' backend: native when the module is there and equals its twin, else numpy.

Equal means equal bytes: every indicator's values and snapshot after a built-in corpus. It holds no
indicator.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tickd.backend import Choice, Name, choose
from tickd.errors import TickdError

_MODULES = {"native": "tickd.native", "numpy": "strategy_runner.indicators.twin.names"}


def load(backend: Name) -> ModuleType:
    """The module with one backend's indicators: `load("numpy").Ofi(...)`.

    Raises ImportError, or TickdError when the native module does not belong to this version.
    """
    return import_module(_MODULES[backend])


def find_fault() -> str | None:
    """Why the native indicators cannot be used, or None."""
    try:
        native = load("native")
    except ImportError as error:
        return f"the module is missing: {error}"
    except TickdError as error:
        return str(error)
    parity = import_module("strategy_runner.indicators.parity")
    differing = parity.differing(native, load("numpy"))
    return f"differs from the twin: {', '.join(differing)}" if differing else None


CHOICE: Choice = choose("indicators", find_fault)
