"""The recorder's errors: what ClickHouse or the plan file answered, and what to do about it."""

from __future__ import annotations

from typing import Literal

from tickd.errors import Action, TickdError

__all__ = [
    "AccessRefusedError",
    "BlockRefusedError",
    "ClickHouseError",
    "Outcome",
    "PlanError",
    "QuarantineError",
    "RawLogError",
    "RepairError",
    "SchemaRefusedError",
    "Scope",
    "ServerBusyError",
    "ServerUnreachableError",
    "SpoolDamagedError",
]

Outcome = Literal["unknown", "refused"]
Scope = Literal["block", "table", "server"]


class ClickHouseError(TickdError):
    """ClickHouse did not do what was asked.

    code: ClickHouse's own number; None when the answer was not ClickHouse's, or none came.
    outcome: `unknown` = it may have been done all the same: the same bytes with the same token may
    be sent again, nothing else; `refused` = nothing has changed.
    retry_after_s: what the answer asked to wait, seconds.
    scope: what else would fail now: this `block`, every block of the `table`, the whole `server`.
    """

    action = Action.RETRY

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        hint: str | None = None,
        outcome: Outcome = "unknown",
        retry_after_s: float | None = None,
        scope: Scope = "server",
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.outcome: Outcome = outcome
        self.retry_after_s = retry_after_s
        self.scope: Scope = scope


class ServerUnreachableError(ClickHouseError):
    """No answer that says anything: send the same bytes with the same token again."""


class ServerBusyError(ClickHouseError):
    """The server asks for less: wait longer, then the same bytes again."""


class SchemaRefusedError(ClickHouseError):
    """The table is not as this build expects it: every block fails until an operator acts."""


class AccessRefusedError(ClickHouseError):
    """Wrong user, password, rights or a proxy's limit: it waits for an operator."""


class BlockRefusedError(ClickHouseError):
    """These bytes will not be accepted: they go to quarantine.

    A body that was damaged on the way is refused in the same words, so one more attempt comes
    first.
    """

    action = Action.SKIP

    def __init__(self, message: str, *, code: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint, outcome="refused", scope="block")


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


class RepairError(TickdError):
    """A range could not be made equal to the raw log; it stays in the ledger."""

    action = Action.FATAL
