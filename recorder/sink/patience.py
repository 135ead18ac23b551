"""Asking until there is an answer, writing until there is room, and not too fast.

For work that nobody waits for and that must not hurt what somebody waits for. What is asked must
bear repetition; the caller sees to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog

from recorder.errors import ClickHouseError
from recorder.repair.ports import Traffic
from recorder.sink.retry import RetryPolicy
from tickd.errors import Action, TickdError
from tickd.ports import Clock

__all__ = ["Patience"]

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

_NS: Final = 10**9
_NS_PER_MS: Final = 1_000_000


class Patience:
    """One worker's. `rows_per_s` 0: no limit."""

    def __init__(
        self,
        traffic: Traffic,
        *,
        clock: Clock,
        policy: RetryPolicy,
        random: Callable[[], float],
        rows_per_s: int,
    ) -> None:
        self._traffic = traffic
        self._clock = clock
        self._policy = policy
        self._random = random
        self._rows_per_s = rows_per_s
        self._files = ThreadPoolExecutor(1, thread_name_prefix="tickd-repair-files")
        self._not_before_ns = 0
        self.faults = 0
        self.fault: str | None = None  # of the last attempt, None when it succeeded

    async def asked(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask ClickHouse until it answers, while the server is believed to be there.

        Raises ClickHouseError that no repetition cures, or when the policy's budget is spent.
        """
        attempt, begun_ns = 0, self._clock.mono_ns()
        while True:
            await self._traffic.available()
            try:
                answer = await ask()
            except ClickHouseError as error:
                self.faults += 1
                self.fault = str(error)
                spent_ms = (self._clock.mono_ns() - begun_ns) / _NS_PER_MS
                if error.action is not Action.RETRY or self._policy.exhausted(spent_ms):
                    raise
                _log.warning("repair_attempt_failed", fault=str(error), attempt=attempt)
                pause_ms = self._policy.delay_ms(attempt, self._random, error.retry_after_s)
                await self._clock.sleep(pause_ms / 1000)
                attempt += 1
            else:
                self.fault = None
                return answer

    async def together(self, calls: Mapping[str, Coroutine[Any, Any, _T]]) -> list[_T]:
        """Await several named calls at once; the first expected error ends them all and is raised.

        Raises what the calls raise.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call, name=name) for name, call in calls.items()]
        except BaseExceptionGroup as failures:
            expected, bugs = failures.split(TickdError)
            if bugs is not None or expected is None:
                raise
            raise expected.exceptions[0] from failures
        return [task.result() for task in tasks]

    async def stored(self, write: Callable[[], object]) -> None:
        """Write a file in a thread; a disk that refuses makes the worker wait, and nothing else."""
        attempt = 0
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._files, write)
            except OSError as error:
                self.faults += 1
                self.fault = f"the state directory: {error}"
                _log.warning("repair_write_failed", fault=str(error), attempt=attempt)
                await self._clock.sleep(self._policy.delay_ms(attempt, self._random) / 1000)
                attempt += 1
            else:
                return

    async def pace(self, rows: int) -> None:
        """Wait as long as so many rows are to take; a pause does not add up to credit."""
        if self._rows_per_s == 0:
            return
        now_ns = self._clock.mono_ns()
        self._not_before_ns = max(self._not_before_ns, now_ns) + rows * _NS // self._rows_per_s
        await self._clock.sleep((self._not_before_ns - now_ns) / _NS)

    def close(self) -> None:
        self._files.shutdown()
