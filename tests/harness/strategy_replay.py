"""A strategy's live run out of the raw log again: what it was given, and what it decided.

It takes the strategy's own records: from which event it ran, with which state, and what its feed
merged or dropped on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backtest.sources import HEAD
from strategy_runner.config import StrategyConfig
from strategy_runner.runner import StrategyHost
from tickd.app.strategies import Wants
from tickd.clock import SystemClock
from tickd.events import as_array
from tickd.native import Decoder, EventBatch, FeedReplay, RawLogReader, record_heads


def records(state_dir: Path) -> list[tuple[str, bytes]]:
    """(type, payload) of everything in the raw log."""
    found = []
    for _, chunk in RawLogReader(str(state_dir / "raw")):
        for head in np.frombuffer(record_heads(chunk), HEAD):
            payload = chunk[int(head["at"]) : int(head["at"]) + int(head["bytes"])]
            found.append((chr(head["type"]), payload))
    return found


def controls(log: Sequence[tuple[str, bytes]], kind: str) -> list[dict[str, Any]]:
    """The control records of a kind, in order."""
    found = [orjson.loads(payload) for type_, payload in log if type_ == "C"]
    return [fields for fields in found if fields["kind"] == kind]


def decided(state_dir: Path, config: StrategyConfig, *, all_events: bool = False) -> list[str]:
    """Replay the first run of a strategy with a process of its own.

    Return the digest after none, one, two … of its decisions. `all_events`: as if it had been quick
    enough for every one.
    """
    log = records(state_dir)
    started = next(
        fields["seq"]
        for fields in controls(log, "strategy")
        if fields["name"] == config.name and fields["state"] == "started"
    )
    rows = [
        tuple(row)
        for fields in controls(log, "conflated")
        if fields["feed"] == config.name and not all_events
        for row in fields["rows"]
    ]
    digest = hashlib.sha256()
    digests = [digest.hexdigest()]

    def on_decision(line: bytes) -> None:
        digest.update(line + b"\n")
        digests.append(digest.hexdigest())

    host = StrategyHost(
        [config],
        record=lambda _: None,
        clock=SystemClock(),
        state_dir=None,
        on_stopped=lambda _name, _reason: None,
        own_process=True,
        on_decision=on_decision,
    )
    decoder = Decoder()
    feed = FeedReplay(Wants([config], decoder.topic_name).resolve, rows)
    defined: set[int] = set()
    is_started = False
    for _, chunk in RawLogReader(str(state_dir / "raw")):
        batch = decoder.decode(chunk)
        for instrument, definition in decoder.instruments():
            if instrument not in defined:
                defined.add(instrument)
                host.define(instrument, definition)
        later = _behind(batch, started)
        if later is None:
            continue
        if not is_started:
            host.start()
            is_started = True
        events = feed.offer(later)
        if events is not None:
            host.feed(events)
    host.stop("end of the log")
    assert feed.mismatches == 0
    return digests


def _behind(batch: EventBatch, seq: int) -> EventBatch | None:
    """The events above a number; None when there is none."""
    if batch.seq_first > seq:
        return batch
    events = as_array(batch)
    parts, ranges, at = [], [], 0
    for topic, start, stop in batch.topics:
        part = events[start:stop][events["seq"][start:stop] > seq]
        if len(part):
            parts.append(part.tobytes())
            ranges.append((topic, at, at + len(part)))
            at += len(part)
    return EventBatch.from_events(b"".join(parts), ranges) if parts else None
