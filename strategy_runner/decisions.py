"""What a strategy decided: canonical lines, and one hash over all of them.

A line is JSON with sorted keys and no spaces, so that equal decisions are equal bytes: on every
machine, in every run. The log keeps the hash, not the lines.
"""

from __future__ import annotations

import hashlib
from typing import Final, final

import orjson

from strategy_runner.errors import StrategyError

__all__ = ["DecisionLog", "line_of"]

LINE_BYTES_MAX: Final = 64 << 10


def line_of(fields: dict[str, object]) -> bytes:
    """Return the canonical line. Raises StrategyError for what has no one way to be written."""
    try:
        line = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise StrategyError(
            f"a decision cannot be written down: {error}",
            hint="numbers, text, booleans, None, lists and dictionaries of those; no sets",
        ) from error
    if len(line) > LINE_BYTES_MAX:
        raise StrategyError(f"a decision of {len(line)} bytes, at most {LINE_BYTES_MAX}")
    return line


@final
class DecisionLog:
    """Counts and hashes lines."""

    __slots__ = ("_hash", "count")

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> None:
        self._hash.update(line + b"\n")
        self.count += 1

    @property
    def digest(self) -> str:
        """SHA-256 over the lines so far, each ended by a line feed."""
        return self._hash.hexdigest()
