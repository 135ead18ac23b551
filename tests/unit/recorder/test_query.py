"""Finding or starting the server for `tickd query`; formats are in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.embedded.address import read_address
from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.query import EMBEDDED, OutputFormat, connect, query
from recorder.statements import ServerError, Statements
from tickd.errors import Action


@pytest.mark.embedded
async def test_without_a_daemon_the_server_lives_for_the_query(tmp_path: Path) -> None:
    pytest.importorskip("chdb")
    async with connect(EMBEDDED, directory=tmp_path) as server:
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
        EmbeddedClickHouse(tmp_path).serving() as url,
        connect(EMBEDDED, directory=tmp_path) as server,
    ):
        assert server.url == url
        with pytest.raises(ServerError) as caught:
            await server.run("SELECT * FROM nope.nope")
        assert caught.value.code == 81
        assert "tickd migrate" in (caught.value.hint or "")


async def test_no_server_is_a_clear_error(unused_tcp_port: int) -> None:
    async with Statements(f"http://127.0.0.1:{unused_tcp_port}") as server:
        with pytest.raises(
            ServerError, match=r"no answer from ClickHouse at http://127\.0\.0\.1"
        ) as caught:
            await server.run("SELECT 1")
    assert caught.value.action is Action.RETRY
    assert caught.value.code is None
