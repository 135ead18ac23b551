"""One run of an indicator in both backends: streams, columns and a snapshot that changes sides.

What is compared are bytes, so a sign of zero or a last bit would show. It draws nothing itself.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from strategy_runner.indicators import parity
from strategy_runner.indicators.backend import load
from tests.reference.indicator_rows import rows_of

NATIVE, TWIN = load("native"), load("numpy")
NATIVE_CASES, TWIN_CASES = parity._cases(NATIVE), parity._cases(TWIN)
ROWS_MAX = 16


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


def agree(name: str, data: bytes, cut: int) -> None:
    """Native and twin, streams and columns, with a snapshot at `cut`: the same bytes."""
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
