"""The event: 64 bytes, the same in Rust, numpy and on the bus.

This page mirrors `native/core/src/event.rs`; tests pin the two to each other. It reads events, it
makes none.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
import numpy.typing as npt

from tickd.sentinels import ID_UNDEF as ID_UNDEF  # noqa: PLC0414 - given on
from tickd.sentinels import PRICE_UNDEF as PRICE_UNDEF  # noqa: PLC0414 - given on
from tickd.sentinels import SIZE_UNDEF as SIZE_UNDEF  # noqa: PLC0414 - given on
from tickd.sentinels import TS_UNDEF as TS_UNDEF  # noqa: PLC0414 - given on

EVENT_BYTES: Final = 64
SEQ_INDEX_BITS: Final = 16
SEQ_INDEX_MAX: Final = (1 << SEQ_INDEX_BITS) - 1

EVENT: Final = np.dtype(
    [
        ("ts_event", "<i8"),
        ("ts_recv", "<i8"),
        ("seq", "<u8"),
        ("id", "<u8"),
        ("price", "<i8"),
        ("size", "<i8"),
        ("aux", "<i8"),
        ("instrument", "<u4"),
        ("flags", "<u2"),
        ("kind", "u1"),
        ("side", "u1"),
    ],
)

# A price level of a book: what `L2Book.rows` gives.
LEVEL: Final = np.dtype([("price", "<i8"), ("size", "<i8")])
# One with the number of its orders: what `L3Book.rows` gives.
QUEUE_LEVEL: Final = np.dtype([("price", "<i8"), ("size", "<i8"), ("orders", "<i8")])


class Kind(IntEnum):
    """What an event says; the meaning of its fields stands in `native/core/src/event.rs`."""

    TRADE = 1
    QUOTE = 2
    DEPTH_HEAD = 3
    DEPTH = 4
    CLEAR = 5
    ADD = 6
    CANCEL = 7
    MODIFY = 8
    EXECUTE = 9
    BOOK_STATE = 10
    STATUS = 11
    FUNDING = 12
    MARK = 13
    INDEX = 14
    OPEN_INTEREST = 15
    LIQUIDATION = 16
    GAP = 17
    CLOCK = 18
    ORDER = 19
    SIGNAL = 20


class Flag(IntFlag):
    """Bits of `flags`; the low byte is Databento DBN's."""

    LAST = 0x0080
    TOB = 0x0040
    SNAPSHOT = 0x0020
    BAD_TS_RECV = 0x0008
    MAYBE_BAD_BOOK = 0x0004
    SKEW = 0x0100
    SYNTHETIC = 0x0200
    BACKFILLED = 0x0400
    AGGREGATE = 0x0800
    OFF_BOOK = 0x1000
    NO_EVENT_TIME = 0x2000
    ODD_LOT = 0x4000
    TRIAL = 0x8000


class Side(IntEnum):
    """Bid or buying aggressor, ask or selling aggressor, neither."""

    BID = ord("B")
    ASK = ord("A")
    NONE = ord("N")


class BookState(IntEnum):
    """`aux` of BOOK_STATE."""

    INIT = 0
    BUFFERING = 1
    SYNCED = 2
    GAP = 3


class GapCause(IntEnum):
    """`aux` of GAP."""

    DISCONNECT = 1
    RESTART = 2
    SEQUENCE = 3
    DISK = 4
    OVERFLOW = 5
    QUARANTINE = 6
    CLOCK = 7
    SHED = 8


class OrderState(IntEnum):
    """`aux` of ORDER."""

    SENT = 1
    REJECTED = 2
    ACCEPTED = 3
    PARTLY_FILLED = 4
    FILLED = 5
    CANCELLED = 6
    EXPIRED = 7
    UNKNOWN = 8
    DENIED = 9
    PENDING_CANCEL = 10
    PENDING_REPLACE = 11
    PENDING_NEW = 12

    @property
    def is_end(self) -> bool:
        """Whether nothing more is expected; a late fill may come all the same."""
        return self in _ENDS


_ENDS = {
    OrderState.REJECTED,
    OrderState.FILLED,
    OrderState.CANCELLED,
    OrderState.EXPIRED,
    OrderState.DENIED,
}


def as_array(batch: object) -> npt.NDArray[np.void]:
    """Return a batch (anything with the buffer protocol) as a read-only array of EVENT, no copy."""
    return np.frombuffer(batch, dtype=EVENT)  # type: ignore[call-overload, no-any-return]


def signal_values(events: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Return the values of SIGNAL events: the bits of their `id`."""
    values: npt.NDArray[np.float64] = np.ascontiguousarray(events["id"]).view("<f8")
    return values
