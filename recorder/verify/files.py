"""The files of a raw log against its manifest: chain, sums, every byte of every segment.

Yields findings and says which stretches of frame numbers cannot be read because their file is not
here. It decodes no frame, asks no ClickHouse and changes no segment; damage that is new goes on the
list of what the next start has to look at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from recorder.raw.segments import segment_paths
from recorder.verify.report import Checked, Finding, Kind, SegmentTotals
from tickd.native import NativeError, suspect_segment, verify_segment, xxh3_hex

__all__ = ["Absent", "LogFiles", "check_files", "shipped_files"]

_MANIFEST: Final = "MANIFEST.jsonl"
_NO_LINE: Final = "0" * 16
_OPEN: Final = ".open"
# What `tickd ship` and `tickd restore` write about a file; the last one says where it is.
_SHIPMENTS: Final = frozenset({"shipped", "verified", "removed", "restored"})

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Absent:
    """Frames that were recorded and cannot be read here."""

    first: int
    last: int
    cause: Literal["removed", "missing", "quarantined"]


@dataclass(slots=True)
class LogFiles:
    """What was found; `begin` is the first frame that the manifest knows of."""

    totals: SegmentTotals = field(default_factory=SegmentTotals)
    checked: Checked = field(default_factory=Checked)
    findings: list[Finding] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    announced: list[tuple[int, int]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    segments: int = 0  # files that are here, sealed or not


def check_files(directory: Path, on_bytes: Callable[[int], None] = lambda _: None) -> LogFiles:
    """Check everything; blocks for as long as it takes to read the log once. Raises OSError.

    Args: `on_bytes`: called with the size of each segment that has been read.
    """
    found = LogFiles()
    # The files before the manifest: a segment that is sealed meanwhile then has its line.
    paths = {path.name: path for path in segment_paths(directory)}
    found.lines = list(_lines(directory / _MANIFEST, found))
    sealed = {str(line["segment"]): line for line in found.lines if line.get("kind") == "sealed"}
    shipments = _last_shipments(found.lines)
    aside = {
        (str(line["segment"]), int(line["offset"]))
        for line in found.lines
        if line.get("kind") == "quarantined"
    }
    found.segments = len(paths)
    for name, path in paths.items():
        if name.endswith(_OPEN):
            if name.removesuffix(_OPEN) not in paths:
                found.totals.unsealed += 1
                found.totals.bytes += _size(path)
            continue
        _check_segment(path, sealed.get(name), aside, found)
        on_bytes(_size(path))
    for name, line in sealed.items():
        if name not in paths and f"{name}{_OPEN}" not in paths:
            _absent_segment(name, line, shipments, found)
    for line in found.lines:
        if line.get("kind") == "quarantined":
            _check_quarantined(directory, line, found)
        if line.get("kind") == "announced":
            found.announced.append((int(line["frame_from"]), int(line["frame_to"])))
    _announce_removed(sealed.values(), found)
    return found


def shipped_files(lines: list[Line]) -> list[Line]:
    """The last line about each file that went to a store; `removed`: the only copy is there."""
    return [line for line, _ in _last_shipments(lines).values()]


def _lines(path: Path, found: LogFiles) -> Iterator[Line]:
    """Each whole line; what is wrong with the chain becomes findings."""
    data = path.read_bytes() if path.exists() else b""
    previous, number = _NO_LINE, 0
    *whole, _torn = data.split(b"\n")  # a torn last line is what a crash leaves
    for text in whole:
        found.checked.manifest_lines += 1
        line = _line(text)
        if line is None:
            found.findings.append(
                Finding(
                    kind=Kind.MANIFEST_LINE,
                    where=_MANIFEST,
                    text=f"line {number} is not what was written: its sum does not fit",
                )
            )
            number, previous = number + 1, ""
            continue
        if previous and (line["prev"], line["line"]) != (previous, number):
            found.findings.append(
                Finding(
                    kind=Kind.MANIFEST_CHAIN,
                    where=_MANIFEST,
                    text=f"line {line['line']} does not follow the one before it"
                    f" (number {number - 1})",
                    count=max(1, int(line["line"]) - number),
                )
            )
        previous, number = str(line["sum"]), int(line["line"]) + 1
        yield line


def _line(text: bytes) -> Line | None:
    """A line whose own sum fits, None for any other."""
    body, mark, _ = text.rpartition(b',"sum"')
    try:
        line = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    keys = {"line", "prev", "sum"}
    return line if mark and keys <= line.keys() and xxh3_hex(body) == line["sum"] else None


def _check_segment(
    path: Path, line: Line | None, aside: AbstractSet[tuple[str, int]], found: LogFiles
) -> None:
    """Check one sealed segment; `aside`: (segment, offset) of damage that recovery dealt with."""
    try:
        verdict = verify_segment(str(path))
    except FileNotFoundError:  # removed while we looked: the next run sees its line
        return
    found.totals.sealed += 1
    found.totals.bytes += _size(path)
    found.checked.segments += 1
    found.checked.chunks += verdict["chunks"]
    found.checked.records += verdict["records"]
    # Damage in a sealed file stays in it; set aside and announced, its frames are accounted for.
    set_aside = [offset for name, offset in aside if name == path.name]
    stretches = [each for each in verdict["damaged"] if each["offset"] not in set_aside]
    if set_aside and not stretches:
        return
    sound = verdict["ok"] and verdict["sealed"] and verdict["hash_ok"] and verdict["index_ok"]
    if stretches or not sound:
        what = ", ".join(f"{each['bytes']} bytes at {each['offset']}" for each in stretches[:5])
        if not stretches:
            parts = {"index": verdict["index_ok"], "data hash": verdict["hash_ok"]}
            what = " and ".join(name for name, ok in parts.items() if not ok) or "seal"
        found.findings.append(
            Finding(
                kind=Kind.SEGMENT_DAMAGED,
                where=path.name,
                text=f"checksums do not fit: {what}",
                count=max(1, len(stretches)),
            )
        )
        if not all((path.name, each["offset"]) in aside for each in stretches) or not stretches:
            # The next start sets the bytes aside; a log that may only be read stays as it is.
            with suppress(NativeError, OSError):
                suspect_segment(str(path.parent.parent), path.name)
        return
    if line is None:
        found.findings.append(
            Finding(
                kind=Kind.SEGMENT_WITHOUT_LINE,
                where=path.name,
                text="the manifest has no line for it; the next start of the daemon adds one",
            )
        )
        return
    said = {name: line[name] for name in ("records", "chunks", "bytes", "hash")}
    here = {
        "records": verdict["records"],
        "chunks": verdict["chunks"],
        "bytes": _size(path),
        "hash": verdict["hash"],
    }
    if said != here:
        names = [name for name in said if said[name] != here[name]]
        text = ", ".join(
            f"{name} {said[name]} in the manifest, {here[name]} here" for name in names
        )
        found.findings.append(Finding(kind=Kind.SEGMENT_DIFFERS, where=path.name, text=text))


def _last_shipments(lines: list[Line]) -> dict[str, tuple[Line, set[str]]]:
    """Per file its last line about shipping, and the kinds of all of those with the same hash."""
    last: dict[str, tuple[Line, set[str]]] = {}
    for line in lines:
        if line.get("kind") in _SHIPMENTS:
            file = str(line["file"])
            before = last.get(file)
            same = before is not None and before[0]["hash"] == line["hash"]
            kinds = before[1] if before is not None and same else set()
            last[file] = (line, kinds | {str(line["kind"])})
    return last


def _absent_segment(
    name: str, line: Line, shipments: Mapping[str, tuple[Line, set[str]]], found: LogFiles
) -> None:
    """A segment whose file is not here: removed behind a verified copy, or lost."""
    first, last = int(line["frame_first"]), int(line["frame_last"])
    shipped, kinds = shipments.get(f"segments/{name}", (None, set()))
    if shipped is None or shipped["kind"] != "removed":
        found.absent.append(Absent(first, last, "missing"))
        hint = "" if shipped is None else "; a copy is in the store: tickd restore"
        found.findings.append(
            Finding(
                kind=Kind.SEGMENT_MISSING,
                where=name,
                text=f"the file is not here and no line says that it was removed{hint}",
                count=int(line["records"]),
            )
        )
        return
    found.absent.append(Absent(first, last, "removed"))
    found.totals.removed += 1
    if "verified" not in kinds or shipped["bytes"] != line["bytes"]:
        found.findings.append(
            Finding(
                kind=Kind.SEGMENT_UNVERIFIED,
                where=name,
                text="it was removed, and no line says that this very copy was verified",
                count=int(line["records"]),
            )
        )


def _announce_removed(sealed: Iterable[Line], found: LogFiles) -> None:
    """A gap's record stands in the first segment behind it, and is in the store with that one."""
    ends = sorted(int(line["frame_last"]) for line in sealed)
    for absent in found.absent:
        before = bisect_left(ends, absent.first)
        if absent.cause == "removed" and before:
            found.announced.append((ends[before - 1] + 1, absent.first - 1))


def _check_quarantined(directory: Path, line: Line, found: LogFiles) -> None:
    """Bytes that recovery set aside must still be there."""
    first, last = int(line["frame_from"]), int(line["frame_to"])
    if first <= last:
        found.absent.append(Absent(first, last, "quarantined"))
    path = directory / "quarantine" / Path(str(line["file"])).name
    size = _size(path)
    shipped = any(
        other.get("kind") == "removed" and other["file"] == f"quarantine/{path.name}"
        for other in found.lines
    )
    if size != int(line["bytes"]) and not shipped:
        found.findings.append(
            Finding(
                kind=Kind.QUARANTINE_DAMAGED,
                where=path.name,
                text=f"{line['bytes']} bytes were set aside, {size} are here",
            )
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
