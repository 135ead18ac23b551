"""What a raw log says of the strategies that ran live: from where to where, with what, to what end.

A daemon records when a strategy started and stopped, what it kept from before, and the hash of its
decisions; a replay of the same stretch begins with the same and must come to the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from backtest.sources import log_directory
from recorder.raw.records import heads_of
from strategy_runner.config import StrategyConfig, given_of
from strategy_runner.image import joined
from strategy_runner.restarts import Failure
from tickd.events import SEQ_INDEX_BITS
from tickd.native import RawLogReader

__all__ = ["LiveRun", "live_runs"]

_CONTROL: Final = ord("C")
_KINDS: Final = ("strategy", "state", "warm", "failure", "restart", "decisions", "conflated")

_GIVEN: Final = ("class", "topics", "params")


@dataclass(slots=True)
class LiveRun:
    """One life of a strategy. It saw events above `seq_from`, up to `seq_to` (None: to the end)."""

    strategy: str
    seq_from: int = 0
    seq_to: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    orders_reserved: int = 0
    # Class, topics and parameters; empty: of a log that does not tell them.
    given: dict[str, Any] = field(default_factory=dict)
    # None: it was killed before it could say.
    decisions: int | None = None
    hash: str | None = None
    # The last frame before the daemon started in whose life it ran.
    life_from: int = 0
    # The feed of its process, and what of it was merged or dropped because it was too slow: (topic,
    # policy, first number, last number, records, records that came).
    feed: str = ""
    rows: list[tuple[str, str, int, int, int, int]] = field(default_factory=list)

    # What it knew when it began, in pieces, and how many there are; empty: it began cold.
    warm: list[str] = field(default_factory=list)
    warm_parts: int = 0
    # Where it raised, and where it came back, if it did.
    failures: list[Failure] = field(default_factory=list)

    def differing(self, config: StrategyConfig) -> list[str]:
        """Return what of `config` is not as it was, so that other decisions are no surprise.

        Not the class: the same one may lie elsewhere, and whether it decides the same is asked.
        """
        now = given_of(config)
        return [key for key in ("topics", "params") if self.given.get(key, now[key]) != now[key]]

    @property
    def image(self) -> bytes | None:
        """What it knew before its first event; None: nothing, or it never came to an event.

        Raises StrategyError: the record of it is damaged.
        """
        if not self.warm or len(self.warm) != self.warm_parts:
            return None
        return joined(self.warm)

    @property
    def missed(self) -> int:
        """Records that did not come as they were."""
        return sum(records - delivered for _, _, _, _, records, delivered in self.rows)

    @property
    def cuts(self) -> tuple[int, ...]:
        """Frames behind which its daemon, and this run, began and ended, and those it failed at."""
        ends = (self.seq_from,) if self.seq_to is None else (self.seq_from, self.seq_to)
        failed = (failure.seq for failure in self.failures)
        return (self.life_from, *(seq >> SEQ_INDEX_BITS for seq in (*ends, *failed)))


def live_runs(path: Path) -> dict[str, LiveRun]:
    """Return the last run of each strategy of a state directory or raw log. Raises ConfigError."""
    runs: dict[str, LiveRun] = {}
    life_from = 0
    for _, chunk in RawLogReader(str(log_directory(path))):
        heads = heads_of(chunk)
        for head in heads[heads["type"] == _CONTROL]:
            start = int(head["payload_at"])
            fields = orjson.loads(chunk[start : start + int(head["payload_bytes"])])
            if fields.get("kind") == "start":
                life_from = int(head["frame_no"]) - 1
            if fields.get("kind") in _KINDS:
                _take(runs, fields, life_from)
    return runs


def _take(runs: dict[str, LiveRun], fields: dict[str, Any], life_from: int) -> None:
    match fields:
        case {"kind": "strategy", "name": name, "state": "started", "seq": seq}:
            feed = fields.get("feed", name)
            given: dict[str, Any] = {key: fields[key] for key in _GIVEN if key in fields}
            runs[name] = LiveRun(name, seq_from=seq, life_from=life_from, feed=feed, given=given)
        case {"kind": "strategy", "name": name, "state": "stopped", "seq": seq} if name in runs:
            runs[name].seq_to = seq
        case {"kind": "state", "strategy": name, "values": values} if name in runs:
            runs[name].values = values
            runs[name].orders_reserved = fields["orders_reserved"]
        case {"kind": "decisions", "strategy": name} if name in runs:
            runs[name].decisions, runs[name].hash = fields["count"], fields["hash"]
        case _:
            _take_course(runs, fields)


def _take_course(runs: dict[str, LiveRun], fields: dict[str, Any]) -> None:
    """What a run began with, and what happened to it on the way."""
    match fields:
        case {"kind": "warm", "feed": feed, "parts": parts, "image": piece}:
            # Not those who had ended, and did not begin again with the others.
            for run in (
                each for each in runs.values() if each.feed == feed and each.seq_to is None
            ):
                run.warm.append(piece)
                run.warm_parts = parts
        case {"kind": "failure", "strategy": name, "seq": seq} if name in runs:
            runs[name].failures.append(Failure(seq))
        case {"kind": "restart", "strategy": name, "seq": seq} if name in runs:
            runs[name].failures[-1:] = [Failure(each.seq, seq) for each in runs[name].failures[-1:]]
        case {"kind": "conflated", "feed": feed, "rows": rows}:
            for run in (each for each in runs.values() if each.feed == feed):
                run.rows += [tuple(row) for row in rows if _within(run, row[2])]


def _within(run: LiveRun, seq: int) -> bool:
    return run.seq_from < seq and (run.seq_to is None or seq <= run.seq_to)
