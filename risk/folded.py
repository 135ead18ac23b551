"""Names of executions that were folded and may come again, as long as the outbox has them.

Kept as chunks: what is full never changes and is encoded once, so that writing all of them down
costs the loop one chunk. It knows no position and no file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, final

import msgspec

__all__ = ["Folded", "Name", "joined"]

# An order and its execution.
Name = tuple[int, str]

_CHUNK: Final = 1_024
# Whoever reads the outbox again finds its newest file or, when that is torn, the one before; a
# look at the count of files comes a moment behind the change.
_FILES_KEPT: Final = 3


class _Chunk:
    __slots__ = ("encoded", "file", "names")

    def __init__(self, file: int) -> None:
        self.file: Final = file
        self.names: Final[list[Name]] = []
        self.encoded = b""


@final
class Folded:
    """Loop thread only."""

    def __init__(self) -> None:
        self._file = 0
        self._names: set[Name] = set()
        self._chunks: deque[_Chunk] = deque()

    def __contains__(self, name: Name) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: Name) -> None:
        chunk = self._chunks[-1] if self._chunks else None
        if chunk is None or chunk.encoded or chunk.file != self._file:
            chunk = _Chunk(self._file)
            self._chunks.append(chunk)
        chunk.names.append(name)
        self._names.add(name)
        if len(chunk.names) == _CHUNK:
            chunk.encoded = msgspec.json.encode(chunk.names)[1:-1]

    def keep_only(self, told: Iterable[Name]) -> bool:
        """Forget what the outbox does not tell of; return whether that was anything."""
        kept = [name for name in dict.fromkeys(told) if name in self._names]
        if len(kept) == len(self._names):
            return False
        self._names.clear()
        self._chunks.clear()
        for name in kept:
            self.add(name)
        return True

    def follow(self, files_count: int) -> None:
        """Forget a chunk of what no file of the outbox can have any more. Bounded work.

        files_count: how many it has begun; to be called again and again.
        """
        self._file = max(self._file, files_count)
        if self._chunks and self._chunks[0].file <= self._file - _FILES_KEPT:
            self._names.difference_update(self._chunks.popleft().names)

    def encoded(self) -> list[bytes]:
        """All names as parts of a JSON list, for `joined`, on any thread."""
        return [each.encoded or msgspec.json.encode(each.names)[1:-1] for each in self._chunks]


def joined(parts: list[bytes]) -> msgspec.Raw:
    """The JSON list."""
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")
