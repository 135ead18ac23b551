"""Who may send now: the breakers of the server and of every table, and the wait for a change.

A failure opens what it concerns: one table or everything. While something is open, one probe at a
time finds out. Everybody who waits here is woken by whatever changes. It sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from recorder.errors import ClickHouseError
from recorder.sink.retry import CircuitBreaker, CircuitState, RetryPolicy
from tickd.ports import Clock

__all__ = ["Circuits"]

_log = structlog.get_logger(__name__)

# Nobody waits longer than this without looking again: whatever was missed costs no more.
_LOOK_AGAIN_S: Final = 0.5


class Circuits:
    """The breakers of one server and its tables. Nothing is allowed before `open`."""

    def __init__(
        self,
        tables: Iterable[str],
        *,
        policy: RetryPolicy,
        failures_max: int,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        def breaker() -> CircuitBreaker:
            return CircuitBreaker(policy, random, failures_max=failures_max)

        self._policy = policy
        self._clock = clock
        self._random = random
        self.server: Final = breaker()
        self.tables: Final[Mapping[str, CircuitBreaker]] = {table: breaker() for table in tables}
        self._not_before_ns = dict.fromkeys(self.tables, 0)
        self._asked_ns = dict.fromkeys(self.tables, 0)  # until when the server said to wait
        self._changed = asyncio.Event()
        self._opened = False
        self.fault: str | None = None
        """Why the last attempt failed; None after a good one."""
        self.attempts_failed: dict[str, int] = {}

    @property
    def server_available(self) -> bool:
        """Whether the server is believed to do what it is asked."""
        return self._opened and self.server.state is CircuitState.CLOSED

    def table_refused(self, table: str) -> bool:
        """Whether it is this table, not the server, that takes nothing."""
        return self.tables[table].state is not CircuitState.CLOSED

    def open(self) -> None:
        """The tables are there."""
        self._opened = True
        self.tell()

    def closed_for_ns(self, table: str) -> int:
        """How long nothing may be sent into `table` as far as is known; not above 0: ask now."""
        until_ns = self._not_before_ns[table]
        for breaker in (self.tables[table], self.server):
            if breaker.state is not CircuitState.CLOSED:
                until_ns = max(until_ns, breaker.next_probe_ns)
        return until_ns - self._clock.mono_ns()

    def allow(self, table: str) -> bool:
        """Whether to send into `table` now; True obliges to `answered`, `failed`, `withdrawn`."""
        now_ns = self._clock.mono_ns()
        if not self._opened or not self.tables[table].allow(now_ns):
            return False
        if not self.server.allow(now_ns):
            self.tables[table].withdrawn()
            return False
        return True

    def allow_question(self) -> bool:
        """As `allow`, for a question that concerns no table."""
        return self._opened and self.server.allow(self._clock.mono_ns())

    def withdrawn(self, table: str) -> None:
        """There was nothing to send."""
        self.tables[table].withdrawn()
        self.server.withdrawn()

    def answered(self, table: str | None = None) -> None:
        """The server did what it was asked."""
        self.fault = None
        if self.server.state is not CircuitState.CLOSED:
            # Our own pauses of the outage that was; what a Retry-After asked for stands.
            self._not_before_ns = dict(self._asked_ns)
        self.server.succeeded()
        if table is not None:
            self.tables[table].succeeded()
            self._not_before_ns[table] = 0
        self.tell()

    def failed(self, error: ClickHouseError, table: str | None = None, *, attempt: int = 0) -> None:
        """The server, or `table` alone, did not; attempt: how many failed before in a row."""
        now_ns = self._clock.mono_ns()
        self.fault = str(error)
        name = type(error).__name__
        self.attempts_failed[name] = self.attempts_failed.get(name, 0) + 1
        _log.warning(
            "sink_insert_failed",
            table=table,
            kind=name,
            code=error.code,
            fault=self.fault,
            hint=error.hint,
            attempt=attempt,
        )
        if table is None or error.scope == "server":
            self.server.failed(now_ns, error.retry_after_s)
        elif error.scope == "table":
            self.tables[table].failed(now_ns, error.retry_after_s)
        if table is not None:
            self.pause(table, attempt, error.retry_after_s)
            if error.scope == "server":
                self.tables[table].withdrawn()
            else:
                self.server.succeeded()  # it answered
            if error.scope == "block":
                self.tables[table].succeeded()
        self.tell()

    def pause(self, table: str, attempt: int, retry_after_s: float | None = None) -> None:
        """Send nothing into `table` for as long as the policy says."""
        pause_ms = self._policy.delay_ms(attempt, self._random, retry_after_s)
        self._not_before_ns[table] = self._clock.mono_ns() + round(pause_ms * 1e6)
        if retry_after_s is not None:
            self._asked_ns[table] = self._not_before_ns[table]

    def tell(self) -> None:
        """Wake everybody who waits."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def until_changed(self, most_ns: int = 0) -> None:
        """Wait until something is different, `most_ns` at most if it is above 0."""
        most_s = _LOOK_AGAIN_S if most_ns <= 0 else min(most_ns / 1e9, _LOOK_AGAIN_S)
        changed = self._changed
        try:
            async with asyncio.timeout(most_s):
                await changed.wait()
        except TimeoutError:
            pass
