"""A replay: the second composition root. Events from a source to hosted strategies, nothing else.

No sockets, no machine's clock for anything that decides, no orders: what became of orders is in
the log, where there were any. A strategy that ran live on the log sees what it saw then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

from backtest.live_runs import LiveRun
from backtest.sources import Part, Source
from strategy_runner.config import StrategyConfig
from strategy_runner.restarts import AsRecorded
from strategy_runner.runner import StrategyHost
from strategy_runner.state import State
from strategy_runner.wants import Wants, feed_of
from tickd.events import SEQ_INDEX_BITS as SEQ_BITS
from tickd.native import EventBatch, FeedReplay
from tickd.ports import Clock

__all__ = ["Replayed", "replay"]


class Replayed(NamedTuple):
    """What a replay came to; `strategies` by name, as `StrategyHost.report` has them."""

    events: int
    batches: int
    # Of the machine, in the hosts: last values, books, strategies.
    host_ns: int
    strategies: dict[str, dict[str, Any]]

    @property
    def ns_per_event(self) -> float:
        return self.host_ns / self.events if self.events else 0.0


@final
class _Window:
    """Strategies that see the same stretch of the stream, as one feed gave it to them."""

    def __init__(
        self,
        host: StrategyHost,
        run: LiveRun | None,
        together: Sequence[StrategyConfig],
        restarts: Mapping[str, AsRecorded],
    ) -> None:
        self.host = host
        self._restarts = restarts
        self._run = run or LiveRun("")
        self._together = together
        self._feed: FeedReplay | None = None
        self._image = self._run.image
        self._is_started = False

    @property
    def is_open(self) -> bool:
        return not self._is_started or self.host.running > 0

    def start(self, part: Part | None) -> None:
        """Start in front of `part`, if not done: cold at once, else where it started live.

        Only there the instruments are known of which it begins with something.
        """
        is_before = part is not None and part.batch.frame_last <= self._run.seq_from >> SEQ_BITS
        if self._is_started or (self._image is not None and is_before):
            return
        self._is_started = True
        if self._image is not None:
            self.host.restore(self._image)
        self.host.start()

    def feed(self, part: Part) -> None:
        """A batch lies on one side of each border: the source was told to cut there."""
        batch: EventBatch | None = part.batch
        if part.batch.seq_last <= self._run.seq_from:
            return
        if self._run.seq_to is not None and part.batch.seq_first > self._run.seq_to:
            self.host.stop("where it stopped live")
            return
        if self._run.rows:
            # What was merged or dropped on the way is merged or dropped again.
            if self._feed is None:
                wants = Wants(self._together, part.topic_name)
                self._feed = FeedReplay(wants.resolve, self._run.rows)
            batch = self._feed.offer(part.batch)
        for name, recorded in self._restarts.items():
            # It did not fail by itself here: what made it is not in the events.
            if recorded.next_seq is not None and recorded.next_seq < part.batch.seq_first:
                self.host.interrupt(name, recorded.next_seq)
        if batch is not None:
            self.host.feed(batch)


def replay(
    source: Source,
    strategies: Sequence[StrategyConfig],
    *,
    clock: Clock,
    runs: Mapping[str, LiveRun] | None = None,
    on_decision: Callable[[bytes], None] | None = None,
    on_batch: Callable[[EventBatch], None] | None = None,
    state_dir: Path | None = None,
) -> Replayed:
    """Feed everything that the source has, while a strategy runs; failures are in the report.

    Args: `runs`: where strategies began and ended live, and with what; `on_batch`: sees every batch
    first; `state_dir`: what the others begin with, and keep; None: nothing.
    Raises TickdError: the source.
    """
    windows = _windows(strategies, runs or {}, clock, on_decision, state_dir)
    events = batches = host_ns = 0
    parts = iter(source.parts())
    part = next(parts, None)
    _define(windows, part)  # strategies may look for their instruments when they start
    for window in windows:
        window.start(part)
    try:
        while part is not None and any(window.is_open for window in windows):
            if on_batch is not None:
                on_batch(part.batch)
            began_ns = clock.mono_ns()
            for window in windows:
                if window.is_open:
                    window.feed(part)
            host_ns += clock.mono_ns() - began_ns
            events += len(part.batch)
            batches += 1
            part = next(parts, None)
            for window in windows:
                window.start(part)
            _define(windows, part)
    finally:
        for window in windows:
            window.host.stop("end of the replay")
    reports: dict[str, dict[str, Any]] = {}
    for window in windows:
        found: Any = window.host.report()["strategies"]
        reports |= found
    return Replayed(events, batches, host_ns, reports)


def _define(windows: Sequence[_Window], part: Part | None) -> None:
    if part is not None:
        for number, definition in part.definitions:
            for window in windows:
                window.host.define(number, definition)


def _windows(
    strategies: Sequence[StrategyConfig],
    runs: Mapping[str, LiveRun],
    clock: Clock,
    on_decision: Callable[[bytes], None] | None,
    state_dir: Path | None,
) -> list[_Window]:
    together: dict[tuple[int, int | None, str], list[StrategyConfig]] = {}
    for config in strategies:
        run = runs.get(config.name)
        key = (run.seq_from, run.seq_to, run.feed) if run is not None else (0, None, "")
        together.setdefault(key, []).append(config)
    restarts = {name: AsRecorded(run.failures) for name, run in runs.items()}
    return [
        _Window(
            StrategyHost(
                members,
                record=lambda _line: None,
                clock=clock,
                state_dir=state_dir,
                on_stopped=lambda _name, _reason: None,
                own_process=True,
                on_decision=on_decision,
                states={
                    config.name: State(None, run.values, run.orders_reserved)
                    for config in members
                    if (run := runs.get(config.name)) is not None
                },
                restarts=(
                    mine := {
                        config.name: restarts[config.name]
                        for config in members
                        if config.name in restarts
                    }
                ),
            ),
            runs.get(members[0].name),
            [config for config in strategies if feed_of(config) == feed],
            mine,
        )
        for (_, _, feed), members in together.items()
    ]
