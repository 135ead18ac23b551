"""Where planned blocks wait for their turn: memory up to a limit, then the spool, then nowhere.

When the spool is full as well, a table that alone is refused has its blocks spilled: the ledger
names their rows and repair brings them. Everything else stays in memory, and the front stops
building more. It sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from recorder.config import SinkConfig
from recorder.sink.circuits import Circuits
from recorder.sink.lanes import Job, Lane
from recorder.sink.plan_thread import PlanThread
from recorder.sink.queue_gauge import QueueGauge
from recorder.spool.thread import SpoolThread
from tickd.native import EVENT_TABLES

__all__ = ["DeliveryCounters", "WaitingRoom"]

_log = structlog.get_logger(__name__)

# Small blocks by the thousand are no cheaper to hold than large ones.
_WAITING_BLOCKS_MAX: Final = 2_000


@dataclass(slots=True)
class DeliveryCounters:
    """Totals since the start; the wiring turns them into metrics."""

    blocks_inserted: int = 0
    blocks_present: int = 0
    blocks_quarantined: int = 0
    blocks_spooled: int = 0
    blocks_redriven: int = 0
    blocks_spilled: int = 0
    rows_committed: int = 0
    bytes_sent: int = 0
    rebuilt_differently: int = 0


class WaitingRoom:
    """The lanes of one delivery. `run` keeps memory within its limit.

    Args: `on_room` is called when memory has become free.
    """

    def __init__(
        self,
        config: SinkConfig,
        *,
        plan: PlanThread,
        spool: SpoolThread,
        circuits: Circuits,
        counters: DeliveryCounters,
        on_room: Callable[[], None],
    ) -> None:
        # A quarter: the front's open blocks, its batches and the blocks on their way need the rest.
        self._bytes_max = config.pending_bytes_max // 4
        self._plan = plan
        self._spool = spool
        self._circuits = circuits
        self._counters = counters
        self._on_room = on_room
        self.lanes: Final = {table: Lane(table) for table in EVENT_TABLES}
        self.blocks = QueueGauge()
        self._too_much = asyncio.Event()

    @property
    def bytes(self) -> int:
        """Bytes that wait in memory, those on their way not counted."""
        return sum(lane.waiting_bytes for lane in self.lanes.values())

    @property
    def live_blocks(self) -> int:
        """Blocks that wait in memory, those on their way not counted."""
        return sum(len(lane.live) for lane in self.lanes.values())

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest block in memory came."""
        known = [lane.oldest_ns for lane in self.lanes.values()]
        return min((ns for ns in known if ns is not None), default=None)

    def has_work(self) -> bool:
        """Whether anything waits, in memory or in the spool."""
        return any(map(self.has_work_of, self.lanes.values()))

    def has_work_of(self, lane: Lane) -> bool:
        return lane.head is not None or bool(lane.live) or self._spool.waits(lane.table)

    def put(self, job: Job) -> None:
        """Take a block; in memory first, however full."""
        self.lanes[job.planned.table].wait(job)
        self.blocks.entered()
        if self.is_too_much():
            self._too_much.set()
        self._circuits.tell()

    async def next(self, lane: Lane, now_ns: int, *, redrive: bool) -> Job | None:
        """Take what a lane sends next: a live block, or the oldest in the spool.

        Args: `redrive`: the rate limit allows a spooled one beside live ones.
        """
        if lane.prefers_live(spooled=redrive and self._spool.waits(lane.table)):
            lane.live_in_a_row += 1
            return lane.next()
        lane.live_in_a_row = 0
        spooled = await self._spool.peek(lane.table)
        if spooled is None:
            return lane.next() if lane.live else None
        planned, unknown = spooled
        self.blocks.entered()
        return Job(planned, None, put_ns=now_ns, spooled=True, ask=unknown)

    def gone(self) -> None:
        """A block has left memory."""
        self.blocks.left()
        self._on_room()
        self._circuits.tell()

    def is_too_much(self) -> bool:
        """Whether memory is over its limit."""
        return self.bytes > self._bytes_max or self.live_blocks > _WAITING_BLOCKS_MAX

    async def run(self) -> None:
        """Move blocks to the spool whenever memory is over its limit, for ever."""
        while True:
            await self._too_much.wait()
            self._too_much.clear()
            self.blocks.enqueue_timeouts += 1
            while self.is_too_much() and await self._make_any_room():
                pass

    async def _make_any_room(self) -> bool:
        """Move one block out of memory, of the table that has most; False when none can go."""
        for lane in sorted(self.lanes.values(), key=lambda each: -each.waiting_bytes):
            if lane.live and await self._make_room(lane):
                return True
        return False

    async def _make_room(self, lane: Lane) -> bool:
        """Move a lane's oldest block out of memory; False when there is nowhere to go."""
        job = lane.next()
        kept = job.spooled or (
            job.block is not None
            and job.as_planned
            and await self._spool.put(job.planned, job.block, unknown=job.has_doubts)
        )
        if kept:
            self._counters.blocks_spooled += 1
        elif self._circuits.table_refused(lane.table) and not (job.ask or job.unknown):
            # Only this table is refused: its rows must not take the others' place in memory.
            _log.warning("sink_block_spilled", token=job.planned.token, rows=job.planned.rows)
            await self.spill(job, "spool_full")
        else:
            lane.wait_again(job)
            return False
        self.gone()
        return True

    async def spill(self, job: Job, cause: str) -> None:
        """Leave a block's rows to repair: it is not going to be sent any more."""
        planned = job.planned
        await self._plan.spill(
            planned.table, planned.seq_from, planned.seq_to, cause, closing=[planned]
        )
        if job.spooled:
            await self._spool.done(planned)
        self._counters.blocks_spilled += 1

    async def stow(self) -> None:
        """Put what is left in memory into the spool, for the next start; only after `run`."""
        for lane in self.lanes.values():
            jobs = [job for job in (lane.head, *lane.live) if job is not None]
            for job in jobs:
                if job.block is not None and job.as_planned and not job.spooled:
                    unknown = job.has_doubts or job is lane.head
                    if not await self._spool.put(job.planned, job.block, unknown=unknown):
                        return  # the raw log has them as well
