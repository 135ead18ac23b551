"""What can go wrong between the files here and the objects there, by kind.

The kind is a label of metrics and what the shipper decides by; the words are for people and hold no
credentials.
"""

from __future__ import annotations

from typing import Literal

from tickd.errors import Action, TickdError

__all__ = ["Kind", "ObjectExistsError", "ShipError"]

Kind = Literal[
    "changed",  # the file is not what it was when its hash was taken
    "corrupted",  # the object just written does not hold the file's bytes
    "damaged",  # the file itself is not what the manifest says
    "different",  # an object of this name is there, with other bytes
    "manifest",  # the manifest did not take the line
    "missing",  # no such object, no such file
    "refused",  # credentials, rights, settings
    "stalled",  # no answer in time
    "stopped",  # asked to end
    "unreachable",  # anything else that the store or the network did
]


class ShipError(TickdError):
    """One file was not shipped, verified, removed or restored; what is next is not affected."""

    action = Action.RETRY

    def __init__(self, message: str, *, kind: Kind, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.kind: Kind = kind


class ObjectExistsError(ShipError):
    """The store has an object of this name; nothing was written."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} exists already", kind="different")
