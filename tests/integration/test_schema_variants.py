"""The schema's variants against both servers: what can run runs, the rest is parsed by them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig, SchemaConfig
from recorder.errors import ClickHouseError
from recorder.schema.ddl import adapted
from recorder.schema.migrate import ddl_directory, migrate, read_migrations
from recorder.schema.tiering import align
from tickd.native import DERIVED_TABLES, EVENT_TABLES, BlockBuilder
from tickd.testing.events import EventStream

Connect = Callable[..., ClickHouse]
PLACES = {"database": "tickd", "user": "default", "password": ""}


@pytest.fixture
async def connect(clickhouse: Any) -> AsyncIterator[Callable[..., ClickHouse]]:
    """Connections by their schema section; all are closed at the end."""
    clients: list[ClickHouse] = []

    def connected(**schema: Any) -> ClickHouse:
        config = ClickHouseConfig(schema=SchemaConfig(**schema))
        clients.append(ClickHouse(config, lambda: clickhouse.endpoint))
        return clients[-1]

    yield connected
    for client in clients:
        await client.close()


async def test_the_statements_of_a_cluster_parse_and_their_settings_exist(connect: Connect) -> None:
    """Replicated tables need a Keeper, which neither server has: they are read, not run."""
    client = connect()
    schema = SchemaConfig(
        engine="replicated", cluster="prod", distributed=True, storage_policy="tiered"
    )
    made = [
        each
        for migration in read_migrations(ddl_directory())
        for statement in migration.statements(PLACES)
        for each in adapted(statement, schema)
    ]
    assert len(made) > 50
    settings: set[str] = set()
    for statement in made:
        formatted = await client.query("SELECT formatQuery({text:String})", {"text": statement})
        assert "ON CLUSTER prod" in re.sub("[`']", "", str(formatted[0][0]))
        tail = statement.rpartition("\nSETTINGS ")[2] if "\nSETTINGS " in statement else ""
        settings.update(re.findall(r"(\w+) = ", tail))
    known = await client.query("SELECT name FROM system.merge_tree_settings")
    assert settings <= {str(row[0]) for row in known}
    assert "replicated_deduplication_window_seconds" in settings


async def test_every_view_reads_every_value_of_its_table(connect: Connect) -> None:
    client = connect()
    await migrate(client)
    for table in EVENT_TABLES:
        for name, kind in await client.query(
            f"SELECT name, type FROM system.columns WHERE database = 'tickd' AND table = '{table}'"
            " AND startsWith(type, 'Enum8') AND default_kind = ''"
        ):
            values = re.findall(r"'(\w+)' = ", str(kind))
            rows = ", ".join(f"('{value}')" for value in values)
            await client.command(f"INSERT INTO tickd.{table} ({name}) VALUES {rows}")
            found = await client.query(f"SELECT DISTINCT toString({name}) FROM tickd.{table}_v")
            assert {row[0] for row in found} == set(values), table
        assert await client.query(f"SELECT * FROM tickd.{table}_v WHERE node = 9") == []


async def ttl(client: ClickHouse, table: str) -> str:
    ((engine,),) = await client.query(
        f"SELECT engine_full FROM system.tables WHERE database = 'tickd' AND name = '{table}'"
    )
    found = re.search(r" TTL (.+?) SETTINGS", str(engine))
    return found[1] if found else ""


async def test_a_ttl_comes_changes_and_goes_with_the_configuration(connect: Connect) -> None:
    plain = connect()
    await migrate(plain)
    assert await align(plain) == []
    kept = connect(ttl_days=400)
    await migrate(kept)
    assert await ttl(kept, "trades") == "toDateTime(ts_recv) + toIntervalDay(400)"
    assert await align(kept) == []  # the server writes it as we do
    assert await ttl(kept, "ohlcv_1m") == ""
    tiered = connect(
        ttl_days=90, storage_policy="default", cold_after_days=7, cold_volume="default"
    )
    assert await align(tiered) == sorted((*EVENT_TABLES, *DERIVED_TABLES))
    assert "TO VOLUME 'default', toDateTime(ts_recv) + toIntervalDay(90)" in await ttl(
        tiered, "book"
    )
    assert await align(tiered) == []
    assert await align(plain) == []  # silence changes nothing
    assert await align(connect(ttl_days=0)) == sorted((*EVENT_TABLES, *DERIVED_TABLES))
    assert await ttl(plain, "book") == ""
    with pytest.raises(ClickHouseError):
        await align(connect(storage_policy="nowhere"))


async def test_expired_days_go_whole_and_bars_stay(connect: Connect) -> None:
    client = connect(ttl_days=30)
    await migrate(client)
    stream = EventStream(seed=1)
    stream.ts_recv = 1_723_161_599 * 10**9  # 2024-08-08T23:59:59Z
    builder = BlockBuilder(node=1, tables=["trades"])
    builder.push(stream.batch(3_000))
    blocks = builder.finish()
    assert len(blocks) == 2
    for block in blocks:
        await client.insert_block(block, f"{block.day}-{block.hash}")
    await client.command("OPTIMIZE TABLE tickd.trades FINAL")
    ((trades,),) = await client.query("SELECT count() FROM tickd.trades")
    ((in_bars,),) = await client.query("SELECT sum(trades) FROM tickd.ohlcv_1h")
    assert (trades, in_bars) == (0, sum(block.rows for block in blocks))
    # A later start makes no bar anew from what is left of the trades.
    await migrate(client, node=1)
    assert await client.query("SELECT sum(trades) FROM tickd.ohlcv_1h") == [(in_bars,)]
