"""tickd's errors: each carries what the shell must do about it.

The shell matches on `action`; it never parses messages. Stage errors subclass TickdError in
`<stage>/errors.py`.
"""

from __future__ import annotations

from enum import Enum


class Action(Enum):
    """What whoever catches the error is to do."""

    RETRY = "retry"
    RECONNECT = "reconnect"
    RESYNC = "resync"
    SKIP = "skip"
    FATAL = "fatal"


class TickdError(Exception):
    """An expected failure: `message` says what and where, `hint` what to do next."""

    action: Action = Action.FATAL

    def __init__(
        self,
        message: str,
        *,
        action: Action | None = None,
        venue: str | None = None,
        instrument_id: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        if action is not None:
            self.action = action
        self.venue = venue
        self.instrument_id = instrument_id
        self.hint = hint


class ConfigError(TickdError):
    """The configuration is refused; the process ends with code 2."""
