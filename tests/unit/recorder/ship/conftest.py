"""A small real raw log with sealed segments, a store in memory, and what ships between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recorder.ship.config import ShipConfig
from recorder.ship.files import Folders
from recorder.ship.keeper import OfflineKeeper
from recorder.ship.keys import Keys
from recorder.ship.retention import Retention
from recorder.ship.sender import Sender
from recorder.ship.shipper import Shipper
from recorder.ship.store import Bucket, open_bucket
from tickd.native import manifest_read
from tickd.testing.clock import ManualClock
from tickd.testing.wire_log import WireLog

NODE = 7


@dataclass
class Yard:
    """One node's files and one store; parts are built anew, as after a restart."""

    state_dir: Path
    config: ShipConfig
    bucket: Bucket
    clock: ManualClock
    keys: Keys

    @property
    def folders(self) -> Folders:
        return Folders(self.state_dir)

    @property
    def keeper(self) -> OfflineKeeper:
        return OfflineKeeper(self.state_dir / "raw", self.state_dir / "sink" / "plan.jsonl")

    def sender(self, config: ShipConfig | None = None) -> Sender:
        return Sender(config or self.config, keys=self.keys, bucket=self.bucket, clock=self.clock)

    def shipper(self, config: ShipConfig | None = None) -> Shipper:
        return Shipper(
            config or self.config,
            folders=self.folders,
            bucket=self.bucket,
            sender=self.sender(config),
            keeper=self.keeper,
            clock=self.clock,
        )

    def retention(self, config: ShipConfig) -> Retention:
        return Retention(
            config,
            folders=self.folders,
            bucket=self.bucket,
            keeper=self.keeper,
            clock=self.clock,
            read_back=self.sender().read_back,
        )

    def lines(self) -> list[dict[str, Any]]:
        return manifest_read(str(self.state_dir / "raw"))

    def kinds(self, file: str) -> list[str]:
        return [line["kind"] for line in self.lines() if line.get("file") == f"segments/{file}"]

    def segments(self) -> list[Path]:
        return sorted(self.folders.segments.glob("*.tkraw"))

    async def keys_there(self) -> list[str]:
        return [stat.key for stat in await self.bucket.list(self.keys.root)]


@pytest.fixture
def make_log() -> Callable[[Path], None]:
    def make(state_dir: Path) -> None:
        for seed in range(1, 5):  # a life each, a segment each
            log = WireLog(state_dir / "raw", seed)
            for _ in range(3):
                log.burst(20)
                log.raw_log.write_now(sync=True)
            log.close()

    return make


@pytest.fixture
def yard(tmp_path: Path, make_log: Callable[[Path], None]) -> Yard:
    """Several sealed segments, nothing shipped, the store empty."""
    config = ShipConfig(url="memory://", aside_age_s=0)
    make_log(tmp_path / "state")
    keys = Keys(config.prefix, NODE)
    return Yard(tmp_path / "state", config, open_bucket(config), ManualClock(), keys)
