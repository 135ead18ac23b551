"""The bounds, ns, by which latency histograms are told: one set, so that readings can be compared.

It measures nothing itself.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BOUNDS_NS"]

# Eight per octave from 4 µs to 17 s: fine enough for quantiles of a difference of two readings.
BOUNDS_NS: Final = sorted({int(4_000 * 2 ** (k / 8)) for k in range(8 * 22 + 1)})
