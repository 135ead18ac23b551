"""Which files of a raw log are its segments, and what their names and headers say.

A segment is `segments/<first frame, 20 digits>-<UTC time>.tkraw`, with `.open` behind it while it
is written (docs/formats/raw-log.md); any other file is none, as for the writer. It reads names and
headers, no frames.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["first_frame", "first_frames", "header_node", "sealed_names", "segment_paths"]

_DIGITS: Final = 20
_NAME: Final = re.compile(r"[0-9]{20}.*\.tkraw(\.open)?")
_OPEN: Final = ".open"
_MAGIC: Final = 0x184D2A50
# A damaged length must not make anybody read the whole file.
_HEADER_BYTES_MAX: Final = 1 << 20


class _Header(msgspec.Struct):
    node: int


def segment_paths(directory: Path) -> list[Path]:
    """Return the segments in a raw log's directory, sealed or not, in the order of their frames.

    There are none where it has no `segments/`. Raises OSError.
    """
    try:
        return sorted(
            path for path in (directory / "segments").iterdir() if _NAME.fullmatch(path.name)
        )
    except (FileNotFoundError, NotADirectoryError):
        return []


def sealed_names(directory: Path) -> set[str]:
    """Return the names of the sealed segments that are here. Raises OSError."""
    return {path.name for path in segment_paths(directory) if not path.name.endswith(_OPEN)}


def first_frames(directory: Path) -> list[int]:
    """Return the first frame number of each segment, in order. Raises OSError."""
    return [first_frame(path) for path in segment_paths(directory)]


def first_frame(path: Path) -> int:
    """Return the first frame number of a segment, which its name says."""
    return int(path.name[:_DIGITS])


def header_node(path: Path) -> int | None:
    """Return the node that a segment's header names; None: torn or damaged. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            return None
        magic, size = struct.unpack("<II", head)
        text = file.read(min(size, _HEADER_BYTES_MAX))
    if magic != _MAGIC:
        return None
    try:
        return msgspec.json.decode(text.split(b"\n", 1)[0], type=_Header).node
    except msgspec.DecodeError:
        return None
