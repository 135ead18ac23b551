"""Configured indicators in the flow: each burst is fed to them once, their signals follow it.

A handler of whole bursts: what it publishes runs after the batch that caused it, and goes to
ClickHouse through a queue of its own. The set is fed in the order of the node, so the same raw log
gives the same signals, from the start of this life on: indicators begin empty with every start of
the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.query import EMBEDDED
from recorder.signals import SIGNAL_QUEUE, SignalSink
from strategy_runner.indicator_config import IndicatorConfig
from strategy_runner.indicators.indicator_set import IndicatorSet
from tickd.app.config import Config
from tickd.app.storage import Storage
from tickd.backend import Choice
from tickd.bus import BurstHandler, Bus
from tickd.bus_queue import WhenFull
from tickd.errors import Action, TickdError
from tickd.native import Decoder, EventBatch
from tickd.ports import Clock

__all__ = ["Signals", "require_native"]

# Derived rows may not hold up the end of the daemon.
_END_S: Final = 3.0


class Signals:
    """The indicators of one daemon; without any it takes no bursts."""

    def __init__(self, configs: Sequence[IndicatorConfig], *, decoder: Decoder, bus: Bus) -> None:
        self._set: Final = IndicatorSet(
            configs, topic_name=decoder.topic_name, intern_topic=decoder.intern_topic
        )
        self._publish = bus.publish
        # The burst in hand, and what was made of it.
        self._cause: EventBatch | None = None
        self._made: EventBatch | None = None
        if configs:
            bus.handle_bursts(self._take, name="indicators")

        self._sink: SignalSink | None = None
        self._close_queue: Callable[[], None] = lambda: None
        self._ended = asyncio.Event()

    def store_with(self, config: Config, storage: Storage, bus: Bus, clock: Clock) -> None:
        """Let `run` store them: through a connection, and from a queue, of their own."""
        subscription = bus.subscribe(
            "signal.*.*", name="signals", when_full=WhenFull.DROP_OLDEST, limits=SIGNAL_QUEUE
        )
        known = storage.endpoint if config.clickhouse.url == EMBEDDED else None
        self._sink = SignalSink(
            ClickHouse(config.clickhouse, known),
            subscription,
            node=config.node.id,
            indicators=[(each.number, each.definition) for each in self._set.configs],
            ready=lambda: storage.migrated,
            clock=clock,
            random=random.random,
        )
        self._close_queue = subscription.close

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument definition (JSON), before a batch that uses it."""
        self._set.define(instrument, definition)
        if self._sink is not None:
            self._sink.define(instrument, definition)

    async def run(self) -> None:
        """Store signals until `finish`; raises CancelledError only."""
        try:
            if self._sink is not None:
                await self._sink.run()
        finally:
            self._ended.set()

    async def finish(self) -> None:
        """Close the queue and let the last signals go out while the server is there."""
        self._close_queue()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._ended.wait()

    def behind(self, handler: BurstHandler) -> BurstHandler:
        """Return a handler for `handler` that gets each burst and the signals it caused as one.

        So their order by number is that of causes and effects, whatever a burst holds: what a
        replay repeats. It must be registered after this object was made.
        """
        if not self._set.configs:
            return handler  # no step more per burst

        def take(batch: EventBatch) -> None:
            if batch is self._made:
                return  # it came with its cause
            made = self._made if batch is self._cause else None
            handler(batch if made is None else batch.joined(made))

        return take

    def _take(self, batch: EventBatch) -> None:
        if batch is self._made:
            return
        self._cause, self._made = batch, self._set.signals(batch)
        if self._made is not None:
            self._publish(self._made)

    def draw(self) -> dict[str, Any]:
        """What the status shows."""
        return {
            "indicators": [config.name for config in self._set.configs],
            "values": self._set.values_count,
            "signals": self._set.signals_count,
            "undefined": self._set.undefined,
            "stored": self._sink.rows if self._sink is not None else 0,
            "lost": self._sink.lost if self._sink is not None else 0,
            "fault": self._sink.fault if self._sink is not None else None,
        }


def require_native(configs: Sequence[IndicatorConfig], backends: Sequence[Choice]) -> None:
    """Refuse indicators in the flow where the native ones were. Raises TickdError(FATAL)."""
    for choice in backends:
        if configs and choice.what == "indicators" and choice.name != "native":
            raise TickdError(
                f"[[indicators]] need the native backend, which is not used: {choice.reason}",
                action=Action.FATAL,
                hint="twins compute for notebooks and tests; take [[indicators]] out, or mend it",
            )
