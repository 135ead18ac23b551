"""The strategies of a daemon: which run where, who comes back, what they said, what they missed.

Strategies of a group share a process (`strategy_process.py`); trusted ones may run inside the
daemon. While there are any, the clock is recorded: their timers fire on it, live and in replays.
It starts nothing before the venues are known, and it is stopped before the raw log closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

import msgspec
import structlog

from strategy_runner.config import StrategyConfig, given_of
from strategy_runner.restarts import ByPolicy
from strategy_runner.wants import Wants, feed_of
from tickd.app.strategy_answers import Answers
from tickd.app.strategy_inproc import InprocLife
from tickd.app.strategy_process import StrategyProcess
from tickd.app.strategy_wire import Report
from tickd.app.tap import Tap
from tickd.app.tracing import Tracing
from tickd.bus import BurstHandler, Bus
from tickd.native import NativeError
from tickd.ports import Clock

__all__ = ["Group", "Strategies"]

log = structlog.get_logger(__name__)

CLOCK_S: Final = 0.1
# What was merged or dropped is recorded together, this often.
ROWS_S: Final = 0.25
READY_POLL_S: Final = 0.1
# A venue that does not come up keeps no strategy of another from starting.
READY_S_MAX: Final = 15.0


class Group:
    """Strategies that share a process, or the daemon: their lives, one after the other."""

    def __init__(
        self, name: str, strategies: Sequence[StrategyConfig], *, host: Strategies
    ) -> None:
        self.name: Final = name
        self.strategies: Final = tuple(strategies)
        self.wants: Final = Wants(strategies, host.topic_name)
        self.is_inproc: Final = all(config.isolation == "inproc" for config in strategies)
        self.answers: Final = Answers(
            strategies, host.record, trade=host.trade, keeps_image=self.is_inproc
        )
        self.stopped: dict[str, str] = {}
        # Who ended by itself, and does not come back with a new process.
        self.over: set[str] = set()
        self.restarts = 0
        self.process: StrategyProcess | None = None
        self.inproc: InprocLife | None = None
        # Of the process: by the most patient of the strategies.
        patient = max(
            strategies, key=lambda each: (each.restart == "on_failure", each.restarts_per_hour_max)
        )
        self.returns: Final = ByPolicy(patient)
        self._host = host
        # Of lives that are over.
        self._totals = (0, 0, 0, 0)
        # Events that were on their way to a process when it ended.
        self.undelivered = 0
        # What the process said last that has ended: what a strategy did is asked for then most of
        # all.
        self._said = Report()

    @property
    def report(self) -> Report:
        if self.inproc is not None:
            return self.inproc.report
        return self.process.report if self.process is not None else self._said

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """(offered, delivered, dropped, merged) records of all lives."""
        now = self.process.feed.totals if self.process is not None else (0, 0, 0, 0)
        before = self._totals
        return before[0] + now[0], before[1] + now[1], before[2] + now[2], before[3] + now[3]

    @property
    def alive(self) -> list[StrategyConfig]:
        return [config for config in self.strategies if config.name not in self.over]

    def begin_life(self) -> None:
        for config in self.alive:
            self.stopped.pop(config.name, None)

    def started(self) -> None:
        self.begin_life()
        for config in self.alive:
            self._host.note(
                config.name, "started", seq=self._host.seq, feed=self.name, given=given_of(config)
            )

    def note_stopped(self, strategy: str, reason: str) -> None:
        """A strategy has ended; why, and up to which event it went, goes on record."""
        if strategy in self.stopped:
            return
        self.stopped[strategy] = reason
        seq = self.process.feed.progress()[3] if self.process is not None else self._host.seq
        # It may be in the middle of what it has in hand.
        seq = max(seq, self.answers.failed_seqs[strategy])
        say = log.info if self._host.is_stopping else log.error
        say("strategy_stopped", strategy=strategy, reason=reason)
        self._host.note(strategy, "stopped", seq=seq, feed=self.name, reason=reason)

    def note_missed(self) -> None:
        """Record what the feed merged and dropped since the last time."""
        rows = self.process.feed.take_rows() if self.process is not None else []
        if rows:
            named = [
                [self.wants.resolve(topic)[0], policy, seq_from, seq_to, records, delivered]
                for topic, policy, seq_from, seq_to, records, delivered in rows
            ]
            self._host.record({"kind": "conflated", "feed": self.name, "rows": named})

    def life_over(self, reason: str) -> None:
        """The process has ended."""
        self.over.update(self.stopped)
        self.note_missed()
        for config in self.strategies:
            self.note_stopped(config.name, reason)
        if self.process is not None:
            offered, _, dropped, merged = self.process.feed.totals
            taken = self.process.feed.progress()[1]
            self.undelivered += offered - dropped - merged - taken
        self._totals = self.totals
        self._said = self.report
        self.process = None

    def comes_back(self, now_ns: int) -> bool:
        """Whether there is another process: not for strategies that ended by themselves."""
        return any(
            config.restart == "on_failure" for config in self.alive
        ) and self.returns.comes_back(seq=0, now_ns=now_ns)


@final
class Strategies:
    """All of a daemon."""

    def __init__(
        self,
        configs: Sequence[StrategyConfig],
        *,
        bus: Bus,
        behind: Callable[[BurstHandler], BurstHandler],
        tap: Tap,
        topic_name: Callable[[int], str],
        clock: Clock,
        state_dir: Path,
        raw_log: Path,
        write_now: Callable[[], None],
        trade: Callable[[dict[str, Any]], None],
    ) -> None:
        """Args.

        `trade`: takes what strategies ask for of venues, once it is recorded.
        `raw_log`: the directory of the log that new processes warm up from; `write_now`: has what
        was recorded so far written to it.
        """
        self.topic_name: Final = topic_name
        self.trade: Final = trade
        self._bus = bus
        # Set before `run` where batches are traced.
        self.tracing: Tracing | None = None
        # Puts signals behind their causes: see `Signals.behind`.
        self._behind = behind
        self._tap = tap
        self._clock = clock
        self._state_dir = state_dir
        self._raw_log = raw_log
        self._write_now = write_now
        self._definitions: dict[int, bytes] = {}
        self._stopping = False
        shared: dict[str, list[StrategyConfig]] = {}
        for config in configs:
            shared.setdefault(feed_of(config), []).append(config)
        self.groups: Final = tuple(
            Group(name, members, host=self) for name, members in shared.items()
        )

    @property
    def seq(self) -> int:
        return self._bus.seq

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def record(self, fields: dict[str, object]) -> None:
        """Put a control record into the raw log, if it is still open."""
        self._tap.note(fields)

    def note(
        self,
        strategy: str,
        state: str,
        *,
        seq: int,
        feed: str,
        reason: str = "",
        given: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        fields = {"name": strategy, "feed": feed, "state": state, "reason": reason, "seq": seq}
        self.record({"kind": "strategy", **fields, **given})

    def define(self, instrument: int, definition: bytes) -> None:
        """Hand on a definition, before the first batch that uses it."""
        self._definitions[instrument] = definition
        for group in self.groups:
            if group.process is not None and group.wants.instrument(definition):
                group.process.define(instrument, definition)
            if group.inproc is not None:
                group.inproc.define(instrument, definition)

    async def run(self, ready: Callable[[], bool]) -> None:
        """Run every group until `stop`; `ready`: what the venues list is known."""
        if not self.groups:
            return
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(self._tick(), name="strategy clock")
            try:
                async with asyncio.TaskGroup() as lives:
                    await self._until(ready)
                    for group in self.groups:
                        live = self._inproc if group.is_inproc else self._live
                        lives.create_task(live(group), name=f"strategies {group.name}")
            finally:
                ticking.cancel()

    async def stop(self, reason: str) -> None:
        """Let strategies take what is on its way, then end them; the raw log must still be open."""
        self._stopping = True
        async with asyncio.TaskGroup() as tasks:
            for group in self.groups:
                if group.inproc is not None:
                    tasks.create_task(group.inproc.stop(reason), name=f"stop {group.name}")
                if group.process is not None:
                    tasks.create_task(group.process.stop(reason), name=f"stop {group.name}")

    def draw(self) -> list[dict[str, Any]]:
        """One picture per strategy, for `tickd status`."""
        return [_drawn(group, config) for group in self.groups for config in group.strategies]

    async def _until(self, ready: Callable[[], bool]) -> None:
        waited = 0.0
        while not ready() and waited < READY_S_MAX and not self._stopping:
            await self._clock.sleep(READY_POLL_S)
            waited += READY_POLL_S

    async def _tick(self) -> None:
        """Record the clock, and what was missed."""
        for tick in range(1 << 62):
            self.record({"kind": "clock"})
            if tick % round(ROWS_S / CLOCK_S) == 0:
                for group in self.groups:
                    group.note_missed()
            await self._clock.sleep(CLOCK_S)

    async def _inproc(self, group: Group) -> None:
        life = group.inproc = InprocLife(
            group.strategies,
            answers=group.answers,
            warming=(
                (lambda opened: self._process(group, opened, warms_only=True))
                if _warms_up(group)
                else None
            ),
            started=group.started,
            on_stopped=group.note_stopped,
            bus=self._bus,
            behind=self._behind
            if self.tracing is None
            else self.tracing.inproc(group.name, self._behind),
            clock=self._clock,
            state_dir=self._state_dir,
            image=self._state_dir / f"{group.name}.image",
        )
        for instrument, definition in self._definitions.items():
            life.define(instrument, definition)
        await life.run()

    def _process(
        self, group: Group, on_start: Callable[[], None], *, warms_only: bool = False
    ) -> StrategyProcess:
        return StrategyProcess(
            group.name,
            group.strategies,
            resolve=group.wants.resolve,
            answers=group.answers,
            on_start=on_start,
            on_stopped=group.note_stopped,
            bus=self._bus,
            behind=self._behind,
            clock=self._clock,
            state_dir=self._state_dir,
            raw_log=self._raw_log if _warms_up(group) else None,
            write_now=self._write_now,
            warms_only=warms_only,
            over=sorted(group.over),
            tracing=self.tracing,
        )

    async def _live(self, group: Group) -> None:
        """One process after the other, as the group's policy wants it."""
        while not self._stopping:
            reason = await self._one_life(group)
            now_ns = self._clock.mono_ns()
            if self._stopping or not group.comes_back(now_ns):
                return
            log.warning("strategies_restarting", group=group.name, reason=reason)
            while not group.returns.is_due(seq=0, now_ns=self._clock.mono_ns()):
                if self._stopping:
                    return
                await self._clock.sleep(READY_POLL_S)
            group.restarts += 1

    async def _one_life(self, group: Group) -> str:
        group.begin_life()
        try:
            process = group.process = self._process(group, group.started)
            for instrument, definition in self._definitions.items():
                if group.wants.instrument(definition):
                    process.define(instrument, definition)
            await process.spawn()
        except (OSError, NativeError) as error:
            reason = f"it cannot be started: {error}"
            group.life_over(reason)
            return reason
        try:
            return await process.watch()
        finally:
            group.life_over(process.ended or "the daemon ends")


def _warms_up(group: Group) -> bool:
    return any(config.warmup_seconds for config in group.strategies)


def _drawn(group: Group, config: StrategyConfig) -> dict[str, Any]:
    process, report = group.process, group.report
    known = report.strategies.get(config.name)
    offered, delivered, dropped, merged = group.totals
    stopped = group.stopped.get(config.name)
    last = group.answers.decisions.get(config.name, {})
    waits = stopped is None and known is not None and known.waits
    return {
        "name": config.name,
        "group": group.name,
        "state": "stopped"
        if stopped is not None
        else "waiting"
        if waits
        else "running"
        if report.strategies
        else "starting",
        "reason": stopped or (group.answers.failures[config.name] if waits else ""),
        "pid": process.pid if process is not None else None,
        "events": known.events if known is not None else 0,
        "decisions": last.get("count", known.decisions if known is not None else 0),
        "hash": last.get("hash", known.hash if known is not None else ""),
        "p99_us": known.latency.p99_ns / 1e3 if known is not None else 0.0,
        "intents": group.answers.intents[config.name],
        "offered": offered,
        "delivered": delivered,
        "dropped": dropped,
        "merged": merged,
        "undelivered": group.undelivered,
        "waiting": process.feed.waiting if process is not None else 0,
        "rss_bytes": process.rss_bytes if process is not None else 0,
        "restarts": group.restarts + group.answers.restarts[config.name],
        "last_failure": group.answers.failures[config.name],
        "cache": report.cache,
        "warmed_from": report.warmth.known_from,
        "warmth": msgspec.to_builtins(report.warmth),
    }
