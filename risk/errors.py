"""The errors of the stage: what a broker could not do, and whether something may have left."""

from __future__ import annotations

from tickd.errors import Action, TickdError

__all__ = [
    "ArmError",
    "BrokerError",
    "LatchError",
    "LimitsError",
    "NotSentError",
    "OutboxError",
]


class BrokerError(TickdError):
    """A venue's order entry did not do what was asked; whether it has an effect is not known."""

    action = Action.RETRY


class NotSentError(BrokerError):
    """Proof that nothing left this process: the order may be forgotten."""


class OutboxError(TickdError):
    """The outbox takes no record: no new order may be sent, cancels still go out."""

    action = Action.FATAL


class LimitsError(TickdError):
    """Limits contradict each other, or loosen while armed; the message lists every violation."""

    action = Action.FATAL


class LatchError(TickdError):
    """The latch file does not say that orders may leave; halted."""

    action = Action.FATAL


class ArmError(TickdError):
    """Arming was refused; nothing changed. The message lists every reason."""

    action = Action.FATAL
