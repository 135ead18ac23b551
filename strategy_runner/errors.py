"""What can be wrong with a strategy; each is fatal for that strategy alone."""

from __future__ import annotations

from tickd.errors import Action, TickdError

__all__ = ["StrategyError"]


class StrategyError(TickdError):
    """A strategy cannot be loaded, configured or go on."""

    action = Action.FATAL
