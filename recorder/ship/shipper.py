"""The shipper: brings every file of a node that is not yet there into the store, and proves it.

A run goes from the manifest: what it does not call shipped is compared with the store, uploaded if
absent, looked at again, read back, and only then noted. Nothing is remembered elsewhere, so a run
that was cut off at any point is finished by the next one. It removes nothing here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from recorder.ship.files import Aside, Fingerprint, Folders, fingerprint
from recorder.ship.keeper import Keeper
from recorder.ship.ledger import Ledger, NoteKind, Segment, Shipment, note_line, segment_file
from recorder.ship.sender import Sender, ShipProgress
from recorder.ship.snapshots import Snapshots
from recorder.ship.store import Bucket
from tickd.ports import Clock

__all__ = ["ShipCounters", "ShipReport", "Shipper"]

_log = structlog.get_logger(__name__)

# Where the store or the manifest does not answer, the next file will not fare better.
_HOPELESS: Final = frozenset({"refused", "unreachable", "stalled", "manifest", "stopped"})


@dataclass(slots=True)
class ShipCounters:
    """Totals since the start; the wiring turns them into metrics."""

    segments: int = 0
    asides: int = 0
    bytes: int = 0  # sent, of objects that came to be
    verified: int = 0
    verified_bytes: int = 0
    snapshots: int = 0
    runs: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # by kind
    success_ns: int = 0  # wall time when a run ended without a failure
    oldest_unshipped_ns: int = 0  # wall time of the last record of the oldest one; 0: none


@dataclass(slots=True)
class ShipReport:
    """What a run did."""

    shipped: list[str] = field(default_factory=list)
    shipped_bytes: int = 0
    present: list[str] = field(default_factory=list)  # the store had them; now the manifest says so
    verified: list[str] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # file, kind, words
    snapshot: str | None = None

    @property
    def ok(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class _Job:
    file: str
    path: Path
    bytes: int
    segment: Segment | None


class Shipper:
    """Ships one node's files to one store. One run at a time; `stop` ends it at the next piece."""

    def __init__(
        self,
        config: ShipConfig,
        *,
        folders: Folders,
        bucket: Bucket,
        sender: Sender,
        keeper: Keeper,
        clock: Clock,
    ) -> None:
        self._config = config
        self._folders = folders
        self._bucket = bucket
        self._keeper = keeper
        self._clock = clock
        self._keys = sender.keys
        self._sender = sender
        self._snapshots = Snapshots(folders, bucket, self._keys)
        # What spool and quarantine held when last looked at: (bytes, modified) -> hash.
        self._hashes: dict[str, tuple[tuple[int, int], str]] = {}
        self._doubted: set[str] = set()
        self.counters = ShipCounters()

    @property
    def progress(self) -> ShipProgress:
        return self._sender.progress

    def stop(self) -> None:
        """End the run under way, for good; the store forgets what was sent of the file in work."""
        self._sender.stop()

    def doubt(self, segment: str) -> None:
        """Compare with the store again what the manifest calls shipped."""
        self._doubted.add(segment)

    async def wanted(self) -> list[tuple[str, int]]:
        """Files that a run would take up, and their bytes. Raises ShipError(manifest)."""
        ledger = await self._ledger()
        return [(job.file, job.bytes) for job in await asyncio.to_thread(self._jobs, ledger)]

    async def run(self) -> ShipReport:
        """Ship what is missing. Raises ShipError(manifest) when the manifest cannot be read."""
        self.counters.runs += 1
        report = ShipReport()
        ledger = await self._ledger()
        jobs = await asyncio.to_thread(self._jobs, ledger)
        self._sender.progress = ShipProgress(files=len(jobs), bytes=sum(job.bytes for job in jobs))
        for job in jobs:
            self.progress.file = job.file
            done_before = self.progress.bytes_done
            error = await self._attempt(job.file, self._ship(job, ledger, report), report)
            if error is not None and error.kind in _HOPELESS:
                break
            self.progress.files_done += 1
            self.progress.bytes_done = done_before + job.bytes
        await self._conclude(report)
        return report

    async def verify(self) -> ShipReport:
        """Read back everything that the manifest calls shipped, here or not."""
        report = ShipReport()
        ledger = await self._ledger()
        sent = [each.shipped for each in ledger.segments.values() if each.shipped is not None]
        sent += ledger.asides.values()
        size = sum(each.bytes for each in sent)
        self._sender.progress = ShipProgress(files=len(sent), bytes=size)
        safe = {segment_file(each.name) for each in ledger.segments.values() if each.is_safe}
        for shipment in sent:
            self.progress.file = shipment.file
            step = self._verify(shipment, report, note=shipment.file not in safe)
            error = await self._attempt(shipment.file, step, report)
            if error is not None and error.kind in _HOPELESS:
                break
            self.progress.files_done += 1
        await self._conclude(report)
        return report

    # One file ------------------------------------------------------------------------------------

    async def _ship(self, job: _Job, ledger: Ledger, report: ShipReport) -> None:
        """Bring one file into the store; the manifest says so when all of it is proved."""
        self.progress.doing = "hashing"
        segment = job.segment
        try:
            content = await asyncio.to_thread(fingerprint, job.path, segment=segment is not None)
        except ShipError as error:
            if segment is None and error.kind == "missing":
                return  # a spool file that was drained meanwhile
            raise
        if segment is None:
            key = self._keys.aside(job.file, content.hash)
            self._remember(job, content)
            known = ledger.asides.get(job.file)
            if known is not None and known.hash == content.hash:
                return
        else:
            key = self._keys.segment(segment.name)
            if (content.bytes, content.data_hash) != (segment.bytes, segment.data_hash):
                raise ShipError(
                    f"{job.file} is not what the manifest says was sealed",
                    kind="damaged",
                    hint="tickd verify says what is wrong; it is not shipped as it is",
                )
        must_read = self._config.verify == "read"
        created, stat = await self._sender.put(job.path, key, content, read=must_read)
        shipment = Shipment(
            file=job.file,
            bytes=content.bytes,
            hash=content.hash,
            url=self._bucket.url,
            key=key,
            e_tag=stat.e_tag,
        )
        await self._note("shipped", shipment)
        if must_read or not created:  # what was there before was read in any case
            await self._note("verified", shipment)
            self.counters.verified += 1
            self.counters.verified_bytes += content.bytes
            report.verified.append(job.file)
        self._doubted.discard(job.file)
        if not created:
            report.present.append(job.file)
            return
        report.shipped.append(job.file)
        report.shipped_bytes += content.bytes
        self.counters.bytes += content.bytes
        if segment is None:
            self.counters.asides += 1
        else:
            self.counters.segments += 1

    async def _verify(self, shipment: Shipment, report: ShipReport, *, note: bool) -> None:
        self.progress.doing = "verifying"
        stat = await self._bucket.stat(shipment.key)
        if stat is None:
            self._doubted.add(shipment.file)
            raise ShipError(
                f"{shipment.key} has gone from {shipment.url}",
                kind="missing",
                hint="if the file is still here, the next run ships it again",
            )
        if stat.bytes != shipment.bytes or await self._sender.read_back(stat) != shipment.hash:
            raise ShipError(f"{shipment.key} is not what was shipped", kind="different")
        self.progress.bytes_done += stat.bytes
        self.counters.verified += 1
        self.counters.verified_bytes += stat.bytes
        report.verified.append(shipment.file)
        if note:
            await self._note("verified", shipment)

    async def _note(self, kind: NoteKind, shipment: Shipment) -> None:
        await self._keeper.note(note_line(kind, shipment))

    # A run ---------------------------------------------------------------------------------------

    async def _ledger(self) -> Ledger:
        return Ledger.of(await self._keeper.lines(), self._bucket.url)

    def _jobs(self, ledger: Ledger) -> list[_Job]:
        """What is here and not proved to be there: segments by frame, then the rest. Blocks."""
        jobs = list(self._segment_jobs(ledger))
        oldest = min((each.segment.recv_last_ns for each in jobs if each.segment), default=0)
        self.counters.oldest_unshipped_ns = oldest
        since_ns = self._clock.wall_ns() - self._config.aside_age_s * 1_000_000_000
        for aside in self._folders.asides(since_ns):
            known = ledger.asides.get(aside.file)
            if known is None or self._hash_of(aside) != known.hash:
                jobs.append(_Job(aside.file, aside.path, aside.bytes, None))
        return jobs

    def _segment_jobs(self, ledger: Ledger) -> Iterator[_Job]:
        for segment in ledger.segments.values():
            file = segment_file(segment.name)
            done = segment.is_safe if self._config.verify == "read" else segment.shipped is not None
            if segment.removed is not None or (done and file not in self._doubted):
                continue
            path = self._folders.segments / segment.name
            if path.exists():
                yield _Job(file, path, segment.bytes, segment)

    def _hash_of(self, aside: Aside) -> str:
        """Its hash when last looked at; empty when it has changed since."""
        looked_at, content = self._hashes.get(aside.file, ((0, 0), ""))
        return content if looked_at == _shape(aside.path) else ""

    def _remember(self, job: _Job, content: Fingerprint) -> None:
        self._hashes[job.file] = (_shape(job.path), content.hash)

    async def _attempt(
        self, file: str, step: Awaitable[None], report: ShipReport
    ) -> ShipError | None:
        try:
            await step
        except ShipError as error:
            self.counters.failures[error.kind] += 1
            report.failures.append((file, error.kind, str(error)))
            _log.warning(
                "ship_failed", file=file, kind=error.kind, fault=str(error), hint=error.hint
            )
            return error
        return None

    async def _conclude(self, report: ShipReport) -> None:
        """Leave the manifest itself in the store, and nothing of uploads that died."""
        self.progress.doing, self.progress.file = "manifest", ""
        if not any(kind in _HOPELESS for _, kind, _ in report.failures):
            await self._attempt("MANIFEST.jsonl", self._snapshot(report), report)
            await self._attempt(self._keys.uploading, self._sender.sweep(), report)
        if report.ok:
            self.counters.success_ns = self._clock.wall_ns()
        ledger = await self._ledger()
        await asyncio.to_thread(self._jobs, ledger)
        self.progress.doing = "done"

    async def _snapshot(self, report: ShipReport) -> None:
        report.snapshot = await self._snapshots.store()
        self.counters.snapshots += report.snapshot is not None


def _shape(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return about.st_size, about.st_mtime_ns
