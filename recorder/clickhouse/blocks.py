"""What can be inserted: the rows of one (table, UTC day) as bytes, wherever they come from.

A block of the worker, one that was built again from the raw log and one read back from the spool
look alike from here on. It holds no bytes itself.
"""

from __future__ import annotations

from typing import Literal, Protocol

__all__ = ["BlockBytes", "BlockFormat", "Encoding"]

BlockFormat = Literal["Native", "RowBinary"]
Encoding = Literal["gzip", "lz4", "zstd"]


class BlockBytes(Protocol):
    """The body of one insert and what must be said about it."""

    @property
    def table(self) -> str: ...

    @property
    def rows(self) -> int: ...

    @property
    def format(self) -> str:
        """ClickHouse's name of the body's format once it is unpacked: a `BlockFormat`."""
        ...

    @property
    def encoding(self) -> str | None:
        """`Content-Encoding` of the body: an `Encoding`, None when it is plain."""
        ...

    @property
    def body(self) -> memoryview:
        """The bytes as they travel; the view keeps their memory."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the body as it travels."""
        ...

    @property
    def plain_bytes(self) -> int:
        """Bytes of the body before compression."""
        ...
