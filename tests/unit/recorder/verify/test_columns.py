"""A row's value from events equals its value by SQL, for every table; every column counts."""

from __future__ import annotations

import numpy as np
import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.verify.columns import Scales, rows_of, value_sql
from tickd.events import EVENT, as_array
from tickd.native import EVENT_TABLES, BlockBuilder, table_columns
from tickd.testing.events import EventStream

pytestmark = pytest.mark.embedded
NODE = 3


@pytest.fixture
async def client(endpoint, database):
    client = ClickHouse(ClickHouseConfig(database=database), lambda: endpoint)
    yield client
    await client.close()


async def stored(client, table):
    rows = await client.query(
        f"SELECT seq, {value_sql(table)} FROM {client.database}.{table} WHERE node = {NODE}"
    )
    return {int(seq): int(value) for seq, value in rows}


async def test_every_row_has_the_value_that_its_events_give(client):
    stream = EventStream(seed=5)
    builder = BlockBuilder(node=NODE)
    events = []
    for _ in range(8):
        batch = stream.batch(200)
        builder.push(batch)
        events.append(as_array(batch).copy())
    for number, block in enumerate(builder.finish()):
        await client.insert_block(block, f"columns-{number}")
    wanted = rows_of(np.concatenate(events), Scales({}))
    assert set(wanted) == set(EVENT_TABLES)
    for table in EVENT_TABLES:
        rows = dict(zip(wanted[table].seq.tolist(), wanted[table].value.tolist(), strict=True))
        assert await stored(client, table) == rows, table
        assert len(rows) == stream.rows[table]


async def test_any_changed_column_changes_the_value(client):
    """Each column of each table in turn, also a level's place in its list."""
    stream = EventStream(seed=6)
    builder = BlockBuilder(node=NODE)
    builder.push(stream.batch(300))
    for number, block in enumerate(builder.finish()):
        await client.insert_block(block, f"change-{number}")
    for table in EVENT_TABLES:
        names = [name for name, _ in table_columns(table) if name not in ("node", "seq")]
        expression = value_sql(table)
        for name in names:
            other = f"arrayReverse({name})" if "Array" in dict(table_columns(table))[name] else None
            kind = f"toTypeName({name})"
            other = other or f"if(toInt64({name}) = 1, CAST(2, {kind}), CAST(1, {kind}))"
            condition = f"length(arrayDistinct({name})) > 1 AND {name} != arrayReverse({name})"
            where = condition if other.startswith("array") else "1"
            rows = await client.query(
                "SELECT count(), countIf(a = b) FROM"
                f" (SELECT {expression} AS a, seq FROM {client.database}.{table} WHERE {where}) x"
                f" JOIN (SELECT {expression} AS b, seq FROM"
                f" (SELECT * REPLACE({other} AS {name}) FROM {client.database}.{table}"
                f" WHERE {where})) y USING seq"
            )
            count, same = (int(value) for value in rows[0])
            assert count > 0, (table, name)
            assert same == 0, (table, name)


def test_a_one_sided_quote_is_a_row_of_its_own():
    events = np.zeros(4, EVENT)
    events["kind"] = 2
    events["seq"] = np.arange(4) << 16
    events["side"] = [ord("B"), ord("A"), ord("A"), ord("B")]
    events["flags"] = [0, 0x80, 0x80, 0x80]
    rows = rows_of(events, Scales({}))["quotes"]
    assert rows.seq.tolist() == [0, 2 << 16, 3 << 16]


def test_rows_in_left_out_ranges_are_not_expected():
    events = np.zeros(4, EVENT)
    events["kind"] = 1
    events["seq"] = [10, 20, 30, 40]
    rows = rows_of(events, Scales({}))["trades"].without([(15, 20), (40, 50)])
    assert rows.seq.tolist() == [10, 30]
