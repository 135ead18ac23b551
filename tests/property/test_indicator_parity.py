"""Native and numpy indicators agree bit by bit on any input: streams, columns, snapshots.

Method: hypothesis draws bytes, which become hostile rows; the twin is the oracle.
tests/proof/test_indicator_parity.py draws more of them.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_runner.indicators import parity
from tests.harness.indicator_parity import (
    NATIVE,
    NATIVE_CASES,
    ROWS_MAX,
    TWIN,
    TWIN_CASES,
    agree,
    arguments,
)
from tests.reference.indicator_rows import BYTES


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NATIVE_CASES)
@settings(max_examples=100, deadline=None)
@given(data=st.binary(min_size=BYTES, max_size=BYTES * ROWS_MAX), cut=st.integers(0, ROWS_MAX))
def test_native_equals_twin_and_stream_equals_columns(name: str, data: bytes, cut: int) -> None:
    agree(name, data, cut)


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_every_snapshot_goes_on_as_if_nothing_had_happened(name: str) -> None:
    data = bytes(np.random.default_rng(7).integers(0, 256, BYTES * 60, dtype=np.uint8))
    rows = arguments(name, data)
    whole = NATIVE_CASES[name][0]()
    states = []
    for row in rows:
        states.append(whole.state())
        whole.update(*row)
    for k, state in enumerate(states):
        resumed = type(whole).from_state(state)
        copied = resumed.copy()
        for row in rows[k:]:
            resumed.update(*row)
        assert resumed.state() == whole.state()
        assert copied.state() == state


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_windows_wrap_and_sums_are_made_anew_alike(name: str) -> None:
    """Long enough for every rule that acts once per thousand values."""
    data = bytes(np.random.default_rng(3).integers(0, 256, BYTES * 5000, dtype=np.uint8))
    rows = arguments(name, data)
    native, twin = NATIVE_CASES[name][0](), TWIN_CASES[name][0]()
    for row in rows:
        native.update(*row)
        twin.update(*row)
    assert native.state() == twin.state()


def test_the_corpus_finds_a_difference() -> None:
    """The check that decides about the backend can fail."""

    class Bent(TWIN.Mid):
        def update(self, *row: float) -> float:
            return super().update(*row) + 1e-12

    class Module:
        def __getattr__(self, name: str) -> object:
            return Bent if name == "Mid" else getattr(TWIN, name)

    assert parity.differing(NATIVE, TWIN) == []
    assert parity.differing(Module(), TWIN) == ["Mid"]
