"""Positions: the integer fold against a twin in fractions, for any executions."""

from __future__ import annotations

import json
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from risk.orders import MONEY_SCALE
from risk.positions import Contract, Key, Position, Positions
from tests.reference.positions import SlowPosition

MONEY = 10**MONEY_SCALE
FILLS = st.lists(
    st.tuples(
        st.sampled_from("BA"),
        st.integers(-1_000, 10_000_000),
        st.integers(1, 5_000),
        st.integers(-500, 5_000),
    ),
    max_size=40,
)
CONTRACTS = st.tuples(
    st.integers(0, 9), st.integers(0, 9), st.sampled_from(["1", "0.01", "200", "12.5"])
)


def described(scales: tuple[int, int, str]) -> bytes:
    price, size, multiplier = scales
    told = {"symbol": "A", "price_scale": price, "size_scale": size, "multiplier": multiplier}
    return json.dumps(told).encode()


@given(FILLS, CONTRACTS, st.integers(1, 10_000_000))
def test_the_fold_is_the_twin_up_to_its_declared_rounding(
    fills: list[tuple[str, int, int, int]], scales: tuple[int, int, str], mark: int
) -> None:
    contract = Contract.of(described(scales))
    fast, slow = Position(contract), SlowPosition(Fraction(scales[2]))
    one = Fraction(1, 10**contract.scale)
    reductions = 0
    for side, price, size, fee in fills:
        before = fast.size
        fast.apply("B" if side == "B" else "A", price, size, fee)
        slow.apply(
            side,
            Fraction(price, 10 ** scales[0]),
            Fraction(size, 10 ** scales[1]),
            Fraction(fee, MONEY),
        )
        reductions += abs(fast.size) < abs(before) or before * fast.size < 0
        assert Fraction(fast.size, 10 ** scales[1]) == slow.size
        # Exactly what went over the counter, however the closed part's cost was rounded.
        assert (fast.realised_value - fast.cost) * one == slow.cash
        if not fast.size:
            assert (fast.cost, fast.realised_value * one) == (0, slow.cash)
            reductions = 0
        error = abs(fast.realised_value * one - slow.realised)
        assert error <= reductions * one
        value = slow.unrealised(Fraction(mark, 10 ** scales[0]))
        assert abs(fast.unrealised_value(mark) * one - value) <= reductions * one
        assert 0 <= fast.realised_value * one * MONEY - fast.realised < 1
    assert Fraction(fast.fees, MONEY) == slow.fees
    assert fast.fills == len(fills)


@given(FILLS, st.data())
def test_accounts_and_strategies_add_up_in_any_order_of_keys(
    fills: list[tuple[str, int, int, int]], data: st.DataObject
) -> None:
    keys = [Key(account, strategy, 7) for account in "xy" for strategy in "mn"]
    book, alone = Positions(), {key: Position(Contract.of(described((2, 3, "1")))) for key in keys}
    book.define(7, described((2, 3, "1")))
    for at, (side, price, size, fee) in enumerate(fills):
        key = data.draw(st.sampled_from(keys))
        told = "B" if side == "B" else "A"
        book.apply(key, side=told, price=price, size=size, fee=fee, ts_ns=at)
        alone[key].apply(told, price, size, fee)
    book.mark(7, 500)
    for account in "xy":
        mine = [position for key, position in alone.items() if key.account == account]
        assert book.sizes(account).get("A", 0) == sum(each.size for each in mine)
        told = [each.pnl(500) for each in mine]
        assert book.pnl(account).total == sum(each.total for each in told)
        assert book.pnl(account, "m").total == told[0].total
