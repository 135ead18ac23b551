"""The supervisor with real children, which must never outlive a test."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.clickhouse.query import find_embedded
from recorder.config import ClickHouseConfig
from recorder.embedded.address import Address, ping, read_address, write_address
from recorder.embedded.config import EmbeddedConfig
from recorder.embedded.errors import EmbeddedError, EmbeddedMissingError
from recorder.embedded.supervisor import EmbeddedClickHouse
from tickd.secrets import Secret

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
]

ROOT = Path(__file__).resolve().parents[4]
DAEMON = ROOT / "tests/servers/embedded_daemon.py"


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Poll another process: there is no clock of ours to move."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[ClickHouse]:
    server = ClickHouse(ClickHouseConfig(), lambda: endpoint)
    try:
        yield server
    finally:
        await server.close()


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def lock_is_free(directory: Path) -> bool:
    with (directory / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


async def test_url_answers_and_the_file_names_it_until_the_stop(tmp_path: Path) -> None:
    server = EmbeddedClickHouse(tmp_path / "ch")
    assert server.endpoint is None
    async with server.serving() as endpoint:
        address = read_address(tmp_path / "ch")
        assert address is not None
        assert address.url == endpoint.url
        assert endpoint == server.endpoint
        assert address.pid == server.pid
        assert await find_embedded(tmp_path / "ch") == endpoint
        pid = address.pid
        assert (tmp_path / "ch").stat().st_mode & 0o777 == 0o700
        async with connected(endpoint) as server_:
            assert await server_.command("SELECT 1") == b"1\n"
    assert server.endpoint is None
    assert ended(pid)
    assert read_address(tmp_path / "ch") is None
    assert lock_is_free(tmp_path / "ch")


async def test_a_stale_file_is_not_taken_for_a_server(tmp_path: Path) -> None:
    async with EmbeddedClickHouse(tmp_path / "ch").serving():
        address = read_address(tmp_path / "ch")
        assert address is not None
        reused = Address(address.host, address.port, address.pid + 1)
        assert not await ping(reused)
    write_address(tmp_path / "ch", address)
    assert await find_embedded(tmp_path / "ch") is None
    (tmp_path / "ch" / "http.json").write_text("{")
    assert read_address(tmp_path / "ch") is None


async def test_signals_to_the_whole_group_do_not_end_the_child(tmp_path: Path) -> None:
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, str(DAEMON), str(tmp_path / "ch"), stdout=-1, start_new_session=True
    )
    try:
        assert daemon.stdout is not None
        said = json.loads(await daemon.stdout.readline())
        os.killpg(daemon.pid, signal.SIGINT)  # Ctrl-C of a terminal
        for one in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            os.kill(said["pid"], one)  # a signal to the whole cgroup
        endpoint = Endpoint(said["url"], password=Secret(said["key"]), embedded=True)
        async with connected(endpoint) as server:
            assert await server.command("SELECT 1") == b"1\n"
        assert daemon.returncode is None
    finally:
        daemon.kill()
        await daemon.wait()
    await until(lambda: ended(said["pid"]))


async def test_kill_9_of_the_daemon_ends_the_child_and_frees_the_lock(tmp_path: Path) -> None:
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, str(DAEMON), str(tmp_path / "ch"), stdout=-1
    )
    assert daemon.stdout is not None
    try:
        said = json.loads(await daemon.stdout.readline())
    finally:
        daemon.kill()
        await daemon.wait()
    await until(lambda: ended(said["pid"]))
    # The first thread of a process may be gone before the others, which still hold its files.
    await until(lambda: lock_is_free(tmp_path / "ch"))


async def test_second_server_on_a_directory_is_refused_with_the_holder(tmp_path: Path) -> None:
    impatient = EmbeddedConfig(lock_timeout_ms=200)
    async with EmbeddedClickHouse(tmp_path / "ch").serving():
        address = read_address(tmp_path / "ch")
        assert address is not None
        with pytest.raises(EmbeddedError, match=f"in use by the server with pid {address.pid}"):
            async with EmbeddedClickHouse(tmp_path / "ch", impatient).serving():
                pass
        assert await ping(address)
        assert read_address(tmp_path / "ch") == address


async def test_new_server_waits_for_the_lock_of_an_orphan(tmp_path: Path) -> None:
    second = EmbeddedClickHouse(tmp_path / "ch")
    async with asyncio.TaskGroup() as tasks:
        async with EmbeddedClickHouse(tmp_path / "ch").serving():
            running = tasks.create_task(second.run())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await second.ready()
        async with asyncio.timeout(10):
            await second.ready()
        running.cancel()


async def test_killed_child_comes_back_with_its_url_and_its_rows(tmp_path: Path) -> None:
    server = EmbeddedClickHouse(tmp_path / "ch")
    async with server.serving() as endpoint, connected(endpoint) as statements:
        await statements.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
        await statements.command("INSERT INTO t FORMAT TSV\n1\n")
        killed = server.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: server.endpoint is None)
        async with asyncio.timeout(10):
            assert await server.ready() == endpoint
        assert server.pid != killed
        assert server.restarts == 1
        assert server.last_fault is not None
        assert "SIGKILL" in server.last_fault
        assert await statements.command("SELECT a FROM t") == b"1\n"


async def test_child_that_hangs_is_replaced_and_keeps_its_url_and_its_rows(tmp_path: Path) -> None:
    server = EmbeddedClickHouse(tmp_path / "ch", EmbeddedConfig(hang_timeout_ms=2_000))
    async with server.serving() as endpoint, connected(endpoint) as statements:
        await statements.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
        await statements.command("INSERT INTO t FORMAT TSV\n1\n")
        hung = server.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        # Nobody sends there any more, well before it is given up.
        await until(lambda: server.endpoint is None)
        assert server.pid == hung
        assert server.hangs == 0
        async with asyncio.timeout(20):
            assert await server.ready() == endpoint
        assert server.pid != hung
        assert ended(hung)
        assert (server.hangs, server.restarts) == (1, 1)
        assert server.last_fault == "the server gave no answer for 2 s and was killed"
        assert await statements.command("SELECT a FROM t") == b"1\n"


async def test_pause_shorter_than_a_hang_ends_nothing(tmp_path: Path) -> None:
    server = EmbeddedClickHouse(tmp_path / "ch", EmbeddedConfig(hang_timeout_ms=6_000))
    async with server.serving() as endpoint:
        paused = server.pid
        assert paused is not None
        os.kill(paused, signal.SIGSTOP)
        try:
            await until(lambda: server.endpoint is None)
        finally:
            os.kill(paused, signal.SIGCONT)
        async with asyncio.timeout(10):
            assert await server.ready() == endpoint
        assert (server.pid, server.hangs, server.restarts) == (paused, 0, 0)


async def test_all_workers_at_long_work_are_no_hang(tmp_path: Path) -> None:
    config = EmbeddedConfig(hang_timeout_ms=1_500, workers=4)
    server = EmbeddedClickHouse(tmp_path / "ch", config)
    async with server.serving() as endpoint, connected(endpoint) as statements:
        await statements.command("CREATE TABLE t (a Int64, b String) ENGINE = MergeTree ORDER BY b")
        child = server.pid
        long = (
            "SELECT max(sipHash64(number, toString(number))) FROM numbers(60_000_000)",
            ("SELECT sum(sleepEachRow(0.5)) FROM numbers(12) SETTINGS max_block_size = 1"),
            "INSERT INTO t SELECT number, hex(sipHash128(number)) FROM numbers(3_000_000)",
            "OPTIMIZE TABLE t FINAL",
        )
        started = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for statement in long:
                tasks.create_task(statements.command(statement))
        assert asyncio.get_running_loop().time() - started > 3 * 1.5
        assert (server.pid, server.hangs, server.restarts) == (child, 0, 0)


async def test_stop_lets_a_running_statement_finish(tmp_path: Path) -> None:
    async with (
        EmbeddedClickHouse(tmp_path / "ch").serving() as endpoint,
        connected(endpoint) as statements,
    ):
        await statements.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                statements.command(
                    "INSERT INTO t SELECT sleepEachRow(0.2) FROM numbers(5)"
                    " SETTINGS max_block_size = 1"
                )
            )
            while b"sleepEachRow(0.2)" not in await statements.command(
                "SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%'"
            ):
                pass
            address = read_address(tmp_path / "ch")
            assert address is not None
            os.kill(address.pid, signal.SIGTERM)
    async with (
        EmbeddedClickHouse(tmp_path / "ch").serving() as endpoint,
        connected(endpoint) as statements,
    ):
        assert await statements.command("SELECT count() FROM t") == b"5\n"


def test_missing_chdb_is_named_with_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedMissingError, match="chdb") as caught:
        EmbeddedClickHouse(tmp_path)
    assert caught.value.hint is not None
    assert "tickd[embedded]" in caught.value.hint
    assert "clickhouse.url" in caught.value.hint


async def test_child_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "ch").mkdir()
    (tmp_path / "ch" / "data").write_text("in the way")
    with pytest.raises(EmbeddedError, match="before it was ready"):
        async with EmbeddedClickHouse(tmp_path / "ch").serving():
            pass


async def test_who_can_do_without_it_goes_on_and_gets_it_later(tmp_path: Path) -> None:
    directory = tmp_path / "ch"
    directory.write_text("in the way")
    server = EmbeddedClickHouse(directory, EmbeddedConfig(backoff_ms_min=50, backoff_ms_max=100))
    async with server.keeping():
        assert server.endpoint is None
        await until(lambda: server.restarts >= 2)
        assert "cannot be started" in (server.last_fault or "")
        directory.unlink()
        async with asyncio.timeout(15):
            assert (await server.ready()).url


async def test_child_does_not_import_the_daemon(tmp_path: Path) -> None:
    async with EmbeddedClickHouse(tmp_path / "ch").serving():
        address = read_address(tmp_path / "ch")
        assert address is not None
        maps = Path(f"/proc/{address.pid}/maps").read_text()  # noqa: ASYNC240
    assert "_chdb" in maps
    for heavy in ("pyarrow", "pandas", "uvloop", "_native", "picows"):
        assert heavy not in maps


@pytest.mark.parametrize(
    "fields",
    [
        {"port": 70_000},
        {"workers": 1},
        {"memory_bytes_max": 1},
        {"query_memory_bytes_max": 8 << 30},
        {"hang_timeout_ms": 0},
        {"backoff_ms_min": 0},
        {"backoff_ms_min": 20_000},
    ],
)
def test_config_refuses_what_cannot_work(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"port|workers|memory|hang|backoff"):
        EmbeddedConfig(**fields)
