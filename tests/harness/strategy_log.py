"""What the raw log says of strategies, and what they decide when their run is repeated on it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson

from backtest.live_runs import live_runs
from backtest.run import replay
from backtest.sources import source_of
from recorder.raw.records import heads_of
from strategy_runner.config import StrategyConfig
from tickd.clock import SystemClock
from tickd.native import RawLogReader


def records(state_dir: Path) -> list[tuple[str, bytes]]:
    """(type, payload) of everything in the raw log."""
    found = []
    for _, chunk in RawLogReader(str(state_dir / "raw")):
        for head in heads_of(chunk):
            start = int(head["payload_at"])
            payload = chunk[start : start + int(head["payload_bytes"])]
            found.append((chr(head["type"]), payload))
    return found


def controls(log: list[tuple[str, bytes]], kind: str) -> list[dict[str, Any]]:
    """The control records of a kind, in order."""
    found = [orjson.loads(payload) for type_, payload in log if type_ == "C"]
    return [fields for fields in found if fields["kind"] == kind]


def decided(state_dir: Path, config: StrategyConfig, *, all_events: bool = False) -> list[str]:
    """Return the digest after none, one, two … decisions of the last run of a strategy, repeated.

    `all_events`: as if it had been quick enough for every one.
    """
    run = live_runs(state_dir)[config.name]
    if all_events:
        run.rows.clear()
    digest = hashlib.sha256()
    digests = [digest.hexdigest()]

    def on_decision(line: bytes) -> None:
        digest.update(line + b"\n")
        digests.append(digest.hexdigest())

    replay(
        source_of(state_dir, None, run.cuts),
        [config],
        clock=SystemClock(),
        runs={config.name: run},
        on_decision=on_decision,
    )
    return digests
