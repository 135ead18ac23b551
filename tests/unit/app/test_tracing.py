"""Which batches are traced, what is waited for, what is bounded; on a clock that stands still."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tickd.app.encoding import encode
from tickd.app.strategy_portions import Portions
from tickd.app.strategy_wire import Told, TraceSaid
from tickd.app.tracing import LINGER_NS, PENDING_MAX, Progress, Tracing
from tickd.app.tracing_config import TracingConfig
from tickd.errors import TickdError
from tickd.native import Decoder, EventBatch
from tickd.secrets import Secret
from tickd.telemetry.traces import BlockStamps, Trace
from tickd.testing.batches import counted_batch
from tickd.testing.clock import ManualClock

MS = 1_000_000
TOPICS = {1: "trade.okx.BTC", 2: "quote.okx.BTC"}


class World:
    """A tracing whose surroundings are numbers."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.written = self.synced = self.settled = 0
        self.exported: list[Trace] = []
        self.room = True
        self.tracing = Tracing(
            TracingConfig(enabled=True, **settings),
            node=1,
            clock=self.clock,
            topic_name=TOPICS.__getitem__,
            progress=Progress(lambda: self.written, lambda: self.synced, lambda: self.settled),
            export=self._export,
        )
        self.inside_ms = 0
        self._next: EventBatch | None = None
        self.decode, self.publish = self.tracing.decoding(lambda _: self._next, self._publish)
        self.handlers: list[Any] = []
        self.frame = 0

    def _export(self, trace: Trace, _offset_ns: int) -> bool:
        self.exported.append(trace)
        return self.room

    def _publish(self, batch: EventBatch) -> None:
        self.clock.move(self.inside_ms * MS)
        for handler in self.handlers:
            handler(batch)

    def burst(self, *, late_ms: int = 0, topic: int = 1) -> EventBatch:
        """One batch of five events, each of its own frame."""
        seq = (self.frame + 1) << 16
        mono_ns = self.clock.mono_ns() - late_ms * MS
        events = counted_batch(seq, {topic: 1}, mono_ns=mono_ns)
        self.frame += 1
        self._next = events
        assert self.decode(Decoder()) is events
        self.publish(events)
        return events

    def log_to(self, frame: int) -> None:
        self.written = self.synced = self.settled = frame
        self.tracing.log_moved()

    def finished(self) -> list[Trace]:
        """What a second later has been made."""
        self.clock.move(1_000 * MS)
        while self.tracing.step():
            pass
        return [trace for trace in self.exported if trace.why != "block"]

    def names(self) -> list[str]:
        [trace] = self.finished()
        return [span.name for span in trace.spans]


def intent(frame: int, client_id: int = 7) -> bytes:
    fields = {"client_id": client_id, "seq": frame << 16, "strategy": "a", "venue": "okx"}
    return json.dumps({"kind": "intent", **fields}, separators=(",", ":")).encode()


def test_the_ratio_alone_decides_about_ordinary_batches() -> None:
    world = World(ratio=0.25)
    for _ in range(400):
        world.burst()
    world.log_to(400)
    assert 80 <= len(world.finished()) <= 120
    assert world.tracing.made.keys() == {"ratio"}


def test_nothing_is_traced_at_a_ratio_of_zero_but_a_slow_batch_is() -> None:
    world = World(ratio=0.0, slow_ms=5)
    world.burst(late_ms=4)
    world.burst(late_ms=5)
    world.log_to(2)
    [trace] = world.finished()
    assert (trace.why, trace.frame_last) == ("slow", 2)


def test_a_batch_that_is_slow_inside_of_the_publishing_is_slow() -> None:
    world = World(ratio=0.0, slow_ms=5)
    world.inside_ms = 6
    world.burst()
    world.log_to(1)
    [trace] = world.finished()
    assert trace.latency_ns == 6 * MS


def test_slow_batches_have_a_budget_by_the_second() -> None:
    world = World(ratio=0.0, slow_ms=5, forced_per_s_max=3)
    for _ in range(10):
        world.burst(late_ms=5)
    assert world.tracing.dropped == {"budget": 7}
    world.clock.move(1_000 * MS)
    world.burst(late_ms=5)
    world.log_to(11)
    assert [trace.frame_last for trace in world.finished()] == [1, 2, 3, 11]


def test_a_batch_that_led_to_an_order_is_traced_with_its_way_out() -> None:
    world = World(ratio=0.0)
    world.burst()
    hear = world.tracing.orders.hear
    hear(9, 0, intent(1))
    world.clock.move(MS)
    decided = {"client_id": 7, "action": "new", "verdict": "approved", "reason": "", "number": 3}
    hear(10, 0, json.dumps({"kind": "risk", **decided}, separators=(",", ":")).encode())
    hear(11, 0, b'{"kind":"order","client_id":7,"state":"sent"}')
    world.log_to(1)
    [trace] = world.finished()
    assert trace.why == "order"
    spans = {span.name: span for span in trace.spans}
    assert spans["decide gate"].ended_ns - spans["decide gate"].began_ns == MS
    assert spans["decide gate"].attributes["tickd.order"] == 3
    assert spans["send okx"].parent_id == spans["decide gate"].span_id


@pytest.mark.parametrize(
    "payload",
    [
        b'{"kind":"start","note":"\\"kind\\":\\"intent\\""}',
        b'{"kind":"risk","verdict":"denied"}',
        b'{"kind":"intent","client_id":7,"strategy":"a","venue":"okx"}',
        b'{"kind":"intent","client_id":7,"strategy":"a","venue":"okx","seq":"x"}',
        b'{"kind":"order","state":"sent","client_id":99}',
    ],
)
def test_records_of_what_is_not_known_are_passed_over(payload: bytes) -> None:
    world = World(ratio=0.0)
    world.tracing.orders.hear(1, 0, payload)
    assert world.tracing.orders.take_causes() == []


def test_a_figure_beyond_any_is_heard() -> None:
    """`encode` writes it into a control record; what is no JSON at all is passed over."""
    world = World(ratio=0.0)
    hear = world.tracing.orders.hear
    hear(1, 0, encode({**json.loads(intent(1)), "price": 2**3_000}))
    hear(2, 0, intent(2)[:-1])
    assert world.tracing.orders.take_causes() == [1]


def test_a_batch_waits_for_the_log_and_for_clickhouse() -> None:
    world = World(ratio=1.0)
    world.burst()
    world.written = world.synced = 1
    world.tracing.log_moved()
    assert world.finished() == []
    block = BlockStamps("trades", 1 << 16, 1 << 16, 1, 1, 2, world.clock.mono_ns())
    world.tracing.stored(block)
    world.settled = 1
    assert world.names()[-3:] == ["write raw-log", "sync raw-log", "store trades"]
    [insert] = [trace for trace in world.exported if trace.why == "block"]
    assert insert.spans[0].links[0][0] == world.finished()[0].trace_id


def test_a_block_of_another_table_is_none_of_the_batch() -> None:
    world = World(ratio=1.0)
    world.burst(topic=2)
    world.tracing.stored(BlockStamps("trades", 0, 1 << 30, 1, 1, 2, 3))
    world.log_to(1)
    assert "store trades" not in world.names()
    assert [trace for trace in world.exported if trace.why == "block"] == []


def test_what_never_comes_is_not_waited_for() -> None:
    world = World(ratio=1.0)
    world.burst()
    assert world.finished() == []
    world.clock.move(LINGER_NS)
    [trace] = world.finished()
    assert trace.spans[0].attributes["tickd.whole"] is False


def test_batches_in_hand_are_bounded_and_what_has_no_room_is_counted() -> None:
    world = World(ratio=1.0)
    for _ in range(PENDING_MAX + 5):
        world.burst()
    assert world.tracing.pending_count == PENDING_MAX
    assert world.tracing.dropped == {"pending": 5}
    world.room = False
    world.log_to(PENDING_MAX)
    made = world.finished()
    assert world.tracing.dropped["queue"] == sum(len(trace.spans) for trace in made)


def test_a_strategy_in_the_loop_is_a_span_of_its_batch() -> None:
    world = World(ratio=1.0)

    def behind(handler: Any) -> Any:
        world.handlers.append(handler)
        return handler

    world.tracing.inproc("a", behind)(lambda _: world.clock.move(3 * MS))
    world.burst()
    world.log_to(1)
    [trace] = world.finished()
    [span] = [each for each in trace.spans if each.name == "process strategy.a"]
    assert span.ended_ns - span.began_ns == 3 * MS
    assert trace.latency_ns == 3 * MS


def test_a_process_is_asked_and_answers_when_it_has_had_the_batch() -> None:
    world = World(ratio=1.0)
    asked: list[tuple[int, bytes]] = []
    world.tracing.ask_with("a", lambda tag, content: asked.append((tag, content)))
    events = world.burst()
    assert [tag for tag, _ in asked] == [Told.TRACE]
    said: list[bytes] = []
    portions = Portions(slow_ns=10 * MS, say=said.append)
    portions.ask(asked[0][1])  # it overtook the events
    assert said == []
    now_ns = world.clock.mono_ns()
    portions.note(events, now_ns + 1, now_ns + 2)
    world.log_to(1)
    assert world.finished() == []  # its answer is waited for
    world.tracing.ran("a", said[0])
    assert "process strategy.a" in world.names()
    portions.ask(asked[0][1])
    assert said[1] == said[0]


def test_what_a_process_cannot_mean_is_passed_over() -> None:
    world = World(ratio=1.0)
    world.tracing.ask_with("a", lambda *_: None)
    world.burst()
    now_ns = world.clock.mono_ns()
    bad = ((0, 1, 1, 1), (5, 4, 1, 1), (1, now_ns + 1, 1, 1), (1, 2, -1, 1), (1, 2, 1, 1 << 70))
    for portions in (bad, ((1, 2, 1, 1),)):  # the second answer is none
        said = TraceSaid(frame_last=1, portions=portions)
        world.tracing.ran("a", json.dumps(msgspec.to_builtins(said)).encode())
    world.log_to(1)
    assert "process strategy.a" not in world.names()
    with pytest.raises(msgspec.DecodeError):
        world.tracing.ran("a", b'{"frame_last": "x"}')


def test_a_slow_process_says_so_and_the_batch_is_traced() -> None:
    world = World(ratio=0.0)
    asked: list[bytes] = []
    world.tracing.ask_with("a", lambda _, content: asked.append(content))
    events = world.burst()
    said: list[bytes] = []
    portions = Portions(slow_ns=10 * MS, say=said.append)
    now_ns = world.clock.mono_ns()
    portions.note(events, now_ns, now_ns + 9 * MS)
    assert said == []
    portions.note(events, now_ns, now_ns + 10 * MS)
    portions.note(events, now_ns, now_ns + 11 * MS)  # one in a while is enough
    assert [msgspec.json.decode(line, type=TraceSaid).is_slow for line in said] == [True]
    world.clock.move(11 * MS)
    world.tracing.ran("a", said[0])
    assert len(asked) == 1
    portions.ask(asked[0])
    world.tracing.ran("a", said[1])
    world.log_to(1)
    [trace] = world.finished()
    assert (trace.why, trace.latency_ns) == ("slow", 11 * MS)


def test_traced_values_are_exemplars() -> None:
    world = World(ratio=1.0)
    world.burst(late_ms=2)
    world.log_to(1)
    [trace] = world.finished()
    found = world.tracing.exemplars.of("tickd_gateway_publish_latency_seconds", [MS, 4 * MS])
    assert [each and each.trace_id for each in found] == [None, trace.trace_id, None]


def test_what_the_collector_does_not_get_is_no_exemplar() -> None:
    world = World(ratio=1.0)
    world.room = False
    world.burst(late_ms=2)
    world.log_to(1)
    world.finished()
    found = world.tracing.exemplars.of("tickd_gateway_publish_latency_seconds", [MS, 4 * MS])
    assert found == [None, None, None]


async def test_the_slowest_are_told_and_are_not_pushed_out() -> None:
    world = World(ratio=1.0, slow_ms=5)
    world.burst(late_ms=50)
    for _ in range(300):
        world.burst()
    world.log_to(301)
    world.finished()
    answer: Any = await world.tracing.ring.answer({"count": 2})
    assert answer[0]["frame_last"] == 1
    assert len(answer[0]["trace_id"]) == 32
    with pytest.raises(TickdError, match="count is 0"):
        await world.tracing.ring.answer({"count": 0})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ratio": 1.1}, "ratio"),
        ({"slow_ms": 0.0}, "slow_ms"),
        ({"endpoint": "localhost:4317"}, "http://"),
        ({"queue_spans_max": 1}, "queue_spans_max"),
        ({"headers": Secret("hunter2")}, "name=value"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        TracingConfig(**settings)
    assert "hunter2" not in str(raised.value)
