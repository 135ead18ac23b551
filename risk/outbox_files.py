"""What the outbox does to a file of its folder: its name, a write that is whole, taking it away.

It knows no record.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["file_name", "is_gone", "write_at"]


def file_name(generation: int) -> str:
    return f"outbox-{generation:08}.tob"


def is_gone(path: Path) -> bool:
    """Take a file away; False: the disk, read-only perhaps, keeps it for now."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def write_at(fd: int, data: bytes, at: int) -> None:
    if data and os.pwrite(fd, data, at) != len(data):
        raise OSError(errno.ENOSPC, "the write was cut short")
