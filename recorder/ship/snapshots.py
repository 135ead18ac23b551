"""Copies of the manifest in the store: what makes a lost machine's bucket readable by itself.

A snapshot is named by its number of lines and its last line's sum, so it never changes, and the
newest is the last by name. A few are kept. Its own chain of hashes proves it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from recorder.ship.errors import ObjectExistsError, ShipError
from recorder.ship.files import Folders
from recorder.ship.keys import Keys
from recorder.ship.store import Bucket
from tickd.native import xxh3_hex

__all__ = ["MANIFEST_NAME", "Snapshots", "lines_of"]

_log = structlog.get_logger(__name__)

MANIFEST_NAME: Final = "MANIFEST.jsonl"
# An hour apart that is a working day, in which somebody notices a manifest that went wrong.
_KEPT: Final = 8


class Snapshots:
    """The snapshots of one node's manifest."""

    def __init__(self, folders: Folders, bucket: Bucket, keys: Keys) -> None:
        self._path = folders.raw / MANIFEST_NAME
        self._bucket = bucket
        self._keys = keys
        self._newest = ""

    async def store(self) -> str | None:
        """Store the manifest as it is now; return its key, None when the newest is there already.

        Raises ShipError.
        """
        content = await asyncio.to_thread(_whole_lines, self._path)
        lines = lines_of(content)
        if not lines:
            return None
        key = self._keys.manifest(len(lines), lines[-1]["sum"])
        if key == self._newest:
            return None
        try:
            await self._bucket.create(key, content)
            made = key
        except ObjectExistsError:
            made = None
        stat = await self._bucket.stat(key)
        if stat is None or await self._bucket.read_whole(key, stat.bytes) != content:
            raise ShipError(f"{key} is not what was stored", kind="corrupted")
        self._newest = key
        await self._prune()
        return made

    async def newest(self) -> tuple[bytes, list[dict[str, Any]]] | None:
        """The newest whole snapshot and its lines, None when there is none. Raises ShipError."""
        found = await self._bucket.list(self._keys.manifests)
        for stat in reversed(found):
            content = await self._bucket.read_whole(stat.key, stat.bytes)
            lines = lines_of(content)
            if lines and stat.key == self._keys.manifest(len(lines), lines[-1]["sum"]):
                return content, lines
            _log.warning("snapshot_damaged", key=stat.key, whole_lines=len(lines))
        return None

    async def _prune(self) -> None:
        found = await self._bucket.list(self._keys.manifests)
        for stat in [each for each in found if each.key < self._newest][: -_KEPT + 1]:
            try:
                await self._bucket.delete(stat.key)
            except ShipError as error:  # a store that keeps everything is a good store
                _log.info("snapshot_kept", key=stat.key, fault=str(error))
                return


def lines_of(content: bytes) -> list[dict[str, Any]]:
    """Return the lines of a manifest up to the first that is not whole (docs/formats/raw-log.md).

    A break of the chain between whole lines is the log's own history, and stays.
    """
    lines: list[dict[str, Any]] = []
    for text in content.splitlines():
        try:
            line = msgspec.json.decode(text, type=dict[str, Any])
            total = line["sum"]
        except (msgspec.DecodeError, KeyError):
            break
        if xxh3_hex(text.removesuffix(b',"sum":"%s"}' % str(total).encode())) != total:
            break
        lines.append(line)
    return lines


def _whole_lines(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]
