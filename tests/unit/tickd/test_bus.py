"""The bus: who gets what, and that a slow, full or raising consumer hurts only itself.

Virtual time; batches are real EventBatches made by the native factory.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from tickd.bus import Bus, HandlerFailure
from tickd.bus_queue import (
    BurstSubscription,
    DisconnectedError,
    Dropped,
    Limits,
    SpilledError,
    Subscription,
    WhenFull,
)
from tickd.errors import TickdError
from tickd.events import EVENT, as_array
from tickd.native import EventBatch
from tickd.testing.batches import batch_of, counted_batch
from tickd.testing.clock import ManualClock
from tickd.testing.loop import Deadlock, run_virtual

BTC, ETH, DEPTH, OKX = range(4)
NAMES = [
    "trade.binance-usdm.BTCUSDT",
    "trade.binance-usdm.ETHUSDT",
    "depth.binance-usdm.BTCUSDT",
    "trade.okx.BTC-USDT",
]


class Desk:
    """A bus with everything it reports."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.dropped: list[Dropped] = []
        self.failures: list[HandlerFailure] = []
        self.bus = Bus(
            NAMES.__getitem__,
            self.clock,
            on_dropped=self.dropped.extend,
            on_failure=self.failures.append,
            **options,
        )
        self.seq = 0

    def queue(self, patterns: Any = "*", **limits: int) -> Subscription:
        when_full = WhenFull(limits.pop("when_full", "drop_oldest"))
        quantum = limits.pop("quantum_records", 256)
        return self.bus.subscribe(
            patterns,
            name="queue",
            when_full=when_full,
            limits=Limits(**limits),
            quantum_records=quantum,
        )

    def bursts(self, when_full: WhenFull = WhenFull.SPILL, **limits: int) -> BurstSubscription:
        return self.bus.subscribe_bursts(
            name="bursts", when_full=when_full, limits=Limits(**limits)
        )

    def batch(self, counts: dict[int, int], **options: int) -> EventBatch:
        batch = counted_batch(self.seq + 1, counts, **options)
        self.seq = batch.seq_last
        return batch

    def publish(self, counts: dict[int, int], **options: int) -> EventBatch:
        batch = self.batch(counts, **options)
        self.bus.publish(batch)
        return batch


def seqs(slices: list[tuple[str, EventBatch]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for topic, batch in slices:
        found.setdefault(topic, []).extend(int(seq) for seq in as_array(batch)["seq"])
    return found


def test_patterns_select_and_wildcards_learn_topics_seen_later() -> None:
    async def main() -> None:
        desk = Desk()
        exact = desk.queue(NAMES[BTC])
        trades = desk.queue("trade.*.*")
        btc = desk.queue("*.binance-usdm.BTCUSDT")
        some = desk.queue([NAMES[ETH], "trade.okx.*"])
        desk.publish({BTC: 2})
        desk.publish({ETH: 1, DEPTH: 1, OKX: 1})
        assert seqs(exact.take_now()) == {NAMES[BTC]: [1, 2]}
        assert seqs(trades.take_now()) == {NAMES[BTC]: [1, 2], NAMES[ETH]: [3], NAMES[OKX]: [5]}
        assert seqs(btc.take_now()) == {NAMES[BTC]: [1, 2], NAMES[DEPTH]: [4]}
        assert seqs(some.take_now()) == {NAMES[ETH]: [3], NAMES[OKX]: [5]}

    run_virtual(main())


def test_topic_is_resolved_once_until_subscribers_change() -> None:
    asked: list[int] = []

    def name(number: int) -> str:
        asked.append(number)
        return NAMES[number]

    bus = Bus(name, ManualClock())
    bus.handle("trade.*.*", lambda topic, events: None, name="a")
    for n in range(10):
        bus.publish(counted_batch(1 + 2 * n, {BTC: 1, ETH: 1}))
    assert asked == [BTC, ETH]
    bus.handle("*", lambda topic, events: None, name="b").close()
    bus.publish(counted_batch(100, {BTC: 1}))
    assert asked == [BTC, ETH, BTC]


@pytest.mark.parametrize(
    "pattern", ["", "trade", "trade.okx", "nope.okx.X", "trade.o*.X", ".okx.X", "trade..X"]
)
def test_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(TickdError, match="pattern"):
        Desk().queue(pattern)


def test_subscribing_returns_the_schema_and_the_number_delivery_begins_behind() -> None:
    desk = Desk(seq=40)
    assert desk.queue().seq == 40
    desk.seq = 40
    desk.publish({BTC: 3})
    late = desk.queue()
    assert (late.schema, late.seq) == (EVENT, 43)
    desk.publish({BTC: 1})
    assert seqs(late.take_now()) == {NAMES[BTC]: [44]}


def test_consumer_of_everything_gets_whole_batches_uncopied() -> None:
    desk = Desk()
    bursts = desk.bursts()
    batch = desk.publish({BTC: 2, DEPTH: 3})
    (got,) = bursts.take_bursts_now()
    address = as_array(batch).__array_interface__["data"][0]
    assert as_array(got).__array_interface__["data"][0] == address
    assert got.topics == batch.topics


def test_waiting_consumer_wakes_once_per_burst_and_gets_everything() -> None:
    """Lost wake-ups: appends and drains interleave in small steps; nothing stays behind."""

    async def main() -> None:
        rng = np.random.default_rng(20_261_120)
        desk = Desk()
        subscription = desk.queue(records_max=10**6)
        bursts = desk.bursts()
        got: list[int] = []
        got_bursts: list[int] = []

        async def consume() -> None:
            while slices := await subscription.take(7):
                got.extend(len(batch) for _, batch in slices)
                for _ in range(int(rng.integers(0, 3))):
                    await asyncio.sleep(0)

        async def consume_bursts() -> None:
            while batches := await bursts.take_bursts(7):
                got_bursts.extend(len(batch) for batch in batches)

        async with asyncio.TaskGroup() as group:
            group.create_task(consume(), name="consumer")
            group.create_task(consume_bursts(), name="burst consumer")
            sent = 0
            for step in rng.integers(0, 4, size=20_000):
                if step == 0:
                    await asyncio.sleep(0)
                else:
                    desk.publish({int(step) - 1: int(step)})
                    sent += int(step)
            desk.bus.close()
        assert sum(got) == sum(got_bursts) == sent

    run_virtual(main())


def test_consumer_that_waits_for_ever_is_a_deadlock_not_a_busy_loop() -> None:
    async def main() -> None:
        await Desk().queue().take()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_hot_topic_evicts_nobody_else_and_counts_exactly() -> None:
    desk = Desk()
    queue = desk.queue(records_max=10)
    desk.publish({ETH: 3, OKX: 1})
    for _ in range(1000):
        desk.publish({BTC: 5})
    taken = seqs(queue.take_now())
    assert taken[NAMES[ETH]] == [1, 2, 3]
    assert taken[NAMES[OKX]] == [4]
    assert taken[NAMES[BTC]] == list(range(4 + 4991, 4 + 5001))
    assert queue.take_dropped() == [Dropped("queue", NAMES[BTC], 4990, 5, 4 + 4990)]
    assert queue.take_dropped() == []


def test_total_limit_takes_from_the_longest_queue() -> None:
    desk = Desk()
    queue = desk.queue(records_max=100, records_total_max=20)
    desk.publish({BTC: 15, ETH: 3})
    desk.publish({OKX: 5})
    taken = seqs(queue.take_now())
    assert {topic: len(numbers) for topic, numbers in taken.items()} == {
        NAMES[BTC]: 12,
        NAMES[ETH]: 3,
        NAMES[OKX]: 5,
    }
    assert [row[1:3] for row in queue.take_dropped()] == [(NAMES[BTC], 3)]


def test_bytes_are_a_limit_too() -> None:
    desk = Desk()
    queue = desk.queue(records_max=100, bytes_max=4 * 64)
    desk.publish({BTC: 10})
    assert len(seqs(queue.take_now())[NAMES[BTC]]) == 4


def test_drop_oldest_drops_whole_messages_at_the_limit() -> None:
    desk = Desk()
    queue = desk.queue(records_max=10)
    desk.publish({DEPTH: 9}, message_records=3)
    desk.publish({DEPTH: 2}, message_records=2)
    assert seqs(queue.take_now()) == {NAMES[DEPTH]: [4, 5, 6, 7, 8, 9, 10, 11]}
    assert [row.records for row in queue.take_dropped()] == [3]


def test_message_longer_than_the_limit_is_kept_alone() -> None:
    desk = Desk()
    queue = desk.queue(records_max=4)
    desk.publish({DEPTH: 3}, message_records=3)
    desk.publish({DEPTH: 9}, message_records=9)
    assert seqs(queue.take_now()) == {NAMES[DEPTH]: list(range(4, 13))}
    assert [row.records for row in queue.take_dropped()] == [3]


def test_age_limit_drops_what_nobody_came_for() -> None:
    desk = Desk()
    queue = desk.queue(age_ms_max=100)
    start = desk.clock.mono_ns()
    desk.publish({BTC: 1}, mono_ns=start)
    desk.publish({BTC: 1}, mono_ns=start + 90_000_000)
    desk.publish({BTC: 1}, mono_ns=start + 150_000_000)
    desk.clock.move(200_000_000)
    assert seqs(queue.take_now()) == {NAMES[BTC]: [3]}
    assert [row.records for row in queue.take_dropped()] == [2]


def test_replayed_batches_have_no_age() -> None:
    desk = Desk()
    queue = desk.queue(age_ms_max=1)
    desk.publish({BTC: 1})
    desk.clock.move(10**12)
    desk.publish({BTC: 1})
    assert seqs(queue.take_now()) == {NAMES[BTC]: [1, 2]}


def test_conflate_keeps_the_newest_whole_message_of_each_topic() -> None:
    desk = Desk()
    queue = desk.queue(when_full="conflate", records_max=1)
    desk.publish({DEPTH: 6, BTC: 2}, message_records=3)
    desk.publish({DEPTH: 6}, message_records=3)
    assert seqs(queue.take_now()) == {NAMES[DEPTH]: [12, 13, 14], NAMES[BTC]: [7, 8]}
    assert [row[1:] for row in queue.take_dropped()] == [(NAMES[DEPTH], 9, 1, 11)]


def test_conflating_topic_keeps_its_turn() -> None:
    desk = Desk()
    queue = desk.queue(when_full="conflate", records_max=1)
    desk.publish({BTC: 1})
    desk.publish({ETH: 1})
    desk.publish({BTC: 1})
    assert [topic for topic, _ in queue.take_now()] == [NAMES[BTC], NAMES[ETH]]


def test_disconnect_cuts_off_the_slow_consumer_only() -> None:
    async def main() -> None:
        desk = Desk()
        slow = desk.queue(when_full="disconnect", records_max=5)
        quick = desk.queue()
        desk.publish({BTC: 5})
        desk.publish({ETH: 1})
        desk.publish({BTC: 1})
        with pytest.raises(DisconnectedError, match="too slow"):
            await slow.take()
        assert sum(row.records for row in slow.take_dropped()) == 7
        assert seqs(await quick.take())[NAMES[BTC]] == [1, 2, 3, 4, 5, 7]

    run_virtual(main())


def test_waiting_consumer_learns_of_disconnect_and_spill() -> None:
    async def main() -> None:
        desk = Desk()
        slow = desk.queue(when_full="disconnect", records_max=1, age_ms_max=0)

        async def consume() -> None:
            await slow.take()
            with pytest.raises(DisconnectedError):
                await slow.take()

        async with asyncio.TaskGroup() as group:
            group.create_task(consume(), name="consumer")
            await asyncio.sleep(0)
            desk.publish({BTC: 1})
            await asyncio.sleep(1)
            desk.bus.publish_many([desk.batch({BTC: 1}), desk.batch({BTC: 1})])

    run_virtual(main())


@pytest.mark.parametrize("kind", ["topics", "bursts"])
def test_spill_marks_the_exact_range_and_resumes_behind_it(kind: str) -> None:
    async def main() -> None:
        desk = Desk()
        taken: list[int] = []
        subscription: Subscription | BurstSubscription
        if kind == "topics":
            subscription = desk.queue(when_full="spill", records_total_max=10)
        else:
            subscription = desk.bursts(records_total_max=10)

        async def take() -> None:
            if isinstance(subscription, Subscription):
                taken.extend(
                    n for numbers in seqs(await subscription.take()).values() for n in numbers
                )
            else:
                for batch in await subscription.take_bursts():
                    taken.extend(int(n) for n in as_array(batch)["seq"])

        desk.publish({BTC: 4, ETH: 4})
        desk.publish({BTC: 2, ETH: 2})  # 9..12 does not fit, and not half of it is taken
        desk.publish({OKX: 1})
        assert subscription.spilled == (9, 13)
        await take()
        assert sorted(taken) == list(range(1, 9))
        with pytest.raises(SpilledError) as caught:
            await take()
        assert (caught.value.seq_from, caught.value.seq_to) == (9, 13)
        assert subscription.resume() == (9, 13)
        assert subscription.spilled is None
        desk.publish({ETH: 1})
        await take()
        assert taken[-1] == 14
        assert subscription.take_dropped() == []

    run_virtual(main())


def test_spill_of_topics_ignores_batches_without_its_topics() -> None:
    desk = Desk()
    queue = desk.queue(NAMES[BTC], when_full="spill", records_max=2)
    desk.publish({BTC: 2})
    desk.publish({BTC: 1})
    desk.publish({ETH: 5})
    assert queue.spilled == (3, 3)


def test_blocking_publisher_waits_for_room_and_loses_nothing() -> None:
    async def main() -> None:
        desk = Desk()
        topics = desk.queue(when_full="block", records_max=8)
        bursts = desk.bursts(WhenFull.BLOCK, records_total_max=8)
        got: list[int] = []
        got_bursts: list[int] = []

        async def consume() -> None:
            while slices := await topics.take(4):
                got.extend(len(batch) for _, batch in slices)
                assert topics.depth <= 8
                await asyncio.sleep(0.5)

        async def consume_bursts() -> None:
            while batches := await bursts.take_bursts(4):
                got_bursts.extend(len(batch) for batch in batches)
                await asyncio.sleep(0.3)

        async with asyncio.TaskGroup() as group:
            group.create_task(consume(), name="consumer")
            group.create_task(consume_bursts(), name="burst consumer")
            for _ in range(100):
                await desk.bus.publish_blocking(desk.batch({BTC: 3, ETH: 1}))
            desk.bus.close()
        assert sum(got) == sum(got_bursts) == 400
        assert asyncio.get_running_loop().time() >= 40

    run_virtual(main())


def test_publish_to_a_full_blocking_queue_raises_before_anybody_gets_it() -> None:
    desk = Desk()
    other = desk.queue()
    desk.queue(when_full="block", records_max=2)
    desk.publish({BTC: 2})
    with pytest.raises(RuntimeError, match="publish_blocking"):
        desk.publish({BTC: 1})
    assert seqs(other.take_now()) == {NAMES[BTC]: [1, 2]}


def test_closing_a_full_blocking_subscription_frees_the_publisher() -> None:
    async def main() -> None:
        desk = Desk()
        queue = desk.queue(when_full="block", records_max=2)
        desk.publish({BTC: 2})
        async with asyncio.TaskGroup() as group:
            group.create_task(desk.bus.publish_blocking(desk.batch({BTC: 2})), name="publisher")
            await asyncio.sleep(1)
            queue.close()

    run_virtual(main())


def test_drain_is_fair_between_a_hot_and_a_quiet_topic() -> None:
    desk = Desk()
    queue = desk.queue(quantum_records=4)
    desk.publish({BTC: 100})
    desk.publish({ETH: 6, OKX: 1})
    order = [
        (topic.split(".")[1][:3] + topic[-7:-4], len(batch)) for topic, batch in queue.take_now(20)
    ]
    assert [count for _, count in order] == [4, 4, 1, 4, 2, 4, 1]
    assert sum(count for _, count in order) == 20


def test_take_cuts_between_messages() -> None:
    desk = Desk()
    queue = desk.queue(quantum_records=4)
    desk.publish({DEPTH: 9}, message_records=3)
    desk.publish({BTC: 9}, message_records=9)
    assert [len(batch) for _, batch in queue.take_now(8)] == [3, 9]
    assert [len(batch) for _, batch in queue.take_now(100)] == [3, 3]


def test_slow_subscriber_delays_nobody_else() -> None:
    async def main() -> None:
        desk = Desk()
        slow, quick = desk.queue(records_max=10), desk.queue()
        arrivals: list[float] = []
        loop = asyncio.get_running_loop()

        async def consume_slowly() -> None:
            await slow.take()
            await asyncio.sleep(3600)

        async def consume() -> None:
            while await quick.take():
                arrivals.append(loop.time())

        async with asyncio.TaskGroup() as group:
            group.create_task(consume_slowly(), name="slow")
            group.create_task(consume(), name="quick")
            for _ in range(50):
                await asyncio.sleep(1)
                desk.publish({BTC: 5})
            sent = loop.time()
            await asyncio.sleep(0)
            assert len(arrivals) == 50
            assert arrivals[-1] == sent
            desk.bus.close()
        assert {row.subscription for row in desk.dropped} == {"queue"}
        assert sum(row.records for row in desk.dropped) == 250 - 5 - 10

    run_virtual(main())


def test_drops_are_reported_together_shortly_after_the_first() -> None:
    async def main() -> None:
        desk = Desk()
        desk.queue(records_max=1)
        for _ in range(100):
            desk.publish({BTC: 1, ETH: 1})
        assert desk.dropped == []
        await asyncio.sleep(1)
        assert [(row.topic, row.records) for row in desk.dropped] == [
            (NAMES[BTC], 99),
            (NAMES[ETH], 99),
        ]
        desk.publish({BTC: 1})
        await asyncio.sleep(1)
        assert [row.records for row in desk.dropped] == [99, 99, 1]

    run_virtual(main())


def test_raising_handler_is_isolated_counted_and_switched_off() -> None:
    desk = Desk(failures_max=3)
    seen: list[int] = []

    def fail(topic: str, events: EventBatch) -> None:
        raise ValueError(topic)

    bad = desk.bus.handle("*", fail, name="bad")
    good = desk.bus.handle("*", lambda topic, events: seen.append(len(events)), name="good")
    for _ in range(5):
        desk.publish({BTC: 1, ETH: 1})
    assert len(seen) == 10
    assert (bad.failures_count, bad.active) == (3, False)
    assert (good.failures_count, good.active) == (0, True)
    assert [(each.name, each.switched_off) for each in desk.failures] == [
        ("bad", False),
        ("bad", False),
        ("bad", True),
    ]
    assert desk.bus.stats().failures == {"bad": 3}


def test_success_resets_the_circuit_breaker() -> None:
    desk = Desk(failures_max=2)

    def flaky(batch: EventBatch) -> None:
        if batch.seq_first % 2:
            raise ValueError("odd")

    handling = desk.bus.handle_bursts(flaky, name="flaky")
    for _ in range(10):
        desk.publish({BTC: 1})
    assert (handling.failures_count, handling.active) == (5, True)


def test_what_is_no_exception_passes_through_after_the_queues_are_filled() -> None:
    desk = Desk()
    queue = desk.queue()

    def stop(topic: str, events: EventBatch) -> None:
        raise KeyboardInterrupt

    handling = desk.bus.handle("*", stop, name="stop")
    with pytest.raises(KeyboardInterrupt):
        desk.publish({BTC: 1})
    handling.close()
    assert seqs(queue.take_now()) == {NAMES[BTC]: [1]}
    desk.publish({BTC: 1})  # the bus is not stuck in the dispatch
    assert seqs(queue.take_now()) == {NAMES[BTC]: [2]}


def test_publishing_inside_a_handler_runs_after_the_current_batch() -> None:
    desk = Desk()
    order: list[tuple[str, int]] = []

    def first(batch: EventBatch) -> None:
        order.append(("first", batch.seq_first))
        if batch.seq_first == 1:
            desk.bus.publish(counted_batch(101, {ETH: 1}))
            order.append(("published", 0))

    desk.bus.handle_bursts(first, name="first")
    desk.bus.handle_bursts(lambda batch: order.append(("second", batch.seq_first)), name="second")
    desk.bus.publish_many([counted_batch(1, {BTC: 1}), counted_batch(201, {BTC: 1})])
    assert order == [
        ("first", 1),
        ("published", 0),
        ("second", 1),
        ("first", 101),
        ("second", 101),
        ("first", 201),
        ("second", 201),
    ]


def test_handler_that_publishes_for_ever_is_stopped() -> None:
    desk = Desk(failures_max=1)

    def flood(batch: EventBatch) -> None:
        for _ in range(5000):
            desk.bus.publish(counted_batch(batch.seq_last + 1, {BTC: 1}))

    desk.bus.handle_bursts(flood, name="flood")
    desk.publish({BTC: 1})
    assert "4096" in str(desk.failures[0].error)


def test_subscribing_during_dispatch_starts_behind_the_current_batch() -> None:
    desk = Desk()
    late: list[Subscription] = []
    heard: list[int] = []

    def subscribe(topic: str, events: EventBatch) -> None:
        if not late:
            late.append(desk.queue())
            desk.bus.handle("*", lambda _, batch: heard.append(batch.seq_first), name="late")

    desk.bus.handle("*", subscribe, name="subscriber")
    desk.publish({BTC: 2, ETH: 2})
    assert (late[0].seq, late[0].take_now(), heard) == (4, [], [])
    desk.publish({BTC: 1})
    assert (seqs(late[0].take_now()), heard) == ({NAMES[BTC]: [5]}, [5])


def test_unsubscribing_during_dispatch_takes_effect_at_once_and_is_reversible() -> None:
    desk = Desk()
    heard: list[str] = []
    queue = desk.queue()
    second = desk.bus.handle("*", lambda topic, events: heard.append(topic), name="second")

    def leave(batch: EventBatch) -> None:
        second.close()
        queue.close()

    leaver = desk.bus.handle_bursts(leave, name="leaver")
    desk.publish({BTC: 1, ETH: 1})
    assert heard == []
    leaver.close()
    again = desk.queue()
    desk.bus.handle("*", lambda topic, events: heard.append(topic), name="again")
    desk.publish({ETH: 1})
    assert heard == [NAMES[ETH]]
    assert seqs(again.take_now()) == {NAMES[ETH]: [3]}
    assert seqs(queue.take_now()) == {NAMES[BTC]: [1], NAMES[ETH]: [2]}  # what it had got


def test_closed_subscription_gives_what_it_has_then_ends() -> None:
    async def main() -> None:
        desk = Desk()
        queue, bursts = desk.queue(), desk.bursts()
        desk.publish({BTC: 2})
        desk.bus.close()
        desk.publish({BTC: 2})
        assert seqs(await queue.take()) == {NAMES[BTC]: [1, 2]}
        assert [len(batch) for batch in await bursts.take_bursts()] == [2]
        assert (await queue.take(), await bursts.take_bursts()) == ([], [])

    run_virtual(main())


def test_closed_subscription_is_freed() -> None:
    desk = Desk()
    queue = desk.queue()
    queue.close()
    watch = weakref.ref(queue)
    del queue
    gc.collect()
    assert watch() is None


def test_lagging_consumer_gets_runs_and_pins_no_bursts() -> None:
    """One record of a quiet topic in each of many big bursts must not keep the bursts alive."""
    desk = Desk()
    queue = desk.queue(NAMES[ETH])
    for _ in range(300):
        desk.publish({BTC: 200, ETH: 1})
    taken = queue.take_now()
    assert [len(batch) for _, batch in taken] == [1, 255, 44]
    assert seqs(taken)[NAMES[ETH]] == [201 * n for n in range(1, 301)]
    assert [len(batch.topics) for _, batch in taken] == [1, 1, 1]


def test_lag_tells_age_depth_high_water_and_drops_per_topic() -> None:
    desk = Desk()
    queue = desk.queue(records_max=5)
    start = desk.clock.mono_ns()
    desk.publish({BTC: 4, ETH: 1}, mono_ns=start)
    desk.publish({BTC: 4}, mono_ns=start + 1_000_000_000)
    desk.clock.move(3_000_000_000)
    btc, eth = desk.bus.topic_lag(reset=True)
    assert btc == ("queue", NAMES[BTC], 5, 5, 3.0, 3, 8)
    assert eth == ("queue", NAMES[ETH], 1, 1, 3.0, 0, 1)
    queue.take_now()
    btc, eth = desk.bus.topic_lag(reset=True)
    assert (btc.depth, btc.high_water, btc.oldest_age_s) == (0, 5, 0.0)
    assert desk.bus.topic_lag()[0].high_water == 0


def test_stats_sum_per_subscription_and_name_the_worst_topics() -> None:
    desk = Desk()
    desk.queue(records_max=5)
    desk.bursts()
    start = desk.clock.mono_ns()
    desk.publish({ETH: 2}, mono_ns=start)
    desk.publish({BTC: 9, ETH: 1}, mono_ns=start + 500_000_000)
    desk.clock.move(1_000_000_000)
    stats = desk.bus.stats(worst=2)
    assert (stats.events, stats.batches) == (12, 2)
    assert [(each.subscription, each.depth, each.dropped) for each in stats.queues] == [
        ("queue", 8, 4),
        ("bursts", 12, 0),
    ]
    assert [(row.subscription, row.topic) for row in stats.worst] == [
        ("bursts", "*"),
        ("queue", NAMES[ETH]),
    ]


def test_other_threads_are_refused() -> None:
    desk = Desk()
    errors: list[BaseException] = []

    def other() -> None:
        try:
            desk.publish({BTC: 1})
        except BaseException as error:  # noqa: BLE001 - whatever it is, it must not get through
            errors.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert isinstance(errors[0], RuntimeError)
    assert "thread of its loop" in str(errors[0])
    assert desk.bus.seq == 0


def test_part_of_a_batch_is_published_as_what_it_shows() -> None:
    desk = Desk()
    queue = desk.queue()
    whole = counted_batch(1, {BTC: 4, ETH: 4})
    desk.bus.publish(whole.slice(2, 6))
    assert seqs(queue.take_now()) == {NAMES[BTC]: [3, 4], NAMES[ETH]: [5, 6]}
    assert desk.bus.seq == 6


def test_empty_batch_is_nothing() -> None:
    desk = Desk()
    desk.bus.handle_bursts(lambda batch: pytest.fail("called"), name="never")
    desk.bus.publish(batch_of([]))
    assert desk.bus.stats().batches == 0


def test_two_tasks_on_one_subscription_are_a_bug() -> None:
    async def main() -> None:
        queue = Desk().queue()

        async def take() -> Any:
            return await queue.take()

        waits: list[Coroutine[Any, Any, Any]] = [take(), take()]
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group is the statement
            async with asyncio.TaskGroup() as group:
                for number, each in enumerate(waits):
                    group.create_task(each, name=f"task {number}")
        assert caught.group_contains(AssertionError, match="two tasks")

    run_virtual(main())


def test_each_reader_of_high_waters_has_its_own_period() -> None:
    clock = ManualClock()
    bus = Bus(lambda number: f"trade.sim.S{number}", clock)
    queue = bus.subscribe("*", name="q", when_full=WhenFull.DROP_OLDEST)

    def high(reader: str, *, reset: bool = True) -> int:
        return bus.stats(reset=reset, reader=reader).queues[0].high_water

    assert high("metrics") == high("table") == 0
    bus.publish(counted_batch(1, {1: 5}, mono_ns=clock.mono_ns()))
    queue.take_now()
    assert high("metrics", reset=False) == 5
    assert high("metrics") == 5
    assert high("metrics") == 0
    assert high("table") == 5  # taken by the other reader, not lost to this one
    assert high("table") == 0


async def test_a_held_consumer_waits_although_there_is_something_and_gets_all_of_it_later() -> None:
    desk = Desk()
    bursts = desk.bursts()
    bursts.hold()
    taking = asyncio.ensure_future(bursts.take_bursts())
    for _ in range(3):
        desk.publish({BTC: 2})
        await asyncio.sleep(0)
    assert not taking.done()
    assert bursts.depth == 6
    bursts.release()
    assert sum(map(len, await taking)) == 6


async def test_a_held_consumer_s_queue_follows_its_policy() -> None:
    desk = Desk()
    bursts = desk.bursts(WhenFull.DROP_OLDEST, records_total_max=4)
    bursts.hold()
    for _ in range(5):
        desk.publish({BTC: 2})
    bursts.release()
    assert sum(map(len, await bursts.take_bursts())) == 4
    assert [row.records for row in bursts.take_dropped()] == [6]


async def test_the_end_releases_a_held_consumer() -> None:
    desk = Desk()
    bursts = desk.bursts()
    bursts.hold()
    desk.publish({BTC: 2})
    taking = asyncio.ensure_future(bursts.take_bursts())
    await asyncio.sleep(0)
    bursts.close()
    assert sum(map(len, await taking)) == 2
    bursts.hold()
    assert await bursts.take_bursts() == []
