"""What repair needs of others: the ledger, and the traffic beside which it works.

Shapes, and those of them that a process without a daemon uses. So the daemon's task and `tickd
rebuild` beside no daemon are the same code.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, final

from recorder.repair.parts import Range

__all__ = ["Alone", "Ledger", "NoLedger", "Traffic"]


class Ledger(Protocol):
    """Which ranges are to be made equal to the raw log; durable."""

    def spilled(self) -> Sequence[Range]:
        """What is left."""
        ...

    def is_open(self, table: str, seq_from: int, seq_to: int) -> bool:
        """Whether a planned block overlaps the range: its rows may still arrive by themselves."""
        ...

    def progress(self, table: str) -> int:
        """Up to here every row of `table` is in some planned block, or in a range."""
        ...

    def settled(self, table: str) -> int:
        """Up to here every row of `table` is stored."""
        ...

    async def restored(self, table: str, seq_from: int, seq_to: int) -> None:
        """Take a range off, durably."""


class Traffic(Protocol):
    """The live inserts of the same node."""

    async def available(self) -> None:
        """Wait until the server is believed to answer."""

    def quiet(self, table: str) -> AbstractAsyncContextManager[None]:
        """Nothing is inserted into `table` meanwhile, and nothing is on its way."""
        ...


@final
class NoLedger:
    """`Ledger` for who only compares."""

    def spilled(self) -> Sequence[Range]:
        return ()

    def is_open(self, table: str, seq_from: int, seq_to: int) -> bool:  # noqa: ARG002
        return False

    def progress(self, table: str) -> int:  # noqa: ARG002
        return 0

    def settled(self, table: str) -> int:  # noqa: ARG002
        return 0

    async def restored(self, table: str, seq_from: int, seq_to: int) -> None:  # noqa: ARG002
        raise AssertionError("nothing was to be restored")


@final
class Alone:
    """`Traffic` of a process that is the only one to insert rows of its node."""

    async def available(self) -> None:
        return

    @contextlib.asynccontextmanager
    async def quiet(self, table: str) -> AsyncIterator[None]:  # noqa: ARG002 - no other sender
        yield
