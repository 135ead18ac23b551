"""Writes normalised events as JSON lines, exact decimals as text, one file after the other.

For scripts, `jq` and hand-overs; about 14 µs of a core per event, so choose topics. What
the queue let go stands in the file as a line of its own. It stores nothing that the raw log has
not, and promises less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, cast, final

import orjson

from recorder.sinks.jsonl.config import JsonlConfig
from recorder.sinks.jsonl.files import RotatingFiles
from recorder.sinks.port import Policy, SinkContext, SinkSection
from tickd.bus_queue import BurstSubscription, Dropped, WhenFull
from tickd.describe import describe_event
from tickd.events import EVENT, as_array
from tickd.native import EventBatch
from tickd.topics import Selection, Topic

__all__ = ["SINK", "JsonlSink"]

# A turn of the thread: some 50 ms, so that the end of the daemon does not wait for long.
_TURN_RECORDS: Final = 4_096
_SEQ: Final = (EVENT.names or ()).index("seq")


class _Slice(NamedTuple):
    """Events of one topic in a batch."""

    topic: str
    batch: EventBatch
    start: int
    stop: int


@final
class JsonlSink:
    """The sink `jsonl`."""

    when_full: ClassVar[Policy] = WhenFull.DROP_OLDEST

    def __init__(self, section: SinkSection, context: SinkContext) -> None:
        config = cast("JsonlConfig", section)
        self._topic_name = context.topic_name
        self._wanted = Selection(config.topics)
        self._names: dict[int, str | None] = {}  # None: not selected
        self._instruments: dict[int, Mapping[str, Any]] = {}
        self._files = RotatingFiles(
            context.directory, file_bytes_max=config.file_bytes_max, files_max=config.files_max
        )
        # Taken and not written yet: a failed write finds them here again.
        self._slices: list[_Slice] = []
        self._dropped: list[Dropped] = []

    def define(self, instrument: int, definition: bytes) -> None:
        self._instruments[instrument] = orjson.loads(definition)

    async def run(self, bursts: BurstSubscription) -> None:
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="tickd-jsonl")
        try:
            while await self._take(bursts):
                write = partial(self._write, self._slices, self._dropped)
                await loop.run_in_executor(thread, write)
                self._slices, self._dropped = [], []
        finally:
            thread.submit(self._files.close)
            await asyncio.to_thread(thread.shutdown)

    async def _take(self, bursts: BurstSubscription) -> bool:
        """Take what comes next, unless something is left; False at the end."""
        while not self._slices:
            batches = await bursts.take_bursts(_TURN_RECORDS)
            self._dropped += bursts.take_dropped()
            if not batches:
                return bool(self._dropped)
            for batch in batches:
                self._choose(batch)
        return True

    def _choose(self, batch: EventBatch) -> None:
        for topic, start, stop in batch.topics:
            if topic not in self._names:
                name = self._topic_name(topic)
                parsed = Topic.parse(name)
                # The node's clock is for strategies: ten lines a second that say nothing else.
                wanted = parsed.channel != "clock" and self._wanted.matches(parsed)
                self._names[topic] = name if wanted else None
            chosen = self._names[topic]
            if chosen is not None:
                self._slices.append(_Slice(chosen, batch, start, stop))

    def _write(self, slices: Sequence[_Slice], dropped: Sequence[Dropped]) -> None:
        """Write everything; in the thread. Raises OSError."""
        rows: list[tuple[int, bytes]] = [
            (row.seq_to, orjson.dumps({"dropped": row._asdict()})) for row in dropped
        ]
        for topic, batch, start, stop in slices:
            for values in as_array(batch)[start:stop].tolist():
                fields = dict(zip(EVENT.names or (), values, strict=True))
                known = self._instruments.get(fields["instrument"])
                line = orjson.dumps(describe_event(topic, fields, known))
                rows.append((values[_SEQ], line))
        rows.sort()  # a batch is grouped by topic; a file is read in the order of the node
        if rows:
            self._files.write(b"".join(line + b"\n" for _, line in rows), rows[0][0])


SINK: Final = JsonlSink
