"""Latency probes into PostgreSQL: collects rows every interval, copies them in the background.

Nothing waits for it. While the server is away rows wait in a bounded queue, beyond it the oldest go
and are counted; connections are tried again with growing pauses, for ever. It measures nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, final

import structlog

from recorder.probes.config import PostgresConfig
from recorder.probes.postgres import PostgresConnection, PostgresFaultError, connected
from recorder.probes.rows import Probes, Reading, Row
from recorder.sink.retry import RetryPolicy
from tickd.ports import Clock

__all__ = ["ProbeSink"]

log = structlog.get_logger(__name__)

RETRY: Final = RetryPolicy(delay_ms_min=200, delay_ms_max=30_000)
# Of one transaction.
COPY_ROWS_MAX: Final = 5_000
STOP_S_MAX: Final = 2.0


@final
class ProbeSink:
    """`run` is its life, until cancelled."""

    def __init__(
        self,
        config: PostgresConfig,
        *,
        node: int,
        read: Callable[[], Iterable[Reading]],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._config: Final = config
        self._read: Final = read
        self._clock: Final = clock
        self._random: Final = random
        self._probes: Final = Probes(node)
        self._waiting: Final[deque[Row]] = deque()
        self._came: Final = asyncio.Event()
        self.rows_stored = 0
        self.rows_dropped = 0
        self.failures = 0
        self.connects = 0
        self.is_up = False
        self.fault: str | None = None

    @property
    def rows_waiting(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Collect and store; at the end what waits is stored if that is quick."""
        self.collect()  # the beginning of the first interval
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._collecting(), name="latency probes")
                tasks.create_task(self._storing(), name="postgres")
        finally:
            self.collect()
            if self._waiting and self.fault is None:
                await self._last()

    def collect(self) -> None:
        """Take one reading; a row for each stage in which anything happened."""
        wall_ns, mono_ns = self._clock.wall_ns(), self._clock.mono_ns()
        rows = self._probes.rows(self._read(), wall_ns=wall_ns, mono_ns=mono_ns)
        self._waiting.extend(rows)
        while len(self._waiting) > self._config.queue_rows_max:
            self._waiting.popleft()
            self.rows_dropped += 1
        self._came.set()

    async def _collecting(self) -> None:
        while True:
            await self._clock.sleep(self._config.interval_ms / 1000)
            self.collect()

    async def _storing(self) -> None:
        attempt = 0
        while True:
            stored = self.rows_stored
            try:
                async with connected(self._config) as connection:
                    await self._connection_made(connection)
                    await self._store_on(connection)
            except PostgresFaultError as error:
                attempt = 0 if self.rows_stored > stored else attempt + 1
                self._failed(error)
            finally:
                self.is_up = False
            await self._clock.sleep(RETRY.delay_ms(attempt, self._random) / 1000)

    async def _connection_made(self, connection: PostgresConnection) -> None:
        for name in await connection.migrate():
            log.info("postgres_migrated", name=name)
        self.connects += 1
        self.is_up = True
        if self.fault is not None:
            log.info("postgres_connected_again", waiting=len(self._waiting))
        self.fault = None

    async def _store_on(self, connection: PostgresConnection) -> None:
        while True:
            self._came.clear()
            while self._waiting:
                await self._copy(connection)
            await self._came.wait()

    async def _copy(self, connection: PostgresConnection) -> None:
        """Store the oldest rows; they leave the queue when the server has them."""
        rows = list(islice(self._waiting, COPY_ROWS_MAX))
        await connection.copy(rows)
        self.rows_stored += len(rows)
        stored = set(rows)
        while self._waiting and self._waiting[0] in stored:  # some may have been dropped meanwhile
            self._waiting.popleft()

    def _failed(self, error: PostgresFaultError) -> None:
        self.failures += 1
        if self.fault is None:
            log.warning("postgres_failed", words=str(error), waiting=len(self._waiting))
        self.fault = str(error)

    async def _last(self) -> None:
        try:
            async with asyncio.timeout(STOP_S_MAX), connected(self._config) as connection:
                while self._waiting:
                    await self._copy(connection)
        except (PostgresFaultError, TimeoutError) as error:
            log.warning("probes_lost", rows=len(self._waiting), words=str(error) or "timeout")
