"""A volume jump at the stand-in opens a gap, the filler closes it with the ticks of the day.

Method: the broker remembers what was traded. Live and fetched trades together must be its tape.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from inspect import isawaitable
from pathlib import Path

import pytest

from gateway.config import FillConfig, SdkConfig, VenueConfig
from gateway.filling.day_filler import DayFiller
from gateway.venues.shioaji.past import HISTORY
from recorder.verify.verify import verify
from tests.harness.broker_world import API_KEY, LISTINGS, SECRET_KEY, START, World, world
from tickd.app.config import Config, NodeConfig
from tickd.app.daemon import Daemon
from tickd.app.exit_codes import ExitCode
from tickd.app.filling import gaps_of
from tickd.app.http_config import HttpConfig
from tickd.app.wiring import wire
from tickd.clock import SystemClock
from tickd.events import Flag, Kind
from tickd.secrets import Secret
from tickd.testing.shioaji_stand_in import Fault, StandIn, UsageFigures

shioaji = pytest.importorskip("shioaji")


@asynccontextmanager
async def filled(made: World, config: FillConfig) -> AsyncIterator[DayFiller]:
    """A filler beside the session; the stand-in's day of 2026-07-14 is over."""
    filler = DayFiller(
        "shioaji",
        HISTORY,
        config,
        tap=made.tap,
        clock=SystemClock(),
        login=lambda: made.session.client and (made.session.client, made.session.contract_of),
        usage=lambda: made.session.usage,
        gaps=lambda: gaps_of(made.decoder),
        jitter=lambda: 0.5,
        observe=lambda _: None,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(filler.run(), name="gaps shioaji")
        yield filler
        running.cancel()


async def test_a_volume_jump_opens_a_gap_which_the_filler_closes(tmp_path: Path) -> None:
    faults = (Fault(60, "jump", 25), Fault(120, "silence", 90))
    async with world(
        tmp_path,
        channels=("trade",),
        broker={"faults": faults, "remembers": True},
        sdk={"usage_interval_seconds": 0.05},
    ) as made:
        await made.confirmed(3)
        await made.feed(300)
        assert len(gaps_of(made.decoder)) == 6
        async with filled(made, FillConfig()) as filler:
            await made.until(lambda: not gaps_of(made.decoder), "every gap is closed")
            await made.until(lambda: filler.counters.outcomes == {"filled": 6}, "counted")
    assert len(made.broker.tick_queries) == 3  # one a code, whatever it misses
    trades = made.of(Kind.TRADE)
    fetched = trades[trades["flags"] & Flag.BACKFILLED != 0]
    assert sorted(fetched["size"].tolist()) == [1] * 90 + [25] * 3
    markets = made.broker.markets.items()
    traded = sum(market.total_volume for (_, is_odd), market in markets if not is_odd)
    assert int(trades["size"].sum()) == traded
    closings = [gap for gap in made.of(Kind.GAP) if gap["flags"] & Flag.BACKFILLED]
    assert [int(gap["size"]) for gap in closings] == [0] * 6
    assert made.replayed().tobytes() == made.events().tobytes()


async def test_beyond_the_traffic_limit_nothing_is_asked_and_nothing_given_up(
    tmp_path: Path,
) -> None:
    async with world(
        tmp_path,
        channels=("trade",),
        broker={"faults": (Fault(60, "jump", 25),), "remembers": True},
        sdk={"usage_interval_seconds": 0.05},
    ) as made:
        await made.confirmed(3)
        await made.feed(120)
        made.broker.usage = UsageFigures(1, 490 << 20, 500 << 20, 10 << 20)
        await made.until(
            lambda: made.session.usage and made.session.usage.bytes_left == 10 << 20, "usage"
        )
        async with filled(made, FillConfig(tries_max=1)):
            await asyncio.sleep(0.2)  # nothing is to happen: there is no condition to wait for
        assert made.broker.tick_queries == []
        assert len(gaps_of(made.decoder)) == 3


def daemon_config(state: Path) -> Config:
    return Config(
        node=NodeConfig(state_dir=str(state)),
        http=HttpConfig(port=0),
        venues=(
            VenueConfig(
                name="shioaji",
                symbols=("2330", "2317", "TXFR1"),
                channels=("trade",),
                sdk=SdkConfig(
                    api_key=Secret(API_KEY),
                    secret_key=Secret(SECRET_KEY),
                    usage_interval_seconds=0.05,
                ),
            ),
        ),
    )


async def until(condition: Callable[[], object]) -> None:
    """Poll what the daemon's tasks and the broker's thread do in real time."""
    async with asyncio.timeout(90):
        while not (await met if isawaitable(met := condition()) else met):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.proof
@pytest.mark.embedded
@pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed")
@pytest.mark.timeout(240)
async def test_in_a_daemon_a_volume_jump_opens_a_gap_which_the_filler_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's client class is the stand-in's; everything else is what `tickd run` runs."""
    faults = (Fault(60, "jump", 25), Fault(120, "silence", 90))
    broker = StandIn(listings=LISTINGS, start=START, faults=faults, remembers=True)
    monkeypatch.setattr(shioaji, "Shioaji", broker.client)
    config = daemon_config(tmp_path)
    daemon, stop = Daemon(wire(config)), asyncio.Event()
    parts = daemon.parts
    filler = parts.filling.days["shioaji"]
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(daemon.run(stop), name="daemon")
            (session,) = parts.sessions
            await until(lambda: (sdk := session.status().sdk) and sdk.streams_confirmed >= 3)
            await asyncio.wrap_future(broker.newest.feed(300))
            await until(lambda: filler.counters.outcomes == {"filled": 6})
            clickhouse = parts.storage.clickhouse

            async def asked(sql: str) -> list[object]:
                ((row),) = await clickhouse.query(sql)
                return [int(str(each)) for each in row]

            async def closed() -> bool:
                gaps = "SELECT count() FROM tickd.gaps WHERE bitTest(flags, 10)"
                return await asked(gaps) == [6]

            await until(lambda: parts.storage.migrated)
            await until(closed)
            lots = "SELECT sum(size), countIf(bitTest(flags, 10)) FROM tickd.trades"
            markets = broker.markets.items()
            traded = sum(market.total_volume for (_, is_odd), market in markets if not is_odd)

            async def stored() -> bool:
                return await asked(lots) == [traded, 93]

            await until(stored)
            assert await asked("SELECT count() FROM tickd.gaps_open_v") == [0]

            async def bars_made() -> bool:
                """What is fetched later comes into the bars with the next look, 30 s on."""
                tables = ("ohlcv_1s", "ohlcv_1m", "ohlcv_1h")
                sums = [await asked(f"SELECT sum(volume) FROM tickd.{each}") for each in tables]
                return sums == [[traded]] * len(tables)

            await until(bars_made)
            journal = parts.storage.rebuilding.repair
            await until(lambda: not journal.working)
            report = await verify(
                config.state_dir / "raw",
                clickhouse,
                node=1,
                frame_to=parts.storage.sink.frame_settled,
            )
            assert (report.findings, report.unchecked) == ([], [])
            stop.set()
            assert await task is ExitCode.OK
    finally:
        broker.close()
