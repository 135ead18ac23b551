"""The exporter's errors: what was asked for cannot be had, or a file cannot be written."""

from __future__ import annotations

from tickd.errors import Action, TickdError

__all__ = ["ExportError", "RefusedRowsError"]


class ExportError(TickdError):
    """The export cannot begin or go on; what was written so far has been removed."""

    action = Action.FATAL


class RefusedRowsError(ExportError):
    """Some recorded rows cannot be said in this format without changing them."""
