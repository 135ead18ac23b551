"""Finding or starting the server for `tickd query`; formats are in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.query import EMBEDDED, OutputFormat, connect, query
from recorder.config import ClickHouseConfig
from recorder.embedded.address import read_address
from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.errors import SchemaRefusedError, ServerUnreachableError
from tickd.errors import Action


@pytest.mark.embedded
async def test_without_a_daemon_the_server_lives_for_the_query(tmp_path: Path) -> None:
    pytest.importorskip("chdb")
    async with connect(ClickHouseConfig(url=EMBEDDED), directory=tmp_path) as server:
        assert read_address(tmp_path) is not None
        pieces = [
            p
            async for p in query(
                server,
                "SELECT {a:String} AS a",
                output=OutputFormat.CSV,
                database="default",
                parameters={"a": "x\t\\y\n"},
            )
        ]
    assert b"".join(pieces) == b'"a"\n"x\t\\y\n"\n'
    assert read_address(tmp_path) is None


@pytest.mark.embedded
async def test_a_running_server_is_used(tmp_path: Path) -> None:
    pytest.importorskip("chdb")
    async with (
        EmbeddedClickHouse(tmp_path).serving() as endpoint,
        connect(ClickHouseConfig(url=EMBEDDED), directory=tmp_path) as server,
    ):
        assert server.endpoint == endpoint
        with pytest.raises(SchemaRefusedError) as caught:
            await server.command("SELECT * FROM nope.nope")
        assert caught.value.code == 81
        assert "tickd migrate" in (caught.value.hint or "")


async def test_no_server_is_a_clear_error(unused_tcp_port: int) -> None:
    config = ClickHouseConfig(url=f"http://127.0.0.1:{unused_tcp_port}")
    server = ClickHouse(config)
    with pytest.raises(
        ServerUnreachableError, match=r"no answer from ClickHouse at http://127\.0\.0\.1"
    ) as caught:
        await server.command("SELECT 1")
    await server.close()
    assert caught.value.action is Action.RETRY
    assert caught.value.code is None
