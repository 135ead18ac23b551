"""The disk guard's decisions: how full a filesystem is, as a level with hysteresis, and a forecast.

A level is entered at once and left late: only when there is clearly more room than it takes to
enter it, and not within moments. Pure: space and time come in, levels go out; who measures, reacts
and keeps the ballast file is the composition root's business (`tickd/app/disk.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from recorder.config import DiskGuardConfig

__all__ = ["Change", "Guard", "Level", "Space", "ballast_bytes"]

NS_PER_S: Final = 1_000_000_000
# The consumption is averaged over about so long: a merge of ClickHouse is no trend.
RATE_SECONDS: Final = 60.0
# A reserve larger than this share would itself make a small filesystem full.
BALLAST_SHARE_MAX: Final = 0.05


class Level(IntEnum):
    """How full; every level does what those below it do."""

    OK = 0
    LOW = 1  # said, nothing more
    TIGHT = 2  # shipping and retention run now, what is optional stops growing
    CRITICAL = 3  # the heavy channels are shed, the live segment is sealed
    FULL = 4  # the ballast is freed for the last writes, the sockets are not read


class Space(NamedTuple):
    """What statvfs says, for an unprivileged writer."""

    free_bytes: int
    total_bytes: int


class Change(NamedTuple):
    """A level was entered."""

    before: Level
    level: Level
    space: Space


class Guard:
    """The level of one filesystem."""

    def __init__(self, config: DiskGuardConfig) -> None:
        self._config = config
        self.level = Level.OK
        self.space = Space(0, 0)
        self.full_in_seconds = math.inf  # forecast at the present consumption
        self._spare_bytes = 0
        self._changed_ns: int | None = None
        self._measured_ns: int | None = None
        self._bytes_per_second = 0.0

    def observe(
        self, now_ns: int, space: Space, *, owed_bytes: int = 0, refused: bool = False
    ) -> Change | None:
        """Take a measurement; the change that follows from it, if any.

        Args: `owed_bytes`: of a ballast file that was freed and is not back: they are not room;
        `refused`: a write was refused for lack of room, whatever statvfs says (a quota).
        """
        spare_bytes = max(0, space.free_bytes - owed_bytes)
        self._forecast(now_ns, spare_bytes)
        self.space, self._spare_bytes = space, spare_bytes
        full = refused or (owed_bytes > 0 and self.level is Level.FULL)
        level = Level.FULL if full else self._level_now()
        if level < self.level and not self._is_settled(now_ns):
            return None
        if level is self.level:
            return None
        change = Change(self.level, level, space)
        self.level, self._changed_ns = level, now_ns
        return change

    def has_room_for(self, size: int) -> bool:
        """Whether `size` bytes can be taken without the filesystem being full afterwards."""
        free = self.space.free_bytes - size
        return free >= self._leave_bytes(Level.FULL, self.space.total_bytes)

    def enter_bytes(self, level: Level, total_bytes: int) -> int:
        """The room below which `level` begins."""
        config = self._config
        share, least = {
            Level.LOW: (config.low_share, config.low_bytes),
            Level.TIGHT: (config.tight_share, config.tight_bytes),
            Level.CRITICAL: (config.critical_share, config.critical_bytes),
            Level.FULL: (config.full_share, config.full_bytes),
        }[level]
        size = max(round(share * total_bytes), least)
        if level is Level.FULL:
            # On a small filesystem the bytes must not swallow the levels before.
            size = min(size, self.enter_bytes(Level.CRITICAL, total_bytes) // 2)
        return size

    def _leave_bytes(self, level: Level, total_bytes: int) -> int:
        return round(self.enter_bytes(level, total_bytes) * (1 + self._config.hysteresis))

    def _level_now(self) -> Level:
        """The highest level that is entered, or that the hysteresis keeps."""
        return max(self._holding(), default=Level.OK)

    def _holding(self) -> Iterator[Level]:
        total = self.space.total_bytes
        for level in (Level.LOW, Level.TIGHT, Level.CRITICAL, Level.FULL):
            bound = self._leave_bytes if level <= self.level else self.enter_bytes
            if self._spare_bytes < bound(level, total):
                yield level

    def _is_settled(self, now_ns: int) -> bool:
        if self._changed_ns is None:
            return True
        return now_ns - self._changed_ns >= round(self._config.hold_seconds * NS_PER_S)

    def _forecast(self, now_ns: int, spare_bytes: int) -> None:
        if self._measured_ns is not None and now_ns > self._measured_ns:
            seconds = (now_ns - self._measured_ns) / NS_PER_S
            taken = (self._spare_bytes - spare_bytes) / seconds
            weight = 1 - math.exp(-seconds / RATE_SECONDS)
            self._bytes_per_second += weight * (taken - self._bytes_per_second)
        self._measured_ns = now_ns
        rate = self._bytes_per_second
        self.full_in_seconds = spare_bytes / rate if rate > 0 else math.inf


def ballast_bytes(config: DiskGuardConfig, total_bytes: int) -> int:
    """How large the ballast of a filesystem is to be; 0: none."""
    return min(config.ballast_bytes, int(total_bytes * BALLAST_SHARE_MAX))
