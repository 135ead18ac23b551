"""Errors of the embedded ClickHouse: what starting or stopping the child may raise."""

from __future__ import annotations

from tickd.errors import Action, TickdError

__all__ = ["EmbeddedError", "EmbeddedMissingError"]


class EmbeddedError(TickdError):
    """The child could not be started; the message says at which step, the hint what to do."""

    action = Action.FATAL


class EmbeddedMissingError(EmbeddedError):
    """The engine is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the embedded ClickHouse needs the package chdb, which is not installed",
            hint="install the extra tickd[embedded], or set clickhouse.url to your own server",
        )
