"""The queue before PostgreSQL and a server that is not there; the real one is in tests/proof."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator

import pytest

from recorder.probes.config import PostgresConfig
from recorder.probes.postgres import (
    PostgresFaultError,
    connected,
    read_postgres_migrations,
    require_library,
)
from recorder.probes.rows import Key, Reading
from recorder.probes.sink import ProbeSink
from tickd.errors import TickdError
from tickd.testing.clock import ManualClock


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def sink_of(clock: ManualClock, port: int, **settings: object) -> ProbeSink:
    total = 0

    def read() -> list[Reading]:
        nonlocal total
        total += 1
        return [Reading(Key("recv_to_bus"), [(10, total)])]

    config = PostgresConfig(enabled=True, port=port, timeout_ms=50, **settings)  # type: ignore[arg-type]
    return ProbeSink(config, node=1, read=read, clock=clock, random=lambda: 1.0)


def test_rows_that_wait_are_bounded_and_the_oldest_go() -> None:
    sink = sink_of(ManualClock(), 1, queue_rows_max=3)
    for _ in range(5):
        sink.collect()
    assert (sink.rows_waiting, sink.rows_dropped) == (3, 2)


async def test_a_server_that_is_away_is_asked_again_and_nothing_ends() -> None:
    pytest.importorskip("asyncpg", reason="tickd[postgres]")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clock = ManualClock()
    sink = sink_of(clock, port)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(sink.run())
        async with asyncio.timeout(10):
            while sink.failures < 3:
                await clock.advance(60)
                await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
    assert not sink.is_up
    assert sink.fault is not None
    assert sink.rows_waiting > 3


async def test_a_server_that_says_nothing_does_not_hold_anybody(listener: socket.socket) -> None:
    pytest.importorskip("asyncpg", reason="tickd[postgres]")
    config = PostgresConfig(port=listener.getsockname()[1], timeout_ms=20, ssl="disable")
    with pytest.raises(PostgresFaultError, match=r"postgres at 127\.0\.0\.1"):
        async with connected(config):
            pass


def test_without_asyncpg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(TickdError, match="not installed") as raised:
        require_library()
    assert raised.value.hint is not None
    assert "tickd[postgres]" in raised.value.hint


def test_migrations_are_numbered_without_a_hole() -> None:
    files = read_postgres_migrations()
    assert [file.number for file in files] == list(range(1, len(files) + 1))


@pytest.mark.parametrize(
    "settings",
    [
        {"host": ""},
        {"schema": "Public; DROP"},
        {"port": 0},
        {"interval_ms": 1},
        {"queue_rows_max": 0},
        {"timeout_ms": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PostgresConfig(**settings)  # type: ignore[arg-type]
