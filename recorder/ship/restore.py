"""The way back: fetches segments from the store, proves them and puts them in their place.

A run may be cut off at any point and is finished by the next one: what is here and right is left
alone, what came half goes on where it ended. What is here and differs is never overwritten. A
directory without a manifest gets the newest snapshot; what is not wanted of it is marked as being
in the store only.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from recorder.raw.segments import sealed_names
from recorder.ship.bandwidth import Bandwidth
from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from recorder.ship.files import Folders, fingerprint
from recorder.ship.keeper import Keeper
from recorder.ship.keys import Keys
from recorder.ship.ledger import Ledger, Segment, Shipment, note_line, segment_file
from recorder.ship.sender import ShipProgress
from recorder.ship.snapshots import MANIFEST_NAME, Snapshots
from recorder.ship.store import Bucket
from tickd.durable import replace_file, sync_directory, write_all
from tickd.native import Xxh3
from tickd.ports import Clock

__all__ = ["RestoreReport", "Restorer", "Wish"]

_log = structlog.get_logger(__name__)

_FRAME_MAX: Final = (1 << 64) - 1
_NS_MAX: Final = (1 << 63) - 1
_PARTS: Final = "restoring"
# As the writer of the raw log makes it: what the umask lets others read, they may read.
_MANIFEST_MODE: Final = 0o666
# Ready blocks of another machine's plan: the raw log gives them again.
_SPOOL: Final = "sink/spool/"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which segments: those that hold any of these frames, received at any of these times."""

    frame_from: int = 0
    frame_to: int = _FRAME_MAX
    recv_from_ns: int = 0
    recv_to_ns: int = _NS_MAX

    @property
    def is_everything(self) -> bool:
        return self == Wish()

    def takes(self, segment: Segment) -> bool:
        return (
            segment.frame_first <= self.frame_to
            and segment.frame_last >= self.frame_from
            and segment.recv_first_ns <= self.recv_to_ns
            and segment.recv_last_ns >= self.recv_from_ns
        )


@dataclass(slots=True)
class RestoreReport:
    """What a run did."""

    manifest: str = "kept"  # or "restored"
    lines: int = 0
    restored: list[str] = field(default_factory=list)
    restored_bytes: int = 0
    present: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # not wanted: in the store only
    lost: list[str] = field(default_factory=list)  # sealed, never shipped, and not here
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # file, kind, words

    @property
    def ok(self) -> bool:
        return not self.failures and not self.lost


class Restorer:
    """Restores one node's files from one store into one state directory."""

    def __init__(
        self,
        config: ShipConfig,
        *,
        node: int,
        folders: Folders,
        bucket: Bucket,
        keeper: Keeper,
        clock: Clock,
    ) -> None:
        self._folders = folders
        self._bucket = bucket
        self._keeper = keeper
        self._bandwidth = Bandwidth(config.bandwidth_bytes_per_s, clock)
        self._snapshots = Snapshots(folders, bucket, Keys(config.prefix, node))
        self._parts = folders.raw / _PARTS
        self.progress = ShipProgress()

    async def run(self, wish: Wish, *, manifest_only: bool = False) -> RestoreReport:
        """Fetch what is wanted and not here.

        Raises ShipError: the store has no manifest of this node, or the directory another log.
        """
        report = RestoreReport()
        ledger = await self._place_manifest(report)
        if manifest_only:
            return report
        wanted = [each for each in ledger.segments.values() if wish.takes(each)]
        jobs = [each.shipped for each in wanted if each.shipped is not None]
        removed = {segment_file(each.name) for each in wanted if each.removed is not None}
        if wish.is_everything:
            jobs += [each for each in ledger.asides.values() if not each.file.startswith(_SPOOL)]
        self.progress = ShipProgress(files=len(jobs), bytes=sum(each.bytes for each in jobs))
        for shipment in jobs:
            self.progress.file = shipment.file
            done_before = self.progress.bytes_done
            await self._attempt(shipment, report, removed=shipment.file in removed)
            self.progress.files_done += 1
            self.progress.bytes_done = done_before + shipment.bytes
        here = sealed_names(self._folders.raw)
        report.lost = [
            each.name for each in wanted if each.shipped is None and each.name not in here
        ]
        for segment in ledger.segments.values():
            if not wish.takes(segment) and segment.name not in here:
                await self._leave(segment, report)
        self.progress.doing = "done"
        return report

    # The manifest --------------------------------------------------------------------------------

    async def _place_manifest(self, report: RestoreReport) -> Ledger:
        newest = await self._snapshots.newest()
        if newest is None:
            raise ShipError(
                f"{self._bucket.url} holds no manifest of this node",
                kind="missing",
                hint="look at --url, --prefix and --node",
            )
        content, lines = newest
        path = self._folders.raw / MANIFEST_NAME
        if path.exists():
            known = await self._keeper.lines()
            if known and known[0]["sum"] != lines[0]["sum"]:
                raise ShipError(
                    f"{path} is the manifest of another log",
                    kind="different",
                    hint="restore into an empty directory",
                )
            lines = [*lines, *known]
        else:
            await asyncio.to_thread(self._place, content, path)
            report.manifest = "restored"
        report.lines = len(lines)
        return Ledger.of(lines, None)

    def _place(self, content: bytes, path: Path) -> None:
        self._folders.segments.mkdir(parents=True, exist_ok=True)
        (self._folders.raw / "quarantine").mkdir(exist_ok=True)
        replace_file(path, content, mode=_MANIFEST_MODE)
        sync_directory(path.parent)

    # One file ------------------------------------------------------------------------------------

    async def _attempt(self, shipment: Shipment, report: RestoreReport, *, removed: bool) -> None:
        try:
            await self._restore(shipment, report, removed=removed)
        except (ShipError, OSError) as error:
            kind = error.kind if isinstance(error, ShipError) else "refused"
            report.failures.append((shipment.file, kind, str(error)))
            _log.warning("restore_failed", file=shipment.file, kind=kind, fault=str(error))

    async def _restore(self, shipment: Shipment, report: RestoreReport, *, removed: bool) -> None:
        path = self._folders.path_of(shipment.file)
        part = self._parts / shipment.file.replace("/", "_")
        if path.exists():
            self.progress.doing = "comparing"
            here = await asyncio.to_thread(fingerprint, path, segment=False)
            if (here.bytes, here.hash) != (shipment.bytes, shipment.hash):
                raise ShipError(
                    f"{path} differs from what was shipped; it was not overwritten",
                    kind="different",
                    hint="move it away, then restore again",
                )
            if removed:  # it came back without a line, or was never gone
                await self._keeper.note(note_line("restored", shipment))
            report.present.append(shipment.file)
            part.unlink(missing_ok=True)
            return
        await asyncio.to_thread(_make_folders, part.parent, path.parent)
        went_on = part.exists()
        got = await self._fetch(shipment, part)
        if got != shipment.hash and went_on:
            part.unlink()
            got = await self._fetch(shipment, part)
        if got != shipment.hash:
            part.unlink()
            raise ShipError(f"{shipment.key} is not what was shipped", kind="different")
        await asyncio.to_thread(_put_in_place, part, path)
        # Behind the rename: a crash between leaves a file that is as good as any, and no line.
        await self._keeper.note(note_line("restored", shipment))
        report.restored.append(shipment.file)
        report.restored_bytes += shipment.bytes

    async def _fetch(self, shipment: Shipment, part: Path) -> str:
        """Bring the part file to the object's size; return xxh3 of all of it."""
        self.progress.doing = "fetching"
        whole = Xxh3()
        with part.open("ab", buffering=0) as file:
            size = await asyncio.to_thread(_take_up, part, whole, shipment.bytes, file.fileno())
            async for piece in self._bucket.read(shipment.key, shipment.bytes, size):
                whole.update(piece)
                count = await asyncio.to_thread(write_all, file.fileno(), piece)
                self.progress.bytes_done += count
                await self._bandwidth.take(count)
            await asyncio.to_thread(os.fsync, file.fileno())
        return whole.hexdigest()

    async def _leave(self, segment: Segment, report: RestoreReport) -> None:
        """Say that a segment is in the store only, if that is so and not yet said."""
        shipment = segment.verified or segment.shipped
        if shipment is None:
            return
        try:
            if segment.removed is None:
                await self._must_be_there(shipment)
                await self._keeper.note(note_line("removed", shipment))
            report.left.append(segment_file(segment.name))
        except ShipError as error:
            report.failures.append((shipment.file, error.kind, str(error)))

    async def _must_be_there(self, shipment: Shipment) -> None:
        stat = await self._bucket.stat(shipment.key)
        if stat is None or stat.bytes != shipment.bytes:
            raise ShipError(f"{shipment.key} is not what was shipped", kind="missing")


def _make_folders(*paths: Path) -> None:
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)


def _take_up(part: Path, whole: Xxh3, size_max: int, fd: int) -> int:
    """Hash what an earlier run left; a part longer than the object is none of its."""
    if part.stat().st_size > size_max:
        os.ftruncate(fd, 0)
    size = 0
    with part.open("rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            whole.update(piece)
            size += len(piece)
    return size


def _put_in_place(part: Path, path: Path) -> None:
    """Give the file its name, if no other has it by now: `link` replaces nothing."""
    os.link(part, path)
    part.unlink()
    sync_directory(path.parent)
    sync_directory(part.parent)
