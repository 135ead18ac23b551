"""Which of two equal implementations is used, native or numpy: decided once per process tree.

`TICKD_NATIVE_BACKEND` says `auto` (the default), `native` or `numpy`. It is read here, when a
package with a twin is imported, because that may happen in a notebook without any composition root.
Children inherit what was decided, so that a fleet of strategies neither checks again nor disagrees.
It computes nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, NamedTuple, cast

from tickd.errors import Action, TickdError

VARIABLE = "TICKD_NATIVE_BACKEND"
_DECIDED = "TICKD_BACKEND_DECIDED_"

Name = Literal["native", "numpy"]


class Choice(NamedTuple):
    """What is used, and why."""

    what: str
    name: Name
    reason: str


_choices: dict[str, Choice] = {}


def choices() -> tuple[Choice, ...]:
    """Every decision of this process, for logs and `tickd status`."""
    return tuple(_choices.values())


def choose(what: str, find_fault: Callable[[], str | None]) -> Choice:
    """Decide which backend `what` uses.

    `find_fault` says why the native one cannot be used, or None; it is asked at most once in a tree
    of processes. Raises TickdError (FATAL) when `native` is demanded and cannot be had.
    """
    if what not in _choices:
        _choices[what] = _decide(what, find_fault)
    return _choices[what]


def _decide(what: str, find_fault: Callable[[], str | None]) -> Choice:
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted not in {"auto", "native", "numpy"}:
        raise TickdError(
            f"{VARIABLE} is {wanted!r}", action=Action.FATAL, hint="auto, native or numpy"
        )
    if wanted == "numpy":
        return Choice(what, "numpy", f"{VARIABLE}=numpy")
    decided = os.environ.get(_DECIDED + what.upper())
    if wanted == "auto" and decided in {"native", "numpy"}:
        return Choice(what, cast("Name", decided), "decided by the parent process")
    fault = find_fault()
    if fault is not None and wanted == "native":
        raise TickdError(
            f"the native {what} cannot be used: {fault}",
            action=Action.FATAL,
            hint=f"build it (make setup), or set {VARIABLE}=auto",
        )
    if wanted == "native":
        return Choice(what, "native", f"{VARIABLE}=native")
    name: Name = "native" if fault is None else "numpy"
    os.environ[_DECIDED + what.upper()] = name
    return Choice(what, name, fault or "equal to the twin on the built-in corpus")
