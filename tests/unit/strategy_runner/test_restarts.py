"""A strategy that raised comes back beside its neighbours: by its policy, or as it did live."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from strategy_runner.config import StrategyConfig
from strategy_runner.restarts import AsRecorded, ByPolicy, Failure, Restarts
from strategy_runner.strategy import Strategy
from tests.unit.strategy_runner.kit import MS, START_NS, Tape, World
from tickd.events import EVENT, as_array
from tickd.native import EventBatch, FeedWriter, RingReader, Trade

SECOND_NS = 1_000 * MS
POISON = 666


def policy(**settings: Any) -> ByPolicy:
    return ByPolicy(StrategyConfig(name="one", class_="a:B", **settings))


def failed_and_back(restarts: Restarts, now_ns: int) -> int | None:
    """Fail now; return how long it takes to come back, looked at each 100 ms; None: never."""
    if not restarts.comes_back(seq=1, now_ns=now_ns):
        return None
    return next(
        after
        for after in range(0, 100 * SECOND_NS, 100 * MS)
        if restarts.is_due(seq=1, now_ns=now_ns + after)
    )


def test_pauses_grow_and_begin_again_after_a_good_minute() -> None:
    restarts = policy(restart="on_failure", restarts_per_hour_max=100)
    now_ns, pauses = START_NS, []
    for _ in range(8):
        pause = failed_and_back(restarts, now_ns)
        assert pause is not None
        pauses.append(pause // SECOND_NS)
        now_ns += pause + SECOND_NS
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert failed_and_back(restarts, now_ns + 61 * SECOND_NS) == SECOND_NS


def test_there_is_a_budget_of_restarts_an_hour() -> None:
    restarts = policy(restart="on_failure", restarts_per_hour_max=2)
    minute_ns = 60 * SECOND_NS
    times = [START_NS + number * 2 * minute_ns for number in range(3)]
    found = [failed_and_back(restarts, now_ns) for now_ns in times]
    assert found == [SECOND_NS, SECOND_NS, None]
    assert failed_and_back(restarts, times[0] + 61 * minute_ns) == SECOND_NS


def test_without_a_policy_a_failure_is_the_end() -> None:
    assert failed_and_back(policy(), START_NS) is None


def test_before_there_is_a_time_it_begins_with_the_first_clock_record() -> None:
    restarts = policy(restart="on_failure")
    assert restarts.comes_back(seq=0, now_ns=0)
    assert not restarts.is_due(seq=1, now_ns=START_NS)
    assert restarts.is_due(seq=2, now_ns=START_NS + SECOND_NS)


class Fragile(Strategy):
    """Raises at a poisonous price; what it does depends on what it kept."""

    def on_start(self) -> None:
        self.seen = 0
        self.context.state["lives"] = self.context.state.get("lives", 0) + 1
        self.context.decide("start", now=self.context.now_ns, **self.context.state)
        self.context.call_every(SECOND_NS)

    def on_trade(self, trade: Trade) -> None:
        self.seen += 1
        self.context.state["last"] = trade.price
        if trade.price == POISON:
            raise ValueError("poison")
        self.context.submit(trade.instrument, side="B", size=5)

    def on_timer(self, timer: object) -> None:
        self.context.decide("timer", seen=self.seen, lives=self.context.state["lives"])


class Neighbour(Strategy):
    def on_trade(self, trade: Trade) -> None:
        self.context.decide("trade", price=trade.price)


def tape(poisoned: tuple[int, ...] = (40, 90)) -> Tape:
    """Ten minutes compressed: a trade and a clock record every 100 ms, some of them poisonous."""
    made = Tape()
    for number in range(200):
        made.trade(POISON if number in poisoned else 10 * number, 5)
        made.clock(START_NS + (number + 1) * 100 * MS)
    return made


def test_it_comes_back_with_what_it_kept_and_its_neighbour_notices_nothing() -> None:
    world = World(Fragile, Neighbour, restart="on_failure").run(*tape().cut(16))
    starts = world.said("start")
    assert [start["lives"] for start in starts] == [1, 2, 3]
    assert [start.get("last") for start in starts] == [None, POISON, POISON]
    # One second after the trade at 4 s, two after the one at 9 s; a clock record each 100 ms.
    assert [start["now"] - START_NS for start in starts[1:]] == [5_100 * MS, 11_100 * MS]
    assert len(world.said("trade")) == 200
    report, failed = world.report(Fragile), [r for r in world.records if r["kind"] == "failure"]
    assert (report["failures"], report["restarts"], report["waits"]) == (2, 2, False)
    assert [record["reason"].split(" (")[0] for record in failed] == ["ValueError: poison"] * 2
    assert [record["kind"] for record in world.records if record["kind"] == "restart"] == [
        "restart"
    ] * 2
    numbers = [r["client_id"] & 0xFFFF_FFFF for r in world.records if r["kind"] == "intent"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert dict(world.stopped) == {"fragile": "done", "neighbour": "done"}
    # What came while it was away it was not given: 10 and 20 trades and the clock between.
    assert report["events"] == 200 - 10 - 20


@pytest.mark.parametrize("size", [1, 3, 50, 1_000])
def test_failures_and_restarts_do_not_depend_on_how_the_stream_was_cut(size: int) -> None:
    expected = World(Fragile, restart="on_failure").run(*tape().cut(16))
    world = World(Fragile, restart="on_failure").run(*tape().cut(size))
    assert world.lines == expected.lines
    assert world.records == expected.records


def test_who_waits_when_the_host_stops_ends_with_what_it_raised() -> None:
    world = World(Fragile, restart="on_failure")
    world.host.start()
    world.host.feed(tape(poisoned=(199,)).take())
    assert (world.report(Fragile)["waits"], world.host.running) == (True, 1)
    world.host.stop("done")
    assert [name for name, _ in world.stopped] == ["fragile"]
    assert world.stopped[0][1].startswith("ValueError: poison")
    assert (world.host.running, world.report(Fragile)["waits"]) == (0, False)


class BadStart(Strategy):
    class Config(Strategy.Config):
        good_from: int = 3

    config: Config

    def on_start(self) -> None:
        self.context.state["tries"] = self.context.state.get("tries", 0) + 1
        if self.context.state["tries"] < self.config.good_from:
            raise OSError("not there yet")
        self.context.decide("start")


def test_a_start_that_fails_is_tried_again() -> None:
    world = World(BadStart, restart="on_failure").run(*tape(()).cut(8))
    assert world.said("start") == [{}]
    assert dict(world.stopped) == {"badstart": "done"}


def test_also_a_failure_that_is_the_end_is_on_record() -> None:
    world = World(Fragile).run(*tape().cut(8))
    (failed,) = failures(world)
    assert failed["reason"] == world.stopped[0][1]
    assert failed["seq"] in as_array(tape().take())["seq"]


def test_over_its_budget_it_is_over() -> None:
    world = World(BadStart, restart="on_failure", restarts_per_hour_max=1)
    world.run(*tape(()).cut(8))
    assert world.stopped[0][1].startswith("OSError: not there yet")
    assert world.report(BadStart)["failures"] == 2


class Unwritable(Strategy):
    def on_trade(self, trade: Trade) -> None:
        self.context.state["set"] = {1}
        raise ValueError("and now")


def test_with_a_state_that_cannot_be_written_down_it_does_not_come_back() -> None:
    world = World(Unwritable, restart="on_failure").run(*tape(()).cut(8))
    assert "it cannot come back: the state cannot be written down" in world.stopped[0][1]


class Columns(Strategy):
    """Raises inside of a batch, of which the cut says where."""

    def on_start(self) -> None:
        self.context.call_every(SECOND_NS)
        self.volume = 0

    def on_batch(self, events: EventBatch) -> None:
        columns = as_array(events)
        if POISON in columns["price"]:
            raise ValueError("poison")
        self.volume += int(columns["size"].sum())

    def on_timer(self, timer: object) -> None:
        self.context.decide("volume", volume=self.volume)


class Moody(Fragile):
    """Raises for what is not in the events."""

    mood = 40

    def on_trade(self, trade: Trade) -> None:
        super().on_trade(trade)
        if trade.price == 10 * type(self).mood:
            raise RuntimeError("no reason")


def recorded(world: World) -> AsRecorded:
    """What a raw log says of the failures of a world's one strategy."""
    found: list[Failure] = []
    for record in world.records:
        if record["kind"] == "failure":
            found.append(Failure(record["seq"]))
        if record["kind"] == "restart":
            found[-1] = Failure(found[-1].seq, record["seq"])
    return AsRecorded(found)


def again(world: World, size: int) -> World:
    """The same strategy as in a replay, whose source ends a batch behind each failure."""
    plan = recorded(world)
    kind = {"moody": Moody, "columns": Columns, "fragile": Fragile}[world.configs[0].name]
    made = World(kind, restarts={world.configs[0].name: plan})
    made.host.start()
    for each in tape().cut(size):
        for part in split_behind(each, [failure["seq"] for failure in failures(world)]):
            if plan.next_seq is not None and plan.next_seq < part.seq_first:
                made.host.interrupt(world.configs[0].name, plan.next_seq)
            made.host.feed(part)
    made.host.stop("done")
    return made


def failures(world: World) -> list[dict[str, Any]]:
    return [record for record in world.records if record["kind"] == "failure"]


def split_behind(events: EventBatch, seqs: list[int]) -> list[EventBatch]:
    rows = as_array(events)
    rows = rows[rows["seq"].argsort(kind="stable")]
    borders = sorted({0, len(rows), *(int((rows["seq"] <= seq).sum()) for seq in seqs)})
    parts = [rows[start:end] for start, end in pairwise(borders)]
    assert rows.dtype == EVENT
    return [EventBatch.from_events(part.tobytes(), [(0, 0, len(part))]) for part in parts]


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("kind", [Fragile, Columns, Moody])
def test_a_replay_repeats_failures_from_the_record(
    kind: type[Strategy], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = World(kind, restart="on_failure").run(*tape().cut(13))
    assert len(failures(live)) >= 2
    monkeypatch.setattr(Moody, "mood", -1)
    repeated = again(live, size)
    assert repeated.lines == live.lines
    name = live.configs[0].name
    assert repeated.host.report()["strategies"][name]["restarts"] == len(failures(live))  # type: ignore[index]


def test_a_failure_that_is_not_on_record_is_the_end_of_a_replay() -> None:
    world = World(Fragile, restarts={"fragile": AsRecorded([])}, restart="on_failure")
    world.run(*tape().cut(8))
    assert world.stopped[0][1].startswith("ValueError: poison")
    assert len(world.said("start")) == 1


class Watched(Strategy):
    """Looks at what the daemon sees while it works."""

    writer: FeedWriter

    def on_trade(self, trade: Trade) -> None:
        self.context.decide("since", since=self.writer.progress()[0])


def test_each_callback_says_by_itself_since_when_it_runs() -> None:
    writer = FeedWriter(lambda _topic: ("", None), capacity=1_024, records=64, records_total=64)
    reader = RingReader.open(*writer.descriptors())
    Watched.writer = writer
    world = World(Watched)
    world.host.tell(reader)
    world.run(tape(()).take())
    since = [json.loads(line)["fields"]["since"] for line in world.lines]
    assert len(since) == 200
    # The first one began before it; what was before that is the portion's.
    assert all(later > earlier > 0 for earlier, later in pairwise(since[1:]))
