"""The router's keys: how durable an intent is, and how long the venue may leave us without answer.

Frozen values, checked in relation to each other. It reads no file; `tickd/app` composes it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["RouterConfig"]

# Room for an order that is over, twice what one with a few executions takes; and for open ones.
DONE_BYTES: Final = 512
OUTBOX_BYTES_MIN: Final = 1 << 16


class RouterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Defaults for a venue that answers within milliseconds and may take seconds.

    durability: an intent survives the end of the `process`, or a power cut (`disk`), before it is
    written to the venue.
    """

    durability: Literal["process", "disk"] = "disk"
    # No answer for this long: the order is UNKNOWN.
    ack_timeout_ms: int = 5_000
    # How often the venue is asked while something is UNKNOWN, and while nothing is.
    resolve_interval_ms: int = 1_000
    reconcile_interval_ms: int = 30_000
    snapshot_timeout_ms: int = 10_000
    # "Not found" counts after two healthy snapshots at least this far apart.
    absence_ms_min: int = 2_000
    # An order that is UNKNOWN for longer halts its instrument.
    unknown_age_ms_max: int = 30_000
    # Cancel-all: how long in all, and between one list of the venue and the next.
    cancel_all_timeout_ms: int = 10_000
    cancel_all_interval_ms: int = 250
    # Orders that are over and still known, for late fills.
    done_max: int = 4_096
    # The size of the outbox's file; it is written anew, shorter, when three quarters are full.
    outbox_bytes_max: int = 16 << 20

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        if self.unknown_age_ms_max < self.absence_ms_min + self.resolve_interval_ms:
            raise ValueError(
                "unknown_age_ms_max leaves no time for two snapshots: it must be at least"
                " absence_ms_min + resolve_interval_ms"
            )
        if self.cancel_all_timeout_ms < self.cancel_all_interval_ms:
            raise ValueError("cancel_all_timeout_ms is less than cancel_all_interval_ms")
        if self.outbox_bytes_max < self.done_max * DONE_BYTES + OUTBOX_BYTES_MIN:
            raise ValueError(
                f"outbox_bytes_max must be at least {OUTBOX_BYTES_MIN} + {DONE_BYTES} per done_max"
            )
