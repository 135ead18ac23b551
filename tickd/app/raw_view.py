"""A raw log as people and tests want to see it.

Segments, frames, events with natural numbers. Read-only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson

from recorder.raw.segments import first_frames, header_node, segment_paths
from recorder.raw.whereabouts import Elsewhere, in_store_only
from tickd.errors import ConfigError
from tickd.events import as_array
from tickd.native import Decoder, EventBatch, RawLogReader, segment_info

FRAME_MAX = (1 << 64) - 1


class Frame(msgspec.Struct, frozen=True):
    """One record of the log."""

    frame_no: int
    recv_ns: int
    mono_ns: int
    connection: int
    type: str
    payload: bytes


def frames_of(chunk: bytes) -> Iterator[Frame]:
    """The records of a chunk; the header is ASCII, the length says where the payload ends."""
    at = 0
    while at < len(chunk):
        parts = chunk[at : at + 96].split(b" ", 6)
        head = sum(len(part) + 1 for part in parts[:6])
        length = int(parts[5])
        payload = chunk[at + head : at + head + length]
        yield Frame(
            int(parts[0]), int(parts[1]), int(parts[2]), int(parts[3]), parts[4].decode(), payload
        )
        at += head + length + 1


def node_of(state_dir: Path) -> int:
    """The node number that stands in a raw log's newest segment. Raises ConfigError: none there."""
    for path in reversed(segment_paths(state_dir / "raw")):
        node = header_node(path)
        if node is not None:  # torn at once: the one before says the same
            return node
    raise ConfigError(f"no raw log in {state_dir}", hint="name a state directory or a config file")


class RawView:
    """The segments behind a path: a state directory, a raw-log directory or one segment file."""

    def __init__(self, path: Path) -> None:
        self._only: Path | None = None
        if path.is_file():
            self._only = path
            self._directory = path.parent.parent
        else:
            self._directory = path / "raw" if (path / "raw").is_dir() else path
        if not (self._directory / "segments").is_dir():
            raise ConfigError(
                f"no raw log at {path}",
                hint="name a state directory, the folder that holds segments/, or one segment file",
            )
        self._instruments: dict[int, dict[str, Any]] = {}
        self.damaged = False

    def paths(self) -> list[Path]:
        if self._only is not None:
            return [self._only]
        return segment_paths(self._directory)

    def segments(self) -> Iterator[Mapping[str, Any]]:
        for path in self.paths():
            yield segment_info(str(path))

    def elsewhere(self, first: int = 0, last: int | None = None) -> list[Elsewhere]:
        """What was removed here and is in object storage only."""
        if self._only is not None:
            return []
        return in_store_only(self._directory, first, FRAME_MAX if last is None else last)

    def chunks(self, first: int, last: int | None) -> Iterator[bytes]:
        if self._only is not None:
            info = segment_info(str(self._only))
            first = max(first, info["frame_first"])
            last = info["frame_last"] if last is None else min(last, info["frame_last"])
        reader = RawLogReader(str(self._directory), first, last)
        for _segment, chunk in reader:
            yield chunk
        self.damaged = self.damaged or bool(reader.damaged)

    def chunks_from_checkpoint(self, first: int, last: int | None) -> Iterator[bytes]:
        """As `chunks`, from the start of the segment that holds `first`.

        It begins with a checkpoint.
        """
        starts = [] if self._only is not None else first_frames(self._directory)
        begin = max((start for start in starts if start <= first), default=0)
        yield from self.chunks(begin, last)

    def events(self, batch: EventBatch, decoder: Decoder) -> Iterator[tuple[str, np.void]]:
        """Topic and event, in the order of `seq`."""
        array = as_array(batch)
        topics = np.empty(len(array), dtype=np.int64)
        for topic, start, stop in batch.topics:
            topics[start:stop] = topic
        for index in np.argsort(array["seq"], kind="stable"):
            yield decoder.topic_name(int(topics[index])), array[int(index)]

    def instrument(self, decoder: Decoder, instrument_id: int) -> dict[str, Any] | None:
        if instrument_id not in self._instruments:
            self._instruments = {i: orjson.loads(text) for i, text in decoder.instruments()}
        return self._instruments.get(instrument_id)
