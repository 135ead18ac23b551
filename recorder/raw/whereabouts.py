"""Which frames of a raw log are in object storage only, so that who reads on past them can say so.

Reads the manifest and the directory; fetches nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from recorder.raw.segments import sealed_names
from recorder.ship.ledger import Ledger
from tickd.native import manifest_read

__all__ = ["Elsewhere", "in_store_only"]


class Elsewhere(NamedTuple):
    """A segment that was removed here, and its object."""

    segment: str
    frame_first: int
    frame_last: int
    bytes: int
    url: str
    key: str

    def __str__(self) -> str:
        return f"frames {self.frame_first} to {self.frame_last} are in {self.url} only"

    @property
    def hint(self) -> str:
        return f"tickd restore --frames {self.frame_first}-{self.frame_last} brings them back"


def in_store_only(directory: Path, frame_from: int, frame_to: int) -> list[Elsewhere]:
    """Return what a reader of these frames will not find in a raw log's directory, in order.

    Blocks. Raises OSError; NativeError when the manifest cannot be read.
    """
    here = sealed_names(directory)
    ledger = Ledger.of(manifest_read(str(directory)), None)
    return [
        Elsewhere(
            segment.name,
            segment.frame_first,
            segment.frame_last,
            segment.removed.bytes,
            segment.removed.url,
            segment.removed.key,
        )
        for segment in ledger.in_store_only(frame_from, frame_to, here)
        if segment.removed is not None
    ]
