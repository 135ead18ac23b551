"""What goes wrong at the stand-in, and when: orders given one by one, or drawn from a seed.

Pure. A fault is taken by the first request that it fits; the same seed and the same requests give
the same faults.
"""

from __future__ import annotations

import random
from typing import Final, Literal

import msgspec

__all__ = ["KINDS", "Fault", "Faults"]

Kind = Literal[
    "ack_lost",  # done, its events are sent, no answer
    "silent",  # done, and nothing is said
    "event_lost",  # done and answered, the stream says nothing
    "ack_late",  # done, the answer comes after `ms`
    "fill_before_ack",  # done and half filled, the answer comes last
    "phantom_new",  # done and filled, then a NEW once more
    "reject",  # refused
    "disconnect_after_write",  # done, the connections are cut before any word
    "disconnect_before",  # cut, never done
    "duplicate",  # every event twice
    "reorder",  # events in the opposite order, the answer first
    "status_5xx",  # done, the answer is a 503
    "unknown_status",  # done, the answer is a 400 that says "execution status unknown"
    "garbage",  # done, the answer is broken JSON
    "unreadable_event",  # done, its events have numbers that are none
    "rest_5xx",  # REST: 503
    "rest_timeout",  # REST: the answer comes after `ms`
    "rest_429",  # REST: limited for a second
    "unfinished_list",  # REST: the body ends in the middle
]
KINDS: Final[tuple[str, ...]] = Kind.__args__  # type: ignore[attr-defined]
# What is drawn when nobody says: all that leaves an order's fate to be found out.
DRAWN: Final[tuple[Kind, ...]] = (
    "ack_lost",
    "silent",
    "ack_late",
    "fill_before_ack",
    "phantom_new",
    "reject",
    "disconnect_after_write",
    "disconnect_before",
    "duplicate",
    "reorder",
    "status_5xx",
    "unknown_status",
)


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One kind for the next `count` requests whose method or path ends with `on`."""

    kind: Kind
    on: str = "order.place"
    count: int = 1
    ms: int = 100


class Faults:
    """The script, and the dice behind it."""

    def __init__(self, seed: int, share: float) -> None:
        self._dice: Final = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._share: Final = share
        self._script: list[Fault] = []
        self.taken: list[str] = []

    def add(self, fault: Fault) -> None:
        self._script.append(fault)

    def clear(self) -> None:
        self._script.clear()

    def take(self, request: str) -> Fault | None:
        """The fault that meets a request by method (`order.place`) or path (`/openOrders`)."""
        for fault in self._script:
            if request.endswith(fault.on):
                fault.count -= 1
                if fault.count <= 0:
                    self._script.remove(fault)
                self.taken.append(f"{fault.kind} {request}")
                return fault
        if self._share and request.startswith("order.") and self._dice.random() < self._share:
            kind = self._dice.choice(DRAWN)
            self.taken.append(f"{kind} {request}")
            return Fault(kind, on=request)
        return None
