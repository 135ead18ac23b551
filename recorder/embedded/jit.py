"""Whether ClickHouse may compile expressions here, and what tells it not to.

A hardened service may not turn memory that it wrote into code (systemd's MemoryDenyWriteExecute,
which also guards the daemon). ClickHouse does not ask first: the third use of an expression fails
with CANNOT_MPROTECT.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

__all__ = ["NOT_COMPILED", "may_write_code"]

NOT_COMPILED: Final = (
    "compile_expressions=0&compile_aggregate_expressions=0&compile_sort_description=0"
)


def may_write_code() -> bool:
    """Try what a just-in-time compiler does: a page that was writable becomes executable."""
    libc = ctypes.CDLL(None, use_errno=True)
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        held = ctypes.c_char.from_buffer(page)
        place = ctypes.c_void_p(ctypes.addressof(held))
        refused = libc.mprotect(
            place, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC
        )
        del held  # the page cannot be closed before
    return bool(refused == 0)
