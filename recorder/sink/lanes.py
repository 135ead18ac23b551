"""A table's lane: blocks that wait in memory for their turn, and what is known of the one ahead.

One block of a table is on its way at a time, and one whose outcome is open keeps its place until it
is settled: so at most one insert per table may have happened without our knowing. Pure values; who
sends is `delivery.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from recorder.clickhouse.blocks import BlockBytes
from recorder.sink.plan import PlannedBlock
from tickd.native import Block

__all__ = ["Job", "Lane"]

# Half of what ClickHouse remembers per table (non_replicated_deduplication_window = 10,000), and a
# part of the hour after which a replicated table forgets: beyond either a token is no protection.
_INSERTS_MAX: Final = 5_000
_AGE_NS_MAX: Final = 600 * 10**9
# Behind a server that barely keeps up the spool would otherwise wait for ever.
_LIVE_IN_A_ROW_MAX: Final = 4


@dataclass(slots=True)
class Job:
    """A planned block that waits; `block` None: its bytes are in the spool, or nowhere."""

    planned: PlannedBlock
    block: BlockBytes | None
    put_ns: int
    # Socket read of its oldest event; 0 for what was read again from the log.
    ts_mono_ns: int = 0
    spooled: bool = False
    # It may have been sent when nobody remembers what else was: ask before sending.
    ask: bool = False
    # Sent, and the outcome is open; then inserts into the table, and time, of the first attempt.
    unknown: bool = False
    attempting: bool = False
    sent_at_insert: int = 0
    sent_ns: int = 0
    # Its outcome was open once, now or in an earlier life.
    doubtful: bool = False
    attempt: int = 0
    refusals: int = 0

    @property
    def has_doubts(self) -> bool:
        """Whether some of it may be stored."""
        return self.ask or self.unknown or self.doubtful

    @property
    def as_planned(self) -> bool:
        """Whether the bytes are those of the plan; built by another version they are not."""
        return not isinstance(self.block, Block) or self.block.hash == self.planned.hash

    @property
    def nbytes(self) -> int:
        return 0 if self.block is None else self.block.nbytes


@dataclass(slots=True)
class Lane:
    """One table's way to ClickHouse."""

    table: str
    live: deque[Job] = field(default_factory=deque)
    # On its way, or waiting for another attempt before anything else of this table.
    head: Job | None = None
    busy: bool = False  # an attempt is being made
    quiet: int = 0  # how many ask for silence
    inserts: int = 0
    waiting_bytes: int = 0  # of `live`
    live_in_a_row: int = 0  # taken since the spool had its turn

    def wait(self, job: Job) -> None:
        """Queue a block behind the others."""
        self.live.append(job)
        self.waiting_bytes += job.nbytes

    def wait_again(self, job: Job) -> None:
        """Queue a block before the others: it was its turn already."""
        self.live.appendleft(job)
        self.waiting_bytes += job.nbytes

    def prefers_live(self, *, spooled: bool) -> bool:
        """Whether a live block is next; `spooled`: one in the spool could be sent as well."""
        return bool(self.live) and not (spooled and self.live_in_a_row >= _LIVE_IN_A_ROW_MAX)

    def next(self) -> Job:
        """Take the oldest."""
        job = self.live.popleft()
        self.waiting_bytes -= job.nbytes
        return job

    @property
    def unresolved(self) -> bool:
        """Whether something of this table may have been stored, or may still be."""
        return self.busy or (self.head is not None and self.head.unknown)

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest block in memory came."""
        waits = [job.put_ns for job in (self.head, *list(self.live)[:1]) if job is not None]
        return min(waits, default=None)

    def sent(self, job: Job, now_ns: int) -> None:
        """An attempt with `job` begins."""
        if not job.unknown:
            job.sent_at_insert, job.sent_ns = self.inserts, now_ns
        self.inserts += 1
        job.attempting = True

    def forgotten(self, job: Job, now_ns: int) -> bool:
        """Whether ClickHouse may have forgotten the token of an attempt with an open outcome."""
        return job.unknown and (
            self.inserts - job.sent_at_insert > _INSERTS_MAX or now_ns - job.sent_ns > _AGE_NS_MAX
        )
