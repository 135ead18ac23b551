"""Native and numpy indicators agree bit by bit on any input: streams, columns, snapshots.

Method: hypothesis draws bytes, which become hostile rows; the twin is the oracle. What is compared
are bytes, so a sign of zero or a last bit would show.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_runner.indicators import parity
from strategy_runner.indicators.backend import load
from tests.reference.indicator_rows import BYTES, rows_of

NATIVE, TWIN = load("native"), load("numpy")
NATIVE_CASES, TWIN_CASES = parity._cases(NATIVE), parity._cases(TWIN)
ROWS_MAX = 16
EXAMPLES = 1000


def bits(value: Any) -> bytes:
    values = value if isinstance(value, tuple) else (value,)
    return struct.pack(f"<{len(values)}d", *values)


def arguments(name: str, data: bytes) -> list[tuple[Any, ...]]:
    takes = NATIVE_CASES[name][1]
    rows = rows_of(data)
    for row in rows:
        row["size"] = row["size"] if row["size"] > 0 or "lots" not in takes else 2.0
        row["size"] = min(row["size"], 60.0)
    return [tuple(parity._argument(row, each) for each in takes) for row in rows]


def columns(name: str, rows: list[tuple[Any, ...]]) -> list[np.ndarray]:
    takes = NATIVE_CASES[name][1]
    return [
        np.array([row[i] for row in rows], dtype=np.int64 if each == "ts_ns" else np.float64)
        for i, each in enumerate(takes)
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NATIVE_CASES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.binary(min_size=BYTES, max_size=BYTES * ROWS_MAX), cut=st.integers(0, ROWS_MAX))
def test_native_equals_twin_and_stream_equals_columns(name: str, data: bytes, cut: int) -> None:
    rows = arguments(name, data)
    cut = min(cut, len(rows))
    native, twin = NATIVE_CASES[name][0](), TWIN_CASES[name][0]()
    streamed = []
    for i, row in enumerate(rows):
        if i == cut:
            state = native.state()
            assert state == twin.state()
            # The snapshot of either goes on in the other.
            native, twin = type(native).from_state(twin.state()), type(twin).from_state(state)
        value = native.update(*row)
        streamed.append(bits(value))
        assert bits(twin.update(*row)) == streamed[-1], (i, row)
        assert native.is_ready == twin.is_ready
        assert bits(native.value) == bits(twin.value)
    assert native.state() == twin.state()
    counts = ("count", "n_skipped", "n_crossed", "n_backward", "warmup")
    assert [getattr(native, each) for each in counts] == [getattr(twin, each) for each in counts]
    whole = NATIVE_CASES[name][0]()
    arrays = columns(name, rows)
    answers = [
        whole.update_many(*(a[:cut] for a in arrays)),
        whole.update_many(*(a[cut:] for a in arrays)),
    ]
    assert b"".join(each.tobytes() for each in answers) == b"".join(streamed)
    assert whole.state() == native.state()


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
