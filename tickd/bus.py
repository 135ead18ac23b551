"""The bus: batches from the decoder to every consumer, control messages between the parts.

Its one job is to decide who gets what, and to see that a slow, full or raising consumer hurts only
itself. The data plane is native (`_native.BusCore`, one call per batch); this file owns names,
patterns, subscriptions and reports. Loop thread only: any other thread that touches it gets an
exception.

Order of a batch: queues are filled, sleepers woken (once each), then handlers run, in the order
they came. What a handler publishes runs after the batch it handles, what it sends (control) before
the next batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, final

from tickd.bus_control import Endpoints, Mailbox
from tickd.bus_queue import (
    QUANTUM_RECORDS,
    AnySubscription,
    BurstSubscription,
    Dropped,
    HighWaters,
    Limits,
    Subscription,
    TopicLag,
    WhenFull,
)
from tickd.errors import TickdError
from tickd.native import BusCore, BusHandler, EventBatch, TopicQueues
from tickd.ports import Clock
from tickd.topics import Selection, Topic

__all__ = ["BurstHandler", "Bus", "BusStats", "HandlerFailure", "Handling"]

# Failures of a handler in a row after which it is switched off.
FAILURES_MAX: Final = 16
# Drops are reported together, this long after the first: a report per burst would add load to
# overload.
REPORT_MS: Final = 250
WORST_TOPICS: Final = 20

TopicHandler = Callable[[str, EventBatch], object]
BurstHandler = Callable[[EventBatch], object]


class HandlerFailure(NamedTuple):
    """A handler or endpoint raised.

    `switched_off`: it did so too often and gets nothing any more.
    """

    name: str
    error: Exception
    switched_off: bool


class QueueStats(NamedTuple):
    """Sums over the topics of one subscription."""

    subscription: str
    depth: int
    high_water: int
    oldest_age_s: float
    dropped: int
    events: int


class BusStats(NamedTuple):
    """What the metrics show: totals, sums per subscription, the topics furthest behind."""

    events: int
    batches: int
    queues: tuple[QueueStats, ...]
    worst: tuple[TopicLag, ...]
    failures: dict[str, int]


@final
class Handling:
    """A registered handler."""

    def __init__(self, name: str, native: BusHandler, on_close: Callable[[Handling], None]) -> None:
        self.name: Final = name
        self.native: Final = native
        self._on_close = on_close

    @property
    def active(self) -> bool:
        """Whether it still gets batches."""
        return self.native.active

    @property
    def failures_count(self) -> int:
        return self.native.failures

    def close(self) -> None:
        """Get no more batches, not even the rest of the one being handled. Idempotent."""
        self.native.close()
        self._on_close(self)


@final
class Bus:
    """Publish and subscribe by topic; `endpoints` carries the control messages."""

    def __init__(
        self,
        topic_name: Callable[[int], str],
        clock: Clock,
        *,
        seq: int = 0,
        on_dropped: Callable[[list[Dropped]], None] | None = None,
        on_failure: Callable[[HandlerFailure], None] | None = None,
        failures_max: int = FAILURES_MAX,
    ) -> None:
        """Args.

        `topic_name`: the decoder's names; `seq`: highest number given out before the start.
        """
        self.topic_name: Final = topic_name
        self._clock = clock
        self._on_dropped = on_dropped
        self._on_failure = on_failure
        self._failure_watchers: list[Callable[[HandlerFailure], None]] = []
        self._failures_max = failures_max
        self._core = BusCore(
            self._resolve, self._handler_failed, self._run_lane, self._note_dropped, seq
        )
        # Each with its selection; whole-burst consumers have none.
        self._queues: dict[Subscription, Selection] = {}
        self._bursts: list[BurstSubscription] = []
        self._handlers: dict[Handling, Selection] = {}
        self._burst_handlers: list[Handling] = []
        self._room_waiters: list[asyncio.Future[None]] = []
        self._failures: dict[str, int] = {}
        self._highs = HighWaters()
        self._sum_highs = HighWaters()  # of whole subscriptions, in periods of their own
        self.endpoints: Final = Endpoints(self._core.want_turn, self._endpoint_failed)
        # One native call, no Python frame in between.
        self.publish: Final[Callable[[EventBatch], None]] = self._core.publish
        """Deliver a batch. Never waits; raises RuntimeError when a BLOCK queue is full."""
        self.publish_many: Final[Callable[[Iterable[EventBatch]], None]] = self._core.publish_many
        """Deliver batches in order; control messages go between them."""

    @property
    def seq(self) -> int:
        """Highest sequence number published."""
        return self._core.seq

    def subscribe(
        self,
        patterns: str | Iterable[str],
        *,
        name: str,
        when_full: WhenFull,
        limits: Limits | None = None,
        quantum_records: int = QUANTUM_RECORDS,
        controls: Mailbox | None = None,
    ) -> Subscription:
        """Return queues, one per topic, that get everything published from now on (> `.seq`).

        Args: `patterns`: `trade.*.*`, `*.binance-usdm.BTCUSDT`, `*`; `controls`: a mailbox that
        also ends waits.
        Raises TickdError(FATAL) for a bad pattern.
        """
        bounds = limits or Limits()
        selection = Selection(patterns)
        subscription = Subscription(
            name,
            self.seq,
            self._clock,
            on_close=self._close_queue,
            on_room=self._make_room if when_full is WhenFull.BLOCK else None,
            controls=controls,
        )
        subscription.queue = self._core.topic_queues(
            subscription.wake,
            when_full,
            bounds.records,
            bounds.records_total_max,
            bounds.age_ms_max * 1_000_000,
            quantum_records,
        )
        self._queues[subscription] = selection
        self._changed()
        return subscription

    def subscribe_bursts(
        self,
        *,
        name: str,
        when_full: WhenFull,
        limits: Limits | None = None,
        controls: Mailbox | None = None,
    ) -> BurstSubscription:
        """Return a bounded queue of whole batches, for a consumer of everything.

        Its limit of records is `limits.records_total_max`. Raises TickdError(FATAL) for CONFLATE.
        """
        if when_full is WhenFull.CONFLATE:
            raise TickdError("whole batches cannot be conflated", hint="subscribe to topics")
        bounds = limits or Limits()
        subscription = BurstSubscription(
            name,
            self.seq,
            self._clock,
            on_close=self._close_bursts,
            on_room=self._make_room if when_full is WhenFull.BLOCK else None,
            controls=controls,
        )
        subscription.queue = self._core.burst_queue(
            subscription.wake, when_full, bounds.records_total_max, bounds.age_ms_max * 1_000_000
        )
        self._bursts.append(subscription)
        self._changed()
        return subscription

    def handle(
        self, patterns: str | Iterable[str], handler: TopicHandler, *, name: str
    ) -> Handling:
        """Call `handler(topic, events)` in the loop, once per burst and topic.

        It must be quick (500 µs) and not await. What it raises is counted and reported, and stays
        there.
        """
        selection = Selection(patterns)
        handling = self._handling(name, handler, self._close_handler)
        self._handlers[handling] = selection
        self._changed()
        return handling

    def handle_bursts(self, handler: BurstHandler, *, name: str) -> Handling:
        """Call `handler(batch)` in the loop, once per burst; conditions as `handle`."""
        handling = self._handling(name, handler, self._close_burst_handler)
        self._burst_handlers.append(handling)
        self._changed()
        return handling

    def watch_failures(self, watch: Callable[[HandlerFailure], None]) -> None:
        """Have `watch` called, too, with every failure from now on. Raises nothing."""
        self._failure_watchers.append(watch)

    async def publish_blocking(self, batch: EventBatch) -> None:
        """Deliver a batch as soon as every BLOCK queue has room: finite replays, one publisher."""
        while self._core.blocked(batch):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room_waiters.append(waiter)
            await waiter
        self.publish(batch)

    def close(self) -> None:
        """End every subscription (what is queued can still be taken) and every handler."""
        for subscription in self.subscriptions:
            subscription.close()
        for handling in (*self._handlers, *self._burst_handlers):
            handling.close()

    def topic_lag(self, *, reset: bool = False, reader: str = "") -> list[TopicLag]:
        """Return one row per subscription and topic.

        `reset` begins a new high-water period of this `reader`; those of others go on.
        """
        return [row for each in self.subscriptions for row in self._lag(each, reset, reader)]

    def stats(
        self, *, reset: bool = False, reader: str = "", worst: int = WORST_TOPICS
    ) -> BusStats:
        """Return sums per subscription and the `worst` topics by age, then depth."""
        sums: list[TopicLag] = []
        every: list[TopicLag] = []
        for subscription in self.subscriptions:
            whole, rows = subscription.sums(worst=worst, reset=reset)
            sums += self._sum_highs.merge([whole], reset=reset, reader=reader)
            every += rows
        queues = [
            QueueStats(
                row.subscription,
                row.depth,
                row.high_water,
                row.oldest_age_s,
                row.dropped,
                row.events,
            )
            for row in sums
        ]
        every.sort(key=lambda row: (row.oldest_age_s, row.depth, row.dropped), reverse=True)
        return BusStats(
            self._core.events,
            self._core.batches,
            tuple(queues),
            tuple(every[:worst]),
            dict(self._failures),
        )

    def _lag(self, subscription: AnySubscription, reset: bool, reader: str) -> list[TopicLag]:  # noqa: FBT001
        return self._highs.merge(subscription.lag(reset=reset), reset=reset, reader=reader)

    def report_dropped(self) -> None:
        """Report all drops now; the bus does so by itself shortly after the first one."""
        self._core.drops_reported()
        rows = [row for each in self.subscriptions for row in each.collect_dropped()]
        if rows and self._on_dropped is not None:
            self._on_dropped(rows)

    @property
    def subscriptions(self) -> tuple[AnySubscription, ...]:
        """Every queue there is."""
        return (*self._queues, *self._bursts)

    def _resolve(self, number: int) -> tuple[str, list[TopicQueues], list[BusHandler]]:
        """Who wants a topic; asked once per topic after each change of subscribers."""
        name = self.topic_name(number)
        topic = Topic.parse(name)
        queues = [each.queue for each, wants in self._queues.items() if wants.matches(topic)]
        handlers = [each.native for each, wants in self._handlers.items() if wants.matches(topic)]
        return name, queues, handlers

    def _changed(self) -> None:
        self._core.set_subscribers(
            [each.queue for each in self._bursts],
            [each.native for each in self._burst_handlers],
            [each.queue for each in self._queues],
            bool(self._handlers),
        )

    def _handling(
        self, name: str, call: Callable[..., object], on_close: Callable[[Handling], None]
    ) -> Handling:
        return Handling(name, self._core.handler(call, self._failures_max), on_close)

    def _close_queue(self, subscription: object) -> None:
        self.report_dropped()
        self._queues = {
            each: wants for each, wants in self._queues.items() if each is not subscription
        }
        self._changed()
        self._make_room()

    def _close_bursts(self, subscription: object) -> None:
        self.report_dropped()
        self._bursts = [each for each in self._bursts if each is not subscription]
        self._changed()
        self._make_room()

    def _close_handler(self, handling: Handling) -> None:
        if self._handlers.pop(handling, None) is not None:
            self._changed()

    def _close_burst_handler(self, handling: Handling) -> None:
        if handling in self._burst_handlers:
            self._burst_handlers.remove(handling)
            self._changed()

    def _handler_failed(self, number: int, error: Exception) -> None:
        every = (*self._handlers, *self._burst_handlers)
        handling = next((each for each in every if each.native.number == number), None)
        # A handler may close itself and then raise.
        name = handling.name if handling is not None else "closed handler"
        switched_off = handling is not None and not handling.active
        self._failed(HandlerFailure(name, error, switched_off))

    def _endpoint_failed(self, endpoint: str, error: Exception) -> None:
        self._failed(HandlerFailure(endpoint, error, switched_off=False))

    def _failed(self, failure: HandlerFailure) -> None:
        self._failures[failure.name] = self._failures.get(failure.name, 0) + 1
        if self._on_failure is not None:
            self._on_failure(failure)
        for watch in self._failure_watchers:
            watch(failure)

    def _run_lane(self) -> None:
        self.endpoints.run_lane()

    def _note_dropped(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside a loop (tools, tests) nobody would call later
            self.report_dropped()
        else:
            loop.call_later(REPORT_MS / 1e3, self.report_dropped)

    def _make_room(self) -> None:
        waiters, self._room_waiters = self._room_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
