"""The native gate and its twin agree on any walk: answers, vectors, figures, what is held.

Method: hypothesis draws the choices of a walk over every operation, hostile numbers among them;
tests/proof/test_gate_parity.py makes many longer ones of seeds, test_gate_sequences.py 100,000
short ones.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.reasons import Reason
from tests.harness.gate_walks import Walk, seeded, sequences

ROOT = Path(__file__).parents[2]
CHOICES = 2_000


@pytest.mark.timeout(120)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=64, max_size=CHOICES))
def test_native_equals_twin_on_any_walk(data: bytes) -> None:
    choices = iter(data)

    def pick(most: int) -> int:
        # Several bytes would shrink badly, and no choice here has more than 256 ways but one.
        return next(choices, 0) % most

    walk = Walk(pick)
    for _ in range(60):
        walk.step()
    walk.pair.same_state()


@pytest.mark.parametrize("seed", range(40))
def test_native_equals_twin_on_seeded_walks(seed: int) -> None:
    seeded(seed, 100)


def test_native_equals_twin_on_fresh_gates() -> None:
    """A small share of tests/proof/test_gate_sequences.py."""
    approved, reasons = sequences(range(400))
    assert approved
    assert reasons


def test_a_difference_is_seen() -> None:
    """The comparison can fail."""
    pair = seeded(1, 50)
    pair.cores[1].set_position(0, 123_456)
    with pytest.raises(AssertionError, match="position"):
        pair.same_state()


def test_reasons_have_the_same_names_and_numbers_in_rust() -> None:
    text = (ROOT / "native/core/src/risk/reason.rs").read_text()
    rust = {int(at): name for name, at in re.findall(r"^    (\w+) = (\d+),", text, re.MULTILINE)}
    of_the_gate = [each for each in Reason if each < Reason.OUTBOX or each == Reason.NO_SUCH_ORDER]
    assert rust == {int(each): each.name.title().replace("_", "") for each in of_the_gate}
