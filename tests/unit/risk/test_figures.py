"""What stands beside an approval is what the gate itself compares: one more unit is a denial."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from risk.approval import ApprovedOrder, Denied
from risk.figures import Figures
from risk.limits import LimitConfig
from tests.harness.gates import ACCOUNT, DEFINITION, INSTRUMENT, STRATEGY, Desk, limits_of, row


def desk_of(*rows: LimitConfig) -> tuple[Desk, Figures]:
    desk = Desk("numpy", *rows)
    figures = Figures(desk.gate)
    figures.define(INSTRUMENT, json.dumps(DEFINITION).encode())
    return desk, figures


def asked(desk: Desk, figures: Figures, side: Any, price: int | None, size: int) -> dict[str, int]:
    request = desk.request(side, price, size)
    answer = desk.ask(request)
    assert isinstance(answer, ApprovedOrder), answer
    return figures.of(
        request.account, request.strategy, request.instrument, request.side, price, size
    )


def test_an_approval_has_its_figures_and_the_limits_beside_them() -> None:
    limits = {"order_qty_max": "50", "position_max": "100", "order_notional_max": "7000"}
    desk, figures = desk_of(row(self_trade="allow", **limits))
    desk.gate.set_position(ACCOUNT, STRATEGY, INSTRUMENT, -10)
    # 100.00 for 30 units: 3,000 of money.
    assert asked(desk, figures, "B", 10_000, 30) == {
        "position": -10,
        "reserved": 30,
        "order_qty": 30,
        "order_qty_limit": 50,
        "notional": 3_000 * 10**8,
        "notional_limit": 7_000 * 10**8,
        "exposure": 20,
        "exposure_limit": 100,
    }
    sold = asked(desk, figures, "A", None, 5)
    assert (sold["exposure"], sold["reserved"]) == (15, 5)
    assert "notional" not in sold


def test_what_is_unlimited_has_no_limit_beside_it() -> None:
    desk, figures = desk_of()
    said = asked(desk, figures, "B", 10_000, 1)
    assert said == {
        "position": 0,
        "reserved": 1,
        "order_qty": 1,
        "notional": 100 * 10**8,
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_figure_is_the_one_that_the_gate_compares(seed: int) -> None:
    """Of two keys the nearer one; the gate says no exactly where the figure would pass it."""
    dice = Random(seed)
    desk, figures = desk_of(
        row(position_max=str(dice.randrange(40, 90))),
        LimitConfig(strategy=STRATEGY, position_max=str(dice.randrange(40, 90))),
    )
    exposure = limit = 0
    said_no = 0
    for _ in range(60):
        size = dice.randrange(1, 15)
        request = desk.request(dice.choice("BA"), 10_000, size)
        answer = desk.ask(request)
        if isinstance(answer, Denied):
            said_no += answer.reason.name == "POSITION_LIMIT"
            continue
        named = (request.account, request.strategy, request.instrument, request.side)
        said = figures.of(*named, 10_000, size)
        exposure, limit = said["exposure"], said["exposure_limit"]
        assert exposure <= limit
        too_much = desk.order(request.side, 10_000, limit - exposure + 1)
        assert isinstance(too_much, Denied)
        assert (too_much.reason.name, too_much.figures["limit"]) == ("POSITION_LIMIT", limit)
        if dice.random() < 0.5:
            desk.gate.filled(answer.number, size=size, price=10_000)
    assert said_no


def test_a_limit_of_everybody_counts_what_everybody_holds() -> None:
    desk, figures = desk_of(row(position_max="100"))
    for strategy, size in (("ofi", 30), ("other", 20)):
        request = desk.request("B", 10_000, size, strategy=strategy)
        assert isinstance(desk.ask(request), ApprovedOrder)
        said = figures.of(ACCOUNT, strategy, INSTRUMENT, "B", 10_000, size)
    assert (said["reserved"], said["exposure"], said["exposure_limit"]) == (20, 50, 100)


def test_other_limits_count_from_their_reload_on() -> None:
    desk, figures = desk_of(row(order_qty_max="50"))
    assert asked(desk, figures, "B", 10_000, 1)["order_qty_limit"] == 50
    desk.gate.reload(limits_of(row(order_qty_max="20")))
    assert asked(desk, figures, "B", 10_000, 1)["order_qty_limit"] == 20


def test_an_instrument_that_nobody_defined_has_what_is_held_alone() -> None:
    desk = Desk("numpy")
    said = Figures(desk.gate).of(ACCOUNT, STRATEGY, INSTRUMENT, "B", 10_000, 1)
    assert said == {"position": 0, "reserved": 0}
