"""ClickHouse filled with what the sink would have stored of a raw log, without a daemon."""

from __future__ import annotations

from pathlib import Path

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.raw.recover import LogReplay
from recorder.schema.tables import store_instruments
from tickd.native import BlockBuilder, Decoder, RawLogReader

CUT_EVENTS = 400_000


async def fill(server: ClickHouse, directory: Path, *, node: int = 1) -> None:
    """Insert every row of the raw log in `directory`, in blocks, and its instruments."""
    decoder, builder = Decoder(), BlockBuilder(node=node)
    for _, chunk in RawLogReader(str(directory)):
        decoder.decode(chunk)
    definitions = decoder.instruments()
    await store_instruments(server, node=node, definitions=definitions, valid_from_ns=0)
    events = 0
    for part in LogReplay(directory).read(0, 1 << 40):
        for definition in part.definitions:
            builder.define(definition)
        if part.batch is not None:
            builder.push(part.batch)
            events += len(part.batch)
        if events >= CUT_EVENTS:
            await _insert(server, builder, node)
            events = 0
    await _insert(server, builder, node)


async def _insert(server: ClickHouse, builder: BlockBuilder, node: int) -> None:
    for block in builder.finish():
        await server.insert_block(block, f"{node}-{block.table}-{block.day}-{block.hash}")
