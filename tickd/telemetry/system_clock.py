"""What the kernel says of its clock: synchronised or not, by how much it may be wrong.

Read by adjtimex(2) without any change to the clock. It judges nothing.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final, NamedTuple

__all__ = ["ClockState", "read_clock"]

# From the manual page of adjtimex and the kernel's timex.h.
_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000
_TIME_ERROR: Final = 5


class _Timex(ctypes.Structure):
    """`struct timex` of 64-bit Linux; the tail is room for what the kernel writes behind."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("_tail", ctypes.c_byte * 256),
    )


class ClockState(NamedTuple):
    """The clock's discipline; errors are bounds, the offset may be negative."""

    synchronised: bool
    offset_s: float
    error_max_s: float
    error_estimated_s: float


def read_clock() -> ClockState | None:
    """Ask the kernel; None where it may not be asked (a seccomp filter, another system)."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    timex = _Timex(modes=0)
    state = _libc().adjtimex(ctypes.byref(timex))
    return None if state < 0 else clock_state(state, timex)


def clock_state(state: int, timex: _Timex) -> ClockState:
    """What an answer means; microseconds, the offset in nanoseconds where the status says so."""
    unit = 1e9 if timex.status & _STA_NANO else 1e6
    return ClockState(
        synchronised=state != _TIME_ERROR and not timex.status & _STA_UNSYNC,
        offset_s=timex.offset / unit,
        error_max_s=timex.maxerror / 1e6,
        error_estimated_s=timex.esterror / 1e6,
    )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
