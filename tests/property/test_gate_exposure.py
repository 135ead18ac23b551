"""Exposure is never under-reserved: whatever happens to orders, limits hold against the worst case.

Method: hypothesis draws orders, fills, releases and replaces; a plain ledger beside the gate counts
what could fill at most, from approvals and reports alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.approval import ApprovedOrder, ApprovedReplace
from tests.harness.gates import PRICE, Desk, row

MOST = 50

STEP = st.tuples(
    st.sampled_from(["order", "order", "order", "fill", "release", "replace", "replaced", "kept"]),
    st.integers(0, 1 << 16),
    st.integers(1, 30),
    st.sampled_from("BA"),
)


@dataclass
class Entry:
    side: str
    size: int
    filled: int = 0
    asked: int = 0  # of a replace that is on its way

    @property
    def leaves(self) -> int:
        return max(self.size, self.asked) - self.filled


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=60))
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_position_and_open_orders_never_pass_the_limit(
    backend: str, steps: list[tuple[str, int, int, str]]
) -> None:
    desk = Desk(
        "native" if backend == "native" else "numpy",
        row(position_max=str(MOST), self_trade="allow"),
    )
    position, ledger = 0, dict[int, Entry]()
    for what, which, size, side in steps:
        number = sorted(ledger)[which % len(ledger)] if ledger else 0
        entry = ledger.get(number)
        if what == "order":
            if isinstance(desk.order(side, price=PRICE, size=size), ApprovedOrder):
                ledger[desk.number] = Entry(side, size)
        elif entry is None:
            continue
        elif what == "fill" and entry.leaves > 0:
            filled = min(size, entry.leaves)
            entry.filled += filled
            position += filled if entry.side == "B" else -filled
            assert desk.gate.filled(number, size=filled, price=PRICE)
        elif what == "release":
            del ledger[number]
            assert desk.gate.released(number)
        elif what == "replace" and not entry.asked:
            answer = desk.gate.check_replace(
                number, price=None, size=size, mono_ns=desk.now, wall_ns=desk.wall
            )
            if isinstance(answer, ApprovedReplace):
                entry.asked = size
        elif what == "replaced" and entry.asked >= entry.filled:
            entry.size, entry.asked = entry.asked or entry.size, 0
            assert desk.gate.replaced(number, price=None, size=entry.size)
        elif what == "kept":
            entry.size, entry.asked = max(entry.size, entry.filled), 0
            assert desk.gate.replace_refused(number)
        worst = {
            each: sum(entry.leaves for entry in ledger.values() if entry.side == each)
            for each in "BA"
        }
        assert position + worst["B"] <= MOST
        assert position - worst["A"] >= -MOST
        held, buys, sells = desk.position()
        assert held == position
        assert buys >= worst["B"]
        assert sells >= worst["A"]
