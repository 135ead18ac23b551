"""A raw tap that keeps the control records of sessions, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tickd.ports import Leg


class NotedTap:
    """A `StampedTap` that keeps control records."""

    def __init__(self) -> None:
        self.connections = 0
        self.records: list[dict[str, Any]] = []

    def open(self, *, venue: str, url: str, streams: Sequence[str], leg: Leg) -> int:
        del venue, url, streams, leg
        self.connections += 1
        return self.connections

    def frame(self, connection: int, payload: object) -> None: ...

    def record(self, connection: int, record_type: str, payload: Any) -> int:
        del connection, record_type
        self.records.append(orjson.loads(payload))
        return len(self.records)

    def close(self, connection: int, reason: str) -> None: ...

    def stamped(self, connection: int, frames: list[tuple[bytes, int, int]]) -> None: ...

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.records if each["kind"] == kind]
