"""Talking to ClickHouse: nothing is sent twice by itself, every failure has the right class."""

from dataclasses import replace

import pytest

from recorder.clickhouse import ClickHouse, error_of
from recorder.config import ClickHouseConfig
from recorder.errors import (
    AccessRefusedError,
    BlockRefusedError,
    SchemaRefusedError,
    ServerBusyError,
    ServerUnreachableError,
)
from tickd.errors import Action
from tickd.native import BlockBuilder
from tickd.testing.events import EventStream
from tickd.testing.faulty_proxy import Fault, FaultyProxy


@pytest.fixture
async def proxy(endpoint):
    port = int(endpoint.url.rpartition(":")[2])
    async with FaultyProxy("127.0.0.1", port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy, endpoint, database):
    client = ClickHouse(
        ClickHouseConfig(database=database, insert_timeout_ms=5_000),
        lambda: replace(endpoint, url=proxy.url),
    )
    yield client
    await client.close()


@pytest.fixture
def block():
    builder = BlockBuilder(node=1)
    builder.push(EventStream(seed=1).batch(3_000))
    return next(block for block in builder.finish() if block.table == "trades")


async def rows(client, table="trades"):
    ((count,),) = await client.query(f"SELECT count() FROM {client.database}.{table}")
    return count


async def without_window(client):
    """A table that would take a repeated body twice."""
    await client.command(
        f"ALTER TABLE {client.database}.trades "
        "MODIFY SETTING non_replicated_deduplication_window = 0"
    )


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("mode", "stored"), [("cut_after", 1), ("cut_before", 0), ("cut_inside", 0)]
)
async def test_a_cut_connection_is_reported_and_not_resent(client, proxy, block, mode, stored):
    await without_window(client)
    proxy.arm(Fault(mode))
    with pytest.raises(ServerUnreachableError) as caught:
        await client.insert_block(block, "token-1")
    assert caught.value.action is Action.RETRY
    assert proxy.seen("INSERT INTO") == 1
    assert await rows(client) == stored * block.rows


@pytest.mark.embedded
async def test_the_same_bytes_with_the_same_token_are_stored_once(client, block):
    for _ in range(3):
        await client.insert_block(block, "token-1")
    assert await rows(client) == block.rows


@pytest.mark.embedded
async def test_a_slow_answer_is_an_open_outcome(client, proxy, endpoint, database, block):
    hasty = ClickHouse(
        ClickHouseConfig(database=database, insert_timeout_ms=300),
        lambda: replace(endpoint, url=proxy.url),
    )
    assert await rows(hasty) == 0
    proxy.arm(Fault("delay"))
    with pytest.raises(ServerUnreachableError):
        await hasty.insert_block(block, "token-1")
    proxy.release()
    await hasty.close()
    await client.insert_block(block, "token-1")
    assert await rows(client) == block.rows


@pytest.mark.embedded
async def test_a_refused_connection_heals_by_itself(client, proxy, block):
    proxy.refuse(refusing=True)
    with pytest.raises(ServerUnreachableError):
        await client.insert_block(block, "token-1")
    proxy.refuse(refusing=False)
    await client.insert_block(block, "token-1")
    assert await rows(client) == block.rows


async def test_a_server_that_is_known_to_be_down_is_not_called():
    client = ClickHouse(ClickHouseConfig(), lambda: None)
    with pytest.raises(ServerUnreachableError, match="not running"):
        await client.query("SELECT 1")


@pytest.mark.embedded
async def test_a_missing_table_is_a_matter_of_the_schema(client, block):
    await client.command(f"DROP TABLE {client.database}.ohlcv_1m_mv")
    await client.command(f"DROP TABLE {client.database}.trades")
    with pytest.raises(SchemaRefusedError) as caught:
        await client.insert_block(block, "token-1")
    assert (caught.value.code, caught.value.hint) == (60, "run: tickd migrate")


@pytest.mark.embedded
async def test_rows_of_slow_tables_go_in_as_json(client):
    row = {"node": 1, "segment": "a", "first_frame": 1, "last_frame": 2, "records": 2, "bytes": 3}
    await client.insert_rows("segments", [row, row | {"segment": "b"}], "token")
    assert await rows(client, "segments") == 2


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (None, "Network Error", ServerUnreachableError),
        (252, "Too many parts (3001 with average size of 1 KiB)", ServerBusyError),
        (252, "Too many partitions for single INSERT block", BlockRefusedError),
        (241, "Memory limit exceeded", ServerBusyError),
        (202, "Too many simultaneous queries", ServerBusyError),
        (159, "Timeout exceeded", ServerUnreachableError),
        (319, "Unknown status", ServerUnreachableError),
        (33, "Cannot read all data", BlockRefusedError),
        (469, "Constraint", BlockRefusedError),
        (60, "Table does not exist", SchemaRefusedError),
        (516, "Authentication failed", AccessRefusedError),
        (9999, "Something new", ServerUnreachableError),
    ],
)
def test_errors_are_told_apart_by_their_code(code, text, kind):
    error = error_of(code, text)
    assert type(error) is kind
    assert error.action is (Action.SKIP if kind is BlockRefusedError else Action.RETRY)
