"""The sink: batches in, rows in ClickHouse out, each exactly once.

The heart of the recorder's ClickHouse side. Batches go to the native worker, cuts come back as
blocks; a block is planned durably once the raw log holds its frames, and handed to the delivery,
which sends it when it can. When to cut follows the measured rate (`cutting.py`). Nothing here
encodes, speaks HTTP or reads the raw log.

Memory is bounded: when the worker refuses a batch the sink *falls behind* and drops batches; it
notes how far. As soon as there is room it closes up: a small distance is read from the raw log
again, a large one is spilled (the ledger says so, repair brings it) and the sink is live at once. A
start is the same thing: everything up to the recovered end of the raw log is a distance. ClickHouse
is needed for none of this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import SinkConfig
from recorder.raw.lost_tail import give_up_lost
from recorder.raw.reading import Reading
from recorder.raw.recover import Replay
from recorder.raw.watermark import LogProgress
from recorder.sink.cutting import CutPolicy
from recorder.sink.delivery import Delivery
from recorder.sink.plan import Plan, PlannedBlock
from recorder.sink.plan_thread import PlanThread
from recorder.sink.queue_gauge import QueueGauge
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from recorder.spool.thread import SpoolThread
from tickd.errors import Action, TickdError
from tickd.events import SEQ_INDEX_BITS, SEQ_INDEX_MAX
from tickd.native import EVENT_TABLES, Cut, EventBatch, SinkWorker
from tickd.ports import Clock

__all__ = ["Bursts", "Sink", "SinkCounters", "SinkState"]

_log = structlog.get_logger(__name__)

# Looks at the age of what is open, per shortest interval: a cut is late by a quarter at most.
_LOOKS: Final = 4
# Stowing what is left may not hold up the end.
_STOW_SECONDS: Final = 5.0


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
    """Totals of the front since the start; the wiring turns them into metrics."""

    batches: int = 0
    events: int = 0
    cuts: int = 0
    blocks_planned: int = 0
    falls_behind: int = 0
    batches_reread: int = 0
    ranges_spilled: int = 0


class Sink:
    """One node's sink. `run` is its life; everything else may be called while it runs.

    Args: `plan` and `spool` are owned from here on; `frame_recovered` is the last frame that is
    *not* going to come as a live batch, `frame_next` the first number that this life gives out
    (None: behind `frame_recovered`); `on_filled` is told the hours whose bars fetched trades belong
    to, and the last number of these, before they are promised. Nothing is sent before
    `delivery.open`.
    """

    def __init__(
        self,
        config: SinkConfig,
        *,
        node: int,
        plan: Plan,
        spool: Spool,
        clickhouse: ClickHouse,
        progress: LogProgress,
        replay: Replay,
        frame_recovered: int,
        frame_next: int | None = None,
        quarantine: Quarantine,
        clock: Clock,
        random: Callable[[], float],
        on_filled: Callable[[Collection[int], int], Awaitable[None]] | None = None,
    ) -> None:
        self._config = config
        self._node = node
        self._on_filled = on_filled
        self.plan = PlanThread(plan, clock=clock, policy=config.retry, random=random)
        self._layout, self._compression = clickhouse.block_format, clickhouse.compression
        self._progress = progress
        self._reading = Reading(replay, node=node)
        self._clock = clock
        self._room = asyncio.Event()
        self.delivery = Delivery(
            config,
            node=node,
            plan=self.plan,
            spool=SpoolThread(spool),
            reading=self._reading,
            clickhouse=clickhouse,
            quarantine=quarantine,
            clock=clock,
            random=random,
            on_room=self._room.set,
        )
        self.counters = SinkCounters()
        self.policy = CutPolicy(config.cuts)
        self.held = QueueGauge()
        self.state = SinkState.BEHIND
        self._definitions: list[bytes] = []
        # The worker exists once the plan has said where to begin.
        self._worker: SinkWorker | None = None
        self._cut_cpu_ns = 0  # of the worker's cuts that were collected
        self._frame_given = 0  # last frame that the worker got
        self._frame_recovered = frame_recovered
        self._frame_next = frame_recovered + 1 if frame_next is None else frame_next
        self._frame_missed = frame_recovered  # last frame that must be read from the raw log
        self._frames_missed = 0  # how many since `_frame_given`, about
        self._held: deque[EventBatch] = deque()
        self._held_bytes = 0
        self._uncut = False  # something was pushed since the last cut
        self._cuts: deque[Cut] = deque()  # finished by the worker, not planned yet
        self._cuts_open = 0  # asked for and not planned yet
        self._cut_ready = asyncio.Event()
        self._cut_planned = asyncio.Event()
        self._fell_behind = asyncio.Event()
        self._live = asyncio.Event()

    def define(self, definition: bytes) -> None:
        """Take an instrument definition (JSON); before the first batch that uses it."""
        self._definitions.append(definition)
        if self._worker is not None:
            self._worker.define(definition)

    @property
    def blocks_waiting(self) -> int:
        """Planned blocks that ClickHouse has not acknowledged, in memory, spooled or to rebuild."""
        return len(self.plan.open_blocks)

    @property
    def held_bytes(self) -> int:
        """Bytes of everything that waits in memory."""
        return self._held_bytes + (0 if self._worker is None else self._worker.held_bytes)

    @property
    def frame_settled(self) -> int:
        """Every event up to this frame is in ClickHouse, or in quarantine."""
        return ((min(map(self.plan.settled, EVENT_TABLES)) + 1) >> SEQ_INDEX_BITS) - 1

    @property
    def frames_behind(self) -> int:
        """Frames that are in the raw log and have still to be read again."""
        return max(0, self._frame_missed - self._frame_given)

    async def run(self, bursts: Bursts) -> bool:
        """Store what `bursts` gives until it ends, cut, drain; True when every block is settled.

        False: `drain_timeout_ms` passed first. What is missing is planned, or above the plan's
        progress, and the next start stores it. Raises TickdError(FATAL) when the raw log fails, or
        is not the one that the plan knows.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            await give_up_lost(
                self.plan, frame_recovered=self._frame_recovered, frame_next=self._frame_next
            )
            async with asyncio.TaskGroup() as group:
                tasks.append(group.create_task(self._catch_up_for_ever(), name="sink_catch_up"))
                tasks.append(group.create_task(self._cut_by_age(), name="sink_age"))
                tasks.append(group.create_task(self._plan_cuts(), name="sink_plan"))
                tasks.append(group.create_task(self._deliver(), name="sink_delivery"))
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
                    self.held.enqueue_timeouts += 1
                    self._frames_missed += (missed[1] - missed[0] >> SEQ_INDEX_BITS) + 1
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
                self._miss(batch)
                self._fall_behind(batch.frame_last)
        elif self.state is SinkState.CLOSING_UP and self._held_bytes < self._config.held_bytes_max:
            self._held.append(batch)
            self._held_bytes += batch.nbytes
            self.held.entered()
        else:
            self._miss(batch)
            self._fall_behind(batch.frame_last)

    def _push(self, batch: EventBatch) -> bool:
        worker = self._worker
        if worker is None or not worker.push(batch):
            return False
        self._frame_given = max(self._frame_given, batch.frame_last)
        self._uncut = True
        self.policy.pushed(len(batch), self._clock.mono_ns())
        self._cut_if_due(worker)
        return True

    def _cut_if_due(self, worker: SinkWorker) -> None:
        if worker.cuts_pending == 0:
            now_ns = self._clock.mono_ns()
            reason = self.policy.reason(worker.rows_open, worker.bytes_open, now_ns)
            if reason is not None:
                self._cut(reason)

    def _cut(self, reason: str) -> None:
        if self._worker is not None and self._uncut:
            self._uncut = False
            self._cuts_open += 1
            self.policy.cut(self._clock.mono_ns())
            self._worker.cut(reason)

    async def _cut_by_age(self) -> None:
        look_s = self._config.cuts.age_ms_min / _LOOKS / 1000
        while True:
            await self._clock.sleep(look_s)
            # What cannot be sent yet may as well grow: many small blocks only cost a slow server,
            # and the spool, more. It is cut as soon as the way is free.
            self.policy.full_blocks_only = self.delivery.is_behind
            if self._worker is not None:
                self._cut_if_due(self._worker)

    def _miss(self, batch: EventBatch) -> None:
        """Count the frames of a batch that goes nowhere."""
        self._frames_missed += batch.frame_last - (batch.seq_first >> SEQ_INDEX_BITS) + 1

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
        for batch in self._held:
            self._miss(batch)
        self.held.left(len(self._held))
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
        """Find where each table continues, start the worker there."""
        recovered = self._frame_recovered
        if self.plan.is_new and recovered > 0:
            # The plan file is gone but the raw log is not: nobody knows what ClickHouse has of it.
            await self._spill_to(recovered, "plan_absent")
        starts = {table: self.plan.progress(table) + 1 for table in EVENT_TABLES}
        given = min(starts.values()) - 1 >> SEQ_INDEX_BITS
        if recovered > given:
            self._frames_missed += await self._reading.count(given + 1, recovered)
        worker = SinkWorker(
            node=self._node,
            seq_from=min(starts.values()),
            bytes_max=self._config.pending_bytes_max,
            layout=self._layout,
            compression=self._compression,
        )
        for table, seq in starts.items():
            worker.want_from(table, seq)
        for definition in self._definitions:
            worker.define(definition)
        self._frame_given = given
        self._worker = worker
        asyncio.get_running_loop().add_reader(worker.wake_fd, self._collect)

    async def _catch_up(self) -> None:
        """Close the distance until the live batches join without a hole."""
        while self.state is not SinkState.LIVE:
            await self._wait_for_room()
            self.state = SinkState.CLOSING_UP
            target, missed = self._frame_missed, self._frames_missed
            self._frames_missed = 0
            if target > self._frame_given:
                await self._progress.reached(target)
                if missed > self._config.close_up_frames_max:
                    await self._skip_to(target)
                else:
                    await self._reread(self._frame_given + 1, target)
                self._frame_given = max(self._frame_given, target)
            # Batches that arrived meanwhile wait in `_held`, unless there were too many.
            while self._held and self.state is SinkState.CLOSING_UP:
                batch = self._held[0]
                if self._push(batch):
                    self._held.popleft()
                    self._held_bytes -= batch.nbytes
                    self.held.left()
                else:
                    await self._wait_for_room()
            if self.state is SinkState.CLOSING_UP and self._frame_missed <= self._frame_given:
                self.state = SinkState.LIVE
                self._live.set()
                _log.info("sink_is_live", frame_given=self._frame_given)

    async def _skip_to(self, frame_no: int) -> None:
        """Leave everything up to `frame_no` that is not planned to repair."""
        assert self._worker is not None
        self._cut("behind")
        while self._cuts_open:  # their rows are below, and have a plan
            self._cut_planned.clear()
            await self._cut_planned.wait()
        await self._spill_to(frame_no, "behind")
        for table in EVENT_TABLES:
            self._worker.want_from(table, self.plan.progress(table) + 1)

    async def _spill_to(self, frame_no: int, cause: str) -> None:
        await self.plan.spill_to(frame_no << SEQ_INDEX_BITS | SEQ_INDEX_MAX, cause)
        self.counters.ranges_spilled += 1
        _log.warning("sink_range_spilled", frame_to=frame_no, cause=cause)

    async def _reread(self, frame_from: int, frame_to: int) -> None:
        assert self._worker is not None
        async for part in self._reading.replayed(frame_from, frame_to):
            for definition in part.definitions:
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
        worker = self._worker
        assert worker is not None
        cuts = worker.take()
        cpu_ns = worker.stats()["cut_cpu_ns"]
        rows = [max((block.rows for block in cut.blocks), default=0) for cut in cuts]
        self.policy.finished(rows, cpu_ns - self._cut_cpu_ns)
        self._cut_cpu_ns = cpu_ns
        self._cuts.extend(cuts)
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
            hours = {hour for block in cut.blocks for hour in block.filled_hours}
            if hours and self._on_filled is not None:
                await self._on_filled(hours, cut.seq_to)
            planned = [PlannedBlock.of(block, self._node) for block in cut.blocks]
            await self.plan.plan(planned, cut.seq_to)
            self.counters.blocks_planned += len(planned)
            for entry, block in zip(planned, cut.blocks, strict=True):
                self.delivery.put(entry, block)
        self._cuts_open -= 1
        self._cut_planned.set()
        self._room.set()
        self.delivery.circuits.tell()

    # The back: what the delivery has to know of an earlier life, then its own life.

    async def _deliver(self) -> None:
        spool = self.delivery.spool
        await spool.open()
        planned = {block.key: block for block in self.plan.open_blocks}
        for spooled in await spool.planned():
            if planned.get(spooled.key) == spooled:
                del planned[spooled.key]
            else:  # settled since, or promised anew
                await spool.done(spooled)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.delivery.run(), name="sink_delivery_run")
            if planned:
                _log.info("sink_recovery_started", blocks=len(planned), spooled=spool.blocks)
                async for rebuilt in self._reading.rebuilt(list(planned.values())):
                    await self.delivery.put_rebuilt(rebuilt)

    # The end.

    async def _drain(self) -> bool:
        """Cut what is open and wait until all is acknowledged, or the time is up."""
        try:
            async with asyncio.timeout(self._config.drain_timeout_ms / 1000):
                await self._live.wait()
                self._cut("close")
                while self._cuts_open or self.blocks_waiting or self.delivery.spool.blocks:
                    await self.delivery.circuits.until_changed()
        except TimeoutError:
            _log.warning(
                "sink_drain_timed_out",
                blocks_waiting=self.blocks_waiting,
                frames_behind=self.frames_behind,
                state=self.state.value,
                circuit=self.delivery.circuits.server.state.value,
                spooled=self.delivery.spool.blocks,
                in_flight=self.delivery.in_flight.depth,
                in_flight_s=self.delivery.in_flight_age_s,
                fault=self.delivery.circuits.fault,
            )
            return False
        return True

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_STOW_SECONDS):
                await self.delivery.waiting.stow()
        except TimeoutError:
            _log.warning("sink_not_stowed", blocks_waiting=self.blocks_waiting)
        finally:
            if self._worker is not None:
                asyncio.get_running_loop().remove_reader(self._worker.wake_fd)
                self._worker.close()
            await asyncio.get_running_loop().run_in_executor(None, self._shut_threads)

    def _shut_threads(self) -> None:
        self._reading.close()
        self.delivery.spool.close()
        self.plan.close()
