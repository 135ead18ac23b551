"""Where refused blocks go: the bytes as they were sent, and beside them why.

It keeps, lists, gives back and lets go; each block let go by a person leaves a line that says who,
when and why. It sends nothing and decides nothing about what is refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from recorder.clickhouse.blocks import BlockBytes
from recorder.errors import QuarantineError
from recorder.sink.plan import PlannedBlock
from recorder.spool.file import SpooledBlock
from tickd.durable import replace_file, sync_directory, write_all, write_file
from tickd.native import xxh3_hex

__all__ = ["Dropped", "Quarantine", "Quarantined"]

_DROPPED: Final = "dropped.jsonl"
_FACTS: Final = ".json"


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`<token>.json`; `bytes` 0: the raw log gave no such rows any more, so there is no body."""

    planned: PlannedBlock
    reason: str
    content_encoding: str | None
    format: str = "Native"
    bytes: int = 0
    plain_bytes: int = 0
    body_sum: str = ""


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One refused block; `kept_ns` is wall time."""

    planned: PlannedBlock
    reason: str
    bytes: int
    kept_ns: int

    @property
    def token(self) -> str:
        return self.planned.token


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A block that a person let go: its rows are in the raw log (or lost), not in ClickHouse."""

    planned: PlannedBlock
    refused: str  # why it was here
    who: str
    when_ns: int
    reason: str


class Quarantine:
    """A directory of refused blocks: `<token>.native` as it was sent, `<token>.json` says why.

    Blocking. Two processes may use it at once as long as one of them only lists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, planned: PlannedBlock, block: BlockBytes | None, reason: str) -> Path:
        """Store a block durably, with what is known when there is no body; return its path.

        Raises OSError: nothing of it is left then, and the caller still has the block.
        """
        facts = _facts(planned, block, reason)
        about = self._directory / f"{planned.token}{_FACTS}"
        if block is None and about.exists():
            return about  # with a body, perhaps, which is all that is left of these rows
        body = _body_path(about, facts)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if block is not None:
                write_file(body, block.body)
            # The facts last, and all at once: a body without them is a keep that never ended.
            replace_file(about, msgspec.json.encode(facts) + b"\n")
            sync_directory(self._directory)
        except OSError:
            for path in (body, about):
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        return about if block is None else body

    def list(self) -> Sequence[Quarantined]:
        """Everything kept, the oldest first. Raises OSError, QuarantineError."""
        found = []
        for path in sorted(self._directory.glob(f"*{_FACTS}")):
            facts = self._read(path)
            found.append(
                Quarantined(
                    planned=facts.planned,
                    reason=facts.reason,
                    bytes=facts.bytes,
                    kept_ns=path.stat().st_mtime_ns,
                )
            )
        return sorted(found, key=lambda each: (each.kept_ns, each.planned.seq_from))

    def load(self, token: str) -> SpooledBlock | None:
        """Return a block as it was refused; None when there is no body.

        Raises QuarantineError: there is no such block, or its bytes are damaged.
        """
        about = self._about(token)
        facts = self._read(about)
        if facts.bytes == 0:
            return None
        try:
            block = SpooledBlock(_body_path(about, facts).read_bytes())
        except OSError as error:
            raise QuarantineError(f"block {token} cannot be read: {error}") from error
        if facts.body_sum and xxh3_hex(block) != facts.body_sum:
            raise QuarantineError(
                f"the bytes of block {token} are damaged",
                hint="the raw log gives it again: tickd rebuild",
            )
        block.encoding, block.format = facts.content_encoding, facts.format
        block.plain_bytes, block.planned = facts.plain_bytes or len(block), facts.planned
        return block

    def release(self, token: str) -> None:
        """Forget a block that waits elsewhere again. Raises OSError, QuarantineError."""
        about = self._about(token)
        facts = self._read(about)
        about.unlink()
        _body_path(about, facts).unlink(missing_ok=True)
        sync_directory(self._directory)

    def drop(self, token: str, *, who: str, when_ns: int, reason: str) -> Dropped:
        """Let a block go for good, after a durable line in `dropped.jsonl`.

        Raises OSError, QuarantineError.
        """
        facts = self._read(self._about(token))
        line = Dropped(
            planned=facts.planned, refused=facts.reason, who=who, when_ns=when_ns, reason=reason
        )
        _append(self._directory / _DROPPED, msgspec.json.encode(line) + b"\n")
        self.release(token)
        return line

    def dropped(self) -> Sequence[Dropped]:
        """Everything let go so far. Raises OSError, QuarantineError when a line is damaged."""
        try:
            lines = (self._directory / _DROPPED).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        try:
            # What is behind the last line end is a line that a crash cut off: nothing was let go.
            return [msgspec.json.decode(line, type=Dropped) for line in lines[:-1]]
        except msgspec.DecodeError as error:
            raise QuarantineError(f"{self._directory / _DROPPED} is damaged: {error}") from error

    def _about(self, token: str) -> Path:
        about = self._directory / f"{token}{_FACTS}"
        if "/" in token or not about.exists():
            raise QuarantineError(
                f"no block {token[:200]!r} in quarantine", hint="see: tickd spool list"
            )
        return about

    def _read(self, path: Path) -> _Facts:
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Facts)
        except (OSError, msgspec.DecodeError) as error:
            raise QuarantineError(f"{path} cannot be read: {error}") from error


def _facts(planned: PlannedBlock, block: BlockBytes | None, reason: str) -> _Facts:
    if block is None:
        return _Facts(planned=planned, reason=reason, content_encoding=None)
    return _Facts(
        planned=planned,
        reason=reason,
        content_encoding=block.encoding,
        format=block.format,
        bytes=block.nbytes,
        plain_bytes=block.plain_bytes,
        body_sum=xxh3_hex(block.body),
    )


def _body_path(about: Path, facts: _Facts) -> Path:
    return about.with_name(f"{facts.planned.token}.{facts.format.lower()}")


def _append(path: Path, line: bytes) -> None:
    """Add a line, durably, or leave the file as it was. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        whole = os.pread(fd, os.fstat(fd).st_size, 0).rfind(b"\n") + 1
        os.ftruncate(fd, whole)
        try:
            write_all(fd, line)
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, whole)
            raise
    finally:
        os.close(fd)
