"""Every format stores the same rows: Native, RowBinary and JSONEachRow, on both servers."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.schema.migrate import migrate
from tests.reference.extreme_events import TIMES, extreme_batch
from tickd.native import EVENT_TABLES, SinkWorker, table_columns
from tickd.testing.events import EPOCH_NS

pytestmark = [pytest.mark.proof]

Packing = Literal["none", "gzip", "lz4", "zstd"]
Format = Literal["native", "row_binary", "json"]
# Node numbers tell the ways apart in one table.
WAYS: tuple[tuple[Format, Packing], ...] = (
    ("native", "none"),
    ("native", "zstd"),
    ("row_binary", "none"),
    ("row_binary", "lz4"),
    ("json", "gzip"),
    ("json", "zstd"),
)
# A third of a second before midnight UTC: every table has blocks of two days.
START_NS = EPOCH_NS + 700_000_000


def cut_of(client: ClickHouse, node: int, times: tuple[int, ...]) -> list[Any]:
    worker = SinkWorker(
        node=node, seq_from=0, layout=client.block_format, compression=client.compression
    )
    worker.push(extreme_batch(11, 700, ts_recv_ns=START_NS, times=times))
    worker.cut("test")
    while worker.cuts_pending:
        pass
    blocks = list(worker.take()[0].blocks)
    worker.close()
    return blocks


async def stored(client: ClickHouse, table: str, node: int) -> bytes:
    names = ", ".join(name for name, _ in table_columns(table) if name != "node")
    return await client.command(
        f"SELECT {names} FROM {client.database}.{table} WHERE node = {node} ORDER BY seq"
        " FORMAT RowBinary"
    )


async def test_rows_are_the_same_whatever_they_travelled_in(clickhouse: Any) -> None:
    # The last two hold times that JSON cannot say: their blocks go as they are.
    ways = [(way, TIMES[2:]) for way in WAYS] + [(way, TIMES) for way in (WAYS[0], WAYS[-1])]
    firsts: dict[tuple[str, tuple[int, ...]], bytes] = {}
    for node, ((form, packing), times) in enumerate(ways):
        config = ClickHouseConfig(format=form, compression=packing)
        client = ClickHouse(config, lambda: clickhouse.endpoint)
        await migrate(client)
        blocks = cut_of(client, node, times)
        assert len(blocks) == 2 * len(EVENT_TABLES)
        for block in blocks:
            await client.insert_block(block, f"{node}-{block.table}-{block.day}-{block.hash}")
            # One block is one UTC day: it makes a part in one partition, and so is stored whole.
            (days,) = await client.query(
                f"SELECT groupUniqArray(toDate32(ts_recv)), groupUniqArray(_partition_id)"
                f" FROM {client.database}.{block.table} WHERE node = {node}"
                f" AND seq BETWEEN {block.seq_first} AND {block.seq_last}"
            )
            day = date(1970, 1, 1) + timedelta(days=block.day)
            assert days == ([day.isoformat()], [f"{day:%Y%m%d}"])
        for table in EVENT_TABLES:
            found = await stored(client, table, node)
            assert len(found) > 1_000
            assert found == firsts.setdefault((table, times), found), (form, packing, table)
        await client.close()


async def test_a_repeat_in_another_format_is_the_same_insert(clickhouse: Any) -> None:
    """A crash between two sends, and another format in the configuration at the restart."""
    clients = {
        form: ClickHouse(
            ClickHouseConfig(format=form, compression=packing), lambda: clickhouse.endpoint
        )
        for form, packing in dict(WAYS).items()
    }
    await migrate(clients["native"])
    hashes = set()
    for client in clients.values():
        for block in cut_of(client, 1, TIMES[2:]):
            await client.insert_block(block, f"{block.table}-{block.day}-{block.hash}")
            hashes.add((block.table, block.day, block.hash, block.rows))
    assert len(hashes) == 2 * len(EVENT_TABLES)
    for table, rows in ((t, sum(r for n, _, _, r in hashes if n == t)) for t in EVENT_TABLES):
        (found,) = await clients["json"].query(f"SELECT count(), uniqExact(seq) FROM tickd.{table}")
        assert found == (rows, rows)
    for client in clients.values():
        await client.close()
