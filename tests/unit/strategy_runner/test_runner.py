"""The host: who gets what, in which order, and what one strategy's failure does to the others."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any
from weakref import ref

import msgspec
import numpy as np
import pytest

from strategy_runner.errors import StrategyError
from strategy_runner.strategy import Strategy
from strategy_runner.timers import Timer
from tests.unit.strategy_runner.kit import BTC, ETH, MS, START_NS, Tape, World
from tickd.events import Flag, Kind, OrderState, Side, as_array
from tickd.native import EventBatch, L2Book, Order, Quote, Signal, Trade
from tickd.telemetry.latency_bounds import BOUNDS_NS


class Noting(Strategy):
    """Notes everything per event."""

    def on_trade(self, trade: Trade) -> None:
        now = self.context.last.trade(trade.instrument)
        assert now is not None
        assert now.seq == trade.seq == self.context.seq, "the cache is ahead of the handler"
        self.context.decide("trade", price=trade.price, size=trade.size, side=trade.side)

    def on_quote(self, quote: Quote) -> None:
        bid, _, ask, _ = quote.floats()
        self.context.decide("quote", bid=quote.bid_price, ask=quote.ask_price, mid=(bid + ask) / 2)

    def on_book(self, book: L2Book) -> None:
        self.context.decide("book", top=book.top(1), cache=self.context.last.top(book.instrument))


def tape() -> Tape:
    events = Tape().trade(6_000_010, 5).quote(6_000_000, 6_000_020).trade(1, 2, instrument=ETH)
    events.depth((1, 9, 0), (Side.BID, 100, 4), (Side.ASK, 110, 6), snapshot=True)
    events.trade(6_000_030, 7, Side.ASK)
    return events.depth((9, 10, 9), (Side.BID, 100, 0), (Side.BID, 90, 1))


def test_every_event_comes_once_and_the_cache_and_books_are_ahead_of_it() -> None:
    world = World(Noting).run(tape().take())
    assert world.said("trade") == [
        {"price": 6_000_010, "side": "B", "size": 5},
        {"price": 1, "side": "B", "size": 2},
        {"price": 6_000_030, "side": "A", "size": 7},
    ]
    assert world.said("quote") == [{"bid": 6_000_000, "ask": 6_000_020, "mid": 60_000.1}]
    assert world.said("book") == [
        {"top": [[[100, 4]], [[110, 6]]], "cache": [100, 4, 110, 6]},
        {"top": [[[90, 1]], [[110, 6]]], "cache": [90, 1, 110, 6]},
    ]
    report = world.report(Noting)
    assert (report["events"], report["decisions"], report["running"]) == (11, 6, False)
    assert report["latency"]["count"] == 6


@pytest.mark.parametrize("size", [1, 2, 64])
def test_decisions_do_not_depend_on_how_the_stream_was_cut(size: int) -> None:
    whole = World(Noting).run(tape().take())
    recut = World(Noting).run(*tape().cut(size))
    assert recut.lines == whole.lines
    assert recut.report(Noting)["hash"] == whole.report(Noting)["hash"]
    assert len({line["seq"] for line in map(json.loads, whole.lines)}) == 6


def test_a_strategy_gets_its_topics_only() -> None:
    world = World(Noting, topics=["trade.*.ETHUSDT", "quote.*.*"]).run(tape().take())
    assert [line["price"] for line in world.said("trade")] == [1]
    assert (len(world.said("quote")), len(world.said("book"))) == (1, 0)


def test_numbers_that_do_not_rise_are_refused() -> None:
    world = World(Noting)
    world.host.start()
    events = tape()
    batch = events.take()
    world.host.feed(batch)
    with pytest.raises(ValueError, match="does not follow"):
        world.host.feed(batch)
    world.host.stop("done")


class Keeping(Strategy):
    """Keeps every view and reads none while it is new."""

    def on_start(self) -> None:
        self.kept: list[Trade | Quote] = []

    def on_trade(self, trade: Trade) -> None:
        self.kept.append(trade)

    def on_quote(self, quote: Quote) -> None:
        self.kept.append(quote)

    def on_stop(self) -> None:
        self.context.decide("kept", seqs=[view.seq >> 16 for view in self.kept])


class Passing(Strategy):
    """Keeps none, and notes their identity."""

    def on_start(self) -> None:
        self.seen: set[int] = set()

    def on_trade(self, trade: Trade) -> None:
        self.seen.add(id(trade))

    def on_stop(self) -> None:
        self.context.decide("objects", count=len(self.seen))


def test_a_view_that_is_kept_stays_as_it_was() -> None:
    events = Tape()
    for number in range(5):
        events.trade(number, 1).quote(number, number + 1)
    world = World(Keeping).run(*events.cut(3))
    assert world.said("kept") == [{"seqs": list(range(2, 12))}]


def test_a_view_that_nobody_keeps_is_used_again() -> None:
    events = Tape()
    for number in range(100):
        events.trade(number, 1)
    assert World(Passing).run(events.take()).said("objects") == [{"count": 1}]


class Raising(Strategy):
    class Config(Strategy.Config):
        error: str = "ZeroDivisionError"

    config: Config

    def on_trade(self, trade: Trade) -> None:
        if trade.instrument == ETH:
            errors: dict[str, BaseException] = {
                "ZeroDivisionError": ZeroDivisionError("one"),
                "SystemExit": SystemExit(3),
                "CancelledError": asyncio.CancelledError(),
            }
            raise errors[self.config.error]

    def on_stop(self) -> None:
        raise AssertionError("a failed strategy is not stopped again")


@pytest.mark.parametrize("error", ["ZeroDivisionError", "SystemExit", "CancelledError"])
def test_what_a_strategy_raises_ends_it_and_nothing_else(error: str) -> None:
    world = World(Raising, Noting)
    world.configs[0].params["error"] = error
    world.run(*tape().cut(2))
    ended = dict(world.stopped)
    assert ended["raising"].startswith(error)
    assert "test_runner.py:" in ended["raising"]
    assert ended["noting"] == "done"
    assert len(world.said("trade")) == 3
    report = world.report(Raising)
    assert (report["failures"], report["running"], report["latency"]["count"]) == (1, False, 2)


class Interrupted(Strategy):
    def on_trade(self, _trade: Trade) -> None:
        raise KeyboardInterrupt


def test_a_person_can_still_interrupt() -> None:
    world = World(Interrupted)
    world.host.start()
    with pytest.raises(KeyboardInterrupt):
        world.host.feed(tape().take())
    world.host.stop("interrupted")


class Feeding(Strategy):
    world: World

    def on_trade(self, _trade: Trade) -> None:
        self.world.host.feed(Tape().trade(1, 1).take())


def test_a_handler_cannot_feed_its_own_host() -> None:
    Feeding.world = World(Feeding)
    Feeding.world.run(tape().take())
    assert "cannot feed its own host" in Feeding.world.stopped[0][1]


class Timed(Strategy):
    def on_start(self) -> None:
        assert self.context.now_ns == 0
        self.context.call_every(10 * MS, "ten")
        self.context.call_at(START_NS + 25 * MS, "once")

    def on_timer(self, timer: Timer) -> None:
        due_ms = ((timer.due_ns or 0) - START_NS) // MS
        now_ms = (self.context.now_ns - START_NS) // MS
        self.context.decide("timer", name=timer.name, due=due_ms, now=now_ms)


def test_timers_fire_on_clock_records_only_and_skip_what_they_missed() -> None:
    events = Tape().trade(1, 1)
    for at_ms in (5, 10, 14, 50):
        events.clock(START_NS + at_ms * MS).trade(1, 1)
    world = World(Timed).run(*events.cut(2))
    assert world.said("timer") == [
        {"name": "ten", "due": 10, "now": 10},
        {"name": "ten", "due": 20, "now": 50},
        {"name": "once", "due": 25, "now": 50},
    ]


class Gathering(Strategy):
    class Config(Strategy.Config):
        rash: bool = False

    config: Config

    def on_start(self) -> None:
        self.count, self.volume = 0, 0
        self.context.call_every(10 * MS)

    def on_batch(self, events: EventBatch) -> None:
        columns = as_array(events)
        self.count += len(columns)
        self.volume += int(columns["size"].sum())
        if self.config.rash:
            self.context.decide("rash")

    def on_timer(self, _timer: Timer) -> None:
        self.context.decide("volume", count=self.count, volume=self.volume)


def long_tape() -> Tape:
    events = Tape()
    for number in range(200):
        events.trade(number * 10, number + 1, instrument=BTC if number % 3 else ETH)
        if number % 7 == 0:
            events.clock()
    return events


@pytest.mark.parametrize("size", [1, 5, 64, 4096])
def test_what_a_timer_knows_from_batches_does_not_depend_on_the_cut(size: int) -> None:
    world = World(Gathering, topics=["trade.*.BTCUSDT"]).run(*long_tape().cut(size))
    whole = World(Gathering, topics=["trade.*.BTCUSDT"]).run(long_tape().take())
    assert world.lines == whole.lines
    assert world.said("volume")[-1]["count"] > 100


def test_nothing_is_decided_where_a_batch_ends_by_chance() -> None:
    world = World(Gathering, params={"rash": True}).run(long_tape().take())
    assert "a decision in on_batch" in world.stopped[0][1]


class Mixed(Strategy):
    def on_batch(self, _events: EventBatch) -> None: ...

    def on_trade(self, _trade: Trade) -> None: ...


def test_batches_and_events_in_one_strategy_are_refused() -> None:
    world = World(Mixed).run(tape().take())
    assert "on_batch and on_trade" in world.stopped[0][1]


class Ordering(Strategy):
    def on_quote(self, quote: Quote) -> None:
        self.id = self.context.submit(
            quote.instrument, side="B", size=10, price=quote.bid_price, time_in_force="post_only"
        )

    def on_order(self, order: Order) -> None:
        position = self.context.position(order.instrument)
        open_ids = [each.client_id for each in self.context.open_orders(order.instrument)]
        assert open_ids == [each.client_id for each in self.context.open_orders()]
        assert not self.context.open_orders(ETH)
        self.context.decide(
            "order",
            state=OrderState(order.state).name,
            fill=order.is_fill,
            size=position.size,
            cost=position.cost,
            open=len(open_ids),
        )
        if order.state == OrderState.ACCEPTED:
            self.context.cancel(order.client_id)


def test_orders_go_out_as_records_and_come_back_as_events() -> None:
    world = World(Ordering, Noting)
    world.host.start()
    events = Tape()
    world.host.feed(events.quote(6_000_000, 6_000_020).take())
    intent = next(each for each in world.records if each["kind"] == "intent")
    assert intent == {
        "kind": "intent",
        "strategy": "ordering",
        "client_id": world.owner(Ordering) << 32 | 1,
        "instrument": BTC,
        "venue": "binance-usdm",
        "symbol": "BTCUSDT",
        "side": "B",
        "price": 6_000_000,
        "size": 10,
        "time_in_force": "post_only",
        "reduce_only": False,
        "seq": 2 << 16 | 1,
        "ts_ns": START_NS + MS,
    }
    number = intent["client_id"]
    events.order(number, OrderState.ACCEPTED).order(1 << 40, OrderState.ACCEPTED)
    events.order(number, OrderState.PARTLY_FILLED, (6_000_000, 5))
    events.order(number, OrderState.CANCELLED)
    world.host.feed(events.take())
    world.host.stop("done")
    flat = {"size": 0, "cost": 0, "fill": False}
    held = {"size": 5, "cost": 30_000_000}
    assert world.said("order") == [
        {"state": "ACCEPTED", "open": 1, **flat},
        {"state": "PARTLY_FILLED", "open": 1, "fill": True, **held},
        {"state": "CANCELLED", "open": 0, "fill": False, **held},
    ]
    assert [each["client_id"] for each in world.records if each["kind"] == "cancel"] == [number]
    told = {each["strategy"]: each for each in world.records if each["kind"] == "decisions"}
    assert told["ordering"]["count"] == 5
    assert told["ordering"]["hash"] == world.report(Ordering)["hash"]


class Clumsy(Strategy):
    class Config(Strategy.Config):
        order: dict[str, Any] = msgspec.field(default_factory=dict)

    config: Config

    def on_trade(self, trade: Trade) -> None:
        self.context.submit(**{"instrument": trade.instrument, "side": "B", **self.config.order})


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"size": 7}, "size 7 is not in lots of 5"),
        ({"size": 0}, "size 0"),
        ({"size": 5, "price": 11}, "price 11 is not on 10"),
        ({"size": 5, "instrument": 99}, "no instrument 99"),
    ],
)
def test_an_order_that_cannot_be_is_refused_at_once(order: dict[str, int], reason: str) -> None:
    world = World(Clumsy, params={"order": order}).run(tape().take())
    assert reason in world.stopped[0][1]


def test_parameters_are_those_of_the_strategy() -> None:
    world = World(Gathering, params={"rush": True}).run()
    assert "unknown field `rush`" in world.stopped[0][1]


def test_values_and_books_are_warm_from_an_image_and_what_came_behind_it() -> None:
    first = World(Noting)
    first.host.start()
    events = Tape().trade(10, 1).quote(20, 30)
    first.host.feed(events.take())
    image = first.host.image()
    first.host.stop("done")
    second = World(Noting)
    assert second.host.restore(image) == 3 << 16 | 0xFFFF
    events.depth((1, 9, 0), (Side.BID, 100, 4), snapshot=True)
    second.host.warm(events.take())
    events.trade(40, 1)
    second.run(events.take())
    assert [line["price"] for line in second.said("trade")] == [40]
    assert not second.said("book")
    last = second.host.report()["cache"]
    assert last == {"instruments": 1, "refused": 0, "seq": 5 << 16}


class Signalled(Strategy):
    def on_trade(self, trade: Trade) -> None:
        self.context.decide("trade", price=trade.price)

    def on_quote(self, quote: Quote) -> None:
        self.context.decide("quote", bid=quote.bid_price)

    def on_signal(self, signal: Signal) -> None:
        self.context.decide("signal", value=signal.value, indicator=signal.indicator)


def signals_of(batch: EventBatch) -> EventBatch:
    """A signal behind each message, as an indicator set publishes them: after the batch."""
    events = as_array(batch)
    ends = np.sort(events[(events["flags"] & Flag.LAST) != 0], order="seq")
    made = ends.copy()
    made["id"] = (ends["seq"] >> 16).astype(np.float64).view(np.uint64)
    made["kind"], made["aux"] = Kind.SIGNAL, 3
    return EventBatch.from_events(made.tobytes(), [(99, 0, len(made))])


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_signal_follows_the_message_that_caused_it_in_every_cut(size: int) -> None:
    events = Tape()
    for number in range(4):
        events.trade(number, 1).quote(number, number + 1)
    batches = events.cut(size)
    world = World(Signalled).run(*(each.joined(signals_of(each)) for each in batches))
    lines = [json.loads(line) for line in world.lines]
    assert [line["what"] for line in lines] == ["trade", "signal", "quote", "signal"] * 4
    values = [line["fields"]["value"] for line in lines if line["what"] == "signal"]
    assert values == list(range(2, 10))
    assert world.report(Signalled)["failures"] == 0


def test_the_oldest_frame_of_a_batch_speaks_for_each_of_its_events() -> None:
    world = World(Noting)
    now_ns = world.clock.mono_ns()
    late = Tape().trade(1, 1).trade(2, 1).trade(3, 1).take()
    world.run(EventBatch.from_events(bytes(late), [(0, 0, 3)], now_ns - 5 * MS))
    report: Any = world.host.report()
    assert (report["delay"]["count"], report["delay"]["sum_ns"]) == (3, 15 * MS)
    at = next(number for number, bound in enumerate(BOUNDS_NS) if bound >= 5 * MS)
    assert sum(report["delay_counts"]) == 3 == sum(report["delay_counts"][at : at + 2])


def test_a_host_that_nobody_has_is_gone_with_its_books() -> None:
    world = World(Noting)
    world.host.warm(Tape().depth((1, 9, 0), (Side.BID, 100, 4), snapshot=True).take())
    gone = ref(world.host)
    del world
    gc.collect()
    assert gone() is None


class Replacing(Strategy):
    def on_quote(self, quote: Quote) -> None:
        if quote.seq >> 16 == 2:
            self.context.submit(BTC, side="A", size=10, price=6_000_020, reduce_only=True)
        else:
            for price, size in ((6_000_030, 15), (6_000_031, 15), (6_000_030, 4)):
                try:
                    self.context.replace(self.number, price=price, size=size)
                except StrategyError as error:
                    self.context.decide("cannot", words=str(error))

    def on_order(self, order: Order) -> None:
        self.number = order.client_id


def test_an_open_order_may_be_replaced_by_what_fits_the_instrument() -> None:
    world = World(Replacing)
    world.host.start()
    events = Tape()
    world.host.feed(events.quote(6_000_000, 6_000_020).take())
    number = world.owner(Replacing) << 32 | 1
    world.host.feed(events.order(number, OrderState.ACCEPTED).quote(6_000_000, 6_000_030).take())
    world.host.feed(events.order(number, OrderState.CANCELLED).quote(6_000_010, 6_000_030).take())
    asked = [each for each in world.records if each["kind"] == "replace"]
    assert [(each["client_id"], each["price"], each["size"]) for each in asked] == [
        (number, 6_000_030, 15)
    ]
    intent = next(each for each in world.records if each["kind"] == "intent")
    assert intent["reduce_only"] is True
    assert [each["words"] for each in world.said("cannot")] == [
        "replace BTCUSDT: price 6000031 is not on 10",
        "replace BTCUSDT: size 4 is not in lots of 5",
        *[f"replace: no open order {number}"] * 3,
    ]
