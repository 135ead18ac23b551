"""Tracing of batches: notes stamps on their way, makes traces of them afterwards.

Chosen when the daemon is built: without `[tracing] enabled` no object of this file exists. The loop
stores integers; which batches become traces is decided by frame number, by slowness, or by an order
that came of them. Nothing here waits for a collector: finished traces stay in a ring for `tickd
trace` and are offered to the exporter's queue. Loop thread only.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from operator import attrgetter
from typing import Final, NamedTuple, final

import msgspec

from tickd.app.strategy_wire import Told, TraceSaid
from tickd.app.trace_orders import TracedOrders
from tickd.app.trace_ring import TraceRing
from tickd.app.tracing_config import TracingConfig
from tickd.bus import BurstHandler
from tickd.native import Decoder, EventBatch
from tickd.ports import Clock
from tickd.telemetry.exemplars import Exemplars
from tickd.telemetry.trace_ids import chosen_below, is_chosen
from tickd.telemetry.traces import (
    BatchStamps,
    BlockStamps,
    Known,
    Ran,
    Trace,
    Why,
    block_trace,
    tables_of,
    trace_of,
)

__all__ = ["Tracing"]

NS_PER_S: Final = 1_000_000_000
# Stamps of batches, for those that turn out slow or to have caused an order: over a second of the
# highest rates.
RECENT_MAX: Final = 8_192
# Batches whose stages are not all known yet: what a ratio of 1.0 makes in four seconds.
PENDING_MAX: Final = 4_096
# Of some ten seconds: seven tables, a few blocks of each a second.
BLOCKS_MAX: Final = 512
STEP_S: Final = 0.25
# Traces made in one turn of the loop, about 100 µs each.
TURN_MAX: Final = 4
# Orders and answers of strategy processes come within it.
AGE_NS_MIN: Final = NS_PER_S // 2
# A batch is told without what did not come until then: ClickHouse may be away for hours.
LINGER_NS: Final = 10 * NS_PER_S
_RAN_MAX: Final = 8

_PUBLISH: Final = "tickd_gateway_publish_latency_seconds"
_WRITE: Final = "tickd_recorder_raw_write_latency_seconds"
_ACK: Final = "tickd_recorder_sink_ack_latency_seconds"


class _Pending:
    """A batch that is traced, until everything about it is known."""

    __slots__ = ("opened_ns", "ran", "stamps", "tables", "topics", "waits_for", "why")

    def __init__(
        self, stamps: BatchStamps, why: Why, topics: tuple[str, ...], opened_ns: int
    ) -> None:
        self.stamps = stamps
        self.why: Why = why
        self.topics = topics
        self.tables = tables_of(topics)
        self.opened_ns = opened_ns
        self.ran: list[Ran] = list(stamps.inside)
        self.waits_for: set[str] = set()


class _LogAt(NamedTuple):
    """How far the raw log was."""

    mono_ns: int
    written: int
    synced: int


class Progress(NamedTuple):
    """Who is asked how far it is."""

    written: Callable[[], int]
    synced: Callable[[], int]
    settled: Callable[[], int]


@final
class Tracing:
    """The traces of one daemon; `run` makes them."""

    def __init__(
        self,
        config: TracingConfig,
        *,
        node: int,
        clock: Clock,
        topic_name: Callable[[int], str],
        progress: Progress,
        export: Callable[[Trace, int], bool] | None = None,
    ) -> None:
        """`export`: takes a trace and what makes wall time of its stamps; False: no room."""
        self._node: Final = node
        self._clock: Final = clock
        self._mono_ns: Final = clock.mono_ns
        self._topic_name: Final = topic_name
        self._progress: Final = progress
        self._export: Final = export
        self._below: Final = chosen_below(config.ratio)
        self.slow_ns: Final = round(config.slow_ms * 1e6)
        self._budget_max: Final = config.forced_per_s_max
        self._budget, self._budget_until_ns = 0, 0
        self._inside: Final[list[Ran]] = []
        self._recent: Final[deque[BatchStamps]] = deque(maxlen=RECENT_MAX)
        self._pending: Final[dict[int, _Pending]] = {}  # by last frame
        self._log: Final[deque[_LogAt]] = deque(maxlen=RECENT_MAX)
        self._blocks: Final[deque[BlockStamps]] = deque(maxlen=BLOCKS_MAX)
        self.orders: Final = TracedOrders(self._mono_ns)
        self._asks: Final[dict[str, Callable[[int, bytes], None]]] = {}
        self.ring: Final = TraceRing(self.slow_ns)
        self.exemplars: Final = Exemplars()
        self.made: Final[Counter[str]] = Counter()
        self.dropped: Final[Counter[str]] = Counter()

    # On the way of every batch --------------------------------------------------------------------

    def decoding(
        self,
        end_burst: Callable[[Decoder], EventBatch | None],
        publish: Callable[[EventBatch], None],
    ) -> tuple[Callable[[Decoder], EventBatch | None], Callable[[EventBatch], None]]:
        """Return both with stamps around them; they are called one after the other."""
        mono_ns, inside, keep = self._mono_ns, self._inside, self._recent.append
        below, slow_ns = self._below, self.slow_ns
        began_ns = decoded_ns = 0

        def traced_end_burst(decoder: Decoder) -> EventBatch | None:
            nonlocal began_ns, decoded_ns
            began_ns = mono_ns()
            batch = end_burst(decoder)
            decoded_ns = mono_ns()
            return batch

        def traced_publish(batch: EventBatch) -> None:
            inside.clear()
            publish(batch)
            now_ns = mono_ns()
            frame_last, recv_ns = batch.frame_last, batch.ts_mono_ns
            stamps = BatchStamps(
                batch.seq_last,
                batch.seq_first,
                frame_last,
                len(batch),
                recv_ns,
                began_ns,
                decoded_ns,
                now_ns,
                batch.topics,
                tuple(inside),
            )
            keep(stamps)
            if is_chosen(frame_last, below):
                self._open(stamps, "ratio", now_ns)
            elif recv_ns and now_ns - recv_ns >= slow_ns:
                self._force(stamps, "slow", now_ns)

        return traced_end_burst, traced_publish

    def inproc(
        self, group: str, behind: Callable[[BurstHandler], BurstHandler]
    ) -> Callable[[BurstHandler], BurstHandler]:
        """Return `behind` with stamps around the callbacks of strategies in the loop."""
        mono_ns, inside = self._mono_ns, self._inside

        def traced(handler: BurstHandler) -> BurstHandler:
            def take(batch: EventBatch) -> None:
                began_ns = mono_ns()
                handler(batch)
                ended_ns, seq_last = mono_ns(), batch.seq_last
                inside.append(Ran(group, began_ns, ended_ns, len(batch), seq_last, "inproc"))

            return behind(take)

        return traced

    # What others tell -----------------------------------------------------------------------------

    def log_moved(self) -> None:
        """The raw log's watermark moved."""
        now_ns = self._mono_ns()
        self._log.append(_LogAt(now_ns, self._progress.written(), self._progress.synced()))

    def stored(self, block: BlockStamps) -> None:
        """ClickHouse has acknowledged a block."""
        self._blocks.append(block)
        batches = [
            frame
            for frame, each in self._pending.items()
            if _holds(block, each.stamps, each.tables)
        ]
        if batches:
            self._tell(block_trace(self._node, block, batches))

    def ask_with(self, group: str, tell: Callable[[int, bytes], None]) -> None:
        """Have the process of a group asked, through its feed, what it did with traced batches."""
        self._asks[group] = tell

    def ran(self, group: str, content: bytes) -> None:
        """A strategy process answers, or says that it was slow. Raises msgspec.DecodeError."""
        said = msgspec.json.decode(content, type=TraceSaid)
        if said.is_slow:
            self._force_frame(said.frame_last, "slow")
            return
        pending = self._pending.get(said.frame_last)
        if pending is None or group not in pending.waits_for:
            return  # nobody asked, or it has answered: it may run anybody's code
        pending.waits_for.discard(group)
        now_ns = self._mono_ns()
        pending.ran += [
            Ran(group, *portion, "process")
            for portion in said.portions[:_RAN_MAX]
            if 0 < portion[0] <= portion[1] <= now_ns
            and 0 <= min(portion) <= max(portion) < 1 << 64
        ]

    # Which batches become traces ------------------------------------------------------------------

    def _open(self, stamps: BatchStamps, why: Why, now_ns: int) -> None:
        if stamps.frame_last in self._pending:
            return
        if len(self._pending) >= PENDING_MAX:
            self.dropped["pending"] += 1
            return
        topics = tuple({self._topic_name(topic) for topic, _, _ in stamps.topics})
        pending = _Pending(stamps, why, topics, now_ns)
        self._pending[stamps.frame_last] = pending
        for group, tell in self._asks.items():
            pending.waits_for.add(group)
            tell(Told.TRACE, b"%d %d %d" % (stamps.frame_last, stamps.seq_first, stamps.seq_last))

    def _force(self, stamps: BatchStamps, why: Why, now_ns: int) -> None:
        """Open beside the ratio, as long as there is a budget: overload makes everything slow."""
        if stamps.frame_last in self._pending:
            return
        if now_ns >= self._budget_until_ns:
            self._budget, self._budget_until_ns = self._budget_max, now_ns + NS_PER_S
        if self._budget <= 0:
            self.dropped["budget"] += 1
            return
        self._budget -= 1
        self._open(stamps, why, now_ns)

    def _force_frame(self, frame_no: int, why: Why) -> None:
        recent = self._recent
        place = bisect_left(recent, frame_no, key=attrgetter("frame_last"))
        if place < len(recent) and recent[place].seq_first >> 16 <= frame_no:
            self._force(recent[place], why, self._mono_ns())

    # Making them ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make traces of what is known well enough, until cancelled."""
        while True:
            await self._clock.sleep(STEP_S)
            while self.step():  # noqa: ASYNC110 - it works, and lets others have turns
                await asyncio.sleep(0)

    def step(self, *, every: bool = False) -> bool:
        """Make some traces; whether there are more to be made now. `every`: with what is known."""
        for frame in self.orders.take_causes():
            self._force_frame(frame, "order")
        now_ns, made = self._mono_ns(), 0
        if not self._pending:
            return False
        synced, settled = self._progress.synced(), self._progress.settled()
        for frame, pending in list(self._pending.items()):
            if now_ns - pending.stamps.published_ns < AGE_NS_MIN and not every:
                break  # as are most that follow, and the others have time
            age_ns = now_ns - pending.opened_ns
            is_whole = frame <= min(synced, settled) and not pending.waits_for
            if every or is_whole or age_ns >= LINGER_NS:
                if made == TURN_MAX and not every:
                    return True
                made += 1
                del self._pending[frame]
                self._finish(pending, is_whole=is_whole)
        return False

    def _finish(self, pending: _Pending, *, is_whole: bool) -> None:
        stamps = pending.stamps
        written_ns, synced_ns = self._log_times(stamps)
        first, last = stamps.seq_first >> 16, stamps.frame_last
        blocks = tuple(each for each in self._blocks if _holds(each, stamps, pending.tables))
        known = Known(
            batch=stamps,
            why=pending.why,
            topics=pending.topics,
            written_ns=written_ns,
            synced_ns=synced_ns,
            blocks=blocks,
            ran=tuple(pending.ran),
            orders=self.orders.within(first, last),
            is_whole=is_whole,
        )
        trace = trace_of(self._node, known)
        self.made[pending.why] += 1
        self.ring.keep(trace)
        if not self._tell(trace):
            return  # an exemplar would lead to a trace that the collector never gets
        recv_ns, wall_ns = stamps.recv_ns, self._clock.wall_ns()
        values = [(_PUBLISH, stamps.published_ns), (_WRITE, written_ns)]
        for metric, at_ns in (*values, *((_ACK, each.acked_ns) for each in blocks)):
            if at_ns and recv_ns:
                self.exemplars.note(metric, at_ns - recv_ns, trace.trace_id, wall_ns)

    def _log_times(self, stamps: BatchStamps) -> tuple[int, int]:
        frame, log = stamps.frame_last, self._log
        times = []
        for field in ("written", "synced"):
            place = bisect_left(log, frame, key=attrgetter(field))
            # The log may have moved between two of its wake-ups, never before the appending.
            times.append(max(log[place].mono_ns, stamps.decoded_ns) if place < len(log) else 0)
        return times[0], times[1]

    def _tell(self, trace: Trace) -> bool:
        """Hand a trace to the exporter, where there is one; False: it has no room."""
        if self._export is None:
            return True
        wall_less_mono_ns = self._clock.wall_ns() - self._mono_ns()
        if self._export(trace, wall_less_mono_ns):
            return True
        self.dropped["queue"] += len(trace.spans)
        return False

    @property
    def pending_count(self) -> int:
        return len(self._pending)


def _holds(block: BlockStamps, batch: BatchStamps, tables: frozenset[str]) -> bool:
    """Whether rows of a batch are in a block: by its table and range."""
    return (
        block.table in tables
        and block.seq_first <= batch.seq_last
        and batch.seq_first <= block.seq_last
    )
