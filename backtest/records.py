"""Raw-log records made in memory: what a daemon would have written around recorded messages.

The grammar is that of docs/formats/raw-log.md. It reads and decodes nothing.
"""

from __future__ import annotations

from typing import Final

import orjson

__all__ = ["CLOCK_NS", "clock_record", "control_record", "wire_record"]

# The daemon records its clock on this grid while strategies are configured.
CLOCK_NS: Final = 100_000_000
_CLOCK: Final = b'{"kind":"clock"}'


def wire_record(frame_no: int, recv_ns: int, connection: int, kind: str, payload: bytes) -> bytes:
    """Return one record; without a monotonic stamp, as in every replay."""
    head = f"{frame_no} {recv_ns} 0 {connection} {kind} {len(payload)} "
    return head.encode() + payload + b"\n"


def control_record(frame_no: int, recv_ns: int, fields: dict[str, object]) -> bytes:
    return wire_record(frame_no, recv_ns, 0, "C", orjson.dumps(fields))


def clock_record(frame_no: int, recv_ns: int) -> bytes:
    return wire_record(frame_no, recv_ns, 0, "C", _CLOCK)
