"""What the kill switch cannot know and the wiring gives it: how to cancel, whom to ask.

Shapes and the answers of a daemon without accounts; no behaviour.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from risk.latch import HaltedSide, Scope

__all__ = ["Hooks"]


async def _none_left() -> int:
    return 0


async def _none_left_in(_scope: Scope, _key: str, _side: HaltedSide) -> int:
    return 0


def _set_nothing(
    _scope: Scope,
    _key: str,
    _halted: bool,  # noqa: FBT001 - a hook
    _side: HaltedSide,
) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the switch cannot know. None of them may block; each default is that of no accounts."""

    # A control record into the raw log.
    record: Callable[[dict[str, object]], object]
    # Cancel every open order; how many are left. Raises TickdError: it could not be asked.
    cancel_all: Callable[[], Awaitable[int]] = _none_left
    # The same for one venue, account, strategy or instrument, or for one side.
    cancel_scope: Callable[[Scope, str, HaltedSide], Awaitable[int]] = _none_left_in
    # Why a scope may not be armed yet, a sentence each: unknown orders, stale data, reconciliation.
    blockers: Callable[[Scope, str], list[str]] = lambda _scope, _key: []
    open_orders: Callable[[], int] = int
    # Strategies that the gate stopped by itself, for repeated executions.
    stopped: Callable[[], list[str]] = list
    # Halt a scope, or a side of it, at the gate, or lift it.
    set_scope: Callable[[Scope, str, bool, HaltedSide], None] = _set_nothing
    # Every instrument that can be halted by its name, beside those of the configuration.
    instruments: Callable[[], Collection[str]] = tuple
