"""Delivery: planned blocks to ClickHouse, each exactly once, through outages of any length.

A lane per table: blocks wait in memory, beyond a limit in the spool, and go out one at a time: the
live ones first, the spooled ones in the gaps and after every few live ones, oldest first. Breakers
keep everybody from hammering what is broken. Whatever had an open outcome is sent again with the
same bytes and the same token before anything else of its table, and is then left to repair, which
compares what came of it with the raw log. It cuts nothing and reads the log only for lost blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import SinkConfig
from recorder.errors import BlockRefusedError, ClickHouseError, SpoolDamagedError
from recorder.raw.reading import Reading
from recorder.raw.recover import Rebuilt, settle
from recorder.sink.circuits import Circuits
from recorder.sink.lanes import Job, Lane
from recorder.sink.plan import Outcome, PlannedBlock
from recorder.sink.plan_thread import PlanThread
from recorder.sink.queue_gauge import QueueGauge
from recorder.sink.waiting import DeliveryCounters, WaitingRoom
from recorder.spool.quarantine import Quarantine
from recorder.spool.thread import SpoolThread
from tickd.native import EVENT_TABLES, Block, Histogram
from tickd.ports import Clock

__all__ = ["Delivery", "DeliveryCounters"]

_log = structlog.get_logger(__name__)

# A verdict "these bytes are wrong" must be heard twice: a body cut by a proxy sounds the same.
_REFUSALS_MAX: Final = 2


class Delivery:
    """One node's way into its tables. `run` is its life; nothing is sent before `open`.

    Args: `on_room` is called when memory has become free.
    """

    def __init__(
        self,
        config: SinkConfig,
        *,
        node: int,
        plan: PlanThread,
        spool: SpoolThread,
        reading: Reading,
        clickhouse: ClickHouse,
        quarantine: Quarantine,
        clock: Clock,
        random: Callable[[], float],
        on_room: Callable[[], None],
    ) -> None:
        self._config = config
        self._node = node
        self._plan = plan
        self.spool = spool
        self._reading = reading
        self._clickhouse = clickhouse
        self._quarantine = quarantine
        self._clock = clock
        self.counters = DeliveryCounters()
        self.ack_latency = Histogram()
        self.in_flight = QueueGauge()
        self._flying: dict[str, int] = {}  # table -> start of its attempt
        self.circuits = Circuits(
            EVENT_TABLES,
            policy=config.retry,
            failures_max=config.circuit_failures_max,
            clock=clock,
            random=random,
        )
        self.waiting = WaitingRoom(
            config,
            plan=plan,
            spool=spool,
            circuits=self.circuits,
            counters=self.counters,
            on_room=on_room,
        )
        self.lanes = self.waiting.lanes
        self.on_acked: Callable[[Job, int], None] = lambda _job, _ns: None  # who traces sets it
        self._slots = asyncio.Semaphore(config.in_flight_max)
        self._redrive_not_before_ns = 0

    # What others ask.

    @property
    def server_available(self) -> bool:
        """Whether the server is believed to take inserts."""
        return self.circuits.server_available

    @property
    def is_behind(self) -> bool:
        """Whether more than a whole cut waits, or nothing can be sent at all.

        What a refused table has waiting is no reason: the others' rows must not wait with it.
        """
        waiting = sum(
            len(lane.live)
            for lane in self.lanes.values()
            if not (lane.quiet or self.circuits.table_refused(lane.table))
        )
        return not self.server_available or waiting > len(EVENT_TABLES)

    @property
    def in_flight_since_ns(self) -> int | None:
        """When the longest attempt under way began."""
        return min(list(self._flying.values()), default=None)

    @property
    def in_flight_age_s(self) -> float:
        """Age of the longest attempt under way, s."""
        since_ns = self.in_flight_since_ns
        return 0.0 if since_ns is None else (self._clock.mono_ns() - since_ns) / 1e9

    async def available(self) -> None:
        """Wait until `server_available`. Asks the server itself when no block is there to do so."""
        circuits = self.circuits
        while not circuits.server_available:
            if self.waiting.has_work() or not circuits.allow_question():
                await circuits.until_changed()
                continue
            try:
                await self._clickhouse.query("SELECT 1")
            except ClickHouseError as error:
                circuits.failed(error)
            else:
                circuits.answered()

    @asynccontextmanager
    async def quiet(self, table: str) -> AsyncIterator[None]:
        """Send nothing into `table` meanwhile; begins when no outcome there is open."""
        lane = self.lanes[table]
        lane.quiet += 1
        try:
            while lane.unresolved:
                await self.circuits.until_changed()
            yield
        finally:
            lane.quiet -= 1
            self.circuits.tell()

    # What the sink does.

    def open(self) -> None:
        """The tables are there: send from now on."""
        self.circuits.open()

    def put(self, planned: PlannedBlock, block: Block) -> None:
        """Take a block whose promise is durable."""
        self.waiting.put(
            Job(planned, block, put_ns=self._clock.mono_ns(), ts_mono_ns=block.ts_mono_ns)
        )

    async def put_rebuilt(self, rebuilt: Rebuilt) -> None:
        """Take a block of an earlier life, which may have sent it."""
        job = Job(rebuilt.planned, rebuilt.block, put_ns=self._clock.mono_ns(), ask=True)
        if not rebuilt.same:
            self._tell_difference(rebuilt)
        self.waiting.put(job)
        # These must not push the live ones out of memory.
        while self.waiting.is_too_much():
            await self.circuits.until_changed()

    async def run(self) -> None:
        """Send what is put, for ever. Raises CancelledError; TickdError(FATAL) of the raw log."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.waiting.run(), name="sink_spool")
            for lane in self.lanes.values():
                group.create_task(self._serve(lane), name=f"sink_send_{lane.table}")

    # Sending.

    async def _serve(self, lane: Lane) -> None:
        circuits = self.circuits
        while True:
            if not self.waiting.has_work_of(lane) or (lane.quiet and not lane.unresolved):
                await circuits.until_changed()
            elif (wait_ns := self._wait_ns(lane)) > 0:
                await circuits.until_changed(wait_ns)
            elif not circuits.allow(lane.table):
                await circuits.until_changed()
            else:
                lane.busy = True
                try:
                    await self._attempt(lane)
                finally:
                    lane.busy = False
                    circuits.tell()

    def _wait_ns(self, lane: Lane) -> int:
        """How long this lane has to wait in any case."""
        wait_ns = self.circuits.closed_for_ns(lane.table)
        if lane.head is None and not lane.live:
            wait_ns = max(wait_ns, self._redrive_not_before_ns - self._clock.mono_ns())
        return wait_ns

    async def _attempt(self, lane: Lane) -> None:
        """Make one attempt with the lane's next block."""
        if self._slots.locked():
            self.in_flight.enqueue_timeouts += 1
        async with self._slots:
            job = await self._next(lane)
            if job is None:
                self.circuits.withdrawn(lane.table)
                return
            self.in_flight.entered()
            self._flying[lane.table] = self._clock.mono_ns()
            job.attempting = False
            try:
                await self._deliver(lane, job)
            except BlockRefusedError as error:
                await self._refused(lane, job, error)
            except ClickHouseError as error:
                await self._failed(lane, job, error)
            else:
                lane.head = None
                self.circuits.withdrawn(lane.table)  # a probe for which nothing was to be sent
            finally:
                self.in_flight.left()
                del self._flying[lane.table]

    async def _next(self, lane: Lane) -> Job | None:
        """The block whose turn it is: the one ahead, a live one, the oldest in the spool."""
        if lane.head is None:
            now_ns = self._clock.mono_ns()
            redrive = now_ns >= self._redrive_not_before_ns
            lane.head = await self.waiting.next(lane, now_ns, redrive=redrive)
        return lane.head

    async def _deliver(self, lane: Lane, job: Job) -> None:
        """Settle a block for good, or raise ClickHouseError."""
        if job.ask or lane.forgotten(job, self._clock.mono_ns()):
            verdict = await settle(job.planned, self._clickhouse)
            self.circuits.answered(lane.table)
            if verdict == "present" and job.block is None and not job.spooled:
                # The raw log cannot say what they should be any more; as many as planned it is.
                await self._commit(job, "present")
                return
            if verdict != "send":
                await self._leave(job)
                return
            # Nothing of it is there; should an attempt still arrive, the token covers it.
            job.ask = job.unknown = False
            job.doubtful = True
        if not await self._load(job):
            return
        assert job.block is not None
        lane.sent(job, self._clock.mono_ns())
        await self._clickhouse.insert_block(job.block, job.planned.token)
        self.circuits.answered(lane.table)
        self.counters.bytes_sent += job.block.nbytes
        now_ns = self._clock.mono_ns()
        self.on_acked(job, now_ns)
        if job.ts_mono_ns:  # what was read again from the log has no socket to measure from
            self.ack_latency.record(now_ns - job.ts_mono_ns, job.planned.rows)
        if job.spooled:
            self.counters.blocks_redriven += 1
            self._slow_down(job.planned.rows, now_ns)
        if job.has_doubts:
            await self._leave(job)
        else:
            await self._commit(job, "inserted")

    async def _leave(self, job: Job) -> None:
        """Leave a block to repair, which compares: that it was taken does not say that it is whole.

        ClickHouse remembers a token before it has the rows, and has the rows before their bars: an
        end in between leaves one without the other, and the token refuses what is missing.
        """
        _log.debug("sink_block_in_doubt", token=job.planned.token, rows=job.planned.rows)
        await self.waiting.spill(job, "in_doubt")
        self.waiting.gone()

    async def _load(self, job: Job) -> bool:
        """See that a block's bytes are there and are what its plan says; False: none to send."""
        block = job.block
        if block is None and job.spooled:
            try:
                job.block = await self.spool.read(job.planned)
            except SpoolDamagedError as error:
                _log.warning("sink_spool_damaged", token=job.planned.token, fault=str(error))
                async for rebuilt in self._reading.rebuilt([job.planned]):
                    job.block = rebuilt.block
                    if not rebuilt.same:
                        self._tell_difference(rebuilt)
        if job.block is None:
            await self._lost(job)
            return False
        if isinstance(job.block, Block) and not job.as_planned:
            if job.spooled:
                await self.spool.done(job.planned)
                job.spooled = False
            planned = PlannedBlock.of(job.block, self._node)
            await self._plan.replan(planned)
            job.planned = planned
        return True

    async def _lost(self, job: Job) -> None:
        """The raw log has no such rows any more: kept as a fact, which `tickd spool list` shows."""
        keep = partial(self._quarantine.keep, job.planned, None, "the raw log has no such rows")
        try:
            await self.spool.call(keep)
        except OSError as fault:  # still planned: the next start comes here again
            _log.warning("sink_quarantine_failed", token=job.planned.token, fault=str(fault))
            self.waiting.gone()
            return
        self.waiting.blocks.dropped += 1
        await self._commit(job, "quarantined")

    def _tell_difference(self, rebuilt: Rebuilt) -> None:
        """A block comes out differently than it was planned: by another version, or by damage."""
        self.counters.rebuilt_differently += 1
        _log.error(
            "sink_block_differs",
            token=rebuilt.planned.token,
            rows_planned=rebuilt.planned.rows,
            rows_rebuilt=0 if rebuilt.block is None else rebuilt.block.rows,
        )

    def _slow_down(self, rows: int, now_ns: int) -> None:
        """Let the next spooled block wait as the rate limit wants it."""
        if self._config.redrive_rows_per_s:
            pause_ns = rows * 1_000_000_000 // self._config.redrive_rows_per_s
            self._redrive_not_before_ns = max(self._redrive_not_before_ns, now_ns) + pause_ns

    async def _commit(self, job: Job, outcome: Outcome) -> None:
        planned = job.planned
        await self._plan.commit(planned, outcome)
        if job.spooled:
            await self.spool.done(planned)
        counters = self.counters
        match outcome:
            case "inserted":
                counters.blocks_inserted += 1
            case "present":
                counters.blocks_present += 1
            case "quarantined":
                counters.blocks_quarantined += 1
        if outcome != "quarantined":
            counters.rows_committed += planned.rows
        self.waiting.gone()

    # Failing.

    async def _refused(self, lane: Lane, job: Job, error: BlockRefusedError) -> None:
        """These bytes are refused: sent once more, in case the way damaged them, then set aside."""
        self.circuits.failed(error, lane.table, attempt=job.attempt)
        job.refusals += 1
        if job.refusals < _REFUSALS_MAX:
            return
        if job.unknown:  # an earlier attempt may have been luckier
            job.ask, job.refusals = True, 0
            return
        assert job.block is not None
        try:
            path = await self.spool.call(
                partial(self._quarantine.keep, job.planned, job.block, str(error))
            )
        except OSError as fault:
            _log.warning("sink_quarantine_failed", token=job.planned.token, fault=str(fault))
            job.attempt += 1
            self.circuits.pause(lane.table, job.attempt)
            return
        _log.error(
            "sink_block_quarantined",
            token=job.planned.token,
            rows=job.planned.rows,
            reason=str(error),
            path=str(path),
        )
        await self._commit(job, "quarantined")
        lane.head = None

    async def _failed(self, lane: Lane, job: Job, error: ClickHouseError) -> None:
        """An attempt failed: the block stays ahead when its outcome is open, or waits again."""
        self.circuits.failed(error, lane.table, attempt=job.attempt)
        job.attempt += 1
        if job.attempting and error.outcome == "unknown":
            job.unknown = True
            if job.spooled:
                await self.spool.mark_unknown(job.planned)
        if job.unknown:
            return
        lane.head = None
        if job.spooled:
            self.waiting.gone()  # it waits where it was
        else:
            lane.wait_again(job)
