"""The files of a node that belong into the store, and what they hold. Blocks: for threads.

Sealed segments as the manifest names them; beside them what must not be lost with the machine:
quarantined bytes of the raw log, refused blocks, spool files that lie there for long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from recorder.ship.errors import ShipError
from tickd.native import Xxh3

__all__ = ["Aside", "Fingerprint", "Folders", "fingerprint"]

_PIECE_BYTES: Final = 1 << 20
# A segment ends with its footer: 96 bytes behind an 8-byte head; at 8 stands where the data ends.
_FOOTER_BYTES: Final = 96
_DATA_END_AT: Final = 8


class Fingerprint(NamedTuple):
    """What a file holds; `data_hash`: xxh3 of a segment's header and chunks, else empty."""

    bytes: int
    hash: str
    data_hash: str


@dataclass(frozen=True, slots=True)
class Aside:
    """A file that is no segment, named as in the manifest."""

    file: str
    path: Path
    bytes: int


class Folders:
    """Where a node's files lie."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.raw = state_dir / "raw"
        self.segments = self.raw / "segments"

    def path_of(self, file: str) -> Path:
        """Return the path of a file named as in the manifest."""
        return (self.state_dir if file.startswith("sink/") else self.raw) / file

    def asides(self, unchanged_since_ns: int) -> Iterator[Aside]:
        """Yield what lies beside the segments and did not change since then, by name."""
        for root, base in (
            (self.raw / "quarantine", self.raw),
            (self.state_dir / "sink" / "quarantine", self.state_dir),
            (self.state_dir / "sink" / "spool", self.state_dir),
        ):
            for path in sorted(root.rglob("*")):
                try:
                    about = path.lstat()
                except FileNotFoundError:  # drained meanwhile
                    continue
                is_file = path.is_file() and not path.is_symlink()
                if is_file and about.st_size and about.st_mtime_ns <= unchanged_since_ns:
                    yield Aside(path.relative_to(base).as_posix(), path, about.st_size)


def fingerprint(path: Path, *, segment: bool) -> Fingerprint:
    """Read a file once and return what it holds.

    Raises ShipError: `missing`; `damaged` when it should be a segment and has no footer.
    """
    whole, data = Xxh3(), Xxh3()
    at = 0
    try:
        with path.open("rb", buffering=0) as file:
            data_end = _data_end(file.fileno(), path) if segment else 0
            while piece := file.read(_PIECE_BYTES):
                whole.update(piece)
                if at < data_end:
                    data.update(memoryview(piece)[: data_end - at])
                at += len(piece)
    except FileNotFoundError:
        raise ShipError(f"{path} is gone", kind="missing") from None
    except OSError as error:
        raise ShipError(f"{path} cannot be read: {error.strerror}", kind="damaged") from error
    return Fingerprint(at, whole.hexdigest(), data.hexdigest() if segment else "")


def _data_end(fd: int, path: Path) -> int:
    size = os.fstat(fd).st_size
    content = os.pread(fd, _FOOTER_BYTES, max(0, size - _FOOTER_BYTES))
    if len(content) < _FOOTER_BYTES or not content.endswith(b"TKRAWEND"):
        raise ShipError(f"{path} has no footer", kind="damaged", hint="tickd verify says more")
    return int.from_bytes(content[_DATA_END_AT : _DATA_END_AT + 8], "little")
