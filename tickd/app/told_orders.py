"""What the raw log's last seconds say of orders: a crash takes less from the outbox than from it.

The outbox is written with every step, the raw log a quarter of a second later. So a start compares
the two and has the router record what is missing. It reads; it records nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from recorder.raw.records import heads_of
from risk.settling import Told
from tickd.native import RawLogReader

__all__ = ["told_at_the_end"]

# More than the raw log can lose, and than the outbox and the log may differ in time.
_BACK_NS: Final = 5_000_000_000
_FRAMES_FIRST: Final = 1 << 14
_CONTROL: Final = ord("C")


class _Record(msgspec.Struct):
    kind: str = ""
    number: int = 0
    exec_id: str = ""
    state: str = ""


_DECODER: Final = msgspec.json.Decoder(_Record)


def told_at_the_end(raw_log: Path, frame_last: int) -> Told:
    """Read the end of a log whose last frame is `frame_last`; blocks.

    Raises OSError, NativeError: it cannot be read.
    """
    frames = _FRAMES_FIRST
    while True:
        frame_from = max(0, frame_last - frames)
        records, first_ns, last_ns = _read(raw_log, frame_from)
        since_ns = last_ns - _BACK_NS
        if first_ns <= since_ns or not frame_from:
            break
        frames *= 4
    executions = {(each.number, each.exec_id) for each in records if each.kind == "execution"}
    states = {each.number: each.state for each in records if each.kind == "order"}
    return Told(since_ns, frozenset(executions), states)


def _read(raw_log: Path, frame_from: int) -> tuple[list[_Record], int, int]:
    """Records about orders, and when the first and the last frame were received."""
    found: list[_Record] = []
    first_ns, last_ns = (1 << 63) - 1, 0
    for _, chunk in RawLogReader(str(raw_log), frame_from):
        heads = heads_of(chunk)
        if not len(heads):
            continue
        times = heads["recv_ns"]
        first_ns, last_ns = min(first_ns, int(times[0])), max(last_ns, int(times[-1]))
        for at in np.flatnonzero(heads["type"] == _CONTROL).tolist():
            start = int(heads["payload_at"][at])
            payload = chunk[start : start + int(heads["payload_bytes"][at])]
            try:
                record = _DECODER.decode(payload)
            except msgspec.DecodeError:
                continue  # of another kind, whose numbers are none
            if record.kind in ("execution", "order"):
                found.append(record)
    return found, first_ns, last_ns
