"""How the C library keeps memory: large buffers on pages of their own, given back when freed.

glibc begins that way, but each freed buffer raises the size from which it does so, up to 32 MiB:
after the first outage blocks of a megabyte then come from the heap, and what lies between them
keeps the heap from shrinking. Measured over an outage of 30 s at 100,000 events/s: 25 % more
resident memory afterwards, for good; with the size fixed, none. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["give_large_buffers_back"]

_M_MMAP_THRESHOLD: Final = -3
# Above what a burst or a chunk of the raw log takes, below any block for ClickHouse under load.
_OWN_PAGES_BYTES: Final = 256 << 10


def give_large_buffers_back() -> bool:
    """Fix the size for the life of the process; False where the C library knows no such thing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_BYTES))
