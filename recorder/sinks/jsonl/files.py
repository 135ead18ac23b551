"""Files of lines, bounded in size and number: the oldest goes when a new one begins.

Not fsynced: the truth is in the raw log.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO, final

__all__ = ["RotatingFiles"]

SUFFIX = ".jsonl"


@final
class RotatingFiles:
    """`<first sequence number>.jsonl` in a directory. One thread."""

    def __init__(self, directory: Path, *, file_bytes_max: int, files_max: int) -> None:
        self._directory = directory
        self._file_bytes_max = file_bytes_max
        self._files_max = files_max
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, lines: bytes, seq_first: int) -> None:
        """Append whole lines. Raises OSError, after which the file ends where it did before."""
        file = self._file
        if file is None or self._size >= self._file_bytes_max:
            file = self._begin(seq_first)
        left = memoryview(lines)
        try:
            while left:  # a disk that is getting full takes a part first, and says so next time
                left = left[file.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(self._size)
            raise
        self._size += len(lines)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _begin(self, seq_first: int) -> BinaryIO:
        self.close()
        older = sorted(self._directory.glob(f"*{SUFFIX}"))
        for path in older[: max(0, len(older) - self._files_max + 1)]:
            path.unlink(missing_ok=True)
        # Unbuffered: what `write` returned from is in the kernel.
        self._file = (self._directory / f"{seq_first:020d}{SUFFIX}").open("ab", buffering=0)
        self._size = self._file.tell()
        return self._file
