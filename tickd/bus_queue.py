"""Subscriptions: what a consumer with its own queue holds.

The queues themselves are native (`native/core/src/queue`): bounded per topic, drained fairly,
counted exactly. Here a consumer waits for them, learns what it missed, and leaves. Loop thread
only, one waiting task each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from tickd.bus_control import Mailbox
from tickd.errors import Action, TickdError
from tickd.events import EVENT, EVENT_BYTES
from tickd.native import BurstQueue, EventBatch, TopicQueues
from tickd.ports import Clock

__all__ = [
    "BurstSubscription",
    "DisconnectedError",
    "Dropped",
    "HighWaters",
    "Limits",
    "SpilledError",
    "Subscription",
    "TopicLag",
    "WhenFull",
]

# Records a consumer gets at most per call of take(): 4,096 x 64 bytes stay in the second-level
# cache.
TAKE_RECORDS_MAX: Final = 4096
# Records of one topic before the next topic's turn.
QUANTUM_RECORDS: Final = 256

# A constraint, not a bound: each kind of subscription has exactly one kind of queue.
Queue = TypeVar("Queue", TopicQueues, BurstQueue)


class WhenFull(StrEnum):
    """What a full queue does; every drop is counted per topic and reported."""

    SPILL = "spill"
    """Stop queueing; the range is rebuilt from the raw log after `resume()`."""
    DROP_OLDEST = "drop_oldest"
    """The oldest whole messages make room."""
    CONFLATE = "conflate"
    """Of the full topic only the newest message stays."""
    DISCONNECT = "disconnect"
    """The consumer is cut off."""
    BLOCK = "block"
    """The publisher waits in `publish_blocking`: finite replays only."""


class Limits(NamedTuple):
    """Limits of a subscription; one message is always accepted, even one longer than a limit."""

    records_max: int = 65_536
    """Per topic."""
    bytes_max: int = 16 << 20
    """Per topic; a record has 64 bytes."""
    age_ms_max: int = 0
    """Age of the oldest record of a topic; 0 = no limit. Replays have no age."""
    records_total_max: int = 1 << 20
    """Of all topics together."""

    @property
    def records(self) -> int:
        """Records per topic that satisfy both limits."""
        return max(1, min(self.records_max, self.bytes_max // EVENT_BYTES))


class Dropped(NamedTuple):
    """What one subscription lost of one topic: a count, and the range it lies in."""

    subscription: str
    topic: str
    records: int
    seq_from: int
    seq_to: int


class TopicLag(NamedTuple):
    """How far a subscription is behind on a topic (`*` for a queue of whole batches)."""

    subscription: str
    topic: str
    depth: int
    high_water: int
    oldest_age_s: float
    dropped: int
    events: int


class SpilledError(TickdError):
    """The queue overflowed.

    `seq_from..seq_to` is to be rebuilt from the raw log; see `resume()`.
    """

    action = Action.RESYNC

    def __init__(self, name: str, seq_from: int, seq_to: int) -> None:
        super().__init__(f"subscription {name} spilled {seq_from}..{seq_to}")
        self.seq_from = seq_from
        self.seq_to = seq_to


class DisconnectedError(TickdError):
    """The consumer was too slow and was cut off; it may subscribe again."""

    action = Action.RECONNECT


class _Waiting(Generic[Queue]):
    """What both kinds of subscription share: waiting, ending, drops, lag."""

    schema: Final[np.dtype[np.void]] = EVENT

    def __init__(
        self,
        name: str,
        seq: int,
        clock: Clock,
        *,
        on_close: Callable[[_Waiting[Queue]], None],
        on_room: Callable[[], None] | None,
        controls: Mailbox | None,
    ) -> None:
        self.name: Final = name
        self.seq: Final = seq
        """Delivery begins behind this sequence number; a replay ends with it."""
        self.controls: Final = controls
        """Control messages of this consumer; they end a wait, and come before data."""
        self.closed = False
        self._held = False  # takes wait although there is something
        self._clock = clock
        self._on_close: Callable[[_Waiting[Queue]], None] = on_close
        # Called after a take when a publisher may wait for room (BLOCK only).
        self._on_room = on_room
        self._waiter: asyncio.Future[None] | None = None
        self._dropped: dict[str, Dropped] = {}
        if controls is not None:
            controls.on_message = self.wake

    # The native queue; set by the bus, which makes the waker first.
    queue: Queue

    def wake(self) -> None:
        """End the wait of `take`; called by the native queue once per burst."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _must_return(self) -> bool:
        """Whether a take that found nothing ends all the same; raises what ended the stream."""
        if self.closed or (self.controls is not None and self.controls.waiting):
            return True
        state = self.queue.state
        if state == "spilled" and (spilled := self.queue.spilled) is not None:
            raise SpilledError(self.name, *spilled)
        if state == "disconnected":
            raise DisconnectedError(
                f"subscription {self.name} was too slow", hint="raise its limits or do less"
            )
        return False

    async def _wait(self) -> None:
        """Sleep until the queue rings; between `arm` and the wait nothing else can run."""
        if not self._held and not self.queue.arm():
            return
        assert self._waiter is None, f"two tasks wait for subscription {self.name}"
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    @property
    def depth(self) -> int:
        """Records waiting."""
        return self.queue.depth

    @property
    def spilled(self) -> tuple[int, int] | None:
        """The range missed so far and still growing; None when nothing is missing."""
        return self.queue.spilled

    def resume(self) -> tuple[int, int] | None:
        """Receive again from now on; return the range (both ends included) to rebuild first."""
        return self.queue.resume()

    def take_dropped(self) -> list[Dropped]:
        """Return what was dropped since the last call, one row per topic."""
        self.collect_dropped()
        rows, self._dropped = list(self._dropped.values()), {}
        return rows

    def collect_dropped(self) -> list[Dropped]:
        """Fetch new drops from the queue, keep them for the consumer, return them (for the bus)."""
        fresh = [Dropped(self.name, *row) for row in self.queue.take_dropped()]
        for row in fresh:
            old = self._dropped.get(row.topic)
            self._dropped[row.topic] = row if old is None else _merge(old, row)
        return fresh

    def lag(self, *, reset: bool = False) -> list[TopicLag]:
        """Return a row per topic; `reset` begins a new high-water period."""
        now_ns = self._clock.mono_ns()
        return [self._row(now_ns, row) for row in self.queue.lag(reset)]

    def sums(self, *, worst: int, reset: bool = False) -> tuple[TopicLag, list[TopicLag]]:
        """Return all topics as one row (`*`), and of them the `worst`: by age, then depth.

        The high water of the one row is that of the fullest topic, in periods of its own, which
        `reset` ends.
        """
        now_ns = self._clock.mono_ns()
        whole, rows = self.queue.sums(worst, reset)
        depth, high_water, oldest_ns, dropped, events = whole
        every = ("*", depth, high_water, oldest_ns, dropped, events)
        return self._row(now_ns, every), [self._row(now_ns, row) for row in rows]

    def _row(self, now_ns: int, row: tuple[str, int, int, int, int, int]) -> TopicLag:
        topic, depth, high_water, oldest_ns, dropped, events = row
        age_s = max(0, now_ns - oldest_ns) / 1e9 if oldest_ns and depth else 0.0
        return TopicLag(self.name, topic, depth, high_water, age_s, dropped, events)

    def close(self) -> None:
        """Receive no more.

        What is queued can still be taken, then `take` returns []. Idempotent.
        """
        if self.closed:
            return
        self.closed = True
        self._held = False
        self._on_close(self)
        self.queue.release()
        self.wake()


class Subscription(_Waiting[TopicQueues]):
    """Bounded queues, one per topic, drained fairly."""

    async def take(self, records_max: int = TAKE_RECORDS_MAX) -> list[tuple[str, EventBatch]]:
        """Wait for and return [(topic, events), …]: in each topic in order, no topic starved.

        Returns [] when a control message waits, or at the end after `close()`.
        Raises SpilledError and DisconnectedError, each after the last record that was queued before
        it.
        """
        while True:
            if taken := self.take_now(records_max):
                return taken
            if self._must_return():
                return []
            await self._wait()

    def take_now(self, records_max: int = TAKE_RECORDS_MAX) -> list[tuple[str, EventBatch]]:
        """As `take`, but without waiting."""
        taken = self.queue.take(records_max, self._clock.mono_ns())
        if taken and self._on_room is not None:
            self._on_room()
        return taken


class BurstSubscription(_Waiting[BurstQueue]):
    """A bounded queue of whole batches, for consumers of everything."""

    def hold(self) -> None:
        """Let takes wait until `release` or `close`; meanwhile a full queue follows its policy."""
        self._held = not self.closed

    def release(self) -> None:
        """Undo `hold`."""
        if self._held:
            self._held = False
            self.wake()

    async def take_bursts(self, records_max: int = 16 * TAKE_RECORDS_MAX) -> list[EventBatch]:
        """Wait for and return batches in the order of publication; returns and raises as `take`."""
        while True:
            if not self._held and (taken := self.take_bursts_now(records_max)):
                return taken
            if self._must_return():
                return []
            await self._wait()

    def take_bursts_now(self, records_max: int = 16 * TAKE_RECORDS_MAX) -> list[EventBatch]:
        """As `take_bursts`, but without waiting."""
        taken = self.queue.take(records_max)
        if taken and self._on_room is not None:
            self._on_room()
        return taken


AnySubscription = Subscription | BurstSubscription


class HighWaters:
    """High waters for several readers, each with its own period; the native queues know one."""

    def __init__(self) -> None:
        # reader -> (subscription, topic) -> what others took from the queues in its period
        self._kept: dict[str, dict[tuple[str, str], int]] = {}

    def merge(self, rows: list[TopicLag], *, reset: bool, reader: str) -> list[TopicLag]:
        """Return `rows` with the high waters of the reader's own period; `reset` ends it."""
        mine = self._kept.setdefault(reader, {})
        merged = []
        for row in rows:
            key = (row.subscription, row.topic)
            merged.append(row._replace(high_water=max(row.high_water, mine.get(key, 0))))
            if reset:
                for kept in self._kept.values():
                    kept[key] = max(kept.get(key, 0), row.high_water)
        if reset:
            mine.clear()
        return merged


def _merge(old: Dropped, new: Dropped) -> Dropped:
    return Dropped(
        old.subscription,
        old.topic,
        old.records + new.records,
        min(old.seq_from, new.seq_from),
        max(old.seq_to, new.seq_to),
    )
