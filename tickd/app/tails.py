"""The daemon's side of `tickd tail`: live events of some topics, as they are, to who watches.

Each watcher has a queue of its own on the bus, short and DROP_OLDEST: what a slow terminal does not
take is dropped there, counted, and told to it. Events leave as the 64 bytes they are, beside the
definitions that make natural numbers of them; whoever watches does that work.

The stream: lines of JSON. `{"topic", "records", "dropped"}` is followed by `records` x 64 bytes;
`{"definition"}` comes before the first event that needs it; `{"alive", "dropped"}` once a second
without events; `{"end"}` is the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import numpy as np
import orjson

from tickd.app.streaming import Stream, Write
from tickd.bus import Bus
from tickd.bus_queue import Limits, Subscription, WhenFull
from tickd.errors import Action, TickdError
from tickd.events import EVENT
from tickd.native import EventBatch

__all__ = ["TAILS_MAX", "Tails", "is_watcher"]

TAILS_MAX: Final = 4
# A terminal shows some hundred lines a second; what is older than this is news to nobody.
LIMITS: Final = Limits(records_max=4_096, records_total_max=16_384, age_ms_max=2_000)
# Of one turn of the loop: some 0.2 ms where each record is of another topic.
TURN_RECORDS: Final = 48
ALIVE_S: Final = 1.0
_NAME: Final = "tail "


def is_watcher(subscription: str) -> bool:
    """Whether a queue only feeds a terminal: its drops are no loss, its lag is no pressure."""
    return subscription.startswith(_NAME)


class Tails:
    """Serves at most `TAILS_MAX` watchers; loop thread only."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._definitions: dict[int, bytes] = {}
        self._free = [f"{_NAME}{number}" for number in range(TAILS_MAX, 0, -1)]

    def define(self, instrument: int, definition: bytes) -> None:
        """Take an instrument definition (JSON), before a batch that uses it."""
        self._definitions[instrument] = definition

    def streams(self) -> dict[str, Stream]:
        return {"tail": self.stream}

    async def stream(self, request: Mapping[str, object], write: Write) -> None:
        """The control stream `tail`. Raises TickdError: a bad pattern, too many watchers."""
        topics = request.get("topics")
        if not isinstance(topics, list) or not all(isinstance(each, str) for each in topics):
            raise TickdError("topics is a list of patterns", action=Action.SKIP)
        if not self._free:
            raise TickdError(
                f"{TAILS_MAX} terminals watch already", action=Action.SKIP, hint="end one of them"
            )
        name = self._free.pop()
        try:
            subscription = self._bus.subscribe(
                topics, name=name, when_full=WhenFull.DROP_OLDEST, limits=LIMITS
            )
            try:
                await self._feed(subscription, write)
            finally:
                subscription.close()
        finally:
            self._free.append(name)

    async def _feed(self, subscription: Subscription, write: Write) -> None:
        known: set[int] = set()
        dropped = 0
        await write(orjson.dumps({"tail": subscription.name}) + b"\n")
        while not subscription.closed:
            try:
                async with asyncio.timeout(ALIVE_S):
                    taken = await subscription.take(TURN_RECORDS)
            except TimeoutError:
                taken = []
            dropped += sum(row.records for row in subscription.take_dropped())
            pieces = [self._piece(*each, known, dropped) for each in taken]
            if not pieces:
                pieces = [orjson.dumps({"alive": True, "dropped": dropped}) + b"\n"]
            await write(b"".join(pieces))
            await asyncio.sleep(0)  # a queue that is never empty leaves the loop its turns
        await write(orjson.dumps({"end": "the daemon stops", "dropped": dropped}) + b"\n")

    def _piece(self, topic: str, events: EventBatch, known: set[int], dropped: int) -> bytes:
        data = bytes(events)
        parts = []
        for instrument in set(np.frombuffer(data, EVENT)["instrument"].tolist()) - known:
            known.add(instrument)
            if definition := self._definitions.get(instrument):
                parts.append(b'{"definition":%b,"instrument":%d}\n' % (definition, instrument))
        head = {"topic": topic, "records": len(data) // EVENT.itemsize, "dropped": dropped}
        return b"".join([*parts, orjson.dumps(head), b"\n", data])
