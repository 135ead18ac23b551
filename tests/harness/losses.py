"""What a venue sent, a daemon did not record, and no gap explains: should always be nothing.

A trade must be named by its id in a gap of its topic. Another message must have been lost inside a
gap of its topic: between the receive times of the recorded messages that were sent before and after
it. Its own stamp says little, because a busy daemon reads late. Nothing is asked of what was sent
as the daemon ended.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from tests.harness.recording import Gap, Recording, Sent

# How late a message may be read: younger ones may still have been on their way at the end.
_ON_ITS_WAY_NS = 1_000_000_000
CHANNELS = {"trade": "trade", "bookTicker": "quote", "depthUpdate": "depth"}
Message = dict[str, Any]


def unexplained(sent: list[Sent], recording: Recording) -> list[Message]:
    """The messages (Binance's `data`) that were lost silently."""
    received = {
        record.payload: record.recv_ns
        for record in reversed(recording.records)
        if record.kind == "W"
    }
    last_ns = max(received.values())
    gaps: dict[tuple[str, str], list[Gap]] = defaultdict(list)
    for gap in recording.gaps():
        gaps[gap.symbol, gap.channel].append(gap)
    by_stream: dict[str, list[bytes]] = defaultdict(list)
    for line in sent:
        by_stream[line.stream].append(line.payload)
    found: list[Message] = []
    for payloads in by_stream.values():
        for lost, begin_ns, end_ns in _runs(payloads, received):
            for data in (json.loads(payload)["data"] for payload in lost):
                if end_ns is None and data["E"] * 1_000_000 > last_ns - _ON_ITS_WAY_NS:
                    continue
                own = gaps[data["s"], CHANNELS[data["e"]]]
                until_ns = last_ns if end_ns is None else end_ns
                if not any(_explains(gap, data, begin_ns, until_ns) for gap in own):
                    found.append(data)
    return found


def _runs(
    payloads: list[bytes], received: dict[bytes, int]
) -> Iterator[tuple[list[bytes], int, int | None]]:
    """Messages lost in a row, and when those around them were received; 0, None: there are none."""
    begin_ns = 0
    lost: list[bytes] = []
    for is_recorded, run in groupby(payloads, received.__contains__):
        some = list(run)
        if not is_recorded:
            lost = some
            continue
        if lost:
            ends = begin_ns, received[some[0]]
            yield lost, min(ends), max(ends)  # another leg may have been the quicker one
            lost = []
        begin_ns = received[some[-1]]
    if lost:
        yield lost, begin_ns, None


def _explains(gap: Gap, data: Message, begin_ns: int, end_ns: int) -> bool:
    if data["e"] == "trade":
        return gap.first is not None and gap.last is not None and gap.first <= data["t"] <= gap.last
    return gap.start_ns < end_ns and gap.end_ns > begin_ns
