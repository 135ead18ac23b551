"""Numbers of an order that are none: refused in words, before anything is decided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from strategy_runner.errors import StrategyError
from strategy_runner.strategy import Strategy
from tests.unit.strategy_runner.kit import BTC, Tape, World
from tickd.native import Trade

NO_MANTISSAS = [True, 1.0, 10.5, float("nan"), float("inf"), "10", np.int64(10)]
HUGE = [(1 << 63) - 1, 1 << 64, -(1 << 64), pytest.param(1 << 20_000, id="2^20000")]


class Asking(Strategy):
    """Does once what it is told, and keeps what was said to it."""

    do: Any = None
    refused: str = ""

    def on_trade(self, trade: Trade) -> None:
        del trade
        try:
            type(self).do(self.context)
        except StrategyError as error:
            type(self).refused = str(error)


def asked(do: Any) -> tuple[str, World]:
    """What a strategy is told, and its world."""
    kind = type("Asking", (Asking,), {"do": staticmethod(do), "__module__": __name__})
    world = World(kind).run(Tape().trade(6_000_010, 5).take())
    return kind.refused, world  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [*NO_MANTISSAS, *HUGE, None])
def test_a_size_that_is_no_mantissa_is_refused(value: Any) -> None:
    told, _ = asked(lambda context: context.submit(BTC, side="B", size=value))
    assert "size" in told
    assert "is no whole mantissa" in told


@pytest.mark.parametrize("value", [*NO_MANTISSAS, *HUGE])
def test_a_price_that_is_no_mantissa_is_refused(value: Any) -> None:
    told, _ = asked(lambda context: context.submit(BTC, side="B", size=10, price=value))
    assert "price" in told
    assert "is no whole mantissa" in told


@pytest.mark.parametrize(
    "other",
    [{"side": "X"}, {"side": 1}, {"time_in_force": "day"}, {"reduce_only": 1}],
)
def test_words_of_an_order_that_are_none_are_refused(other: dict[str, Any]) -> None:
    said = {"instrument": BTC, "side": "B", "size": 10} | other
    told, _ = asked(lambda context: context.submit(**said))
    assert told.startswith("submit")


@pytest.mark.parametrize(
    "client_id", [1, -1, True, 1.5, "1", None, pytest.param(1 << 20_000, id="2^20000")]
)
def test_a_cancel_of_what_is_no_order_of_its_own_is_refused(client_id: Any) -> None:
    told, _ = asked(lambda context: context.cancel(client_id))
    assert told.startswith("cancel: no client id of this strategy")


@pytest.mark.parametrize("client_id", [1, "1", None, pytest.param(1 << 20_000, id="2^20000")])
def test_a_replacement_of_what_is_no_order_is_refused(client_id: Any) -> None:
    told, _ = asked(lambda context: context.replace(client_id, size=10))
    assert told.startswith("replace: no open order")
