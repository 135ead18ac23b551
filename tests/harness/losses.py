"""What a venue sent, a daemon did not record, and no gap explains: should always be nothing.

A trade must be named by its id in a gap of its topic; other messages must fall into the interval of
a gap of their topic. Nothing is asked of what was sent after the daemon's last frame.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from tests.harness.recording import Gap, Recording, Sent

# The venue's stamps have milliseconds and its clock ticks every 2 ms.
STAMP_TOLERANCE_NS = 10_000_000
CHANNELS = {"trade": "trade", "bookTicker": "quote", "depthUpdate": "depth"}


def unexplained(sent: list[Sent], recording: Recording) -> list[dict[str, Any]]:
    """The messages (Binance's `data`) that were lost silently."""
    frames = recording.market_frames().values()
    recorded = {payload for connection in frames for payload in connection}
    gaps: dict[tuple[str, str], list[Gap]] = defaultdict(list)
    for gap in recording.gaps():
        gaps[gap.symbol, gap.channel].append(gap)
    last_ns = max(record.recv_ns for record in recording.records if record.kind == "W")
    found = []
    for line in sent:
        if line.payload in recorded:
            continue
        data = json.loads(line.payload)["data"]
        stamp_ns = data["E"] * 1_000_000
        if stamp_ns > last_ns - STAMP_TOLERANCE_NS:
            continue
        own = gaps[data["s"], CHANNELS[data["e"]]]
        if not any(_explains(gap, data, stamp_ns) for gap in own):
            found.append(data)
    return found


def _explains(gap: Gap, data: dict[str, Any], stamp_ns: int) -> bool:
    if data["e"] == "trade":
        return gap.first is not None and gap.last is not None and gap.first <= data["t"] <= gap.last
    begin_ns, end_ns = gap.start_ns - STAMP_TOLERANCE_NS, gap.end_ns + STAMP_TOLERANCE_NS
    return begin_ns <= stamp_ns <= end_ns
