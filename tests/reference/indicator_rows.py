"""Rows for indicators from arbitrary bytes: hostile, quick to draw and to shrink."""

from __future__ import annotations

import math
from itertools import accumulate

SIZES = (1.0, 2.0, 3.0, 0.5, 0.1, 7.25, 1e-3, 1e5, 0.0, 4.0, math.nan, -1.0, math.inf)
STEPS_NS = (1, 1_000, 250_000_000, 0, 40_000_000, -3, 2_000_000_000, 10**12)
START_NS = 1_763_600_000_123_456_789
HOSTILE = (math.nan, math.inf, -math.inf)
BYTES = 6
Row = dict[str, float]


def rows_of(data: bytes, *, clean: bool = False) -> list[Row]:
    """A row per six bytes. `clean`: no row that an indicator would skip, no locked quote."""
    steps = [STEPS_NS[b % (3 if clean else 8)] for b in data[5::BYTES]]
    times = list(accumulate(steps, initial=START_NS))
    return [
        _row(data[at : at + BYTES], ts, clean=clean)
        for at, ts in zip(range(0, len(data) - BYTES + 1, BYTES), times, strict=False)
    ]


def _row(six: bytes, ts_ns: int, *, clean: bool) -> Row:
    move, bid, ask, size, side, _ = six
    sizes = SIZES[:8] if clean else SIZES
    price = 100.0 + (move % 11 - 5) * 0.01
    width = (1, 1, 2, 3)[move // 64] * 0.01 if clean else (1, 2, 0, -1)[move // 64] * 0.01
    row: Row = {
        "bid_price": price,
        "bid_size": sizes[bid % len(sizes)],
        "ask_price": price + width,
        "ask_size": sizes[ask % len(sizes)],
        "price": price + (bid % 3) * 0.5 * width,
        "size": sizes[size % len(sizes)],
        "side": float(side % 2 * 2 - 1) if clean else float(side % 3 - 1),
        "ts_ns": ts_ns,
    }
    if not clean and side >= 250:
        row["price"] = row["bid_price"] = HOSTILE[side % 3]
    return row
