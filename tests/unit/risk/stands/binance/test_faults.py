"""The fault script: who takes what, and the same dice for the same seed."""

from __future__ import annotations

from risk.stands.binance.faults import KINDS, Fault, Faults


def test_fault_is_taken_by_the_requests_it_names_and_no_more() -> None:
    faults = Faults(1, 0.0)
    faults.add(Fault("reject", on="order.place", count=2))
    faults.add(Fault("rest_5xx", on="/openOrders"))
    assert faults.take("order.cancel") is None
    assert [faults.take("order.place") is not None for _ in range(3)] == [True, True, False]
    assert faults.take("/fapi/v1/openOrders") is not None
    assert faults.taken == ["reject order.place"] * 2 + ["rest_5xx /fapi/v1/openOrders"]


def drawn(seed: int) -> list[str]:
    faults = Faults(seed, 0.5)
    for _ in range(200):
        faults.take("order.place")
        assert faults.take("/api/v3/openOrders") is None  # chaos is of order requests
    return faults.taken


def test_dice_are_the_seeds() -> None:
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert 60 < len(drawn(3)) < 140
    assert {each.split(" ")[0] for each in drawn(3)} <= set(KINDS)


def test_cleared_script_is_empty() -> None:
    faults = Faults(1, 0.0)
    faults.add(Fault("reject"))
    faults.clear()
    assert faults.take("order.place") is None
