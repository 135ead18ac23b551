"""Decides at the start which implementation computes what has two: native or plain numpy.

The stage's own package checks and chooses; this asks it early, so that children inherit the
decision. It reads no environment, computes nothing and shows nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tickd.backend import Choice, choices

__all__ = ["decide", "described"]

# Importing one decides: a bad TICKD_NATIVE_BACKEND is then an error of the command, not of Python.
_PACKAGES = ("strategy_runner.indicators.backend",)


def decide() -> tuple[Choice, ...]:
    """Return every decision of this process, made now at the latest.

    Raises TickdError(FATAL): the variable is nonsense, or demands what cannot be had.
    """
    for package in _PACKAGES:
        import_module(package)
    return choices()


def described(choice: Choice) -> dict[str, Any]:
    """A decision as the status has it."""
    return {"what": choice.what, "backend": choice.name, "reason": choice.reason}
