"""The sender: gets one file's bytes under one key of the store, and proves that they are there.

An object that is there already is compared and never replaced; one that did not arrive whole is
withdrawn. It knows no manifest: what was achieved is for the shipper to note.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from recorder.ship.bandwidth import Bandwidth
from recorder.ship.config import ShipConfig
from recorder.ship.errors import ObjectExistsError, ShipError
from recorder.ship.files import Fingerprint
from recorder.ship.keys import Keys
from recorder.ship.s3_uploads import S3Uploads
from recorder.ship.store import Bucket, Stat
from tickd.native import Xxh3
from tickd.ports import Clock

__all__ = ["Sender", "ShipProgress"]

_log = structlog.get_logger(__name__)

_PIECE_BYTES: Final = 1 << 20
_NS: Final = 10**9
# Nobody works on an upload for so long: the time limits of its parts end it before.
_STALE_S: Final = 86_400


@dataclass(slots=True)
class ShipProgress:
    """Where a run is, for people who watch."""

    files: int = 0
    files_done: int = 0
    bytes: int = 0
    bytes_done: int = 0
    file: str = ""
    doing: str = "looking"


class Sender:
    """Sends to one store, within the bandwidth. `stop` ends whatever it does at the next piece."""

    def __init__(self, config: ShipConfig, *, keys: Keys, bucket: Bucket, clock: Clock) -> None:
        self.keys = keys
        self._config = config
        self._bucket = bucket
        self._clock = clock
        self._sending = Bandwidth(config.bandwidth_bytes_per_s, clock)
        self._reading = Bandwidth(config.bandwidth_bytes_per_s, clock)
        self._uploads = S3Uploads.of(config, clock)
        self._stopping = False
        self.progress = ShipProgress()

    def stop(self) -> None:
        self._stopping = True

    async def put(
        self, path: Path, key: str, content: Fingerprint, *, read: bool
    ) -> tuple[bool, Stat]:
        """Have the file's bytes under `key`; (whether this call made the object, the object).

        Args: `read`: read back also what this call made.
        Raises ShipError: `different` when another object is there, which stays as it is;
        `corrupted` when the one made here is not right, which is deleted again.
        """
        created = False
        stat = await self._bucket.stat(key)
        if stat is None:
            try:
                await self._create(path, key, content)
                created = True
            except ObjectExistsError:
                _log.info("object_came_first", key=key)
            stat = await self._bucket.stat(key)
            if stat is None:
                raise ShipError(f"{key} is not there after its upload", kind="corrupted")
        self.progress.doing = "verifying"
        same = stat.bytes == content.bytes
        if same and (read or not created):  # one that was there says nothing about its bytes
            same = await self.read_back(stat) == content.hash
        if same:
            return created, stat
        if not created:
            raise ShipError(
                f"{key} holds other bytes than {path.name}; it was not overwritten",
                kind="different",
                hint="two nodes with one number? look at both, remove the wrong one by hand",
            )
        await self._withdraw(stat)
        raise ShipError(f"{key} did not arrive as it was sent; it was deleted", kind="corrupted")

    async def _withdraw(self, made: Stat) -> None:
        """Delete an object that this run made and nobody has replaced."""
        now = await self._bucket.stat(made.key)
        if now is not None and (now.e_tag, now.modified) == (made.e_tag, made.modified):
            await self._bucket.delete(made.key)

    async def _create(self, path: Path, key: str, content: Fingerprint) -> None:
        self.progress.doing = "sending"
        if content.bytes > self._config.part_bytes:
            await self._create_large(path, key, content)
            return
        body = b"".join([piece async for piece in self._pieces(path, content)])
        await self._bucket.create(key, body)

    async def _create_large(self, path: Path, key: str, content: Fingerprint) -> None:
        """Parts cannot be put together conditionally everywhere, but a copy can."""
        begun_s = self._clock.wall_ns() // _NS
        staging = self.keys.staging(key, begun_s, secrets.token_hex(8))
        await self._bucket.upload(staging, self._pieces(path, content))
        try:
            stat = await self._bucket.stat(staging)
            if stat is None or stat.bytes != content.bytes:
                raise ShipError(f"{staging} did not arrive as it was sent", kind="corrupted")
            await self._bucket.copy_new(staging, key)
        finally:
            await self._discard(staging)

    async def _discard(self, staging: str) -> None:
        try:
            await self._bucket.delete(staging)
        except ShipError as error:  # the next run, or the store's own rules, delete it when old
            _log.warning("staging_left", key=staging, fault=str(error))

    async def _pieces(self, path: Path, content: Fingerprint) -> AsyncIterator[bytes]:
        """The file at the pace allowed; ends in an error if it is not what was hashed before."""
        whole, size = Xxh3(), 0
        try:
            with path.open("rb", buffering=0) as file:
                while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                    self._check_stop()
                    await self._sending.take(len(piece))
                    whole.update(piece)
                    size += len(piece)
                    yield piece
                    self.progress.bytes_done += len(piece)
        except OSError as error:
            raise ShipError(f"{path} cannot be read: {error.strerror}", kind="missing") from error
        if (size, whole.hexdigest()) != (content.bytes, content.hash):
            raise ShipError(f"{path} changed while it was sent", kind="changed")

    async def read_back(self, stat: Stat) -> str:
        """Return xxh3 of an object's bytes, as the store gives them now. Raises ShipError."""
        whole = Xxh3()
        async for piece in self._bucket.read(stat.key, stat.bytes):
            whole.update(piece)
            self._check_stop()
            await self._reading.take(memoryview(piece).nbytes)
        return whole.hexdigest()

    async def sweep(self) -> None:
        """Delete what is left of uploads that nobody can be working on any more.

        How old they are is told by their names, so that the store's clock does not matter.
        """
        for stat in await self._bucket.list(self.keys.uploading):
            if self._is_stale(stat.key):
                await self._discard(stat.key)
        if self._uploads is None:
            return
        try:
            for upload in await self._uploads.list(self.keys.uploading):
                if self._is_stale(upload.key):
                    await self._uploads.abort(upload)
                    _log.info("upload_aborted", key=upload.key)
        except ShipError as error:  # a right that not everybody gives; the bucket may have a rule
            _log.info("uploads_not_swept", fault=str(error))

    def _is_stale(self, staging: str) -> bool:
        begun_s = self.keys.begun_s(staging)
        return begun_s is None or self._clock.wall_ns() // _NS - begun_s > _STALE_S

    def _check_stop(self) -> None:
        if self._stopping:
            raise ShipError("stopped; the next run goes on", kind="stopped")
