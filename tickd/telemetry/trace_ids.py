"""Names of traces and spans, and which batches are traced: pure functions of node and frame number.

Whoever knows a batch by its last frame knows its trace: recorder, strategy process and router need
no context object, and a restart or a second look gives the same ids.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

__all__ = ["BLOCKS", "batch_trace", "chosen_below", "is_chosen", "span_of"]

_MASK: Final = (1 << 64) - 1
# 2^64 over the golden ratio: multiples of it are spread evenly, whatever frame numbers do.
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
# In the place of a node's number (16 bits): traces of blocks, which are no batch's.
BLOCKS: Final = 1 << 20


def _mixed(number: int) -> int:
    """Return 64 bits that look random (splitmix64's finish). Source: Steele et al., 2014."""
    number = (number + _GOLDEN) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return number ^ (number >> 31)


def batch_trace(node: int, number: int) -> int:
    """Return the 128-bit trace id of the batch that ends with frame `number`; never 0."""
    high = _mixed(_mixed(node) ^ number)
    low = _mixed(high ^ number)
    return high << 64 | (low or 1)


def span_of(trace_id: int, name: str) -> int:
    """Return the 64-bit id of the span `name` of a trace; never 0. Names within a trace differ."""
    return _mixed(trace_id & _MASK ^ crc32(name.encode())) or 1


def chosen_below(ratio: float) -> int:
    """Return the bound for `is_chosen`."""
    return int(ratio * (1 << 64))


def is_chosen(number: int, below: int) -> bool:
    """Whether the batch that ends with frame `number` is among the share that is traced."""
    return (number * _GOLDEN & _MASK) < below
