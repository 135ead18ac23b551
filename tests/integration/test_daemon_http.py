"""A whole daemon in this process, on a simulated venue: its HTTP port, its status, its tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import VenueConfig
from gateway.servers.config import SimServerConfig
from gateway.servers.process import Addresses
from gateway.servers.sim import serve_sim
from recorder.config import ClickHouseConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.control import ask
from tickd.app.daemon import Daemon
from tickd.app.exit_codes import ExitCode
from tickd.app.http_config import HttpConfig
from tickd.app.wiring import wire
from tickd.clock import SystemClock

VENUE = "binance-usdm"
NOWHERE = "http://127.0.0.1:1"
POLL_S = 0.02


@asynccontextmanager
async def simulated() -> AsyncIterator[Addresses]:
    addresses: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    config = SimServerConfig(symbols=3, rate=3_000, seed=7)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(
            serve_sim(config, SystemClock(), addresses.set_result), name="sim"
        )
        yield await addresses
        serving.cancel()


def config_for(state: Path, where: Addresses, *, ws_url: str | None = None, url: str) -> Config:
    return Config(
        # Without a ClickHouse the end waits for nothing; with one a busy machine may need long.
        node=NodeConfig(
            state_dir=str(state), shutdown_timeout_ms=700 if url == NOWHERE else 15_000
        ),
        clickhouse=ClickHouseConfig(url=url),
        http=HttpConfig(port=0),
        venues=(
            VenueConfig(
                name=VENUE,
                symbols=tuple(where.symbols[VENUE]),
                ws_url=ws_url or where.ws[VENUE],
                rest_url=where.rest[VENUE],
                depth_interval_ms=0,
            ),
        ),
    )


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Daemon, aiohttp.ClientSession]]:
    daemon, stop = Daemon(wire(config)), asyncio.Event()
    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(daemon.run(stop), name="daemon")
        await until(lambda: daemon.http.port)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{daemon.http.port}") as http:
            yield daemon, http
        stop.set()
        code = await task
    # Without ClickHouse the drain cannot end once there is a block: the exit code says so.
    waiting = daemon.parts.storage.sink.blocks_waiting
    assert waiting == 0 or config.clickhouse.url == NOWHERE
    assert code == (ExitCode.FAILED if waiting else ExitCode.OK)


async def until(condition: Callable[[], object]) -> None:
    """Poll what other tasks do in real time."""
    while not (await met if isawaitable(met := condition()) else met):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


async def read(http: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with http.get(path) as reply:
        return reply.status, await reply.text()


async def until_ready(http: aiohttp.ClientSession) -> None:
    async def ready() -> bool:
        return (await read(http, "/readyz"))[0] == 200

    await until(ready)


async def test_readiness_follows_the_sessions_and_metrics_parse(tmp_path: Path) -> None:
    async with simulated() as where, running(config_for(tmp_path, where, url=NOWHERE)) as both:
        daemon, http = both
        assert await read(http, "/healthz") == (200, "ok\n")
        await until_ready(http)
        assert await read(http, "/readyz") == (200, "ready\n")
        await until(lambda: daemon.parts.decoder.topic_count > 5)
        status, text = await read(http, "/metrics")
        assert status == 200
        families = {f.name: f for f in text_string_to_metric_families(text)}
        (connects,) = families["tickd_gateway_connects"].samples
        assert connects.labels == {"venue": VENUE}
        assert connects.value >= 1
        events = families["tickd_gateway_events"].samples
        assert {s.labels["channel"] for s in events} >= {"trade", "quote"}


async def test_before_streaming_the_reason_is_told(tmp_path: Path) -> None:
    async with simulated() as where:
        config = config_for(tmp_path, where, ws_url="ws://127.0.0.1:1", url=NOWHERE)
        async with running(config) as (_, http):
            status, reason = await read(http, "/readyz")
            assert status == 503
            assert reason.startswith(VENUE)

            async def tried() -> bool:
                status, reason = await read(http, "/readyz")
                assert status == 503
                return "connecting" in reason or "waiting" in reason

            await until(tried)


@pytest.mark.proof
@pytest.mark.timeout(120)
@pytest.mark.embedded
async def test_status_and_the_slow_tables_show_every_topic(tmp_path: Path) -> None:
    pytest.importorskip("chdb")
    async with simulated() as where, running(config_for(tmp_path, where, url="embedded")) as both:
        daemon, http = both
        await until_ready(http)
        symbols = set(where.symbols[VENUE])

        async def named() -> bool:
            if not daemon.parts.storage.migrated:
                return False
            rows = await daemon.parts.storage.clickhouse.query(
                "SELECT DISTINCT symbol FROM tickd.trades WHERE symbol != ''"
            )
            return {row[0] for row in rows} == symbols

        await until(named)
        answer = await ask(tmp_path, "status", topics=True)
        assert isinstance(answer, dict)
        # A gate of an earlier daemon in this process has chosen, too.
        chosen = {each["what"]: each["backend"] for each in answer["backends"]}
        assert chosen["indicators"] == "native"
        topics = {row["topic"] for row in answer["topics"]}
        assert {f"trade.{VENUE}.{symbol}" for symbol in symbols} <= topics
        await daemon.parts.storage.books.finish()
        rows = await daemon.parts.storage.clickhouse.query(
            "SELECT DISTINCT topic FROM tickd.topic_lag"
        )
        histograms = await ask(tmp_path, "histograms")
        assert isinstance(histograms, dict)
        bounds = histograms.pop("bounds_ns")
        assert {len(counts) for counts in histograms.values()} == {len(bounds) + 1}
        assert sum(histograms["recv_to_bus"]) > 0
        assert {row[0] for row in rows} >= {*topics, "*"}
