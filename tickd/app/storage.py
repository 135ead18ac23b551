"""The ClickHouse half of the daemon: the server (embedded or not), its tables, and the sink's life.

The raw log never waits for any of this. It builds no block and decides nothing about retries of
blocks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.clickhouse.query import EMBEDDED
from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.errors import ClickHouseError
from recorder.raw.recover import LogReplay
from recorder.raw.watermark import LogProgress
from recorder.schema.bookkeeping import Bookkeeping, Definitions, Rows
from recorder.schema.migrate import migrate
from recorder.sink.plan import Plan
from recorder.sink.sink import Bursts, Sink
from recorder.spool.quarantine import Quarantine
from recorder.spool.spool import Spool
from tickd.app.config import Config
from tickd.app.rebuilding import Rebuilding, repair_of
from tickd.app.spooling import Spooling
from tickd.bus_queue import BurstSubscription, TopicLag
from tickd.native import EventBatch, manifest_read
from tickd.ports import Clock

log = structlog.get_logger(__name__)


class _Ending:
    """A subscription at whose end something else has to end first: repair, before the plan."""

    def __init__(self, bursts: Bursts, at_end: Callable[[], Awaitable[None]]) -> None:
        self._bursts = bursts
        self._at_end = at_end

    async def take_bursts(self) -> list[EventBatch]:
        batches = await self._bursts.take_bursts()
        if not batches:
            await self._at_end()
        return batches

    def resume(self) -> tuple[int, int] | None:
        return self._bursts.resume()


class Storage:
    """Stores what a subscription delivers. `run` is its life; it ends with the subscription.

    Raises EmbeddedMissingError when the embedded server is wanted and not installed; one that does
    not start is tried for ever.
    """

    def __init__(
        self,
        config: Config,
        *,
        subscription: BurstSubscription,
        progress: LogProgress,
        frame_recovered: int,
        frame_next: int,
        definitions: Callable[[], Definitions],
        lag: Callable[[], Rows],
        clock: Clock,
        record: Callable[[dict[str, object]], object] | None = None,
    ) -> None:
        self._config = config
        self._subscription = subscription
        self._clock = clock
        state_dir = config.state_dir
        self.embedded: EmbeddedClickHouse | None = None
        if config.clickhouse.url == EMBEDDED:
            self.embedded = EmbeddedClickHouse(state_dir / "clickhouse")
        known = None if self.embedded is None else self.endpoint
        self.clickhouse = ClickHouse(config.clickhouse, known)
        self.migrated = False
        self.fault: str | None = None
        quarantine = Quarantine(state_dir / "sink" / "quarantine")
        self.sink = Sink(
            config.sink,
            node=config.node.id,
            plan=Plan(state_dir / "sink" / "plan.jsonl"),
            spool=Spool(
                state_dir / "sink" / "spool", bytes_max=config.sink.spool_bytes_max, clock=clock
            ),
            clickhouse=self.clickhouse,
            progress=progress,
            replay=LogReplay(state_dir / "raw"),
            frame_recovered=frame_recovered,
            frame_next=frame_next,
            quarantine=quarantine,
            clock=clock,
            random=random.random,
            on_filled=self._filled,
        )
        self.rebuilding = self._rebuilding()
        self.spooling = Spooling(
            plan=self.sink.plan,
            spool=self.sink.delivery.spool,
            quarantine=quarantine,
            clock=clock,
            lanes=self.sink.delivery.circuits,
            record=record,
        )
        self.books = Bookkeeping(
            self.clickhouse,
            node=config.node.id,
            definitions=definitions,
            manifest=lambda: manifest_read(str(state_dir / "raw")),
            lag=lag,
            clock=clock,
        )

    def _rebuilding(self) -> Rebuilding:
        repair = repair_of(
            self._config,
            plan=self.sink.plan,
            clickhouse=self.clickhouse,
            clock=self._clock,
            traffic=self.sink.delivery,
        )
        return Rebuilding(repair, self.sink.plan, self._clock)

    async def _filled(self, hours: Collection[int], seq: int) -> None:
        await self.rebuilding.repair.note_filled(hours, seq)

    def define(self, _instrument: int, definition: bytes) -> None:
        """Take an instrument definition (JSON), before a batch that uses it."""
        self.sink.define(definition)
        self.books.definition_came()

    def subscription_lag(self) -> list[TopicLag]:
        """What waits for the sink on the bus."""
        return self._subscription.lag()

    def subscription_peak(self) -> int:
        """The most that waited for it there since the metrics of the bus were read."""
        return self._subscription.sums(worst=0)[0].high_water

    def endpoint(self) -> Endpoint | None:
        """The server, None while it is known to be down."""
        if self.embedded is not None:
            return self.embedded.endpoint
        return self.clickhouse.endpoint

    async def run(self) -> bool:
        """Store until the subscription ends, then drain; True when everything is in ClickHouse."""
        if self.embedded is None:
            return await self._store()
        async with self.embedded.keeping():
            return await self._store()

    async def _store(self) -> bool:
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(self._serve(), name="bookkeeping")
                drained = await self.sink.run(_Ending(self._subscription, self.rebuilding.stop))
                serving.cancel()
            if self.migrated:
                await self.books.finish()
            return drained
        finally:
            await asyncio.to_thread(self.rebuilding.close)
            await self.clickhouse.close()

    async def _serve(self) -> None:
        """What needs the server: its tables first, then their contents."""
        await self._migrate()
        self.sink.delivery.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.books.run(), name="slow tables")
            tasks.create_task(self.rebuilding.run(), name="repair")

    async def _migrate(self) -> None:
        """Bring the tables up to date; a server that is away is asked again, for ever."""
        policy = self._config.sink.retry
        attempt = 0
        while True:
            try:
                report = await migrate(self.clickhouse, node=self._config.node.id)
                if report.hours_lacking:
                    await self.rebuilding.repair.note_hours(report.hours_lacking)
                self.migrated, self.fault = True, None
                return  # noqa: TRY300 - the loop is the alternative
            except ClickHouseError as error:
                self.fault = str(error)
                log.warning("migrate_failed", fault=str(error), hint=error.hint, attempt=attempt)
                pause_ms = policy.delay_ms(attempt, random.random, error.retry_after_s)
            await self._clock.sleep(pause_ms / 1000)
            attempt += 1
