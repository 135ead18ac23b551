"""Files that a crash leaves whole: every byte written, contents and names made durable.

The few steps that all of tickd's small files have in common. It knows no format and decides
nothing: what an OSError means for what is on the disk is the caller's business. Every function
blocks, and raises OSError.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from typing_extensions import Buffer

__all__ = ["replace_file", "sync_directory", "write_all", "write_file"]


def write_all(fd: int, data: Buffer) -> int:
    """Write all of `data`, where the kernel may take it in parts; return how many bytes."""
    view = memoryview(data).cast("B")
    count = len(view)
    while view:
        view = view[os.write(fd, view) :]
    return count


def write_file(path: Path, data: Buffer, *, mode: int = 0o600) -> None:
    """Write a file anew, its contents durable; unbuffered, so that no byte fails later."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: Buffer, *, mode: int = 0o600) -> None:
    """Put a new file in the place of `path` in one step, or leave the old one and nothing else.

    The name is durable only behind `sync_directory(path.parent)`. That is left to the caller:
    where it fails the new file stands already, which is another state than a failure here.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        write_file(fresh, data, mode=mode)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()  # gives a full disk its bytes back
        raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
