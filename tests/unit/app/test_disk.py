"""What the levels of the disk guard do: invented figures, everything else as in a daemon."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from recorder.config import DiskGuardConfig
from recorder.raw.ballast import BALLAST_NAME, Ballast
from recorder.raw.disk_guard import Level, Space
from tickd.app import disk
from tickd.app.disk import ASK_EVERY_S, DiskWatch, make_room
from tickd.testing.clock import ManualClock

MIB = 1 << 20
TOTAL = 10_000 * MIB
CONFIG = DiskGuardConfig(hold_seconds=5.0, ballast_bytes=2 * MIB)


class Daemon:
    """Log, sockets and a source: remembers what it was told."""

    def __init__(self) -> None:
        self.fault_errno = 0
        self.rotations = 0
        self.held: set[str] = set()
        self.noted: list[dict[str, object]] = []
        self.shed_channels: tuple[str, ...] = ()

    def rotate(self) -> None:
        self.rotations += 1

    def note(self, fields: dict[str, object]) -> None:
        self.noted.append(fields)

    def shed(self, channels: Sequence[str], cause: str) -> None:
        assert cause == "disk"
        self.shed_channels = tuple(channels)

    def restore(self) -> None:
        self.shed_channels = ()

    def hold(self, cause: str) -> None:
        self.held.add(cause)

    def release(self, cause: str) -> None:
        self.held.discard(cause)


class Consumer:
    def __init__(self) -> None:
        self.held = False

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False


class Spool:
    may_grow = True


class Stand:
    """A watch over invented filesystems: place -> (device, free MiB)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free: dict[str, tuple[int, float]] = {}
        self.daemon = Daemon()
        self.consumer = Consumer()
        self.spool = Spool()
        self.clock = ManualClock()
        self.raw = folder / "raw"
        self.raw.mkdir()
        names = ("raw", "state", "spool", "clickhouse")
        places = {name: folder / name for name in names}
        self.all(9_000)
        paths = {path: name for name, path in places.items()}

        def measure(path: Path) -> tuple[int, Space]:
            device, free_mib = self.free[paths[path]]
            return device, Space(round(free_mib * MIB), TOTAL)

        monkeypatch.setattr(disk, "_measure", measure)
        self.watch = DiskWatch(
            CONFIG,
            places,  # type: ignore[arg-type]
            raw_log=self.daemon,
            sockets=self.daemon,
            spool=self.spool,
            sources=[self.daemon],
            optional=[self.consumer],
            clock=self.clock,
        )

    def all(self, free_mib: float) -> None:
        self.free = dict.fromkeys(("raw", "state", "spool", "clickhouse"), (1, free_mib))

    async def look(self, free_mib: float | None = None, *, times: int = 1) -> None:
        if free_mib is not None:
            self.all(free_mib)
        for _ in range(times):
            await self.clock.advance(1.0)
            await self.watch.look()


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(tmp_path, monkeypatch)


async def test_each_level_does_its_part_and_what_is_below(stand: Stand) -> None:
    asked: list[int] = []
    stand.watch.on_tight(lambda: asked.append(1))
    daemon = stand.daemon
    await stand.look()
    assert (stand.raw / BALLAST_NAME).stat().st_blocks * 512 >= 2 * MIB
    await stand.look(1_900)
    assert not asked
    assert stand.spool.may_grow
    await stand.look(900)
    assert asked == [1]
    assert not stand.spool.may_grow
    assert stand.consumer.held
    assert not daemon.shed_channels
    await stand.look(400)
    assert daemon.shed_channels == ("depth",)
    assert daemon.rotations == 1
    assert not daemon.held
    await stand.look(10)
    assert daemon.held
    assert not (stand.raw / BALLAST_NAME).exists()
    assert daemon.rotations == 1
    assert [note["level"] for note in daemon.noted] == ["low", "tight", "critical", "full"]
    assert daemon.noted[-1]["places"] == "raw+state+spool+clickhouse"


async def test_everything_comes_back_with_the_room(stand: Stand) -> None:
    await stand.look()
    await stand.look(10)
    assert stand.watch.ballast_held_bytes == 0
    await stand.look(9_000, times=4)
    assert stand.daemon.held, "the level lasts five seconds"
    await stand.look(times=3)
    assert (stand.raw / BALLAST_NAME).exists()
    assert not stand.daemon.held
    assert not stand.daemon.shed_channels
    assert not stand.consumer.held
    assert stand.spool.may_grow
    assert [note["level"] for note in stand.daemon.noted] == ["full", "ok"]


async def test_a_quota_is_full_until_the_ballast_fits_again(stand: Stand) -> None:
    """No room for this user, whatever statvfs says."""
    await stand.look()
    stand.daemon.fault_errno = errno.EDQUOT
    await stand.look()
    assert stand.daemon.held
    assert not (stand.raw / BALLAST_NAME).exists()
    stand.daemon.fault_errno = 0  # the ballast's room took what was left
    stand.raw.rename(stand.raw.with_name("away"))  # nothing can be allocated
    await stand.look(times=20)
    assert stand.daemon.held
    stand.raw.with_name("away").rename(stand.raw)
    await stand.look(times=12)
    assert (stand.raw / BALLAST_NAME).exists()
    assert not stand.daemon.held


async def test_other_faults_are_not_taken_for_a_full_disk(stand: Stand) -> None:
    stand.daemon.fault_errno = errno.EIO
    await stand.look(times=3)
    assert stand.watch.level("raw") is Level.OK


async def test_a_full_spool_disk_stops_the_spool_only(stand: Stand) -> None:
    stand.free["spool"] = (2, 10)
    await stand.look(times=2)
    assert not stand.spool.may_grow
    assert not stand.daemon.held
    assert not stand.daemon.shed_channels
    assert not stand.consumer.held
    assert [row["places"] for row in stand.watch.status()] == [
        ["raw", "state", "clickhouse"],
        ["spool"],
    ]
    assert [row["level"] for row in stand.watch.status()] == ["ok", "full"]


async def test_shipping_is_asked_again_while_room_stays_tight(stand: Stand) -> None:
    asked: list[int] = []
    stand.watch.on_tight(lambda: asked.append(1))
    await stand.look(900, times=int(ASK_EVERY_S) * 2 + 1)
    assert len(asked) == 3


async def test_a_place_that_cannot_be_measured_keeps_nobody_waiting(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick(_: Path) -> tuple[int, Space]:
        raise OSError(errno.EIO, "sick")

    await stand.look()
    monkeypatch.setattr(disk, "_measure", sick)
    await stand.look()
    assert stand.watch.level("raw") is Level.OK
    assert stand.watch.status() == []


def test_a_missing_place_is_measured_where_it_would_be_made(tmp_path: Path) -> None:
    assert disk._measure(tmp_path / "a" / "b")[0] == tmp_path.stat().st_dev


def test_a_start_on_a_full_disk_frees_the_ballast_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Ballast(tmp_path).hold(MIB)
    make_room(tmp_path, CONFIG)
    assert (tmp_path / BALLAST_NAME).exists()
    monkeypatch.setattr(disk, "_measure", lambda _: (1, Space(MIB, TOTAL)))
    make_room(tmp_path, CONFIG)
    assert not (tmp_path / BALLAST_NAME).exists()
