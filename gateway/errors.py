"""The gateway's errors: what went wrong with a venue and what the session is to do about it."""

from __future__ import annotations

from tickd.errors import Action, ConfigError, TickdError

__all__ = [
    "ConnectFailedError",
    "LoginFullError",
    "MalformedReplyError",
    "PatternError",
    "PlanRefusedError",
    "QueryFailedError",
    "RateLimitedError",
    "RestFailedError",
    "RestRefusedError",
    "SubscribeRefusedError",
    "SubscribeTimeoutError",
    "UnknownStreamError",
    "UnknownVenueError",
    "only_tickd_error",
]

# Vendor text is data: what a venue says is shortened and escaped before it enters a message.
VENDOR_TEXT_CHARS_MAX = 200


def vendor_text(raw: bytes | str) -> str:
    """The first 200 characters of what a venue said, with control characters escaped."""
    head = raw[: 4 * VENDOR_TEXT_CHARS_MAX]
    text = head.decode("utf-8", "replace") if isinstance(head, bytes) else head
    return ascii(text[:VENDOR_TEXT_CHARS_MAX])[1:-1]


class PatternError(ConfigError):
    """A subscription pattern or a shard that cannot be read."""


class PlanRefusedError(ConfigError):
    """More is wanted than a venue's limits allow; the hint is the nearest legal plan.

    left_out: names of the streams that are not in that plan.
    """

    def __init__(self, message: str, *, venue: str, hint: str, left_out: tuple[str, ...]) -> None:
        super().__init__(message, venue=venue, hint=hint)
        self.left_out = left_out


class UnknownVenueError(ConfigError):
    """The configuration names a venue that is not registered."""


class UnknownStreamError(ConfigError):
    """A channel or stream that the venue does not have, or whose endpoint is not known."""


class ConnectFailedError(TickdError):
    """No WebSocket connection: refused, timed out, or the upgrade was declined."""

    action = Action.RECONNECT

    def __init__(self, message: str, *, venue: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message, venue=venue)
        self.retry_after_seconds = retry_after_seconds


class SubscribeRefusedError(TickdError):
    """The venue declined every subscription of a connection; the message carries its words."""

    action = Action.RECONNECT


class SubscribeTimeoutError(TickdError):
    """The venue did not acknowledge the subscriptions in time."""

    action = Action.RECONNECT


class QueryFailedError(TickdError):
    """A call of a broker's SDK did not succeed: refused, timed out, connection lost."""

    action = Action.RETRY


class LoginFullError(QueryFailedError):
    """The broker takes no more subscriptions on this login."""


class RestFailedError(TickdError):
    """No usable reply: timed out, connection lost, server error."""

    action = Action.RETRY


class RateLimitedError(RestFailedError):
    """HTTP 429 or 418: nothing may be asked before `retry_after_seconds` are over."""

    def __init__(
        self, message: str, *, venue: str, status: int, retry_after_seconds: float
    ) -> None:
        super().__init__(message, venue=venue)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class RestRefusedError(TickdError):
    """Another 4xx: asking the same again cannot help."""

    action = Action.SKIP

    def __init__(self, message: str, *, venue: str, status: int) -> None:
        super().__init__(message, venue=venue)
        self.status = status


class MalformedReplyError(TickdError):
    """A REST reply that is not what the venue's documentation says."""

    action = Action.SKIP


def only_tickd_error(group: BaseExceptionGroup[BaseException]) -> TickdError | None:
    """The TickdError in a group that holds nothing else."""
    matching, rest = group.split(TickdError)
    if matching is None or rest is not None:
        return None
    error: BaseException = matching
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TickdError)
    return error
