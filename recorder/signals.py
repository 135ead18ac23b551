"""Signals to ClickHouse: rows of the table `signals`, and what the numbers of indicators mean.

Signals are derived. They are not in the raw log, so this is not the sink of events: nothing is
planned, spooled or repaired, and `tickd verify` and `tickd rebuild` leave the table alone. No row
comes twice (a repeat has the same bytes and the same token). While ClickHouse is away the queue
holds what fits and then drops the oldest, counted; a restart forgets what was still waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, final

import msgspec
import structlog

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.errors import ClickHouseError
from recorder.schema.tables import store_indicators
from recorder.sink.retry import RetryPolicy
from tickd.bus_queue import Limits, Subscription
from tickd.errors import Action
from tickd.native import DERIVED_TABLES, Block, BlockBuilder, EventBatch
from tickd.ports import Clock

__all__ = ["SIGNAL_QUEUE", "SignalSink"]

_log = structlog.get_logger(__name__)

# 64 B each: 16 MiB in all.
SIGNAL_QUEUE: Final = Limits(records_total_max=256 << 10)
# Rows of an insert at most; a second of 50,000 signals is four inserts.
_ROWS_MAX: Final = 16_384
# So that slow streams make few parts.
_PAUSE_S: Final = 0.25
# A server that repairs itself is asked again soon, one that is down not too often.
_RETRY: Final = RetryPolicy(delay_ms_min=100, delay_ms_max=5_000)


@final
class SignalSink:
    """Stores what a subscription of signals gives. `run` is its life; it ends with it.

    Args: `indicators`: number, name, kind and params of each; `ready`: whether the tables are
    there. Owns `clickhouse`.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        subscription: Subscription,
        *,
        node: int,
        indicators: Sequence[tuple[int, Mapping[str, Any]]],
        ready: Callable[[], bool],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._clickhouse = clickhouse
        self._subscription = subscription
        self._node = node
        self._indicators = indicators
        self._ready = ready
        self._clock = clock
        self._random = random
        self._definitions: list[bytes] = []
        self.rows = 0
        self.lost = 0  # taken from the queue and never stored; what the queue drops, it counts
        self.fault: str | None = None

    def define(self, _instrument: int, definition: bytes) -> None:
        """Take an instrument definition (JSON), before a signal of it."""
        self._definitions.append(definition)

    async def run(self) -> None:
        """Store until the subscription ends, then what is left, if the server answers at once."""
        try:
            while not self._ready() and not self._subscription.closed:
                await self._clock.sleep(_PAUSE_S)
            await self._try(self._define_indicators, "indicators")
            while taken := await self._subscription.take(_ROWS_MAX):
                await self._store([batch for _, batch in taken])
                if not self._subscription.closed:
                    await self._clock.sleep(_PAUSE_S)
        finally:
            await self._clickhouse.close()

    async def _store(self, batches: list[EventBatch]) -> None:
        for block in await asyncio.to_thread(_built, self._node, [*self._definitions], batches):
            token = f"signals-{self._node}-{block.seq_first}-{block.rows}-{block.hash}"

            async def insert(block: Block = block, token: str = token) -> None:
                await self._clickhouse.insert_block(block, token)

            if await self._try(insert, "signals"):
                self.rows += block.rows
            else:
                self.lost += block.rows

    async def _define_indicators(self) -> None:
        await store_indicators(
            self._clickhouse,
            node=self._node,
            definitions=[
                (number, {**fields, "params": msgspec.json.encode(fields["params"]).decode()})
                for number, fields in self._indicators
            ],
            valid_from_ns=self._clock.wall_ns(),
        )

    async def _try(self, step: Callable[[], Awaitable[None]], table: str) -> bool:
        """Repeat `step` until it is done; False: refused for good, or the end is near."""
        attempt = 0
        while True:
            try:
                await step()
            except ClickHouseError as error:
                self.fault = str(error)
                _log.warning("signals_failed", table=table, fault=str(error), attempt=attempt)
                if error.action is Action.SKIP or self._subscription.closed:
                    return False
                pause_ms = _RETRY.delay_ms(attempt, self._random, error.retry_after_s)
                await self._clock.sleep(pause_ms / 1000)
                attempt += 1
            else:
                self.fault = None
                return True


def _built(node: int, definitions: list[bytes], batches: list[EventBatch]) -> list[Block]:
    """In a thread: a millisecond for ten thousand rows.

    No method: the thread lets go of its work late, and the queue behind a sink is of the loop's.
    """
    builder = BlockBuilder(node=node, tables=list(DERIVED_TABLES))
    for definition in definitions:
        builder.define(definition)
    for batch in batches:
        builder.push(batch)
    return builder.finish()
