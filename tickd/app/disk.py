"""The disk guard at work: measures the filesystems, and does what their levels ask for.

Every second: statvfs of each distinct filesystem under the state directory → level
(`recorder/raw/disk_guard.py`) → reactions. What a level change means, in the order of the levels:
said; shipping and retention asked to run, the spool and the sinks beside ClickHouse stop growing;
the heavy channels shed and the live segment sealed; the ballast freed and the sockets not read. It
writes nothing but the ballast.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import structlog

from recorder.config import DiskGuardConfig
from recorder.raw.ballast import Ballast
from recorder.raw.disk_guard import Change, Guard, Level, Space, ballast_bytes
from tickd.ports import Clock

log = structlog.get_logger(__name__)

Place = Literal["raw", "state", "spool", "clickhouse"]

# How often shipping and retention are asked again while room stays scarce.
ASK_EVERY_S: Final = 60.0
HELD_FOR: Final = "disk full"
# The writer was refused for lack of room: what a quota does where statvfs still sees some.
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Log(Protocol):
    """What the guard needs of the raw log."""

    @property
    def fault_errno(self) -> int:
        """Why the writer cannot write at the moment; 0: it can."""
        ...

    def rotate(self) -> None:
        """Seal the live segment."""


class Sockets(Protocol):
    """What the guard needs of the tap."""

    def hold(self, cause: str) -> None: ...

    def release(self, cause: str) -> None: ...

    def note(self, fields: dict[str, object]) -> None: ...


class Sheds(Protocol):
    """A source that can do without some of its channels (`gateway.session.Session`)."""

    def shed(self, channels: Sequence[str], cause: str) -> None: ...

    def restore(self) -> None: ...


class Grows(Protocol):
    """What the guard needs of the spool."""

    may_grow: bool


class Holds(Protocol):
    """A consumer that can stop writing (`RunningSink`)."""

    def hold(self) -> None: ...

    def release(self) -> None: ...


@dataclass(slots=True)
class Disk:
    """One filesystem and what lies on it."""

    guard: Guard
    places: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(self.places)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One measurement of everything; made off the loop."""

    disks: dict[int, tuple[Space, tuple[str, ...]]] = field(default_factory=dict)
    ballast_held: int = 0


class DiskWatch:
    """Watches the filesystems of `places`. `run` is its life; loop thread only.

    Args: `places`: in the order of their names; a place that does not exist is measured where it
    would be made. The ballast lies beside the raw log, so `places` has `raw`.
    """

    def __init__(
        self,
        config: DiskGuardConfig,
        places: Mapping[Place, Path],
        *,
        raw_log: Log,
        sockets: Sockets,
        spool: Grows,
        sources: Iterable[Sheds],
        optional: Iterable[Holds],
        clock: Clock,
    ) -> None:
        self._config = config
        self._places = places
        self._raw_log = raw_log
        self._sockets = sockets
        self._spool = spool
        self._sources = tuple(sources)
        self._optional = tuple(optional)
        self._clock = clock
        self._ballast = Ballast(places["raw"])
        self._owed_bytes = 0  # of a ballast that was freed and is not back
        self._disks: dict[int, Disk] = {}
        self._on_tight: list[Callable[[], None]] = []
        self._asked_ns = 0
        self._levels: dict[str, Level] = {}
        self._freed_ns = 0
        self.ballast_held_bytes = 0
        self.changes_total = 0
        self.ballast_freed_total = 0

    # For others -----------------------------------------------------------------------------------

    def on_tight(self, callback: Callable[[], None]) -> None:
        """Call `callback` when room gets tight, and every minute while it stays so.

        It must return at once; it may be called while what it began still runs.
        """
        self._on_tight.append(callback)

    def level(self, place: Place) -> Level:
        """The level of the filesystem on which `place` lies."""
        return self._levels.get(place, Level.OK)

    @property
    def disks(self) -> list[Disk]:
        """Every filesystem, the raw log's first."""
        return sorted(self._disks.values(), key=lambda disk: disk.places)

    def status(self) -> list[dict[str, object]]:
        """The picture of this moment, a row per filesystem."""
        return [
            {
                "places": list(disk.places),
                "level": disk.guard.level.name.lower(),
                "free_bytes": disk.guard.space.free_bytes,
                "total_bytes": disk.guard.space.total_bytes,
                "full_in_s": seconds if (seconds := disk.guard.full_in_seconds) < 1e9 else None,
                "ballast_bytes": self.ballast_held_bytes if "raw" in disk.places else 0,
            }
            for disk in self.disks
        ]

    # Its life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch until cancelled; what is held is released then."""
        if not self._config.enabled:
            return
        try:
            while True:
                await self.look()
                await self._clock.sleep(self._config.interval_ms / 1000)
        finally:
            # The daemon ends: what waits in memory is drained, whatever the disk says.
            for consumer in self._optional:
                consumer.release()

    async def look(self) -> None:
        """Measure once and react."""
        refused = self._raw_log.fault_errno in NO_ROOM
        reading = await asyncio.to_thread(self._read)
        self.ballast_held_bytes = reading.ballast_held
        now_ns = self._clock.mono_ns()
        changes: list[tuple[Disk, Change]] = []
        for device, (space, places) in reading.disks.items():
            disk = self._disks.setdefault(device, Disk(Guard(self._config)))
            disk.places = places
            raw = "raw" in places
            change = disk.guard.observe(
                now_ns,
                space,
                owed_bytes=self._owed_bytes if raw else 0,
                refused=refused and raw,
            )
            if change is not None:
                changes.append((disk, change))
        self._disks = {device: self._disks[device] for device in reading.disks}
        self._levels = {
            place: disk.guard.level for disk in self._disks.values() for place in disk.places
        }
        await self._keep_ballast(now_ns, refused=refused)
        for disk, change in changes:
            self._tell(disk, change)
        self._react(now_ns)

    def _read(self) -> _Reading:
        """Measure every filesystem; in a thread, because a sick one may hang."""
        found: dict[int, tuple[Space, tuple[str, ...]]] = {}
        for place, path in self._places.items():
            try:
                device, space = _measure(path)
            except OSError:
                continue  # unmounted this very moment: the next look sees what is there then
            _, places = found.get(device, (space, ()))
            found[device] = (space, (*places, place))
        return _Reading(found, self._ballast.held_bytes)

    async def _keep_ballast(self, now_ns: int, *, refused: bool) -> None:
        """Free the ballast when the raw log's disk is full, get it back when there is room."""
        disk = next((disk for disk in self._disks.values() if "raw" in disk.places), None)
        if disk is None:
            return
        guard = disk.guard
        if guard.level is Level.FULL and self.ballast_held_bytes:
            if freed := await asyncio.to_thread(self._ballast.free):
                self._owed_bytes, self._freed_ns = freed, now_ns
                self.ballast_held_bytes -= freed
                self.ballast_freed_total += 1
                log.warning("ballast_freed", freed_bytes=freed)
            return
        size = ballast_bytes(self._config, guard.space.total_bytes)
        if refused or self.ballast_held_bytes >= size or not guard.has_room_for(size):
            return
        waited_s = (now_ns - self._freed_ns) / 1e9
        if self._owed_bytes and waited_s < self._config.hold_seconds:
            return
        if await asyncio.to_thread(self._ballast.hold, size):
            self._owed_bytes = 0
            self.ballast_held_bytes = size
            log.info("ballast_held", held_bytes=size)
        else:
            self._freed_ns = now_ns  # a quota: ask again after the same pause

    def _tell(self, disk: Disk, change: Change) -> None:
        """Once per change: to the log, and into the raw log."""
        self.changes_total += 1
        fields: dict[str, object] = {
            "places": disk.name,
            "level": change.level.name.lower(),
            "before": change.before.name.lower(),
            "free_bytes": change.space.free_bytes,
            "total_bytes": change.space.total_bytes,
        }
        say = log.warning if change.level > change.before else log.info
        # A name per level: equal ones would be held for repeats, and left out.
        say(f"disk_is_{change.level.name.lower()}", **fields)
        self._sockets.note({"kind": "disk", **fields})
        if "raw" in disk.places and change.before < Level.CRITICAL <= change.level:
            self._raw_log.rotate()

    def _react(self, now_ns: int) -> None:
        """Bring everything to what the levels ask for; doing it again changes nothing."""
        raw, state = self.level("raw"), self.level("state")
        if max(raw, state) >= Level.TIGHT:
            if not self._asked_ns or (now_ns - self._asked_ns) / 1e9 >= ASK_EVERY_S:
                self._asked_ns = now_ns
                for callback in self._on_tight:
                    callback()
        else:
            self._asked_ns = 0
        # What does not fit into memory then is read from the raw log again later.
        self._spool.may_grow = self.level("spool") < Level.TIGHT
        for consumer in self._optional:
            if state >= Level.TIGHT:
                consumer.hold()
            else:
                consumer.release()
        for source in self._sources:
            if raw >= Level.CRITICAL:
                source.shed(self._config.shed_channels, "disk")
            else:
                source.restore()
        if raw is Level.FULL:
            self._sockets.hold(HELD_FOR)
        else:
            self._sockets.release(HELD_FOR)


def _measure(path: Path) -> tuple[int, Space]:
    """Device and space of `path`, or of the nearest directory above it that exists."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    space = Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
    return path.stat().st_dev, space


def make_room(directory: Path, config: DiskGuardConfig) -> None:
    """Before the raw log is opened: a start on a full disk must be able to finish its recovery."""
    if not config.enabled or not directory.is_dir():
        return
    _, space = _measure(directory)
    full_bytes = Guard(config).enter_bytes(Level.FULL, space.total_bytes)
    if space.free_bytes < full_bytes and (freed := Ballast(directory).free()):
        log.warning("ballast_freed", freed_bytes=freed, reason="start on a full disk")
