"""A block as whoever sends, keeps or spools it sees it: its bytes, and what they are.

One shape for the encoder's own blocks and for those read from a file. No code.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["BlockBytes"]


class BlockBytes(Protocol):
    """The body of one insert; the buffer protocol gives its bytes as they travel."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

    @property
    def table(self) -> str: ...

    @property
    def rows(self) -> int: ...

    @property
    def encoding(self) -> str | None:
        """`Content-Encoding` of the body; None when it is plain."""

    @property
    def nbytes(self) -> int:
        """Bytes of the body as it travels."""
        ...

    @property
    def plain_bytes(self) -> int:
        """Bytes of the body before compression."""
        ...
