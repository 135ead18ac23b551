"""What the manifest says about every file: sealed, shipped, verified, removed, restored.

The one place where those lines are written and read. Pure: lines in, states out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

__all__ = ["Ledger", "NoteKind", "Segment", "Shipment", "note_line", "segment_file"]

NoteKind = Literal["shipped", "verified", "removed", "restored"]

_SEGMENTS: Final = "segments/"


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """A file and its object, as in the manifest; `hash` is xxh3 of the whole file."""

    file: str
    bytes: int
    hash: str
    url: str
    key: str
    e_tag: str | None = None


def note_line(kind: NoteKind, shipment: Shipment) -> bytes:
    """Return the line that says so, for `RawLog.note`."""
    return msgspec.json.encode({"kind": kind, **msgspec.structs.asdict(shipment)})


def segment_file(name: str) -> str:
    return _SEGMENTS + name


@dataclass(slots=True)
class Segment:
    """A sealed segment and its fate."""

    name: str
    bytes: int
    data_hash: str  # of header and chunks
    frame_first: int
    frame_last: int
    recv_first_ns: int
    recv_last_ns: int
    suspect: bool
    shipped: Shipment | None = None  # to the store in question
    verified: Shipment | None = None  # there, all bytes read back
    removed: Shipment | None = None  # here; None again once restored
    restored_ns: int = 0  # when it came back last

    @property
    def is_safe(self) -> bool:
        """Whether the store holds this very content, as far as the manifest knows."""
        sent, read = self.shipped, self.verified
        return (
            sent is not None
            and read is not None
            and (sent.key, sent.bytes, sent.hash) == (read.key, read.bytes, read.hash)
        )


@dataclass(slots=True)
class Ledger:
    """The states of all files; `url`: as one store has them, None: as any store has them."""

    url: str | None
    segments: dict[str, Segment] = field(default_factory=dict)  # in the order of their frames
    asides: dict[str, Shipment] = field(default_factory=dict)  # the newest version of each
    lines: int = 0
    last_sum: str = ""

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]], url: str | None) -> Ledger:
        ledger = cls(url)
        for line in lines:
            ledger._take(line)
        ordered = sorted(ledger.segments.items())
        ledger.segments = dict(ordered)
        return ledger

    def in_store_only(
        self, frame_from: int, frame_to: int, present: Collection[str]
    ) -> list[Segment]:
        """Return the segments of these frames that were removed here. `present`: names here."""
        return [
            segment
            for segment in self.segments.values()
            if segment.removed is not None
            and segment.name not in present
            and segment.frame_first <= frame_to
            and segment.frame_last >= frame_from
        ]

    def _take(self, line: Mapping[str, Any]) -> None:
        self.lines, self.last_sum = int(line["line"]) + 1, str(line["sum"])
        kind = line["kind"]
        if kind == "sealed":
            self._seal(line)
        elif kind in ("shipped", "verified", "removed", "restored"):
            shipment = msgspec.convert(line, Shipment)
            if shipment.file.startswith(_SEGMENTS):
                self._move(kind, shipment, int(line["at_ns"]))
            elif self.url in (None, shipment.url):
                self.asides[shipment.file] = shipment

    def _seal(self, line: Mapping[str, Any]) -> None:
        name = str(line["segment"])
        known = self.segments.get(name)
        if known is not None:
            # Sealed again by recovery, which set damaged bytes aside. What was shipped before is
            # the better copy, and stays the one that counts.
            known.bytes, known.data_hash = line["bytes"], str(line["hash"])
            return
        self.segments[name] = Segment(
            name=name,
            bytes=line["bytes"],
            data_hash=str(line["hash"]),
            frame_first=line["frame_first"],
            frame_last=line["frame_last"],
            recv_first_ns=line["recv_first"],
            recv_last_ns=line["recv_last"],
            suspect=bool(line.get("suspect")),
        )

    def _move(self, kind: NoteKind, shipment: Shipment, at_ns: int) -> None:
        segment = self.segments.get(shipment.file.removeprefix(_SEGMENTS))
        if segment is None:  # its sealed line was damaged; recovery adds one, it counts from there
            return
        if kind == "removed":
            segment.removed = shipment
        elif kind == "restored":
            segment.removed, segment.restored_ns = None, at_ns
        elif self.url in (None, shipment.url):
            if kind == "shipped":
                segment.shipped = shipment
            else:
                segment.verified = shipment
