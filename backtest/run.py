"""A replay: the second composition root. Events from a source to hosted strategies, nothing else.

No sockets, no machine's clock for anything that decides, no orders: what became of orders is in
the log, where there were any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from backtest.sources import Source
from strategy_runner.config import StrategyConfig
from strategy_runner.runner import StrategyHost
from tickd.native import EventBatch
from tickd.ports import Clock

__all__ = ["Replayed", "replay"]

NS_PER_S = 1_000_000_000


class Replayed(NamedTuple):
    """What a replay came to."""

    events: int
    batches: int
    # Of the machine, in the host: last values, books, strategies.
    host_ns: int
    report: dict[str, Any]

    @property
    def ns_per_event(self) -> float:
        return self.host_ns / self.events if self.events else 0.0


def replay(
    source: Source,
    strategies: Sequence[StrategyConfig],
    *,
    clock: Clock,
    on_decision: Callable[[bytes], None] | None = None,
    on_batch: Callable[[EventBatch], None] | None = None,
    state_dir: Path | None = None,
) -> Replayed:
    """Feed everything that the source has, while a strategy runs; failures are in the report.

    Args: `on_batch`: sees every batch before the strategies do; `state_dir`: what strategies begin
    with, and keep; None: nothing. Raises TickdError: the source.
    """
    host = StrategyHost(
        strategies,
        record=lambda _line: None,
        clock=clock,
        state_dir=state_dir,
        on_stopped=lambda _name, _reason: None,
        own_process=True,
        on_decision=on_decision,
    )
    events = batches = host_ns = 0
    parts = iter(source.parts())
    first = next(parts, None)
    # Strategies may look for their instruments when they start.
    for number, definition in first.definitions if first is not None else ():
        host.define(number, definition)
    host.start()
    try:
        part = first
        while part is not None and host.running:
            for number, definition in part.definitions if part is not first else ():
                host.define(number, definition)
            if on_batch is not None:
                on_batch(part.batch)
            began_ns = clock.mono_ns()
            host.feed(part.batch)
            host_ns += clock.mono_ns() - began_ns
            events += len(part.batch)
            batches += 1
            part = next(parts, None)
    finally:
        host.stop("end of the replay")
    return Replayed(events, batches, host_ns, host.report())
