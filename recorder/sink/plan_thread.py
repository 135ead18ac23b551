"""The plan on a thread of its own, asked again until the disk takes it.

`Plan` blocks and raises; here a caller awaits, and a full or failing disk makes him wait, never
fail: his blocks stay where they are and the raw log goes on. Reads are answered at once. It decides
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from recorder.sink.plan import Outcome, Plan, PlannedBlock, Spilled
from recorder.sink.retry import RetryPolicy
from tickd.errors import Action, TickdError
from tickd.ports import Clock

__all__ = ["PlanThread"]

_log = structlog.get_logger(__name__)


class PlanThread:
    """One plan's only user. Writes return when they are as durable as `Plan` says."""

    def __init__(
        self, plan: Plan, *, clock: Clock, policy: RetryPolicy, random: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._policy = policy
        self._random = random
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tickd-plan")
        self._closed = False
        self.faults = 0
        self.fault: str | None = None

    @property
    def is_new(self) -> bool:
        return self._plan.is_new

    @property
    def open_blocks(self) -> list[PlannedBlock]:
        return self._plan.open_blocks

    def progress(self, table: str) -> int:
        return self._plan.progress(table)

    def settled(self, table: str) -> int:
        return self._plan.settled(table)

    def spilled(self) -> list[Spilled]:
        return self._plan.spilled()

    def is_open(self, table: str, seq_from: int, seq_to: int) -> bool:
        return self._plan.is_open(table, seq_from, seq_to)

    async def plan(self, blocks: Sequence[PlannedBlock], seq_to: int) -> None:
        await self._written(partial(self._plan.plan, blocks, seq_to))

    async def replan(self, block: PlannedBlock) -> None:
        await self._written(partial(self._plan.replan, block))

    async def commit(self, block: PlannedBlock, outcome: Outcome) -> None:
        await self._written(partial(self._plan.commit, block, outcome))

    async def spill(
        self,
        table: str,
        seq_from: int,
        seq_to: int,
        cause: str,
        *,
        closing: Iterable[PlannedBlock] = (),
    ) -> None:
        closed = tuple(closing)
        await self._written(
            partial(self._plan.spill, table, seq_from, seq_to, cause, closing=closed)
        )

    async def spill_to(self, seq_to: int, cause: str) -> None:
        await self._written(partial(self._plan.spill_to, seq_to, cause))

    async def restored(self, table: str, seq_from: int, seq_to: int) -> None:
        await self._written(partial(self._plan.restored, table, seq_from, seq_to))

    def close(self) -> None:
        """Do what is queued, then close the file. Blocks."""
        self._closed = True
        self._thread.submit(self._plan.close)
        self._thread.shutdown()

    async def _written(self, write: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            if self._closed:
                raise TickdError("the plan is closed", action=Action.FATAL)
            try:
                await loop.run_in_executor(self._thread, write)
            except OSError as error:
                self.faults += 1
                self.fault = f"{type(error).__name__}: {error}"
                _log.warning("plan_write_failed", fault=self.fault, attempt=attempt)
                await self._clock.sleep(self._policy.delay_ms(attempt, self._random) / 1000)
                attempt += 1
            else:
                self.fault = None
                return
