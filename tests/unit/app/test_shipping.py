"""Shipping in the daemon: its schedule on a clock moved by hand, its commands, its metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from recorder.ship.ledger import Shipment, note_line
from tickd.app.control import ControlServer
from tickd.app.screen import _ship
from tickd.app.ship_metrics import declare_ship
from tickd.app.shipping import RECLAIM_BYTES, RemoteKeeper, Shipping
from tickd.errors import ConfigError
from tickd.native import manifest_read
from tickd.telemetry.metrics import Metrics
from tickd.testing.clock import ManualClock
from tickd.testing.wire_log import WireLog


@pytest.fixture
def log(tmp_path: Path) -> WireLog:
    for seed in (1, 2):
        before = WireLog(tmp_path / "raw", seed)
        before.burst(10)
        before.close()
    live = WireLog(tmp_path / "raw", 3)
    live.burst(10)
    return live


@contextlib.asynccontextmanager
async def shipping(
    tmp_path: Path, log: WireLog, clock: ManualClock, **fields: object
) -> AsyncIterator[Shipping]:
    config = ShipConfig(url=f"file://{tmp_path}/store", every_s=60, **fields)  # type: ignore[arg-type]
    made = Shipping(
        config,
        node=1,
        state_dir=tmp_path,
        raw_log=log.raw_log,
        frame_needed=lambda: 10**9,
        clock=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(made.run(), name="shipping")
        yield made
        life.cancel()
    log.close()


async def ended(shipping: Shipping, runs: int) -> dict[str, object]:
    async with asyncio.timeout(10):
        while (await shipping.ship_status({}))["ended"] < runs:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return await shipping.ship_status({})


def objects(tmp_path: Path) -> int:
    return len(list((tmp_path / "store").rglob("*.tkraw")))


async def test_a_run_at_the_start_one_per_interval_and_one_when_asked(
    tmp_path: Path, log: WireLog
) -> None:
    clock = ManualClock()
    async with shipping(tmp_path, log, clock) as made:
        status = await ended(made, 1)
        assert (status["segments"], objects(tmp_path)) == (2, 2)
        assert status["oldest_unshipped_ns"] == 0
        while not clock.sleepers_count:  # noqa: ASYNC110 - the timer is a task of its own
            await asyncio.sleep(0)
        await clock.advance(59)
        assert (await made.ship_status({}))["ended"] == 1
        await clock.advance(2)
        await ended(made, 2)
        asked = await made.ship({"verify": True})
        assert asked == {"run": 3}
        last = (await ended(made, 3))["last"]
        assert isinstance(last, dict)
        assert last["verified"] == 2
        assert (await made.ship_wanted({})) == {"files": []}


async def test_the_live_logs_manifest_says_what_was_shipped(tmp_path: Path, log: WireLog) -> None:
    async with shipping(tmp_path, log, ManualClock()) as made:
        await ended(made, 1)
        kinds = [line["kind"] for line in manifest_read(str(tmp_path / "raw"))]
        assert kinds.count("verified") == 2


async def test_a_disk_that_fills_up_gets_its_room_though_everything_is_young(
    tmp_path: Path, log: WireLog
) -> None:
    async with shipping(tmp_path, log, ManualClock(), keep_days=10_000) as made:
        await ended(made, 1)
        assert made.removed == (0, 0)
        made.ship_now_and_reclaim()
        await ended(made, 2)
        # The newer of the two has the checkpoint that the next start may begin with.
        assert made.removed[0] == 1
        assert 0 < made.removed[1] < RECLAIM_BYTES


async def test_a_store_that_fails_is_counted_and_shown_and_tried_again(
    tmp_path: Path, log: WireLog
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "tickd").write_text("no folder")
    async with shipping(tmp_path, log, ManualClock()) as made:
        status = await ended(made, 1)
        assert status["segments"] == 0
        assert "the last run failed" in str(_ship(status))
        shown = orjson.loads(orjson.dumps(made.draw()))  # as it goes to `tickd status`
        assert list(shown["failures"].values()) == [1]
        metrics = Metrics(ManualClock().mono_ns)
        declare_ship(metrics, made, ManualClock())
        text = metrics.text().decode()
        assert "tickd_recorder_ship_failures_total{kind=" in text
        assert "tickd_recorder_ship_success_timestamp_seconds 0" in text
        assert "tickd_recorder_ship_interval_seconds 60" in text
        (tmp_path / "store" / "tickd").unlink()
        await made.ship({})
        assert (await ended(made, 2))["segments"] == 2
        assert "tickd_recorder_ship_segments_total 2" in metrics.text().decode()


async def test_a_daemon_without_a_store_ships_nothing_and_says_so(
    tmp_path: Path, log: WireLog
) -> None:
    made = Shipping(
        ShipConfig(),
        node=1,
        state_dir=tmp_path,
        raw_log=log.raw_log,
        frame_needed=lambda: 0,
        clock=ManualClock(),
    )
    await made.run()
    made.stop()
    assert made.draw() == {"enabled": False}
    with pytest.raises(ConfigError, match="ships nothing"):
        await made.ship({})
    metrics = Metrics(ManualClock().mono_ns)
    declare_ship(metrics, made, ManualClock())
    assert b"ship" not in metrics.text()
    log.close()


async def test_restore_beside_a_daemon_writes_through_it(tmp_path: Path, log: WireLog) -> None:
    shipment = Shipment(file="segments/x", bytes=1, hash="h", url="u", key="k")
    async with shipping(tmp_path, log, ManualClock()) as made:
        control = ControlServer(tmp_path, made.commands())
        await control.start()
        keeper = RemoteKeeper(tmp_path)
        await keeper.note(note_line("restored", shipment))
        assert (await keeper.lines())[-1]["kind"] == "restored"
        with pytest.raises(ShipError, match="only what was restored"):
            await keeper.note(note_line("removed", shipment))
        assert not await keeper.remove(tmp_path / "raw" / "MANIFEST.jsonl", b"", lambda _: True)
        await control.stop()
        with pytest.raises(ShipError, match="no daemon answers"):
            await keeper.note(note_line("restored", shipment))
    assert json.dumps(manifest_read(str(tmp_path / "raw"))).count('"removed"') == 0
