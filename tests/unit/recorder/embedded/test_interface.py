"""What the HTTP interface refuses and bounds; what it serves is in tests/integration."""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aiohttp
import pytest
from aiohttp.web import AppRunner, TCPSite

from recorder.embedded.address import PULSE, Address, ping
from recorder.embedded.config import EmbeddedConfig
from recorder.embedded.interface import make_app
from recorder.embedded.supervisor import EmbeddedClickHouse
from tickd.secrets import Secret

if TYPE_CHECKING:
    from recorder.embedded.engine import Engine

pytestmark = [pytest.mark.embedded]


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    pytest.importorskip("chdb")
    config = EmbeddedConfig(body_bytes_max=1 << 20)
    server = EmbeddedClickHouse(tmp_path, config)
    async with (
        server.serving() as endpoint,
        aiohttp.ClientSession(endpoint.url, headers=endpoint.headers) as session,
    ):
        yield session


async def code_of(reply: aiohttp.ClientResponse) -> int:
    async with reply:
        text = await reply.text()
        assert text.startswith("Code: ")
        assert "DB::Exception" in text
        return int(reply.headers["X-ClickHouse-Exception-Code"])


async def test_refusals_have_codes(http: aiohttp.ClientSession) -> None:
    create = {"query": "CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY tuple()"}
    select = {"query": "SELECT 1"}
    insert = {"query": "INSERT INTO t FORMAT RawBLOB"}
    assert await code_of(await http.get("/", params=create)) == 164
    assert await code_of(await http.get("/", params=select, headers={"Origin": "http://x"})) == 497
    assert await code_of(await http.put("/", params=select)) == 48
    assert await code_of(await http.post("/", params=select | {"decompress": "1"})) == 48
    form = aiohttp.FormData({"a": "b"}, default_to_multipart=True)
    assert await code_of(await http.post("/", params=select, data=form)) == 48
    assert await code_of(await http.post("/", data=b"")) == 62
    (await http.post("/", params=create)).release()
    unknown = {"Content-Encoding": "snappy"}
    assert await code_of(await http.post("/", params=insert, data=b"x", headers=unknown)) == 89
    packed = {"Content-Encoding": "gzip"}
    assert await code_of(await http.post("/", params=insert, data=b"x", headers=packed)) == 354
    cut = gzip.compress(bytes(1000))[:-1]
    assert await code_of(await http.post("/", params=insert, data=cut, headers=packed)) == 354
    # A small packed body may be large unpacked: the limit counts what comes out.
    bomb = gzip.compress(bytes(4 << 20))
    assert await code_of(await http.post("/", params=insert, data=bomb, headers=packed)) == 307
    async with http.get("/", params={"query": "SELECT count() FROM t"}) as reply:
        assert await reply.read() == b"0\n"
    members = gzip.compress(b"INSERT INTO t FORMAT TSV\n") + gzip.compress(b"a\n") * 2
    (await http.post("/", data=members, headers=packed)).release()
    async with http.get("/", params={"query": "SELECT count() FROM t"}) as reply:
        assert await reply.read() == b"2\n"


class StuckEngine:
    """Its one thread waits for a lock that another has, as the engine's do in a deadlock."""

    def __init__(self) -> None:
        self.pulses = ThreadPoolExecutor(1)
        self.freed = threading.Event()
        self.pulse_count = 0

    def pulse(self) -> None:
        self.pulse_count += 1
        self.freed.wait(30)


async def test_interface_does_not_answer_for_an_engine_that_hangs() -> None:
    engine = StuckEngine()
    runner = AppRunner(
        make_app(cast("Engine", engine), key=Secret("k"), body_bytes_max=1), shutdown_timeout=1
    )
    await runner.setup()
    try:
        await TCPSite(runner, "127.0.0.1", 0).start()
        address = Address("127.0.0.1", int(runner.addresses[0][1]), os.getpid())
        assert await ping(address)
        for _ in range(3):
            assert not await ping(address, timeout_s=0.2, path=PULSE)
        assert engine.pulse_count == 1, "questions pile up behind the one without an answer"
        engine.freed.set()
        assert await ping(address, path=PULSE)
        assert await ping(address, path=PULSE)
        assert engine.pulse_count >= 2, "an old answer is told again"
    finally:
        engine.freed.set()
        await runner.cleanup()
        engine.pulses.shutdown()


async def test_settings_and_database_do_not_outlive_their_request(
    http: aiohttp.ClientSession,
) -> None:
    async def ask(sql: str, **settings: str) -> str:
        async with http.post("/", params={"query": sql, **settings}) as reply:
            return (await reply.text()).strip()

    shown = "SELECT getSetting('max_block_size'), getSetting('max_memory_usage'), currentDatabase()"
    before = await ask(shown)
    changed = {"max_block_size": "77", "max_memory_usage": "1000000000", "database": "system"}
    assert await ask(shown, **changed) == "77\t1000000000\tsystem"
    assert (await ask("SELECT 1", readonly="1")) == "1"
    assert "UNKNOWN_SETTING" in await ask("SELECT 1", max_block_size="5", nope="1")
    await ask("USE system")
    async with asyncio.TaskGroup() as tasks:  # enough to meet every session
        seen = [tasks.create_task(ask(shown)) for _ in range(24)]
    assert {task.result() for task in seen} == {before}


async def test_body_cut_on_the_way_changes_nothing(http: aiohttp.ClientSession) -> None:
    (await http.post("/", data="CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")).release()
    sql = {"query": "INSERT INTO t FORMAT TSV"}

    async def cut() -> AsyncIterator[bytes]:
        yield b"1\n" * 100_000
        raise ConnectionResetError

    with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
        await http.post("/", params=sql, data=cut())
    async with http.get("/", params={"query": "SELECT count() FROM t"}) as reply:
        assert await reply.read() == b"0\n"


async def test_reader_that_leaves_frees_its_statement(http: aiohttp.ClientSession) -> None:
    endless = {"query": "SELECT number FROM system.numbers FORMAT RowBinary"}
    for _ in range(12):  # more than there are workers
        async with http.get("/", params=endless) as reply:
            await reply.content.readexactly(1 << 20)
            reply.close()
    async with http.get("/", params={"query": "SELECT 1"}) as reply:
        assert await reply.read() == b"1\n"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


async def test_without_the_key_only_the_ping_is_answered(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "http.key"
    key = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    select = {"query": "SELECT 1"}
    url = str(http._base_url)
    async with aiohttp.ClientSession(url) as stranger:

        async def tries(**how: object) -> int:
            reply = await stranger.post("/", **{"params": select, **how})  # type: ignore[arg-type]
            if reply.status == 200:
                return len(await reply.read())
            assert reply.status == 403
            return await code_of(reply)

        async with stranger.get("/ping") as reply:
            assert await reply.text() == "Ok.\n"
        assert await tries() == 516
        assert await tries(headers={"X-ClickHouse-Key": key[:-1]}) == 516
        assert await tries(headers={"X-ClickHouse-Key": key, "X-ClickHouse-User": "root"}) == 516
        assert await tries(headers=basic("default", "é")) == 516
        assert await tries(headers={"Authorization": "Basic nonsense"}) == 516
        assert await code_of(await stranger.get("/", params=select)) == 516
        assert await tries(headers={"X-ClickHouse-Key": key}) == 2
        assert await tries(headers=basic("default", key)) == 2
        assert await tries(params=select | {"user": "default", "password": key}) == 2
