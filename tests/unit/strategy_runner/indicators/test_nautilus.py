"""Ticks shaped like NautilusTrader's reach the indicator with the right numbers."""

from __future__ import annotations

import math
from enum import IntEnum
from types import SimpleNamespace

import pytest

from strategy_runner.indicators import (
    Hawkes,
    HawkesBivariate,
    LeeReady,
    Mlofi,
    NautilusIndicator,
    Ofi,
    RealizedVariance,
    Vpin,
)


class AggressorSide(IntEnum):
    NO_AGGRESSOR = 0
    BUYER = 1
    SELLER = 2


class Price:
    """Nautilus' prices and quantities are no numbers, but become floats."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value


def quote(bid: float, bid_size: float, ask: float, ask_size: float, ts: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        bid_price=Price(bid),
        bid_size=Price(bid_size),
        ask_price=Price(ask),
        ask_size=Price(ask_size),
        ts_event=ts,
    )


def trade(price: float, size: float, side: AggressorSide, ts: int = 0) -> SimpleNamespace:
    return SimpleNamespace(price=Price(price), size=Price(size), aggressor_side=side, ts_event=ts)


def test_quotes_reach_an_indicator_of_quotes_and_trades_do_not() -> None:
    own, plain = NautilusIndicator(Ofi(horizon_ns=5)), Ofi(horizon_ns=5)
    assert (own.name, own.has_inputs, own.initialized) == ("Ofi", False, False)
    for row in ((1.0, 5.0, 2.0, 7.0, 0), (1.0, 6.0, 2.0, 7.0, 3), (1.5, 2.0, 2.0, 7.0, 9)):
        own.handle_quote_tick(quote(*row))
        own.handle_trade_tick(trade(1.5, 1.0, AggressorSide.BUYER))
        plain.update(*row)
    assert own.indicator == plain
    assert (own.count, own.has_inputs) == (3, True)
    assert own.initialized == plain.is_ready
    own.reset()
    assert not own.has_inputs


def test_aggressors_have_their_signs() -> None:
    own, plain = NautilusIndicator(Vpin(1.0, 2)), Vpin(1.0, 2)
    for name, sign in (("BUYER", 1), ("SELLER", -1), ("NO_AGGRESSOR", 0)):
        own.handle_trade_tick(trade(1.0, 0.75, AggressorSide[name], 4))
        plain.update(1.0, 0.75, sign, 4)
    assert own.indicator == plain
    assert own.value == plain.value


def test_times_prices_and_quotes_are_passed_where_they_are_taken() -> None:
    hawkes = NautilusIndicator(Hawkes(0.5, 1.0, 2.0))
    hawkes.handle_trade_tick(trade(1.0, 3.0, AggressorSide.BUYER, 10**9))
    assert hawkes.indicator.left(2 * 10**9) == pytest.approx(0.5 + math.exp(-2.0))
    pair = HawkesBivariate((0.5, 0.5), ((1, 0), (0, 1)), 2.0)
    NautilusIndicator(pair).handle_trade_tick(trade(1.0, 3.0, AggressorSide.SELLER, 5))
    assert pair.values == (0.5, 1.5)
    variance = NautilusIndicator(RealizedVariance())
    for price in (1.0, 2.0, 1.0):
        variance.handle_trade_tick(trade(price, 1.0, AggressorSide.BUYER))
    assert variance.value == pytest.approx(2 * math.log(2) ** 2)
    rule = NautilusIndicator(LeeReady())
    rule.handle_quote_tick(quote(1.0, 1.0, 2.0, 1.0))
    rule.handle_trade_tick(trade(1.9, 1.0, AggressorSide.NO_AGGRESSOR))
    assert rule.value == 1.0


def test_books_are_refused() -> None:
    with pytest.raises(TypeError, match="books"):
        NautilusIndicator(Mlofi(2))
