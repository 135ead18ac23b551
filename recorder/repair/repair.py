"""Repair: ClickHouse made equal to the raw log over the ranges of the ledger.

Stretch by stretch: the raw log says what the rows are, ClickHouse says what it has by a few numbers
per day; what differs is deleted and inserted, and compared again; then the range leaves the ledger.
Bars of the hours whose trades were looked at are compared with the trades and made again where they
differ. Each step is written down before it is taken (`repair_journal.py`), so that a successor can
take it again at the same bounds with the same tokens. It finds no ranges and answers nobody.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import RepairConfig
from recorder.errors import BlockRefusedError, RepairError
from recorder.raw.stretches import Hole, LogStretches
from recorder.repair.bar_repair import BARS, BarRepair
from recorder.repair.bar_stage import BarStage
from recorder.repair.deletes import Deletes
from recorder.repair.filled_hours import Due, FilledHour, due
from recorder.repair.journal import RepairJournal
from recorder.repair.mend import Difference, Mend, Wanted
from recorder.repair.parts import Part, parts_of
from recorder.repair.piece_reader import PieceReader
from recorder.repair.ports import Ledger, Traffic
from recorder.repair.steps import RepairSteps
from recorder.sink.patience import Patience
from recorder.sink.retry import RetryPolicy
from recorder.spool.quarantine import Quarantine
from tickd.events import SEQ_INDEX_BITS
from tickd.native import Block
from tickd.ports import Clock

__all__ = ["Repair", "RepairCounters"]

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

# The raw log says one thing and ClickHouse keeps saying another: somebody else writes there.
_ATTEMPTS_MAX: Final = 4
# A verdict "these bytes are wrong" must be heard twice: a body cut by a proxy sounds the same.
_REFUSALS_MAX: Final = 2
_HOURS_MAX: Final = 6
_NS: Final = 1_000_000_000
# Bars of the running hour are not made anew for every gap of a bad line.
_FILLED_REST_NS: Final = 30 * _NS
_OPEN_POLL_S: Final = 0.2


@dataclass(slots=True)
class RepairCounters:
    """Totals since the start; the wiring turns them into metrics."""

    stretches: int = 0
    rows_compared: int = 0
    rows_inserted: int = 0
    stretches_differing: int = 0  # per table
    blocks_refused: int = 0
    holes: dict[tuple[int, int], str] = field(default_factory=dict)  # of the present run


class Repair:
    """One node's repair. One caller at a time; nobody else repairs this node meanwhile.

    Args: `wait_for_open`: a range with planned blocks in it waits for them, which only a running
    daemon brings; otherwise it is left in the ledger.
    """

    def __init__(
        self,
        config: RepairConfig,
        *,
        node: int,
        stretches: LogStretches,
        clickhouse: ClickHouse,
        ledger: Ledger,
        traffic: Traffic,
        journal: RepairJournal,
        quarantine: Quarantine,
        clock: Clock,
        policy: RetryPolicy,
        random: Callable[[], float],
        wait_for_open: bool,
    ) -> None:
        self._pieces = PieceReader(stretches)
        self._ledger = ledger
        self._quarantine = quarantine
        self._clock = clock
        self._wait_for_open = wait_for_open
        deletes = Deletes(clickhouse, clock, node=node)
        self._mend = Mend(clickhouse, deletes, node=node)
        self._patience = Patience(
            traffic, clock=clock, policy=policy, random=random, rows_per_s=config.rows_per_s
        )
        self._steps = RepairSteps(journal, self._patience, deletes, within_s=config.delete_within_s)
        self.bars = BarStage(
            BarRepair(clickhouse, deletes, node=node),
            self._steps,
            self._patience,
            traffic,
            clock=clock,
        )
        self.counters = RepairCounters()
        self._filled_at_ns = -_FILLED_REST_NS  # when bars of fetched trades were looked at last
        self.working = False
        self.frame_no = 0  # how far the present part is

    @property
    def left(self) -> Sequence[Part]:
        """What is to be done, less what cannot be done here and now."""
        return parts_of(self._ledger.spilled(), self.counters.holes)

    @property
    def frames_left(self) -> int:
        """Frame numbers to be read, those of a gap between two lives included."""
        return sum((part.seq_to - part.seq_from >> SEQ_INDEX_BITS) + 1 for part in self.left)

    @property
    def fault(self) -> str | None:
        """What the last attempt failed of; None when it succeeded."""
        return self._patience.fault

    @property
    def faults(self) -> int:
        """Failed attempts since the start."""
        return self._patience.faults

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do, not even for a predecessor."""
        entry = self._steps.entry
        if self._ledger.spilled() or entry.in_work or entry.hours:
            return False
        known = entry.filled
        if not known or self._clock.mono_ns() < self._filled_at_ns + _FILLED_REST_NS:
            return True
        return self._filled()(known).left == known

    async def run(self) -> None:
        """Work off the ledger until only holes are left in it.

        Raises RepairError when a range stays different, ClickHouseError when the retry policy's
        budget is spent, TickdError(FATAL) when the raw log cannot be read. Running it again goes on
        where it stopped.
        """
        self.counters.holes.clear()
        self.working = True
        try:
            await self._after_predecessor()
            while parts := self.left:
                await self._restore(parts[0])
            if self._steps.entry.filled:
                self._filled_at_ns = self._clock.mono_ns()
                await self._steps.take_filled(self._filled())
            await self.bars.run()
        finally:
            self.working = False
            self._pieces.forget()

    async def note_hours(self, hours: Collection[int]) -> None:
        """Note hours whose bars must be looked at, before their trades change."""
        await self._steps.note_hours(hours)

    async def note_filled(self, hours: Collection[int], seq: int) -> None:
        """Note hours of fetched trades, numbered up to `seq`, before they are stored."""
        await self._steps.note_filled(hours, seq)

    def _filled(self) -> Callable[[Sequence[FilledHour]], Due]:
        """Say which hours of fetched trades are due at this moment."""
        return partial(
            due,
            settled=self._ledger.settled("trades"),
            progress=self._ledger.progress("trades"),
            now_s=self._clock.wall_ns() / _NS,
        )

    def pieces(self, part: Part) -> AsyncGenerator[Wanted | Hole, None]:
        """Read a part of the raw log, for who builds something else of it."""
        return self._pieces.read(part)

    def is_open(self, part: Part) -> bool:
        """Whether planned blocks may still bring rows of a part."""
        return any(self._ledger.is_open(table, part.seq_from, part.seq_to) for table in part.tables)

    async def asked(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask ClickHouse with this repair's patience; a repeat must be harmless."""
        return await self._patience.asked(ask)

    async def compare(self, parts: Collection[Part]) -> AsyncIterator[Difference | Hole]:
        """Yield what differs in these parts, and change nothing. Raises as `run`."""
        for part in parts:
            async with aclosing(self._pieces.read(part)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Hole):
                        yield piece
                        continue
                    for difference in await self._differing(piece, part.tables):
                        yield difference
                    await self._patience.pace(piece.stretch.rows)

    def close(self) -> None:
        """End the threads. Blocks for as long as one read takes."""
        self._pieces.close()
        self._patience.close()

    # Parts and stretches.

    async def _restore(self, part: Part) -> None:
        rows = dict.fromkeys(part.tables, 0)
        whole = True
        async with aclosing(self._pieces.read(part)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Hole):
                    whole = False
                    self._leave(piece.seq_from, piece.seq_to, piece.reason)
                    continue
                if not await self._closed(
                    part.tables, piece.stretch.seq_from, piece.stretch.seq_to
                ):
                    whole = False
                    continue
                await self._make_equal(piece, part.tables)
                for table in part.tables:
                    rows[table] += sum(block.rows for block in piece.blocks(table))
                await self._advance(piece, part.tables)
        if whole:
            await self._look_for_strays(part, rows)

    async def _advance(self, wanted: Wanted, tables: Collection[str]) -> None:
        stretch = wanted.stretch
        if len(self._steps.entry.hours) > _HOURS_MAX:
            await self.bars.run()
        for table in tables:
            await self._ledger.restored(table, stretch.seq_from, stretch.seq_to)
        self.counters.stretches += 1
        self.counters.rows_compared += stretch.rows
        self.frame_no = stretch.seq_to >> SEQ_INDEX_BITS
        await self._patience.pace(stretch.rows)

    async def _make_equal(self, wanted: Wanted, tables: Collection[str]) -> None:
        differing = await self._differing(wanted, tables)
        hours = wanted.hours if "trades" in tables else frozenset()
        if any(difference.table == "trades" and difference.found for difference in differing):
            hours |= await self._patience.asked(partial(self._mend.hours, wanted))
        await self._steps.note_hours(hours)
        if differing:
            self.counters.stretches_differing += len({each.table for each in differing})
            await self._change(wanted, differing)

    async def _differing(self, wanted: Wanted, tables: Collection[str]) -> list[Difference]:
        return await self._look(wanted, tables, wide=False)

    async def _look(
        self, wanted: Wanted, tables: Collection[str], *, wide: bool
    ) -> list[Difference]:
        looks = {
            f"repair_compare_{table}": self._patience.asked(
                partial(self._mend.differences, table, wanted, wide=wide)
            )
            for table in tables
        }
        found = await self._patience.together(looks)
        return [difference for differences in found for difference in differences]

    async def _change(
        self, wanted: Wanted, differing: Sequence[Difference], word: str = ""
    ) -> None:
        """Delete and insert until nothing differs. `word`: a predecessor's, at the same bounds."""
        stretch = wanted.stretch
        for _ in range(_ATTEMPTS_MAX):
            tables = sorted({difference.table for difference in differing})
            await self._steps.note(
                seq_from=stretch.seq_from,
                seq_to=stretch.seq_to,
                tables=tuple(tables),
                word=word or str(self._clock.wall_ns()),
            )
            word = ""
            # What is there at all makes the look wide: it may stand at another time by now.
            wide = any(difference.found for difference in differing)
            if wide:
                for table in tables:
                    delete = partial(self._mend.delete, table, wanted)
                    await self._steps.emptied(delete, [table])
            fills = {f"repair_insert_{table}": self._fill(table, wanted) for table in tables}
            refused = {place for some in await self._patience.together(fills) for place in some}
            differing = [
                difference
                for difference in await self._look(wanted, tables, wide=wide)
                if (difference.table, difference.day) not in refused
            ]
            if not differing:
                await self._steps.note(seq_from=0, seq_to=0, tables=(), word="", deletes_until_s=0)
                return
        raise RepairError(
            f"rows {stretch.seq_from} to {stretch.seq_to} differ after {_ATTEMPTS_MAX} tries: "
            + ", ".join(f"{each.table} {each.what}" for each in differing),
            hint="does another daemon write with the same node.id?",
        )

    async def _fill(self, table: str, wanted: Wanted) -> list[tuple[str, int]]:
        """Insert a table's blocks; return those that are refused, as (table, day)."""
        return [
            (table, block.day)
            for block in wanted.blocks(table)
            if not await self._insert(block, wanted)
        ]

    async def _insert(self, block: Block, wanted: Wanted) -> bool:
        """Insert a block once; False: it is refused for good, and in quarantine."""
        planned = self._mend.planned(block, wanted)
        insert = partial(self._mend.insert, block, planned, self._steps.entry.word)
        for refusals in range(1, _REFUSALS_MAX + 1):
            try:
                await self._patience.asked(insert)
            except BlockRefusedError as error:
                if refusals == _REFUSALS_MAX:
                    keep = partial(self._quarantine.keep, planned, block, str(error))
                    await self._patience.stored(keep)
                    self.counters.blocks_refused += 1
                    _log.error("repair_block_refused", token=planned.token, reason=str(error))
            else:
                self.counters.rows_inserted += block.rows
                return True
        return False

    async def _look_for_strays(self, part: Part, rows: dict[str, int]) -> None:
        """Rows of a part that stand at times where the raw log received nothing of the kind."""
        for table in part.tables:
            count = partial(self._mend.count, table, part.seq_from, part.seq_to)
            if await self._patience.asked(count) == rows[table]:
                continue
            _log.warning("repair_strays_found", table=table, seq_from=part.seq_from)
            async with aclosing(self._pieces.read(part)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Hole):
                        continue
                    look = partial(self._mend.differences, table, piece, wide=True)
                    if differing := await self._patience.asked(look):
                        if table == "trades":
                            hours = partial(self._mend.hours, piece)
                            await self._steps.note_hours(await self._patience.asked(hours))
                        await self._change(piece, differing)

    async def _closed(self, tables: Collection[str], seq_from: int, seq_to: int) -> bool:
        """Wait until no planned block can bring rows of the range by itself."""
        while self.is_open(Part(seq_from, seq_to, tuple(tables))):
            if not self._wait_for_open:
                self._leave(seq_from, seq_to, "planned blocks wait for the daemon")
                return False
            await self._clock.sleep(_OPEN_POLL_S)
        return True

    def _leave(self, seq_from: int, seq_to: int, reason: str) -> None:
        if (seq_from, seq_to) not in self.counters.holes:
            _log.warning("repair_range_left", seq_from=seq_from, seq_to=seq_to, reason=reason)
        self.counters.holes[seq_from, seq_to] = reason

    # What a predecessor left.

    async def _after_predecessor(self) -> None:
        """Wait until nothing of it can arrive any more, then take its step again."""
        entry = self._steps.entry
        if not (entry.in_work or entry.deletes_until_s or entry.hours):
            return
        _log.info("repair_resumed", seq_from=entry.seq_from, hours=len(entry.hours))
        tables = [*entry.tables, *(bars.table for bars in BARS)]
        await self._steps.settled(tables, entry.deletes_until_s)
        if not entry.in_work:
            return
        part = Part(entry.seq_from, entry.seq_to, entry.tables)
        async with aclosing(self._pieces.read(part, whole=True)) as pieces:
            async for piece in pieces:
                whole = not isinstance(piece, Hole) and (
                    (piece.stretch.seq_from, piece.stretch.seq_to) == part[:2]
                )
                if isinstance(piece, Hole) or not whole:
                    continue  # the log has been damaged since: the ledger's turn says what is left
                if differing := await self._look(piece, part.tables, wide=True):
                    await self._change(piece, differing, entry.word)
        await self._steps.note(seq_from=0, seq_to=0, tables=(), word="", deletes_until_s=0)
