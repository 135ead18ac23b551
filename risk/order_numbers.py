"""Numbers for orders that no life of the process gives twice: a block is durable before its use.

The file has two slots, written in turns, so that a torn write leaves the other one. It knows no
order; the letters that a venue sees are made here, too.
"""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct
from typing import Final, final
from zlib import crc32

from risk.errors import OutboxError
from tickd.native import SyncThread

__all__ = ["BLOCK_NUMBERS", "OrderNumbers", "number_of", "ref_of"]

BLOCK_NUMBERS: Final = 1_024
REF_CHARACTERS_MIN: Final = 6
REF_CHARACTERS_MAX: Final = 13  # of a number of 64 bits
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_SLOT: Final = Struct("<8sQI")  # magic, first number that is free for ever, CRC-32 of both
_SLOT_HEAD: Final = Struct("<8sQ")
_MAGIC: Final = b"TICKDNUM"
# Each in a page of its own: one write never touches both.
_SLOT_BYTES: Final = 4_096


def ref_of(number: int) -> str:
    """Return a number as the venue sees it: base 36, at least six characters."""
    letters = ""
    while number:
        number, digit = divmod(number, 36)
        letters = _DIGITS[digit] + letters
    return letters.rjust(REF_CHARACTERS_MIN, "0")


def number_of(ref: str) -> int | None:
    """Return the number of a ref, None where it cannot be one of ours."""
    if not REF_CHARACTERS_MIN <= len(ref) <= REF_CHARACTERS_MAX or not (
        ref.isascii() and ref.isalnum() and ref == ref.lower()
    ):
        return None
    if len(ref) > REF_CHARACTERS_MIN and ref.startswith("0"):
        return None
    return int(ref, 36)


@final
class OrderNumbers:
    """One file of numbers; `first` is where a new file begins."""

    def __init__(self, path: Path, *, first: int) -> None:
        self._path = path
        self._fd: int | None = None
        self._sync: SyncThread | None = None
        self.error: str | None = None
        # The next to give; up to where blocks are durable; up to where they are asked for.
        self._next = first
        self._durable = first
        self._asked = first
        self._turn = 0

    def open(self, *, at_least: int = 0) -> None:
        """Read the file and make the first block durable; blocks for the disk.

        What stands in the way is kept as `error`: no number is given then.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._read()
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._next = self._durable = self._asked = max(self._next, at_least)
            self._write(self._next + 2 * BLOCK_NUMBERS)
            os.fsync(self._fd)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            self._sync = SyncThread(self._fd)
        except OSError as error:
            self.error = f"{self._path}: {error.strerror or error}"
            return
        self._durable = self._asked

    def _read(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        best = -1
        for turn in range(2):
            slot = data[turn * _SLOT_BYTES :][: _SLOT.size]
            if len(slot) < _SLOT.size:
                continue
            magic, free, crc = _SLOT.unpack(slot)
            if magic == _MAGIC and crc == crc32(slot[: _SLOT_HEAD.size]) and free > best:
                best, self._turn = int(free), turn + 1
        if best < 0 and data.strip(b"\0"):
            # Whatever it once said, guessing would give a number twice.
            raise OSError(0, "not a file of numbers")
        self._next = max(self._next, best)

    def _write(self, free: int) -> None:
        assert self._fd is not None
        head = _SLOT_HEAD.pack(_MAGIC, free)
        slot = head + crc32(head).to_bytes(4, "little")
        if os.pwrite(self._fd, slot, (self._turn & 1) * _SLOT_BYTES) != len(slot):
            raise OSError(0, "the write was cut short")
        self._turn += 1
        self._asked = free

    @property
    def next(self) -> int:
        """The number that comes next; all below it are used or lost."""
        return self._next

    def take(self) -> int:
        """Return a number. Raises OutboxError: no durable block is left."""
        number = self._next
        if self._durable - number <= BLOCK_NUMBERS:
            self._extend()
            if number >= self._durable:
                raise OutboxError(self.error or "the next block of numbers is not durable yet")
        self._next = number + 1
        return number

    def _extend(self) -> None:
        """Take what became durable; ask for one more block; never waits."""
        if self._sync is None:
            return
        if errno := self._sync.errno:
            self.error = f"{self._path}: {os.strerror(errno)}"
            return
        self._durable = max(self._durable, self._sync.synced)
        if self._asked == self._durable:
            try:
                self._write(self._asked + BLOCK_NUMBERS)
            except OSError as error:
                self.error = f"{self._path}: {error.strerror or error}"
                return
            self.error = None
            self._sync.want(self._asked)

    def close(self) -> None:
        if self._sync is not None:
            self._sync.stop()
            self._sync = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
