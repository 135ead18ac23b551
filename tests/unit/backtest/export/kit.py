"""Rows for tests of exporters: every table, from random events, as a `RowSource` of any cutting.

The oracle of their values is `tests/reference/native_block.py`, which reads the same blocks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from recorder.clickhouse.native_format import read_block as columns_of
from recorder.raw.log_rows import definition_of
from tests.reference.native_block import read_block
from tickd.native import BlockBuilder, Decoder, EventBatch
from tickd.rows import Cut, Damage, Definition, SourceFacts, TableRows, joined
from tickd.testing.events import EventStream

NODE = 7


def defined(stream: EventStream) -> dict[int, Definition]:
    """The stream's instruments under their true ids."""
    decoder = Decoder()
    for number, text in enumerate(stream.definition_bytes(), 1):
        decoder.decode(b"%d 0 0 0 C %d %s\n" % (number, len(text), text))
    return {each: definition_of(each, json.loads(text)) for each, text in decoder.instruments()}


class BlockRows:
    """A `RowSource` of random batches; `oracle` holds the same rows as plain Python."""

    name = "raw"

    def __init__(self, seed: int, *, batches: int = 6, frames: int = 120) -> None:
        stream = EventStream(seed)
        self.definitions = defined(stream)
        ids = sorted(self.definitions)
        self._batches: list[EventBatch] = [stream.batch(frames, ids) for _ in range(batches)]
        self._texts = stream.definition_bytes()
        self.per_cut = 1
        self.damaged: list[Damage] = []
        self.oracle: dict[str, list[dict]] = {}
        for block in self._blocks(self._batches):
            self.oracle.setdefault(block.table, []).extend(read_block(memoryview(block))[2])
        for rows in self.oracle.values():
            rows.sort(key=lambda row: row["seq"])

    def _blocks(self, batches: Sequence[EventBatch]):
        builder = BlockBuilder(node=NODE)
        for text in self._texts:
            builder.define(text)
        for batch in batches:
            builder.push(batch)
        return builder.finish()

    async def facts(self) -> SourceFacts:
        stamps = [row["ts_recv"] for rows in self.oracle.values() for row in rows]
        return SourceFacts(NODE, self.definitions, min(stamps), max(stamps))

    async def cuts(
        self, tables: Sequence[str], from_ns: int, to_ns: int, instruments: Sequence[int] | None
    ) -> AsyncIterator[Cut]:
        for at in range(0, len(self._batches), self.per_cut):
            cut: dict[str, list[TableRows]] = {}
            for block in self._blocks(self._batches[at : at + self.per_cut]):
                rows = TableRows(block.table, columns_of(memoryview(block)))
                stamps = rows.integers("ts_recv")
                rows = rows.take((stamps >= from_ns) & (stamps < to_ns))
                if len(rows) and block.table in tables:
                    cut.setdefault(block.table, []).append(rows)
            yield [joined(parts).in_order() for parts in cut.values()]

    def damage(self) -> Sequence[Damage]:
        return self.damaged
