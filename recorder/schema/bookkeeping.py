"""Keeps the slow tables up to date while the daemon runs: instruments, segments, lag of topics.

Each round it stores what is new; what ClickHouse refuses is tried again in the next round, except
samples of lag, which are worth nothing later. Events do not come here, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import AccessRefusedError, ClickHouseError
from recorder.schema.tables import store_instruments, store_segments, store_topic_lag
from tickd.ports import Clock

__all__ = ["ROUND_SECONDS", "Bookkeeping"]

_log = structlog.get_logger(__name__)

# 1,000 topics at this pace are 8.6 M rows a day, a few bytes each after compression.
ROUND_SECONDS: Final = 10.0
_END_SECONDS: Final = 5.0

Definitions = Sequence[tuple[int, bytes]]
Rows = Sequence[Mapping[str, Any]]


class Bookkeeping:
    """One node's slow tables; `run` is its life.

    Args: `definitions`: every instrument known, (id, JSON); `manifest`: its lines, read in a
    thread; `lag`: one row per topic (topic, depth, high_water, oldest_age_s, dropped, events).
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        *,
        node: int,
        definitions: Callable[[], Definitions],
        manifest: Callable[[], Rows],
        lag: Callable[[], Rows],
        clock: Clock,
    ) -> None:
        self._clickhouse = clickhouse
        self._node = node
        self._read_definitions = definitions
        self._read_manifest = manifest
        self._read_lag = lag
        self._clock = clock
        self._defined = asyncio.Event()
        self._stored: set[int] | None = None  # None: the table has not been asked yet
        self._lines_stored = 0
        self.rounds_failed = 0

    def definition_came(self) -> None:
        """Hear of a new instrument: its name should not wait for the next round."""
        self._defined.set()

    async def run(self) -> None:
        """Store round after round, for ever; raises CancelledError only."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._store_names(), name="bookkeeping_names")
            while True:
                self._defined.set()  # what failed is tried again
                await self._attempt("segments", self._segments())
                await self._attempt("topic_lag", self._lag())
                await self._clock.sleep(ROUND_SECONDS)

    async def finish(self) -> None:
        """Store a last round, if ClickHouse answers soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._attempt("instruments", self._instruments())
                await self._attempt("segments", self._segments())
                await self._attempt("topic_lag", self._lag())

    async def _store_names(self) -> None:
        while True:
            await self._defined.wait()
            self._defined.clear()
            await self._attempt("instruments", self._instruments())

    async def _attempt(self, table: str, step: Awaitable[None]) -> None:
        try:
            await step
        except ClickHouseError as error:
            self.rounds_failed += 1
            _log.warning("slow_table_failed", table=table, fault=str(error), hint=error.hint)

    async def _instruments(self) -> None:
        database = self._clickhouse.database
        if self._stored is None:
            # A definition is valid from when it was first seen: what is there stays as it is.
            rows = await self._clickhouse.query(
                f"SELECT instrument FROM {database}.instruments "  # noqa: S608 - checked name
                "WHERE node = {node:UInt16}",
                {"node": self._node},
            )
            self._stored = {int(str(row[0])) for row in rows}
        fresh = [each for each in self._read_definitions() if each[0] not in self._stored]
        if not fresh:
            return
        await store_instruments(
            self._clickhouse,
            node=self._node,
            definitions=fresh,
            valid_from_ns=self._clock.wall_ns(),
        )
        self._stored.update(instrument for instrument, _ in fresh)
        # Without the right to reload, names appear when the dictionary does so itself: 1 to 5 s.
        with contextlib.suppress(AccessRefusedError):
            await self._clickhouse.command(f"SYSTEM RELOAD DICTIONARY {database}.instrument_names")

    async def _segments(self) -> None:
        lines = await asyncio.to_thread(self._read_manifest)
        await store_segments(
            self._clickhouse, node=self._node, manifest=lines, new_from=self._lines_stored
        )
        self._lines_stored = len(lines)

    async def _lag(self) -> None:
        rows, ts_ns = self._read_lag(), self._clock.wall_ns()
        await store_topic_lag(self._clickhouse, node=self._node, ts_ns=ts_ns, rows=rows)
