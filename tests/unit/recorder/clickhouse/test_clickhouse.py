"""Talking to ClickHouse: nothing is sent twice by itself, every failure has the right class."""

from dataclasses import replace

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.errors import (
    AccessRefusedError,
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
def database(own_database):
    """Cut connections leave inserts under way, which nobody else may meet."""
    return own_database


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


def reply(status, *headers, body=b"<html><h1>Bad Gateway</h1></html>"):
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("answer", "kind", "outcome", "retry_after_s"),
    [
        (reply(502), ServerUnreachableError, "unknown", None),
        (reply(503, "Retry-After: 7"), ServerBusyError, "unknown", 7.0),
        (reply(429, "Retry-After: 3"), ServerBusyError, "refused", 3.0),
        (reply(413), AccessRefusedError, "refused", None),
        (reply(301, "Location: /elsewhere"), ServerUnreachableError, "refused", None),
        (reply(307, "Location: /elsewhere"), ServerUnreachableError, "refused", None),
        # A portal that says yes to everything.
        (reply(200), ServerUnreachableError, "unknown", None),
        (
            reply(500, "X-ClickHouse-Exception-Code: 241", body=b"Code: 241. DB::Exception: x"),
            ServerBusyError,
            "unknown",
            None,
        ),
        # A proxy that drops the header.
        (
            reply(500, body=b"Code: 202. DB::Exception: Too many simultaneous queries."),
            ServerBusyError,
            "refused",
            None,
        ),
    ],
)
async def test_answers_that_are_no_success(
    client, proxy, block, answer, kind, outcome, retry_after_s
):
    assert await rows(client) == 0  # connected, so that only the insert meets the fault
    await client.insert_block(block, "before")
    proxy.arm(Fault("answer", match="insert_deduplication_token=token-1", answer=answer))
    with pytest.raises(kind) as caught:
        await client.insert_block(block, "token-1")
    assert caught.value.outcome == outcome
    assert caught.value.retry_after_s == retry_after_s
    assert "<" not in str(caught.value)
    assert proxy.seen("insert_deduplication_token=token-1") == 1
    assert await rows(client) == block.rows


@pytest.mark.embedded
async def test_a_connection_that_never_stood_has_sent_nothing(client, proxy, block):
    await client.insert_block(block, "token-1")
    await proxy.__aexit__()
    with pytest.raises(ServerUnreachableError) as cut:
        await client.insert_block(block, "token-2")
    with pytest.raises(ServerUnreachableError) as refused:
        await client.insert_block(block, "token-2")
    assert (cut.value.outcome, refused.value.outcome) == ("unknown", "refused")


@pytest.mark.embedded
async def test_without_deduplication_a_known_token_is_stored_again(client, block):
    await client.insert_block(block, "token-1")
    await client.insert_block(block, "token-1", deduplicate=False)
    assert await rows(client) == 2 * block.rows
    await client.insert_block(block, "token-1")
    assert await rows(client) == 2 * block.rows


@pytest.mark.embedded
async def test_configured_settings_go_with_every_insert_and_question(
    proxy, endpoint, database, block
):
    config = ClickHouseConfig(
        database=database,
        settings={
            "async_insert": True,
            "async_insert_max_data_size": 1_000_000,
            "insert_quorum": 1,
        },
        query_settings={"max_threads": 1},
    )
    client = ClickHouse(config, lambda: replace(endpoint, url=proxy.url))
    for _ in range(2):
        await client.insert_block(block, "token-1")
        await client.insert_rows("segments", [{"node": 1, "segment": "a"}], "token-2")
    assert await rows(client) == block.rows
    assert await rows(client, "segments") == 1
    for setting in ("insert_quorum=1", "async_insert=1", "wait_for_async_insert=1"):
        assert proxy.seen(setting) == 4, setting
    assert proxy.seen("async_insert_max_data_size=1000000") == 4
    assert proxy.seen("max_threads=1") == 2
    await client.close()


@pytest.mark.embedded
async def test_a_setting_that_the_server_does_not_know_is_its_operators_matter(
    endpoint, database, block
):
    config = ClickHouseConfig(database=database, settings={"no_such_setting": 1})
    client = ClickHouse(config, lambda: endpoint)
    with pytest.raises(SchemaRefusedError) as caught:
        await client.insert_block(block, "token-1")
    assert (caught.value.code, caught.value.scope) == (115, "server")
    await client.close()
