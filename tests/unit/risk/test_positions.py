"""Positions: hand-computed folds, days, and what a venue counts in another way."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from risk.orders import VenuePosition
from risk.positions import DAY_NS, Contract, Difference, Key, PnL, Position, Positions, trading_day

MONEY = 100_000_000
KEY = Key("paper", "ofi", 7)


def definition(symbol: str = "BTCUSDT", multiplier: str = "1") -> bytes:
    told = {"symbol": symbol, "price_scale": 2, "size_scale": 3, "multiplier": multiplier}
    return json.dumps(told | {"venue": "binance-usdm", "tick": 10}).encode()


def positions() -> Positions:
    book = Positions()
    book.define(7, definition())
    return book


def test_average_cost_through_zero() -> None:
    position = Position(Contract.of(definition()))
    position.apply("B", 10_000, 2_000, 0)  # 2 at 100
    position.apply("B", 11_000, 1_000, 0)  # 1 at 110
    cost, size = position.average_price or (0, 1)
    # 310 / 3, as a mantissa
    assert Fraction(cost, size) == Fraction(31_000, 3)
    position.apply("A", 12_000, 1_500, 0)  # half of it: 180 - 155
    assert (position.realised, position.size) == (25 * MONEY, 1_500)
    position.apply("A", 9_000, 2_500, 0)  # the rest: 135 - 155; and 1 short at 90
    assert (position.realised, position.size) == (5 * MONEY, -1_000)
    assert position.unrealised(8_000) == 10 * MONEY
    position.apply("B", 8_500, 1_000, 3)
    assert (position.realised, position.size, position.cost) == (10 * MONEY, 0, 0)
    assert (position.average_price, position.fees, position.fills) == (None, 3, 5)
    assert position.pnl(None) == PnL(10 * MONEY, 3, 0)
    assert position.pnl(None).total == 10 * MONEY - 3


def test_a_contracts_multiplier_counts() -> None:
    position = Position(Contract.of(definition(multiplier="0.01")))
    position.apply("A", 10_000, 5_000, 0)
    position.apply("B", 9_000, 5_000, 0)
    assert position.realised == 10 * 5 * MONEY // 100


def test_thirds_leave_no_dust() -> None:
    position = Position(Contract.of(definition()))
    position.apply("B", 10_001, 3, 0)
    for _ in range(3):
        position.apply("A", 10_001, 1, 0)
    assert (position.realised_value, position.cost) == (0, 0)


def test_a_day_begins_with_what_was_there_and_knows_its_peak() -> None:
    book = positions()
    noon = 20_000 * DAY_NS + DAY_NS // 2
    book.apply(KEY, side="B", price=10_000, size=1_000, fee=2 * MONEY, ts_ns=noon)
    book.mark(7, 10_500)
    assert book.day_pnl("paper") == (3 * MONEY, 0)
    book.mark(7, 10_900)
    assert book.day_pnl("paper") == (7 * MONEY, 0)
    book.mark(7, 10_200)
    assert book.day_pnl("paper") == (0, 7 * MONEY)
    assert book.roll("paper", noon + 1) is False
    assert book.roll("paper", noon + DAY_NS) is True
    assert book.roll("paper", noon) is False
    assert book.day_pnl("paper") == (0, 0)
    book.apply(KEY, side="A", price=10_000, size=1_000, ts_ns=noon + DAY_NS)
    assert book.day_pnl("paper") == (-2 * MONEY, 2 * MONEY)
    assert book.day_pnl("nobody") == (0, 0)


def test_a_trading_day_may_begin_at_another_hour() -> None:
    hour = DAY_NS // 24
    assert trading_day(20_000 * DAY_NS + 5 * hour, begins_ns=6 * hour) == 19_999
    assert trading_day(20_000 * DAY_NS + 6 * hour, begins_ns=6 * hour) == 20_000


def test_differences_from_the_venue_are_values() -> None:
    book = positions()
    book.define(8, definition("ETHUSDT"))
    for key, size in ((KEY, 5), (KEY._replace(strategy="other"), 2), (Key("other", "ofi", 7), 9)):
        book.apply(key, side="B", price=1, size=size, ts_ns=0)
    book.apply(Key("paper", "ofi", 8), side="B", price=1, size=1, ts_ns=0)
    book.apply(Key("paper", "ofi", 8), side="A", price=1, size=1, ts_ns=0)
    theirs = [VenuePosition(symbol="BTCUSDT", size=7), VenuePosition(symbol="ETHUSDT", size=0)]
    assert book.compare("paper", theirs) == ()
    assert book.compare("paper", [VenuePosition(symbol="SOLUSDT", size=-1)]) == (
        Difference(symbol="BTCUSDT", ours=7, theirs=0),
        Difference(symbol="SOLUSDT", ours=0, theirs=-1),
    )


def test_an_execution_of_nothing_known_is_an_error() -> None:
    with pytest.raises(KeyError):
        Positions().apply(KEY, side="B", price=1, size=1, ts_ns=0)
