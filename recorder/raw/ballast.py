"""The ballast: a file whose only use is to be deleted when the disk is full.

Its blocks are really allocated, so that deleting it gives the last writes of the raw log their
room. It decides nothing about when. Its methods block.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

__all__ = ["BALLAST_NAME", "Ballast"]

BALLAST_NAME: Final = "BALLAST"
_PIECE_BYTES: Final = 1 << 20
_STAT_BLOCK_BYTES: Final = 512


class Ballast:
    """The ballast file of one directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / BALLAST_NAME

    @property
    def held_bytes(self) -> int:
        """Bytes really allocated; 0 without a file. Raises nothing."""
        try:
            status = self._path.stat()
        except OSError:
            return 0
        return min(status.st_size, status.st_blocks * _STAT_BLOCK_BYTES)

    def hold(self, size: int) -> bool:
        """Allocate `size` bytes; False, and nothing is left behind, when they cannot be had."""
        if self.held_bytes >= size:
            return True
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            _allocate(fd, size)
        except OSError:
            self.free()
            return False
        finally:
            os.close(fd)
        if self.held_bytes >= size:
            return True
        # A filesystem that compresses or lies about its blocks: a reserve of nothing is none.
        self.free()
        return False

    def free(self) -> int:
        """Give the room back; return how many bytes that was. Raises nothing."""
        held = self.held_bytes
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            # A full copy-on-write filesystem may refuse to delete but can truncate.
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
        return held - self.held_bytes


def _allocate(fd: int, size: int) -> None:
    """Make the file `size` bytes of real blocks. Raises OSError."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        # Without fallocate only written bytes are allocated.
        done = 0
        piece = os.urandom(_PIECE_BYTES)
        while done < size:
            done += os.pwrite(fd, piece[: size - done], done)
    os.fsync(fd)
