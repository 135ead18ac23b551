"""Repair as a daemon's task, and as the work of `tickd rebuild` where no daemon runs.

Both construct the same `Repair`; they differ in who else inserts meanwhile. The task works off the
ledger whenever something is in it, and starts again after faults, for ever.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.raw.stretches import LogStretches
from recorder.repair.journal import RepairJournal
from recorder.repair.parts import Part
from recorder.repair.ports import Alone, NoLedger, Traffic
from recorder.repair.repair import Repair
from recorder.sink.plan import Plan
from recorder.sink.plan_thread import PlanThread
from recorder.sink.retry import RetryPolicy
from recorder.spool.quarantine import Quarantine
from tickd.app.config import Config
from tickd.app.partial_config import SpoolConfig
from tickd.errors import Action, TickdError
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES
from tickd.ports import Clock

log = structlog.get_logger(__name__)

POLL_S: Final = 1.0
# What is left after a run is left for a reason that does not go in a second.
AGAIN_S: Final = 60.0
STOP_S: Final = 5.0
BY_HAND: Final = "by hand"
INDEX_MAX: Final = (1 << SEQ_INDEX_BITS) - 1
# A command that a person waits for gives up; the ledger keeps what is left.
BUDGET_MS: Final = 120_000


def repair_of(
    config: Config,
    *,
    plan: PlanThread | None,
    clickhouse: ClickHouse,
    clock: Clock,
    traffic: Traffic | None = None,
) -> Repair:
    """Construct the repair of a state directory.

    Args: `plan` None: to compare only; `traffic` None: no daemon runs.
    """
    sink = config.state_dir / "sink"
    policy = config.sink.retry
    if traffic is None:
        policy = RetryPolicy(
            delay_ms_min=policy.delay_ms_min,
            delay_ms_max=min(policy.delay_ms_max, 5_000),
            budget_ms=BUDGET_MS,
        )
    return Repair(
        config.repair,
        node=config.node.id,
        stretches=LogStretches(
            config.state_dir / "raw", node=config.node.id, events_max=config.repair.step_events_max
        ),
        clickhouse=clickhouse,
        ledger=plan or NoLedger(),
        traffic=traffic or Alone(),
        journal=RepairJournal(sink / "repair.json"),
        quarantine=Quarantine(sink / "quarantine"),
        clock=clock,
        policy=policy,
        random=random.random,
        wait_for_open=traffic is not None,
    )


def plan_of(config: Config | SpoolConfig, clock: Clock) -> PlanThread:
    """Open the plan of a state directory that no daemon uses. Raises PlanError."""
    return PlanThread(
        Plan(config.state_dir / "sink" / "plan.jsonl"),
        clock=clock,
        policy=config.sink.retry,
        random=random.random,
    )


async def enter(
    plan: PlanThread, frames: tuple[int, int], tables: Sequence[str], cause: str = BY_HAND
) -> list[Part]:
    """Put a range into the ledger, as far as the tables have come; return what went in."""
    seq_from, end = frames[0] << SEQ_INDEX_BITS, frames[1] << SEQ_INDEX_BITS | INDEX_MAX
    entered: list[Part] = []
    for table in tables:
        # Above the progress rows are on their way by themselves.
        seq_to = min(end, plan.progress(table))
        if seq_from <= seq_to:
            await plan.spill(table, seq_from, seq_to, cause)
            entered.append(Part(seq_from, seq_to, (table,)))
    return entered


def tables_named(names: Sequence[str]) -> list[str]:
    """Return the event tables that these names mean, all for none. Raises TickdError(FATAL)."""
    unknown = sorted(set(names) - set(EVENT_TABLES))
    if unknown:
        raise TickdError(
            f"no event table is named {', '.join(unknown)}",
            action=Action.FATAL,
            hint=f"there are {', '.join(EVENT_TABLES)}",
        )
    return [table for table in EVENT_TABLES if not names or table in names]


class Rebuilding:
    """The daemon's task."""

    def __init__(self, repair: Repair, plan: PlanThread, clock: Clock) -> None:
        self.repair = repair
        self._plan = plan
        self._clock = clock
        self._work: asyncio.Task[None] | None = None
        self.fault: str | None = None

    async def run(self) -> None:
        """Work off the ledger until `stop`. Raises CancelledError only."""
        async with asyncio.TaskGroup() as tasks:
            self._work = tasks.create_task(self._work_off(), name="repair work")

    async def stop(self) -> None:
        """End the work where it is, before the plan closes; the next start goes on."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work], timeout=STOP_S)

    async def _work_off(self) -> None:
        while True:
            if self.repair.idle:
                await self._clock.sleep(POLL_S)
                continue
            try:
                await self.repair.run()
                self.fault = None
            except TickdError as error:
                # Whatever it is, recording goes on, and the ledger keeps what is left.
                self.fault = str(error)
                log.error("repair_failed", fault=str(error), hint=error.hint)  # noqa: TRY400
            await self._rest()

    async def _rest(self) -> None:
        """Wait for something new in the ledger, or a while."""
        known = self._plan.spilled()
        if self.repair.idle:
            return
        until_ns = self._clock.mono_ns() + int(AGAIN_S * 1e9)
        while self._plan.spilled() == known and self._clock.mono_ns() < until_ns:
            await self._clock.sleep(POLL_S)

    def commands(self) -> dict[str, Any]:
        """The control commands: `rebuild` puts a range into the ledger."""
        return {"rebuild": self.answer}

    async def answer(self, request: Mapping[str, object]) -> dict[str, object]:
        """The control command `rebuild`: `frames` [first, last], `tables` (none: all)."""
        first, last = _frames(request.get("frames"))
        names = request.get("tables") or []
        assert isinstance(names, list)
        entered = await enter(self._plan, (first, last), tables_named([str(n) for n in names]))
        return {"ranges": len(entered), **self.picture()}

    def picture(self) -> dict[str, object]:
        """What `tickd status` shows."""
        return {**picture_of(self.repair), "fault": self.fault or self.repair.fault}

    def close(self) -> None:
        """End the threads. Blocks shortly."""
        self.repair.close()


def picture_of(repair: Repair) -> dict[str, object]:
    """A repair's progress and totals, as JSON."""
    counters = asdict(repair.counters)
    holes = counters.pop("holes")
    return {
        **counters,
        "bar_hours_compared": repair.bars.hours_compared,
        "bar_hours_made": repair.bars.hours_made,
        "working": repair.working,
        "ranges": len(repair.left),
        "frames_left": repair.frames_left,
        "frame_no": repair.frame_no,
        "faults": repair.faults,
        "left": [
            {"seq_from": seq_from, "seq_to": seq_to, "reason": reason}
            for (seq_from, seq_to), reason in sorted(holes.items())
        ],
    }


def _frames(value: object) -> tuple[int, int]:
    match value:
        case [int(first), int(last)] if 0 <= first <= last:
            return first, last
    raise TickdError(f"not a range of frames: {value!r}", action=Action.FATAL)
