"""Native gate against twin over 100,000 sequences, each of a fresh gate under fresh random limits.

The long walks of test_gate_parity.py find what only comes up after many steps; these find what
depends on the set of limits, which a walk draws once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from risk.reasons import Reason
from tests.harness.gate_walks import STEPS, sequences

pytestmark = pytest.mark.proof

SEQUENCES, PER_TASK = 100_000, 2_500
FIRST_SEED = 1_000_000
# Sequences that only refuse prove little.
APPROVED_MIN = 20_000


def _task(seed: int) -> tuple[int, frozenset[int]]:
    return sequences(range(seed, seed + PER_TASK))


@pytest.mark.timeout(600)
def test_native_equals_twin_over_a_hundred_thousand_fresh_gates() -> None:
    seeds = range(FIRST_SEED, FIRST_SEED + SEQUENCES, PER_TASK)
    workers = min(4, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        answers: Iterable[tuple[int, frozenset[int]]] = pool.map(_task, seeds)
        found = list(answers)
    assert len(found) * PER_TASK >= SEQUENCES
    assert sum(approved for approved, _ in found) >= APPROVED_MIN
    # Every check of the gate failed for somebody.
    reasons = frozenset[int]().union(*(each for _, each in found))
    assert reasons >= {reason for reason in Reason if reason < Reason.OUTBOX}
    assert set(STEPS) >= {"_check", "_replace", "_fill", "_prices", "_top"}
