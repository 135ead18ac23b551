"""What a halt is called, for people. Imports nothing: a status line must not load the gate."""

from __future__ import annotations

from typing import Final

__all__ = ["named"]

_SIDES: Final = {"": "", "B": ", buys", "A": ", sells"}


def named(scope: str, key: str, side: str = "") -> str:
    """What is halted or armed, for people."""
    return f"{scope} {key}".rstrip() + _SIDES[side]
