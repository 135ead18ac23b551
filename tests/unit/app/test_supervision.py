"""When READY is said and when a ping is not, to a real socket, of a daemon that is wired only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import VenueConfig
from recorder.config import ClickHouseConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.notifying import Notifier
from tickd.app.parts import Parts
from tickd.app.supervision import Figures, Supervision, Supervisor, quantile, status_line
from tickd.app.wiring import wire
from tickd.telemetry.latency_bounds import BOUNDS_NS

S = 1_000_000_000
WAIT_S = 20.0
VENUE = VenueConfig(name="binance-usdm", symbols=("BTCUSDT",), channels=("trade",))


class Heard:
    """A supervisor that reads its socket when it is asked."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def lines(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                found += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def heard(tmp_path: Path):
    heard = Heard(tmp_path / "notify")
    yield heard
    heard.close()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A daemon with one venue that is never connected."""
    config = Config(
        node=NodeConfig(state_dir=str(tmp_path / "state"), venues_wait_seconds=WAIT_S),
        clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
        venues=(VENUE,),
    )
    parts = wire(config)
    yield parts
    parts.halting.stop()
    parts.tap.finish()
    parts.tap.detach()
    parts.raw_log.close()
    parts.storage.rebuilding.close()


def supervised(parts: Parts, heard: Heard, period_s: float = 30.0) -> Supervision:
    return Supervision(parts, Supervisor(Notifier(heard.path), period_s))


async def test_ready_waits_for_the_venue_and_asks_for_time(parts: Parts, heard: Heard) -> None:
    supervision = supervised(parts, heard)
    supervision.turn(parts.clock.mono_ns())
    lines = heard.lines()
    assert "READY=1" not in lines
    assert "STATUS=waiting for binance-usdm: instruments" in lines
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in lines)


async def test_venue_that_does_not_come_is_declared_degraded(parts: Parts, heard: Heard) -> None:
    supervision = supervised(parts, heard)
    supervision.turn(parts.clock.mono_ns() + int(WAIT_S * S))
    lines = heard.lines()
    assert "READY=1" in lines
    assert supervision.degraded == ("binance-usdm: instruments",)
    assert any(line.startswith("STATUS=0/1 feeds live") for line in lines)
    supervision.turn(parts.clock.mono_ns() + int((WAIT_S + 1) * S))
    assert "READY=1" not in heard.lines(), "said twice"


async def test_ping_every_third_of_the_period_while_it_gets_on(parts: Parts, heard: Heard) -> None:
    supervision = supervised(parts, heard, period_s=30.0)
    begin = parts.clock.mono_ns()
    pings = []
    for second in range(31):
        supervision.turn(begin + second * S)
        pings.append(heard.lines().count("WATCHDOG=1"))
    assert sum(pings) == 4
    assert [second for second, count in enumerate(pings) if count] == [0, 10, 20, 30]


async def test_no_ping_while_the_tap_stands_still(parts: Parts, heard: Heard) -> None:
    supervision = supervised(parts, heard)
    now = parts.clock.mono_ns() + int(WAIT_S * S)  # READY is said
    supervision.turn(now)
    heard.lines()
    # Frames that no burst ends: the loop never runs what would end it.
    connection = parts.raw_log.next_connection()
    parts.raw_log.frame(connection, b"{}")
    supervision.turn(now + 10 * S)
    assert "WATCHDOG=1" in heard.lines(), "it may be of this very turn"
    supervision.turn(now + 20 * S)
    lines = heard.lines()
    assert "WATCHDOG=1" not in lines
    assert any(line.endswith("tap stands still") for line in lines)
    assert parts.watchdog.withheld_total["tap"] == 1
    parts.tap.frame(connection, b"{}")
    await asyncio.sleep(0)
    supervision.turn(now + 30 * S)
    assert "WATCHDOG=1" in heard.lines(), "it got on"


async def test_nothing_but_the_end_is_told_once_it_has_begun(parts: Parts, heard: Heard) -> None:
    supervision = supervised(parts, heard)
    supervision.stopping()
    heard.lines()
    supervision.turn(parts.clock.mono_ns() + int((WAIT_S + 5) * S))
    assert heard.lines() == ["WATCHDOG=1"]


async def test_end_is_told_with_the_time_it_may_take(parts: Parts, heard: Heard) -> None:
    supervised(parts, heard).stopping()
    lines = heard.lines()
    assert "STOPPING=1" in lines
    assert "EXTEND_TIMEOUT_USEC=25000000" in lines  # shutdown_timeout_ms and five seconds


def test_status_line_is_short_and_says_what_matters() -> None:
    figures = Figures(
        live=3, feeds=3, events_per_s=148_200, lag_s=0.0004, disk_used=0.71, orders="armed"
    )
    assert status_line(figures) == "3/3 feeds live, 148k ev/s, lag 0.4 ms, 71 % disk, armed"
    halted = figures._replace(live=2, events_per_s=12, orders="halted", trouble="sockets paused")
    assert status_line(halted) == (
        "2/3 feeds live, 12 ev/s, lag 0.4 ms, 71 % disk, HALTED, sockets paused"
    )


def test_quantile_is_of_what_came_between_two_readings() -> None:
    before = [0] * (len(BOUNDS_NS) + 1)
    before[100] = 1_000_000  # long ago, and slow
    now = list(before)
    now[3] += 99
    now[50] += 1
    assert quantile(0.99, now, before) == BOUNDS_NS[3] / S
    assert quantile(1.0, now, before) == BOUNDS_NS[50] / S
    assert quantile(0.99, before, before) == 0.0
    now[-1] += 1_000
    assert quantile(0.99, now, before) == BOUNDS_NS[-1] / S
