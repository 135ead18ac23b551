"""What every step of repair does: write down before, and delete so that it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import msgspec

from recorder.errors import ClickHouseError
from recorder.repair.deletes import Deletes
from recorder.repair.journal import RepairEntry, RepairJournal
from recorder.sink.patience import Patience

__all__ = ["RepairSteps"]


class RepairSteps:
    """One repair's. `within_s`: how long a delete may be on its way and still have an effect."""

    def __init__(
        self, journal: RepairJournal, patience: Patience, deletes: Deletes, *, within_s: int
    ) -> None:
        self._journal = journal
        self._patience = patience
        self._deletes = deletes
        self._within_s = within_s

    @property
    def entry(self) -> RepairEntry:
        """What is written down."""
        return self._journal.entry

    async def note(self, **changes: object) -> None:
        """Change the journal, durably."""
        entry: RepairEntry = msgspec.structs.replace(self._journal.entry, **changes)
        if entry != self._journal.entry:
            await self._patience.stored(partial(self._journal.write, entry))

    async def note_hours(self, hours: Collection[int]) -> None:
        """Note hours whose bars must be looked at, before their trades change."""
        await self.note(hours=tuple(sorted({*self._journal.entry.hours, *hours})))

    async def emptied(
        self, delete: Callable[[int], Awaitable[None]], tables: Sequence[str]
    ) -> None:
        """Delete, and return only when no delete of ours can strike any more."""

        async def once() -> None:
            until_s = await self._deletes.server_s() + self._within_s
            await self.note(deletes_until_s=until_s)
            try:
                await delete(until_s)
            except ClickHouseError:
                # It may still arrive, and must not find the rows that are inserted next.
                await self.settled(tables, until_s)
                raise

        await self._patience.asked(once)

    async def settled(self, tables: Sequence[str], until_s: int) -> None:
        """Wait until nothing that was sent before can change these tables any more."""
        await self._patience.asked(partial(self._deletes.settled, tables, until_s))
