"""Levels with hysteresis and the forecast: pure decisions over invented measurements."""

from __future__ import annotations

import math

import pytest

from recorder.config import DiskGuardConfig
from recorder.raw.disk_guard import Guard, Level, Space, ballast_bytes

MIB = 1 << 20
TOTAL = 10_000 * MIB
S = 1_000_000_000
CONFIG = DiskGuardConfig(hold_seconds=5.0)


class Disk:
    """A guard and a clock that goes on one second per measurement."""

    def __init__(self, config: DiskGuardConfig = CONFIG, total: int = TOTAL) -> None:
        self.guard = Guard(config)
        self.total = total
        self.now_ns = 1_000 * S

    def see(self, free_mib: float, **said: object) -> Level:
        self.now_ns += S
        space = Space(round(free_mib * MIB), self.total)
        self.guard.observe(self.now_ns, space, **said)  # type: ignore[arg-type]
        return self.guard.level


@pytest.mark.parametrize(
    ("free_mib", "level"),
    [
        (2_000, Level.OK),
        (1_999, Level.LOW),
        (999, Level.TIGHT),
        (499, Level.CRITICAL),
        (32, Level.CRITICAL),
        (31, Level.FULL),
        (0, Level.FULL),
    ],
)
def test_a_level_is_entered_at_once_below_its_bound(free_mib: float, level: Level) -> None:
    assert Disk().see(free_mib) is level


def test_bytes_count_where_they_are_more_than_the_share() -> None:
    config = DiskGuardConfig(
        low_share=0.0, tight_share=0.0, critical_share=0.0, full_share=0.0,
        low_bytes=300 * MIB, tight_bytes=200 * MIB, critical_bytes=100 * MIB, hold_seconds=0.0,
    )  # fmt: skip
    disk = Disk(config)
    seen = [disk.see(free) for free in (300, 299, 199, 99, 31)]
    assert seen == [Level.OK, Level.LOW, Level.TIGHT, Level.CRITICAL, Level.FULL]


def test_a_small_filesystem_has_every_level() -> None:
    """32 MiB of `full` would swallow the rest of a filesystem of 64 MiB."""
    disk = Disk(total=64 * MIB)
    assert disk.see(12) is Level.LOW
    assert disk.see(3) is Level.CRITICAL
    assert disk.see(1.7) is Level.CRITICAL
    assert disk.see(1.5) is Level.FULL


def test_a_level_is_left_only_with_clearly_more_room() -> None:
    disk = Disk()
    disk.see(999)
    for _ in range(20):
        assert disk.see(1_099) is Level.TIGHT
    assert disk.see(1_100) is Level.LOW


def test_a_level_is_left_only_after_its_time() -> None:
    disk = Disk()
    disk.see(999)
    assert [disk.see(5_000) for _ in range(5)] == [Level.TIGHT] * 4 + [Level.OK]


def test_a_sawtooth_at_a_bound_changes_the_level_once() -> None:
    guard = Guard(CONFIG)
    changes = [
        guard.observe(second * S, Space((998 + second % 3) * MIB, TOTAL)) for second in range(1, 90)
    ]
    assert [change.level for change in changes if change] == [Level.TIGHT]


def test_a_change_says_from_where_to_where_and_is_said_once() -> None:
    guard = Guard(CONFIG)
    space = Space(10 * MIB, TOTAL)
    change = guard.observe(S, space)
    assert change is not None
    assert (change.before, change.level, change.space) == (Level.OK, Level.FULL, space)
    assert guard.observe(2 * S, space) is None


def test_a_refused_write_is_full_whatever_is_free() -> None:
    """A quota: statvfs speaks for the filesystem, the kernel for the user."""
    disk = Disk()
    assert disk.see(9_000) is Level.OK
    assert disk.see(9_000, refused=True) is Level.FULL
    assert [disk.see(9_000) for _ in range(5)] == [Level.FULL] * 4 + [Level.OK]


def test_what_the_ballast_left_is_no_room() -> None:
    disk = Disk()
    assert disk.see(20) is Level.FULL
    for _ in range(20):
        assert disk.see(84, owed_bytes=64 * MIB) is Level.FULL
        # Even with room again: first the ballast is got back.
        assert disk.see(9_000, owed_bytes=64 * MIB) is Level.FULL
    assert disk.see(9_000) is Level.OK


def test_room_for_the_ballast_leaves_the_disk_not_full() -> None:
    disk = Disk()
    disk.see(99)
    assert not disk.guard.has_room_for(64 * MIB)
    disk.see(100)
    assert disk.guard.has_room_for(64 * MIB)


def test_the_forecast_follows_the_consumption() -> None:
    disk = Disk()
    disk.see(5_000)
    assert disk.guard.full_in_seconds == math.inf
    for second in range(1, 600):
        disk.see(5_000 - 2 * second)
    assert disk.guard.full_in_seconds == pytest.approx((5_000 - 1_198) / 2, rel=0.01)
    for _ in range(600):
        disk.see(5_000)
    assert disk.guard.full_in_seconds > 1e5


def test_a_full_disk_is_full_in_no_time() -> None:
    disk = Disk()
    for free in (200, 100, 0):
        disk.see(free)
    assert disk.guard.full_in_seconds == 0


@pytest.mark.parametrize(("total", "wanted"), [(TOTAL, 64 * MIB), (100 * MIB, 5 * MIB), (0, 0)])
def test_the_ballast_is_at_most_a_twentieth(total: int, wanted: int) -> None:
    assert ballast_bytes(CONFIG, total) == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"low_share": 1.0},
        {"tight_share": 0.3},
        {"critical_share": 0.2},
        {"full_share": 0.06},
        {"full_share": -0.1},
        {"critical_bytes": 1},
        {"full_bytes": -1},
        {"ballast_bytes": -1},
        {"interval_ms": 0},
        {"hysteresis": -0.1},
        {"hold_seconds": -1.0},
    ],
)
def test_bounds_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        DiskGuardConfig(**wrong)  # type: ignore[arg-type]
