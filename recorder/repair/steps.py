"""What every step of repair does: write down before, and delete so that it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import msgspec

from recorder.errors import ClickHouseError
from recorder.repair.deletes import Deletes
from recorder.repair.filled_hours import Due, FilledHour, noted
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
        await self._change(lambda entry: msgspec.structs.replace(entry, **changes))

    async def note_hours(self, hours: Collection[int]) -> None:
        """Note hours whose bars must be looked at, before their trades change."""
        await self._change(
            lambda entry: msgspec.structs.replace(
                entry, hours=tuple(sorted({*entry.hours, *hours}))
            )
        )

    async def note_filled(self, hours: Collection[int], seq: int) -> None:
        """Note hours whose bars must be looked at once the trades up to `seq` are stored."""
        await self._change(
            lambda entry: msgspec.structs.replace(entry, filled=noted(entry.filled, hours, seq))
        )

    async def take_filled(self, find: Callable[[Sequence[FilledHour]], Due]) -> None:
        """Move the hours that are due to those that are looked at next."""

        def taken(entry: RepairEntry) -> RepairEntry:
            found = find(entry.filled)
            hours = tuple(sorted({*entry.hours, *found.hours}))
            return msgspec.structs.replace(entry, hours=hours, filled=found.left)

        await self._change(taken)

    async def _change(self, change: Callable[[RepairEntry], RepairEntry]) -> None:
        # Both in the one thread of these files: the sink and repair may ask at the same time.
        journal = self._journal
        await self._patience.stored(lambda: journal.write(change(journal.entry)))

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
