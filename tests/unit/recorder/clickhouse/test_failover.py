"""Several servers: a call goes to the one that worked last, and never to two independent ones."""

import pytest

from recorder.clickhouse.answers import error_of
from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.clickhouse.failover import Failover, configured
from recorder.config import ClickHouseConfig
from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.errors import AccessRefusedError, ServerUnreachableError
from recorder.schema.migrate import migrate
from tickd.native import BlockBuilder
from tickd.secrets import Secret
from tickd.testing.events import EventStream
from tickd.testing.faulty_proxy import Fault, FaultyProxy

A, B, C = (Endpoint(f"http://{name}:1") for name in "abc")


@pytest.mark.parametrize(
    ("code", "status", "moves"),
    [
        (None, None, True),  # unreachable
        (None, 503, True),
        (None, 502, True),
        (202, 500, True),
        (241, 500, True),
        (242, 500, True),  # read-only
        (999, 500, True),
        (210, 500, True),
        (159, 408, False),  # slow: the next one is not faster
        (252, 500, False),  # too many parts: every replica has them
        (60, 404, False),
        (516, 403, False),
        (33, 500, False),
    ],
)
def test_it_moves_on_where_another_server_may_do_better(code, status, moves):
    servers = Failover([A, B])
    servers.failed(A, error_of(code, "x", status=status))
    assert servers.current == (B if moves else A)


def test_it_stays_where_it_works_and_goes_round():
    servers, away = Failover([A, B, C]), ServerUnreachableError("x")
    for _ in range(3):  # several calls that failed together
        servers.failed(A, away)
    assert (servers.current, servers.moves) == (B, 1)
    servers.failed(B, away)
    servers.failed(C, away)
    assert (servers.current, servers.moves) == (A, 3)


def test_a_server_that_asks_to_wait_lets_the_others_work():
    servers = Failover([A, B])
    waits = [error_of(None, "x", status=503, retry_after_s=60.0) for _ in range(4)]
    servers.failed(A, waits[0])
    servers.failed(A, waits[1])  # was under way at the same time
    servers.failed(B, waits[2])  # now all of them have asked
    servers.worked()
    servers.failed(A, waits[3])
    assert [each.retry_after_s for each in waits] == [None, None, 60.0, None]
    alone = error_of(None, "x", status=503, retry_after_s=60.0)
    Failover([A]).failed(A, alone)
    assert alone.retry_after_s == 60.0


def test_a_single_server_stays_the_one():
    servers = Failover([A])
    servers.failed(A, ServerUnreachableError("x"))
    assert (servers.current, servers.moves) == (A, 0)


def test_who_logs_in_and_how():
    config = ClickHouseConfig(
        url="https://a:1", user_secret=Secret("recorder"), cert_file="c.pem", verify=False
    )
    (endpoint,) = configured(config)
    assert endpoint.headers == {
        "X-ClickHouse-User": "recorder",
        "X-ClickHouse-SSL-Certificate-Auth": "on",
    }
    config = ClickHouseConfig(url="https://a:1", password=Secret("p"), cert_file="c.pem")
    (endpoint,) = configured(config)
    assert endpoint.headers == {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "p"}


@pytest.fixture
def block():
    builder = BlockBuilder(node=1)
    builder.push(EventStream(seed=1).batch(1_000))
    return next(block for block in builder.finish() if block.table == "trades")


def client_of(endpoint, database, *urls):
    config = ClickHouseConfig(
        url=urls, replicas=True, database=database, password=endpoint.password
    )
    return ClickHouse(config)


async def rows(client):
    ((count,),) = await client.query(f"SELECT count() FROM {client.database}.trades")
    return count


@pytest.mark.embedded
async def test_a_repeat_after_an_open_outcome_goes_elsewhere_and_is_stored_once(
    endpoint, database, block
):
    port = int(endpoint.url.rpartition(":")[2])
    async with FaultyProxy("127.0.0.1", port) as one, FaultyProxy("127.0.0.1", port) as two:
        client = client_of(endpoint, database, one.url, two.url)
        one.arm(Fault("cut_after", match="insert_deduplication_token"))
        with pytest.raises(ServerUnreachableError) as caught:
            await client.insert_block(block, "token-1")
        assert caught.value.outcome == "unknown"
        await client.insert_block(block, "token-1")
        assert (one.seen("deduplication_token"), two.seen("deduplication_token")) == (1, 1)
        assert await rows(client) == block.rows
        two.refuse(refusing=True)
        with pytest.raises(ServerUnreachableError):
            await client.insert_block(block, "token-1")
        for _ in range(2):  # and stays with what works
            await client.insert_block(block, "token-1")
        assert await rows(client) == block.rows
        await client.close()


@pytest.mark.embedded
async def test_independent_servers_are_found_out_before_anything_is_stored_twice(
    endpoint, database, block, tmp_path
):
    key = tmp_path / "http.key"  # the same one, as one configuration has one password
    key.write_text(endpoint.password.reveal())
    key.chmod(0o600)
    async with EmbeddedClickHouse(tmp_path).serving() as stranger:
        other = ClickHouse(ClickHouseConfig(database=database), lambda: stranger)
        await migrate(other)
        port = int(endpoint.url.rpartition(":")[2])
        async with FaultyProxy("127.0.0.1", port) as one:
            client = client_of(endpoint, database, one.url, stranger.url)
            one.arm(Fault("cut_after", match="insert_deduplication_token"))
            with pytest.raises(ServerUnreachableError):
                await client.insert_block(block, "token-1")
            with pytest.raises(AccessRefusedError, match="independent servers"):
                await client.insert_block(block, "token-1")
            await client.close()
        assert await rows(other) == 0
        await other.close()
