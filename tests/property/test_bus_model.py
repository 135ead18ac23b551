"""The native queues against a model of a few obvious lines, by random histories.

Method: hypothesis stateful; every step is done to both, what comes out and what is counted must
be equal.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tickd.bus import Bus
from tickd.bus_queue import Limits, WhenFull
from tickd.events import Flag, as_array
from tickd.native import EventBatch
from tickd.testing.batches import batch_of
from tickd.testing.clock import ManualClock

TOPICS = [f"trade.sim.S{number}" for number in range(4)]
Message = tuple[int, ...]


class Model:
    """Per topic a list of messages (tuples of numbers); limits in records."""

    def __init__(self, policy: WhenFull, records: int, total: int) -> None:
        self.policy, self.records, self.total = policy, records, total
        self.queues: dict[int, list[Message]] = {topic: [] for topic in range(len(TOPICS))}
        self.seen: OrderedDict[int, None] = OrderedDict()
        self.dropped: dict[int, int] = {}
        self.spilled: tuple[int, int] | None = None
        self.disconnected = False

    def depth(self, topic: int) -> int:
        return sum(map(len, self.queues[topic]))

    def sum(self) -> int:
        return sum(map(self.depth, self.queues))

    def drop(self, topic: int, message: Message) -> None:
        self.dropped[topic] = self.dropped.get(topic, 0) + len(message)

    def publish(self, runs: list[tuple[int, list[Message]]]) -> None:
        numbers = [n for _, messages in runs for message in messages for n in message]
        if self.policy is WhenFull.SPILL and self.spilled is None and not self.fits(runs):
            self.spilled = (min(numbers), max(numbers))
            return
        if self.spilled is not None:
            self.spilled = (self.spilled[0], max(numbers))
            return
        for topic, messages in runs:
            self.push(topic, messages)

    def fits(self, runs: list[tuple[int, list[Message]]]) -> bool:
        planned = 0
        for topic, messages in runs:
            count = sum(map(len, messages))
            planned += count
            depth, total = self.depth(topic), self.sum()
            if depth and depth + count > self.records:
                return False
            if total and total + planned > self.total:
                return False
        return True

    def push(self, topic: int, messages: list[Message]) -> None:
        if self.disconnected:
            return
        self.seen.setdefault(topic)
        count = sum(map(len, messages))
        full = self.depth(topic) + count > self.records or self.sum() + count > self.total
        if full and self.policy is WhenFull.DISCONNECT:
            for each, queue in self.queues.items():
                for message in queue:
                    self.drop(each, message)
                queue.clear()
            for message in messages:
                self.drop(topic, message)
            self.disconnected = True
            return
        if full and self.policy is WhenFull.CONFLATE:
            for message in (*self.queues[topic], *messages[:-1]):
                self.drop(topic, message)
            self.queues[topic].clear()
            messages = messages[-1:]
            self.shed(sum(map(len, messages)))
        if full and self.policy is WhenFull.DROP_OLDEST:
            while self.queues[topic] and self.depth(topic) + count > self.records:
                self.drop(topic, self.queues[topic].pop(0))
            while len(messages) > 1 and sum(map(len, messages)) > min(self.records, self.total):
                self.drop(topic, messages[0])
                messages = messages[1:]
            self.shed(sum(map(len, messages)))
        self.queues[topic].extend(messages)

    def shed(self, incoming: int) -> None:
        while self.sum() and self.sum() + incoming > self.total:
            # The longest queue; of equals the one whose topic was seen first.
            victim = max(self.seen, key=self.depth)
            while self.queues[victim] and self.sum() + incoming > self.total:
                self.drop(victim, self.queues[victim].pop(0))


@st.composite
def bursts(draw: Any) -> list[tuple[int, list[int]]]:
    """Per topic the lengths of its messages."""
    topics = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
    lengths = st.lists(st.integers(1, 4), min_size=1, max_size=5)
    return [(topic, draw(lengths)) for topic in topics]


class BusMachine(RuleBasedStateMachine):
    @initialize(
        policy=st.sampled_from(
            [WhenFull.DROP_OLDEST, WhenFull.CONFLATE, WhenFull.SPILL, WhenFull.DISCONNECT]
        ),
        records=st.integers(1, 12),
        total=st.integers(1, 24),
    )
    def begin(self, policy: WhenFull, records: int, total: int) -> None:
        self.model = Model(policy, records, total)
        self.bus = Bus(TOPICS.__getitem__, ManualClock())
        self.queue = self.bus.subscribe(
            "*",
            name="queue",
            when_full=policy,
            limits=Limits(records_max=records, records_total_max=total),
        )
        self.witness = self.bus.subscribe_bursts(name="witness", when_full=WhenFull.DROP_OLDEST)
        self.seq = 0
        self.dropped: dict[int, int] = {}

    @rule(burst=bursts())
    def publish(self, burst: list[tuple[int, list[int]]]) -> None:
        runs: list[tuple[int, list[Message]]] = []
        for topic, lengths in burst:
            messages: list[Message] = []
            for length in lengths:
                messages.append(tuple(range(self.seq + 1, self.seq + 1 + length)))
                self.seq += length
            runs.append((topic, messages))
        batch = batch_of_messages(runs)
        self.bus.publish(batch)
        self.model.publish(runs)

    @rule(records=st.integers(1, 30))
    def take(self, records: int) -> None:
        taken = 0
        for topic, batch in self.queue.take_now(records):
            queue = self.model.queues[TOPICS.index(topic)]
            numbers = [int(n) for n in as_array(batch)["seq"]]
            taken += len(numbers)
            while numbers:
                message = queue.pop(0)
                assert tuple(numbers[: len(message)]) == message, "a message was split or reordered"
                del numbers[: len(message)]
        # All there was, or what was asked for, with at most one message more.
        assert taken >= min(records, taken + self.model.sum())
        assert taken <= records + 3

    @rule()
    def resume(self) -> None:
        assert self.queue.resume() == self.model.spilled
        self.model.spilled = None

    @rule()
    def report(self) -> None:
        for row in self.queue.take_dropped():
            topic = TOPICS.index(row.topic)
            self.dropped[topic] = self.dropped.get(topic, 0) + row.records
        assert self.dropped == self.model.dropped

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.queue.depth == self.model.sum()
        assert self.queue.spilled == self.model.spilled
        assert (self.queue.queue.state == "disconnected") == self.model.disconnected
        depths = {row.topic: row.depth for row in self.queue.lag()}
        for topic, name in enumerate(TOPICS):
            assert depths.get(name, 0) == self.model.depth(topic)
        assert self.witness.depth == self.seq  # a neighbour never notices


def batch_of_messages(runs: list[tuple[int, list[Message]]]) -> EventBatch:
    """A batch whose LAST flags end each message."""
    flat = batch_of(
        [(topic, [n for message in messages for n in message]) for topic, messages in runs]
    )
    events = as_array(flat).copy()
    ends = np.cumsum([len(message) for _, messages in runs for message in messages]) - 1
    events["flags"] = 0
    events["flags"][ends] = Flag.LAST
    return EventBatch.from_events(events.tobytes(), flat.topics)


BusMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)
# Shrinking a failure takes longer than finding it.
BusMachine.TestCase.pytestmark = [pytest.mark.timeout(120)]
TestBusModel = BusMachine.TestCase
