"""Shipping in the daemon: the schedule, the commands that ask for a run, and what the others see.

Where no daemon runs, `tickd ship` builds the same parts over the raw log's lock. What is shipped
and removed is decided in recorder/ship.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from recorder.ship.files import Folders
from recorder.ship.keeper import Keeper, LiveKeeper, OfflineKeeper
from recorder.ship.keys import Keys
from recorder.ship.retention import Retention
from tickd.app.control import Command, ask
from tickd.errors import ConfigError, TickdError
from tickd.native import RawLog
from tickd.ports import Clock

if TYPE_CHECKING:  # these import obstore, which is an extra
    from recorder.ship.shipper import Shipper, ShipReport
    from recorder.ship.store import Bucket

log = structlog.get_logger(__name__)

NS_PER_S: Final = 1_000_000_000
FAILURES_SHOWN: Final = 100
# What a full disk asks for at once; it asks again every minute while it stays full.
RECLAIM_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class ShipParts:
    """What ships one node's files."""

    bucket: Bucket
    shipper: Shipper
    retention: Retention


def open_store(config: ShipConfig) -> Bucket:
    """Return the configured store. Raises ConfigError: no url, no obstore, wrong settings."""
    if not config.enabled:
        raise ConfigError("ship.url is not set", hint='[ship] url = "s3://bucket", or --url')
    try:
        from recorder.ship.store import open_bucket  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            f"shipping needs the package {error.name}", hint="install tickd[ship]"
        ) from error
    return open_bucket(config)


def ship_parts(
    config: ShipConfig, *, node: int, state_dir: Path, keeper: Keeper, clock: Clock
) -> ShipParts:
    """Construct what ships. Raises ConfigError as `open_store`."""
    bucket = open_store(config)
    from recorder.ship.sender import Sender  # noqa: PLC0415 - as above
    from recorder.ship.shipper import Shipper  # noqa: PLC0415

    folders = Folders(state_dir)
    sender = Sender(config, keys=Keys(config.prefix, node), bucket=bucket, clock=clock)
    shipper = Shipper(
        config, folders=folders, bucket=bucket, sender=sender, keeper=keeper, clock=clock
    )
    retention = Retention(
        config,
        folders=folders,
        bucket=bucket,
        keeper=keeper,
        clock=clock,
        read_back=sender.read_back,
    )
    return ShipParts(bucket, shipper, retention)


def offline_keeper(state_dir: Path) -> OfflineKeeper:
    return OfflineKeeper(state_dir / "raw", state_dir / "sink" / "plan.jsonl")


class RemoteKeeper:
    """`Keeper` for `tickd restore` beside a running daemon, which writes the lines."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._offline = offline_keeper(state_dir)

    async def lines(self) -> list[dict[str, Any]]:
        return await self._offline.lines()

    async def note(self, line: bytes) -> None:
        """Raises ShipError: the daemon does not answer, or refuses the line."""
        try:
            await ask(self._state_dir, "note_restored", line=line.decode())
        except TickdError as error:
            raise ShipError(str(error), kind="manifest", hint=error.hint) from error

    async def remove(self, path: Path, line: bytes, may_go: Callable[[int], bool]) -> bool:  # noqa: ARG002
        """Never: what the daemon has is the daemon's to remove."""
        return False


async def run_once(parts: ShipParts, *, verify: bool, reclaim_bytes: int = 0) -> dict[str, Any]:
    """Ship, verify if asked, remove what may go; the answer for people and for JSON.

    Raises ShipError(manifest): the manifest cannot be read.
    """
    report = await parts.shipper.run()
    if verify and not _hopeless(report):
        checked = await parts.shipper.verify()
        report.verified += checked.verified
        report.failures += checked.failures
        report.snapshot = checked.snapshot or report.snapshot
    removed = await parts.retention.run(reclaim_bytes=reclaim_bytes)
    for name, error in removed.failures:
        parts.shipper.doubt(name)
        report.failures.append((name, error.kind, str(error)))
    if removed.segments:
        log.info("segments_removed", count=len(removed.segments), removed_bytes=removed.bytes)
    return {
        "ok": not report.failures,
        "shipped": len(report.shipped),
        "shipped_bytes": report.shipped_bytes,
        "present": len(report.present),
        "verified": len(report.verified),
        "removed": len(removed.segments),
        "removed_bytes": removed.bytes,
        "snapshot": report.snapshot,
        "failures": [
            {"file": file, "kind": kind, "fault": words}
            for file, kind, words in report.failures[:FAILURES_SHOWN]
        ],
    }


def _hopeless(report: ShipReport) -> bool:
    return any(kind in ("refused", "unreachable", "stalled") for _, kind, _ in report.failures)


class Shipping:
    """One daemon's shipping. `run` is its life; loop thread only."""

    def __init__(
        self,
        config: ShipConfig,
        *,
        node: int,
        state_dir: Path,
        raw_log: RawLog,
        frame_needed: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._config = config
        self._clock = clock
        self._keeper = LiveKeeper(raw_log, state_dir / "raw", frame_needed)
        self.parts: ShipParts | None = None
        if config.enabled:
            self.parts = ship_parts(
                config, node=node, state_dir=state_dir, keeper=self._keeper, clock=clock
            )
        self._asked = asyncio.Event()
        self._verify = False
        self._reclaim_bytes = 0
        self._begun = 0  # runs
        self._ended = 0
        self._removed = 0
        self._removed_bytes = 0
        self._answer: dict[str, Any] | None = None

    async def run(self) -> None:
        """Ship every `every_s` and when asked, for ever; raises CancelledError only."""
        if self.parts is None:
            return
        while True:
            await self._round(self.parts)
            async with asyncio.TaskGroup() as tasks:
                timer = tasks.create_task(self._tick(), name="ship timer")
                await self._asked.wait()
                timer.cancel()

    async def _tick(self) -> None:
        await self._clock.sleep(self._config.every_s)
        self._asked.set()

    async def _round(self, parts: ShipParts) -> None:
        self._asked.clear()
        verify, self._verify = self._verify, False
        reclaim_bytes, self._reclaim_bytes = self._reclaim_bytes, 0
        self._begun += 1
        try:
            answer = await run_once(parts, verify=verify, reclaim_bytes=reclaim_bytes)
        except ShipError as error:
            parts.shipper.counters.failures[error.kind] += 1
            log.warning("ship_failed", kind=error.kind, fault=str(error), hint=error.hint)
            failure = {"file": "", "kind": error.kind, "fault": str(error)}
            answer = {"ok": False, "failures": [failure]}
        self._removed += answer.get("removed", 0)
        self._removed_bytes += answer.get("removed_bytes", 0)
        self._answer = answer
        self._ended = self._begun

    def stop(self) -> None:
        """End what is under way at its next piece, so that the store can forget the parts of it."""
        if self.parts is not None:
            self.parts.shipper.stop()

    # For others -----------------------------------------------------------------------------------

    def commands(self) -> dict[str, Command]:
        """The control commands, by name."""
        return {
            "ship": self.ship,
            "ship_status": self.ship_status,
            "ship_wanted": self.ship_wanted,
            "note_restored": self.note_restored,
        }

    def ship_now_and_reclaim(self) -> None:
        """Ship now, then remove what is safe though it is young: the disk is filling up."""
        self._reclaim_bytes = RECLAIM_BYTES
        self._asked.set()

    @property
    def every_s(self) -> int:
        """The longest time between two runs."""
        return self._config.every_s

    @property
    def removed(self) -> tuple[int, int]:
        """Segments removed here since the start, and their bytes."""
        return self._removed, self._removed_bytes

    def draw(self) -> dict[str, Any]:
        """The section of `tickd status`."""
        if self.parts is None:
            return {"enabled": False}
        counters = self.parts.shipper.counters
        return {
            "enabled": True,
            "url": self._config.url,
            "running": self._begun > self._ended,
            "progress": asdict(self.parts.shipper.progress),
            **asdict(counters),
            "failures": dict(counters.failures),  # asdict counts the pairs of a Counter
            "removed": self._removed,
            "removed_bytes": self._removed_bytes,
            "last": self._answer,
        }

    async def ship(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The control command `ship`: ask for a run; `ship_status` says when it has ended."""
        self._must_be_enabled()
        self._verify = self._verify or request.get("verify") is True
        self._asked.set()
        return {"run": self._begun + 1}

    async def ship_status(self, _: Mapping[str, object]) -> dict[str, Any]:
        """The control command `ship_status`."""
        self._must_be_enabled()
        return {"ended": self._ended, **self.draw()}

    async def ship_wanted(self, _: Mapping[str, object]) -> dict[str, Any]:
        """The control command `ship_wanted`: what a run would ship."""
        parts = self._must_be_enabled()
        return {"files": await parts.shipper.wanted()}

    async def note_restored(self, request: Mapping[str, object]) -> None:
        """The control command `note_restored`: a line of `tickd restore` beside this daemon."""
        line = str(request.get("line", "")).encode()
        if b'"kind":"restored"' not in line:
            raise ShipError("only what was restored can be noted from outside", kind="refused")
        await self._keeper.note(line)

    def _must_be_enabled(self) -> ShipParts:
        if self.parts is None:
            raise ConfigError("this daemon ships nothing", hint='[ship] url = "s3://bucket"')
        return self.parts
