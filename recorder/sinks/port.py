"""What a sink is: a class that takes bursts from its own bounded subscription.

Shapes only. A sink's folder fills them (`recorder/sinks/<sink>/{config,sink}.py`), the registry
finds them, `tickd/app` gives each its queue, runs it and starts it again when it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol

import msgspec

from tickd.bus_queue import BurstSubscription, WhenFull

__all__ = ["EventSink", "SinkContext", "SinkKind", "SinkSection"]

# Not SPILL: who spills must read the raw log again, which is the ClickHouse sink's whole craft.
Policy = Literal[WhenFull.DROP_OLDEST, WhenFull.DISCONNECT]


class SinkSection(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="name"
):
    """A `[[sinks]]` table; a sink's own struct adds its keys and its name as `tag`.

    queue_records_max: events (64 B each) that may wait for the sink; beyond, its policy decides.
    """

    queue_records_max: int = 1 << 20

    def __post_init__(self) -> None:
        if self.queue_records_max < 1:
            raise ValueError("queue_records_max must be positive")


class SinkContext(NamedTuple):
    """What a sink may use of the daemon.

    directory: its own, under the state directory; it exists. topic_name: the name of a number in
    `EventBatch.topics`; loop thread only.
    """

    directory: Path
    topic_name: Callable[[int], str]


class EventSink(Protocol):
    """One sink. Loop thread; work longer than 500 µs goes to a thread of its own."""

    when_full: ClassVar[Policy]

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument's definition (JSON), before the first batch that uses it.

        Must not raise; it may be called with a definition that is known.
        """

    async def run(self, bursts: BurstSubscription) -> None:
        """Store what `bursts` gives until it gives [], then finish what is open.

        What it raises is logged and counted, and `run` is called again after a pause, on the same
        queue: keep what was taken and not stored. Cancelled when the shutdown's time is up.
        """


class SinkKind(NamedTuple):
    """A sink as the registry finds it."""

    name: str
    make: Callable[[SinkSection, SinkContext], EventSink]
