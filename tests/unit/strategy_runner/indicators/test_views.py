"""What a strategy's callbacks receive goes into an indicator in one call, in both backends."""

from __future__ import annotations

import math
from types import ModuleType

import pytest

from strategy_runner.indicators.backend import load
from strategy_runner.strategy import Strategy
from tests.unit.strategy_runner.kit import Tape, World
from tickd.events import PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF, Kind, Side
from tickd.native import Quote, Trade


def made(m: ModuleType) -> list[tuple[object, object]]:
    """An indicator fed by views, and one fed by numbers."""
    return [
        (make(), make())
        for make in (
            lambda: m.Vpin(0.004, 2),
            m.Cvd,
            m.TickRule,
            lambda: m.Hawkes(0.5, 1.0, 2.0),
            lambda: m.HawkesBivariate((0.5, 0.6), ((0.4, 0.1), (0.2, 0.3)), 2.0),
            lambda: m.Ofi(horizon_ns=10**6),
            m.Mid,
        )
    ]


class Feeding(Strategy):
    """Feeds both backends in both ways and tells whether they stayed equal."""

    def on_start(self) -> None:
        self.pairs = made(load("native")) + made(load("numpy"))

    def on_trade(self, trade: Trade) -> None:
        ts = trade.ts_recv_ns if trade.ts_event_ns == TS_UNDEF else trade.ts_event_ns
        side = {"B": 1, "A": -1}.get(trade.side, 0)
        arguments = {
            "Vpin": (trade.price_f, trade.size_f, side, ts),
            "Cvd": (trade.price_f, trade.size_f, side, ts),
            "TickRule": (trade.price_f, ts),
            "Hawkes": (ts,),
            "HawkesBivariate": (ts, side),
        }
        for viewed, plain in self.pairs:
            if type(plain).__name__ in arguments:
                viewed.on_trade(trade)
                plain.update(*arguments[type(plain).__name__])
        self.compare()

    def on_quote(self, quote: Quote) -> None:
        numbers = [0.0 if math.isnan(x) else x for x in quote.floats()]
        ts = quote.ts_recv_ns if quote.ts_event_ns == TS_UNDEF else quote.ts_event_ns
        for viewed, plain in self.pairs:
            if hasattr(plain, "on_quote"):
                viewed.on_quote(quote)
                plain.update(*numbers, ts)
        self.compare()

    def compare(self) -> None:
        half = len(self.pairs) // 2
        states = [viewed.state() for viewed, _ in self.pairs]
        same = all(viewed == plain for viewed, plain in self.pairs)
        counts = [viewed.count for viewed, _ in self.pairs[:half]]
        self.context.decide("same", same=same and states[:half] == states[half:], counts=counts)


def test_views_are_read_as_their_natural_numbers() -> None:
    events = Tape().trade(6_000_010, 5).quote(6_000_000, 6_000_020).trade(6_000_030, 7, Side.ASK)
    events.trade(6_000_030, 2, Side.NONE).quote(6_000_010, 6_000_020, 9)
    world = World(Feeding).run(events.take())
    said = world.said("same")
    assert [each["same"] for each in said] == [True] * 5
    assert said[-1]["counts"] == [3, 3, 3, 3, 2, 2, 2], "an event without a side is no event"


def test_a_side_without_a_price_is_missing_and_time_of_receipt_stands_in() -> None:
    bid = {"price": PRICE_UNDEF, "size": SIZE_UNDEF, "side": int(Side.BID), "ts_event": TS_UNDEF}
    ask = {"price": 6_000_020, "size": 5, "side": int(Side.ASK), "ts_event": TS_UNDEF}
    events = Tape().quote(6_000_000, 6_000_020).add(Kind.QUOTE, bid, ask)
    world = World(Feeding).run(events.quote(6_000_000, 6_000_020).take())
    assert [each["same"] for each in world.said("same")] == [True] * 3
    assert world.said("same")[-1]["counts"][-2:] == [3, 3], "taken, not skipped"


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError):
        load("native").Ofi().on_quote((1.0, 2.0, 3.0, 4.0))
