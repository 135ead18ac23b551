"""Who may write to a raw log's manifest and remove its files: the live log's writer, or its lock.

Two ways with one face. What is worth a line, and which file may go, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, final

from recorder.ship.errors import ShipError
from recorder.sink.plan import Plan
from tickd.durable import sync_directory
from tickd.events import SEQ_INDEX_BITS
from tickd.native import EVENT_TABLES, NativeError, OfflineManifest, RawLog, manifest_read

__all__ = ["Keeper", "LiveKeeper", "OfflineKeeper", "frame_needed"]

Lines = list[dict[str, Any]]
# The writer may be busy with a slow disk; a line more or less is not worth waiting longer.
_PATIENCE_MS: Final = 10_000


class Keeper(Protocol):
    """The manifest of one raw log."""

    async def lines(self) -> Lines:
        """Every whole line. Raises ShipError(manifest)."""
        ...

    async def note(self, line: bytes) -> None:
        """Add a line, durably. Raises ShipError(manifest): it is not known to be there."""
        ...

    async def remove(self, path: Path, line: bytes, may_go: Callable[[int], bool]) -> bool:
        """Add the line durably, then remove the file, if `may_go(first frame needed)` says so.

        The line comes first: a crash between the two leaves a file too many, which the next run
        removes. The other way round it would leave a loss without an explanation.
        Raises ShipError(manifest): the file is still there.
        """
        ...


def frame_needed(plan: Plan) -> int:
    """Return the first frame that the sink may still read: planned, spilled or not yet seen."""
    return (min(map(plan.settled, EVENT_TABLES)) + 1) >> SEQ_INDEX_BITS


@final
class LiveKeeper:
    """Through the writer of a running daemon. Args: `needed`: as `frame_needed`, loop thread."""

    def __init__(self, raw_log: RawLog, directory: Path, needed: Callable[[], int]) -> None:
        self._raw_log = raw_log
        self._directory = directory
        self._needed = needed

    async def lines(self) -> Lines:
        return await asyncio.to_thread(_lines, self._directory)

    async def note(self, line: bytes) -> None:
        await asyncio.to_thread(self._note, line)

    async def remove(self, path: Path, line: bytes, may_go: Callable[[int], bool]) -> bool:
        if not may_go(self._needed()):
            return False
        await asyncio.to_thread(self._remove, path, line)
        return True

    def _remove(self, path: Path, line: bytes) -> None:
        self._note(line)
        _unlink(path)

    def _note(self, line: bytes) -> None:
        try:
            self._raw_log.note(line, timeout_ms=_PATIENCE_MS)
        except NativeError as error:
            raise _refused(error) from error


@final
class OfflineKeeper:
    """Under the raw log's lock, taken for each step only: a daemon may start at any time."""

    def __init__(self, directory: Path, plan: Path) -> None:
        self._directory = directory
        self._plan = plan

    async def lines(self) -> Lines:
        return await asyncio.to_thread(_lines, self._directory)

    async def note(self, line: bytes) -> None:
        await asyncio.to_thread(self._note, line)

    async def remove(self, path: Path, line: bytes, may_go: Callable[[int], bool]) -> bool:
        return await asyncio.to_thread(self._remove, path, line, may_go)

    def _note(self, line: bytes) -> None:
        try:
            with OfflineManifest(str(self._directory)) as manifest:
                manifest.note(line)
        except NativeError as error:
            raise _refused(error) from error

    def _remove(self, path: Path, line: bytes, may_go: Callable[[int], bool]) -> bool:
        try:
            with OfflineManifest(str(self._directory)) as manifest:
                if not may_go(self._needed()):
                    return False
                manifest.note(line)
                _unlink(path)
        except NativeError as error:
            raise _refused(error) from error
        return True

    def _needed(self) -> int:
        if not self._plan.exists():
            return 0  # a sink that never ran may need everything
        plan = Plan(self._plan)
        try:
            return frame_needed(plan)
        finally:
            plan.close()


def _lines(directory: Path) -> Lines:
    try:
        return manifest_read(str(directory))
    except NativeError as error:
        raise _refused(error) from error


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise ShipError(f"{path} cannot be removed: {error.strerror}", kind="refused") from error


def _refused(error: NativeError) -> ShipError:
    hint = None
    if error.args[0] == "locked":
        hint = "a daemon has started: ask it with the same command"
    return ShipError(f"the manifest: {error.args[-1]}", kind="manifest", hint=hint)
