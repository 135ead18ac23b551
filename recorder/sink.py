"""The sink: batches in, rows in ClickHouse out, each exactly once.

The heart of the recorder's ClickHouse side. Batches go to the native worker, cuts come back as
blocks; a block is planned durably once the raw log holds its frames, sent, and committed when
ClickHouse has acknowledged it. A table's blocks are sent in order, one at a time. Nothing here
encodes, speaks HTTP or reads the raw log.

Memory is bounded: when the worker refuses a batch the sink *falls behind* and drops batches; it
notes how far, and reads that range from the raw log again as soon as there is room. A start is the
same thing: everything up to the recovered end of the raw log is a range that is to be read again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from recorder.clickhouse import ClickHouse
from recorder.config import SinkConfig
from recorder.errors import BlockRefusedError, ClickHouseError
from recorder.plan import Outcome, Plan, PlannedBlock
from recorder.quarantine import Quarantine
from recorder.recover import Rebuilt, Replay, Replayed, Verdict, last_seq, rebuild, settle
from recorder.retry import RetryPolicy
from recorder.watermark import LogProgress
from tickd.errors import Action, TickdError
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES, Block, Cut, EventBatch, Histogram, SinkWorker
from tickd.ports import Clock

__all__ = ["Bursts", "Sink", "SinkCounters", "SinkState"]

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

# A verdict "these bytes are wrong" must be heard twice: a body cut by a proxy sounds the same.
_REFUSALS_MAX: Final = 2


class Bursts(Protocol):
    """Where batches come from: a subscription of whole bursts with the policy SPILL."""

    async def take_bursts(self) -> list[EventBatch]:
        """Wait for the next batches in order; [] at the end.

        Raises TickdError(RESYNC) when some were dropped, after the last that was not.
        """
        ...

    def resume(self) -> tuple[int, int] | None:
        """Receive again; return the range of sequence numbers that was dropped."""


class SinkState(Enum):
    """Where the next batch goes."""

    LIVE = "live"  # to the worker
    BEHIND = "behind"  # nowhere: it will be read from the raw log
    CLOSING_UP = "closing_up"  # kept, because the raw log is being read right up to it


@dataclass(slots=True)
class SinkCounters:
    """Totals since the start; the wiring turns them into metrics."""

    batches: int = 0
    events: int = 0
    cuts: int = 0
    blocks_planned: int = 0
    blocks_inserted: int = 0
    blocks_present: int = 0
    blocks_quarantined: int = 0
    rows_committed: int = 0
    bytes_sent: int = 0
    attempts_failed: dict[str, int] = field(default_factory=dict)
    falls_behind: int = 0
    batches_reread: int = 0
    rebuilt_differently: int = 0


@dataclass(frozen=True, slots=True)
class _Job:
    """A planned block that waits for its turn."""

    planned: PlannedBlock
    block: Block


class Sink:
    """One node's sink. `run` is its life; everything else may be called while it runs.

    Args: `plan` is owned from here on; `frame_recovered` is the last frame that is *not* going to
    come as a live batch.
    """

    def __init__(
        self,
        config: SinkConfig,
        *,
        node: int,
        plan: Plan,
        clickhouse: ClickHouse,
        progress: LogProgress,
        replay: Replay,
        frame_recovered: int,
        quarantine: Quarantine,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._config = config
        self._node = node
        self._plan = plan
        self._clickhouse = clickhouse
        self._progress = progress
        self._replay = replay
        self._quarantine = quarantine
        self._clock = clock
        self._random = random
        self.counters = SinkCounters()
        self.ack_latency = Histogram()
        self.state = SinkState.BEHIND
        self._definitions: list[bytes] = []
        # The worker exists once the plan and ClickHouse have said where to begin.
        self._worker: SinkWorker | None = None
        self._frame_given = 0  # last frame that the worker got
        self._frame_missed = frame_recovered  # last frame that must be read from the raw log
        self._held: deque[EventBatch] = deque()
        self._held_bytes = 0
        self._uncut = False  # something was pushed since the last cut
        self._jobs: dict[str, deque[_Job]] = {table: deque() for table in EVENT_TABLES}
        self._jobs_new = {table: asyncio.Event() for table in EVENT_TABLES}
        self._in_flight = asyncio.Semaphore(config.in_flight_max)
        self._cuts: deque[Cut] = deque()  # finished by the worker, not planned yet
        self._cut_ready = asyncio.Event()
        self._fell_behind = asyncio.Event()
        self._live = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._unsettled = 0  # blocks between cut and commit, and cuts between worker and plan
        self._files = ThreadPoolExecutor(1, thread_name_prefix="tickd-plan")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="tickd-replay")

    def define(self, definition: bytes) -> None:
        """Take an instrument definition (JSON); before the first batch that uses it."""
        self._definitions.append(definition)
        if self._worker is not None:
            self._worker.define(definition)

    @property
    def blocks_waiting(self) -> int:
        """Planned blocks that ClickHouse has not acknowledged."""
        return sum(map(len, self._jobs.values()))

    @property
    def held_bytes(self) -> int:
        """Bytes of everything that waits in memory."""
        return self._held_bytes + (0 if self._worker is None else self._worker.held_bytes)

    @property
    def frame_settled(self) -> int:
        """Every event up to this frame is in ClickHouse, or in quarantine."""
        return ((min(map(self._plan.settled, EVENT_TABLES)) + 1) >> SEQ_INDEX_BITS) - 1

    @property
    def frames_behind(self) -> int:
        """Frames that are in the raw log and have still to be read again."""
        return max(0, self._frame_missed - self._frame_given)

    async def run(self, bursts: Bursts) -> bool:
        """Store what `bursts` gives until it ends, cut, drain; True when ClickHouse has everything.

        False: `drain_timeout_ms` passed first. What is missing is planned, or above the plan's
        progress, and the next start stores it. Raises TickdError(FATAL) when the raw log or the
        plan file fails.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks.append(group.create_task(self._catch_up_for_ever(), name="sink_catch_up"))
                tasks.append(group.create_task(self._cut_by_age(), name="sink_age"))
                tasks.append(group.create_task(self._plan_cuts(), name="sink_plan"))
                tasks.extend(
                    group.create_task(self._send(table), name=f"sink_send_{table}")
                    for table in EVENT_TABLES
                )
                await self._consume(bursts)
                drained = await self._drain()
                for task in tasks:
                    task.cancel()
        finally:
            await self._close()
        return drained

    async def _consume(self, bursts: Bursts) -> None:
        while True:
            try:
                batches = await bursts.take_bursts()
            except TickdError as error:
                if error.action is not Action.RESYNC:
                    raise
                # The subscription overflowed first; its range has whole frames.
                if (missed := bursts.resume()) is not None:
                    self._fall_behind(missed[1] >> SEQ_INDEX_BITS)
                continue
            if not batches:
                return
            for batch in batches:
                self._take(batch)

    # The front: batches to the worker. No await between a batch and its place in the order.

    def _take(self, batch: EventBatch) -> None:
        self.counters.batches += 1
        self.counters.events += len(batch)
        if self.state is SinkState.LIVE:
            if not self._push(batch):
                self._fall_behind(batch.frame_last)
        elif self.state is SinkState.CLOSING_UP and self._held_bytes < self._config.held_bytes_max:
            self._held.append(batch)
            self._held_bytes += batch.nbytes
        else:
            self._fall_behind(batch.frame_last)

    def _push(self, batch: EventBatch) -> bool:
        worker = self._worker
        if worker is None or not worker.push(batch):
            return False
        self._frame_given = max(self._frame_given, batch.frame_last)
        self._uncut = True
        config = self._config
        if worker.cuts_pending == 0:
            if worker.rows_open >= config.rows_max:
                self._cut("rows")
            elif worker.bytes_open >= config.block_bytes_max:
                self._cut("bytes")
        return True

    def _cut(self, reason: str) -> None:
        if self._worker is not None and self._uncut:
            self._uncut = False
            self._unsettled += 1
            self._idle.clear()
            self._worker.cut(reason)

    async def _cut_by_age(self) -> None:
        while True:
            await self._clock.sleep(self._config.age_ms_max / 1000)
            self._cut("age")

    def _fall_behind(self, frame_no: int) -> None:
        """Give up the live order up to `frame_no`; what was held goes with it."""
        if self.state is SinkState.LIVE:
            self.counters.falls_behind += 1
            _log.warning(
                "sink_fell_behind", frame_given=self._frame_given, held_bytes=self.held_bytes
            )
            self._cut("behind")
        self.state = SinkState.BEHIND
        self._live.clear()
        self._held.clear()
        self._held_bytes = 0
        self._frame_missed = max(self._frame_missed, frame_no)
        self._fell_behind.set()

    # Catching up: the start, and every return from a fall.

    async def _catch_up_for_ever(self) -> None:
        await self._begin()
        while True:
            await self._catch_up()
            self._fell_behind.clear()
            await self._fell_behind.wait()

    async def _begin(self) -> None:
        """Settle what a predecessor planned, find where each table continues, start the worker."""
        if self._plan.is_new and self._frame_missed > 0:
            await self._ask_where_to_begin()
        await self._settle_planned()
        starts = {table: self._plan.progress(table) + 1 for table in EVENT_TABLES}
        worker = SinkWorker(
            node=self._node,
            seq_from=min(starts.values()),
            bytes_max=self._config.pending_bytes_max,
            compression=self._clickhouse.compression,
        )
        for table, seq in starts.items():
            worker.want_from(table, seq)
        for definition in self._definitions:
            worker.define(definition)
        self._frame_given = (
            min(self._plan.progress(table) for table in EVENT_TABLES) >> SEQ_INDEX_BITS
        )
        self._worker = worker
        asyncio.get_running_loop().add_reader(worker.wake_fd, self._collect)

    async def _ask_where_to_begin(self) -> None:
        """The plan file is gone but the raw log is not: ClickHouse knows how far each table got."""
        progress: dict[str, int] = {}
        for table in EVENT_TABLES:
            ask = partial(last_seq, table, self._node, self._clickhouse)
            progress[table] = await self._until_answered("start", ask)
        if any(progress.values()):  # otherwise it is the first start of all
            _log.warning("sink_plan_absent", progress=progress)
        await self._in_thread(self._files, lambda: self._plan.start_at(progress))

    async def _settle_planned(self) -> None:
        """Resolve each planned block before anything newer of its table is sent."""
        planned = self._plan.open_blocks
        if not planned:
            return
        _log.info("sink_recovery_started", blocks=len(planned))
        unsent: set[str] = set()
        async for rebuilt in self._threaded(rebuild(planned, self._replay, self._node)):
            await self._settle(rebuilt, unsent)
            while self._waiting_bytes() > self._config.pending_bytes_max // 2:
                self._room.clear()
                await self._room.wait()

    async def _settle(self, rebuilt: Rebuilt, unsent: set[str]) -> None:
        """Find out what became of one block; `unsent`: tables of which nothing later was sent."""
        planned, block = rebuilt.planned, rebuilt.block
        if not rebuilt.same:
            self.counters.rebuilt_differently += 1
            _log.error(
                "sink_block_differs",
                token=planned.token,
                rows_planned=planned.rows,
                rows_rebuilt=0 if block is None else block.rows,
            )
        # A table's blocks are sent one at a time: behind the first absent one all are absent.
        verdict: Verdict = "send"
        if planned.table not in unsent or not rebuilt.same:
            ask = partial(settle, planned, self._clickhouse)
            verdict = await self._until_answered("settle", ask)
        if verdict == "present":
            await self._commit(planned, "present")
        elif block is None:
            await self._commit(planned, "quarantined")
        elif verdict == "differs":
            await self._set_aside(planned, block, "some of its rows are in the table already")
        else:
            unsent.add(planned.table)
            if not rebuilt.same:
                planned = PlannedBlock.of(block, self._node)
                await self._in_thread(self._files, partial(self._plan.replan, planned))
            self._queue(planned, block)

    def _queue(self, planned: PlannedBlock, block: Block) -> None:
        self._unsettled += 1
        self._idle.clear()
        self._jobs[block.table].append(_Job(planned, block))
        self._jobs_new[block.table].set()

    def _waiting_bytes(self) -> int:
        return sum(job.block.nbytes for jobs in self._jobs.values() for job in jobs)

    async def _catch_up(self) -> None:
        """Read the missed frames from the raw log until the live batches join without a hole."""
        while self.state is not SinkState.LIVE:
            await self._wait_for_room()
            self.state = SinkState.CLOSING_UP
            target = self._frame_missed
            if target > self._frame_given:
                await self._progress.reached(target)
                await self._reread(self._frame_given + 1, target)
                self._frame_given = max(self._frame_given, target)
            # Batches that arrived meanwhile wait in `_held`, unless there were too many.
            while self._held and self.state is SinkState.CLOSING_UP:
                batch = self._held[0]
                if self._push(batch):
                    self._held.popleft()
                    self._held_bytes -= batch.nbytes
                else:
                    await self._wait_for_room()
            if self.state is SinkState.CLOSING_UP and self._frame_missed <= self._frame_given:
                self.state = SinkState.LIVE
                self._live.set()
                _log.info("sink_is_live", frame_given=self._frame_given)

    async def _reread(self, frame_from: int, frame_to: int) -> None:
        parts: Iterator[Replayed] = self._replay.read(frame_from, frame_to)
        async for part in self._threaded(parts):
            for definition in part.definitions:
                assert self._worker is not None
                self._worker.define(definition)
            if part.batch is None:
                continue
            self.counters.batches_reread += 1
            while not self._push(part.batch):
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Wait until half of the memory is free; cut first, so that there is something to send."""
        assert self._worker is not None
        while self._worker.held_bytes > self._config.pending_bytes_max // 2:
            self._cut("room")
            self._room.clear()
            await self._room.wait()

    # The middle: cuts become durable plans.

    def _collect(self) -> None:
        assert self._worker is not None
        self._cuts.extend(self._worker.take())
        self._cut_ready.set()

    async def _plan_cuts(self) -> None:
        while True:
            while self._cuts:
                # Handed over, not kept in a variable: a block's memory is free when it is sent.
                await self._plan_cut(self._cuts.popleft())
            self._cut_ready.clear()
            await self._cut_ready.wait()

    async def _plan_cut(self, cut: Cut) -> None:
        self.counters.cuts += 1
        if cut.blocks:
            # First the bytes in the raw log, then the promise, then the insert: whatever is cut off
            # by a crash can be made again from what was before it.
            await self._progress.reached(cut.frame_last)
            planned = [PlannedBlock.of(block, self._node) for block in cut.blocks]
            await self._in_thread(self._files, lambda: self._plan.plan(planned, cut.seq_to))
            self.counters.blocks_planned += len(planned)
            for entry, block in zip(planned, cut.blocks, strict=True):
                self._queue(entry, block)
        self._settled()

    # The back: one block after the other, per table.

    async def _send(self, table: str) -> None:
        jobs, new = self._jobs[table], self._jobs_new[table]
        while True:
            while jobs:
                await self._deliver(jobs[0])
                jobs.popleft()
                self._settled()
            new.clear()
            await new.wait()

    async def _deliver(self, job: _Job) -> None:
        """Send until there is an answer, always the same bytes with the same token."""
        refusals = attempt = 0
        while True:
            try:
                async with self._in_flight:
                    await self._clickhouse.insert_block(job.block, job.planned.token)
            except BlockRefusedError as error:
                refusals += 1
                self._failed(error, job.planned, attempt)
                if refusals >= _REFUSALS_MAX:
                    await self._set_aside(job.planned, job.block, str(error))
                    return
            except ClickHouseError as error:
                if error.action is not Action.RETRY:
                    raise
                refusals = 0
                self._failed(error, job.planned, attempt)
                await self._pause(attempt)
                attempt += 1
            else:
                self.counters.bytes_sent += job.block.nbytes
                await self._commit(job.planned, "inserted")
                if (
                    job.block.ts_mono_ns
                ):  # rows read again from the log have no socket to measure from
                    self.ack_latency.record(
                        self._clock.mono_ns() - job.block.ts_mono_ns, job.block.rows
                    )
                return

    async def _set_aside(self, planned: PlannedBlock, block: Block, reason: str) -> None:
        path = await self._in_thread(
            self._files,
            partial(self._quarantine.keep, planned, block, reason),
        )
        _log.error(
            "sink_block_quarantined",
            token=planned.token,
            rows=planned.rows,
            reason=reason,
            path=str(path),
        )
        await self._commit(planned, "quarantined")

    async def _commit(self, planned: PlannedBlock, outcome: Outcome) -> None:
        await self._in_thread(self._files, lambda: self._plan.commit(planned, outcome))
        counters = self.counters
        match outcome:
            case "inserted":
                counters.blocks_inserted += 1
            case "present":
                counters.blocks_present += 1
            case "quarantined":
                counters.blocks_quarantined += 1
                return
        counters.rows_committed += planned.rows

    async def _until_answered(self, step: str, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask ClickHouse until it answers, with pauses, for ever."""
        attempt = 0
        while True:
            try:
                return await ask()
            except ClickHouseError as error:
                _log.warning("sink_question_failed", step=step, fault=str(error), attempt=attempt)
                await self._pause(attempt)
                attempt += 1

    async def _pause(self, attempt: int) -> None:
        policy = RetryPolicy(
            delay_ms_min=self._config.backoff_ms_min, delay_ms_max=self._config.backoff_ms_max
        )
        pause_ms = policy.delay_ms(attempt, self._random)
        await self._clock.sleep(pause_ms / 1000)

    def _failed(self, error: ClickHouseError, planned: PlannedBlock, attempt: int) -> None:
        name = type(error).__name__
        failed = self.counters.attempts_failed
        failed[name] = failed.get(name, 0) + 1
        _log.warning(
            "sink_insert_failed",
            table=planned.table,
            kind=name,
            code=error.code,
            fault=str(error),
            hint=error.hint,
            attempt=attempt,
        )

    # The end.

    def _settled(self) -> None:
        self._unsettled -= 1
        self._room.set()
        if self._unsettled == 0:
            self._idle.set()

    async def _drain(self) -> bool:
        """Cut what is open and wait until all is acknowledged, or the time is up."""
        try:
            async with asyncio.timeout(self._config.drain_timeout_ms / 1000):
                await self._live.wait()
                self._cut("close")
                while self._unsettled:
                    await self._idle.wait()
        except TimeoutError:
            _log.warning(
                "sink_drain_timed_out",
                blocks_waiting=self.blocks_waiting,
                frames_behind=self.frames_behind,
            )
            return False
        return True

    async def _close(self) -> None:
        if self._worker is not None:
            asyncio.get_running_loop().remove_reader(self._worker.wake_fd)
            self._worker.close()
        # Queued file work is done in order before the plan closes.
        self._files.submit(self._plan.close)
        await asyncio.get_running_loop().run_in_executor(None, self._shut_threads)

    def _shut_threads(self) -> None:
        self._reader.shutdown(cancel_futures=True)
        self._files.shutdown()

    async def _in_thread(self, pool: ThreadPoolExecutor, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, call)

    async def _threaded(self, items: Iterator[_T]) -> AsyncIterator[_T]:
        """Iterate in the reader's thread, one step at a time."""
        end = object()
        while True:
            item = await self._in_thread(self._reader, lambda: next(items, end))
            if item is end:
                return
            yield item  # type: ignore[misc]
