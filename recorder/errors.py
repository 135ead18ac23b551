"""The recorder's errors: what ClickHouse or the plan file answered, and what to do about it."""

from __future__ import annotations

from tickd.errors import Action, TickdError

__all__ = [
    "AccessRefusedError",
    "BlockRefusedError",
    "ClickHouseError",
    "PlanError",
    "QuarantineError",
    "RawLogError",
    "SchemaRefusedError",
    "ServerBusyError",
    "ServerUnreachableError",
    "SpoolDamagedError",
]


class ClickHouseError(TickdError):
    """ClickHouse did not do what was asked; `code` is its own number, None when no answer came."""

    action = Action.RETRY

    def __init__(self, message: str, *, code: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ServerUnreachableError(ClickHouseError):
    """The outcome is open: send the same bytes with the same token again."""


class ServerBusyError(ClickHouseError):
    """The server asks for less: wait longer, then the same bytes again."""


class SchemaRefusedError(ClickHouseError):
    """The table is not as this build expects it: every block fails until an operator acts."""


class AccessRefusedError(ClickHouseError):
    """Wrong user, password or rights: it waits for an operator."""


class BlockRefusedError(ClickHouseError):
    """These bytes will never be accepted: they go to quarantine."""

    action = Action.SKIP


class PlanError(TickdError):
    """The plan file is damaged where no crash can have damaged it."""

    action = Action.FATAL


class RawLogError(TickdError):
    """The raw log cannot be opened; without it nothing is recorded."""

    action = Action.FATAL


class SpoolDamagedError(TickdError):
    """A spooled block's bytes are not those that were written; the raw log gives it again."""

    action = Action.SKIP


class QuarantineError(TickdError):
    """There is no such block in quarantine, or it cannot be read."""

    action = Action.FATAL
