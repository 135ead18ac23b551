"""Native gate against twin over more than 100,000 random steps, each with everything compared."""

from __future__ import annotations

import pytest

from risk.reasons import Reason
from tests.harness.gate_walks import seeded

pytestmark = pytest.mark.proof

WALKS, STEPS = 1_000, 150
# Steps that must have been taken, approvals among them: walks that only refuse prove little.
STEPS_MIN, APPROVED_MIN = 100_000, 3_000


@pytest.mark.timeout(600)
def test_native_equals_twin_over_a_hundred_thousand_steps() -> None:
    approved, reasons = 0, set[int]()
    for seed in range(10_000, 10_000 + WALKS):
        pair = seeded(seed, STEPS)
        approved += pair.approved
        reasons |= set(pair.reasons)
    assert WALKS * STEPS >= STEPS_MIN
    assert approved >= APPROVED_MIN
    # Every check of the gate failed for somebody.
    assert reasons >= {reason for reason in Reason if reason < Reason.OUTBOX}
