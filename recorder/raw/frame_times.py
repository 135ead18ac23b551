"""From receive times to frame numbers, as exactly as a chunk is. It reads files only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recorder.raw.segments import segment_paths
from tickd.native import manifest_read, segment_info

__all__ = ["frames_between", "last_frame"]


class _Span(NamedTuple):
    frame_first: int
    frame_last: int
    recv_first_ns: int
    recv_last_ns: int


def frames_between(
    directory: Path, from_ns: int | None, to_ns: int | None
) -> tuple[int, int] | None:
    """Return the first and last frame of the chunks that hold anything of [from_ns, to_ns).

    None when nothing was received then. A clock that stepped back makes the range larger, never
    smaller. Blocks. Raises NativeError, OSError.
    """
    first = last = None
    for span in _spans(directory):
        if _touches(span, from_ns, to_ns):
            first = span.frame_first if first is None else min(first, span.frame_first)
            last = span.frame_last if last is None else max(last, span.frame_last)
    return None if first is None or last is None else (first, last)


def last_frame(directory: Path) -> int:
    """Return the highest frame number that the log holds; 0 for an empty one. Blocks."""
    paths = segment_paths(directory)
    known = [int(line["frame_last"]) for line in _sealed(directory)]
    for path in reversed(paths):
        info = segment_info(str(path))
        if info["records"]:
            return max([info["frame_last"], *known])
    return max(known, default=0)


def _spans(directory: Path) -> Iterator[_Span]:
    """Every chunk; a segment that is not here as a whole.

    A segment's own times are those of its first and last record, between which the clock may have
    been set: only its chunks say what it holds.
    """
    segments = directory / "segments"
    sealed = {str(line["segment"]): line for line in _sealed(directory)}
    for name, line in sealed.items():
        if (segments / name).exists():
            yield from _chunks(segments / name)
        else:
            yield _Span(
                int(line["frame_first"]),
                int(line["frame_last"]),
                int(line["recv_first"]),
                int(line["recv_last"]),
            )
    for path in segment_paths(directory):
        if path.name not in sealed:
            yield from _chunks(path)


def _chunks(path: Path) -> Iterator[_Span]:
    for chunk in segment_info(str(path))["chunks"]:
        yield _Span(
            chunk["frame_first"],
            chunk["frame_last"],
            chunk["recv_first_ns"],
            chunk["recv_last_ns"],
        )


def _sealed(directory: Path) -> Iterator[dict[str, Any]]:
    return (line for line in manifest_read(str(directory)) if line.get("kind") == "sealed")


def _touches(span: _Span, from_ns: int | None, to_ns: int | None) -> bool:
    earliest = min(span.recv_first_ns, span.recv_last_ns)
    latest = max(span.recv_first_ns, span.recv_last_ns)
    return (from_ns is None or latest >= from_ns) and (to_ns is None or earliest < to_ns)
