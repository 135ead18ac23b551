"""A raw log written by hand from docs/formats/raw-log.md, with receive stamps of one's choice.

The daemon stamps what it receives with its own clock; tests of what is read back need recorded
times, and logs of gigabytes in seconds. It shares no code with the native writer.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import xxhash
import zstandard

CHUNK_BYTES = 200_000
CHECKPOINT = b'{"version":1,"ledger":true,"instruments":[],"connections":[],"slots":[]}'


class Line(NamedTuple):
    recv_ns: int
    connection: int
    kind: str
    payload: bytes


class LogWriter:
    """One live segment under `directory`; usable after `close`, or as a context."""

    def __init__(self, directory: Path, *, node: int = 1, start_ns: int = 0) -> None:
        folder = directory / "segments"
        folder.mkdir(parents=True)
        self._file = (folder / "00000000000000000001-20240808T235415.tkraw.open").open("wb")
        self._frame = 0
        self._chunk: list[bytes] = []
        self._bytes = 0
        self._zstd = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=True)
        header = {"format": "tickd-raw", "version": 1, "node": node, "first_frame": 1}
        header |= {"created_ns": start_ns, "host": "test", "boot_id": "test", "tickd": "test"}
        text = json.dumps(header | {"previous": None, "meta": {}}).encode()
        content = text + b"\n" + xxhash.xxh3_64_intdigest(text).to_bytes(8, "little")
        self._skippable(0x184D2A50, content)
        self.write([Line(start_ns, 0, "K", CHECKPOINT)])

    def write(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._frame += 1
            head = f"{self._frame} {line.recv_ns} {line.recv_ns} {line.connection} {line.kind}"
            record = f"{head} {len(line.payload)} ".encode() + line.payload + b"\n"
            # A large payload takes several frame numbers.
            self._frame += len(line.payload) // (512 << 10)
            self._chunk.append(record)
            self._bytes += len(record)
            if self._bytes >= CHUNK_BYTES:
                self.flush()

    def flush(self) -> None:
        if self._chunk:
            self._file.write(self._zstd.compress(b"".join(self._chunk)))
        self._chunk, self._bytes = [], 0

    def close(self) -> None:
        self.flush()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _skippable(self, magic: int, content: bytes) -> None:
        self._file.write(magic.to_bytes(4, "little") + len(content).to_bytes(4, "little") + content)


def instrument(venue: str, symbol: str, **fields: object) -> bytes:
    definition: dict[str, Any] = {
        "kind": "instrument",
        "venue": venue,
        "symbol": symbol,
        "asset_class": "perpetual",
        "price_scale": 2,
        "size_scale": 3,
        "tick": 1,
        "lot": 1,
        "multiplier": "1",
    }
    return json.dumps(definition | fields).encode()


def connect(venue: str, connection: int, streams: list[str]) -> bytes:
    said = {"kind": "connect", "connection": connection, "venue": venue}
    return json.dumps(said | {"url": "ws://recorded/ws", "streams": streams}).encode()


def capture_lines(
    path: Path, venue: str, symbol: str, depth_path: str, *, connection: int = 1, **fields: object
) -> Iterator[Line]:
    """A recorded capture as the records that a daemon would have written at its stamps."""
    with gzip.open(path, "rb") as stream:
        opened = False
        for text in stream:
            stamp, _, body = text.rstrip(b"\n").partition(b" ")
            recv_ns = int(stamp)
            if not opened:
                opened = True
                yield Line(recv_ns, 0, "C", instrument(venue, symbol, **fields))
                yield Line(recv_ns, connection, "C", connect(venue, connection, []))
            if body.startswith(b'{"stream"'):
                yield Line(recv_ns, connection, "W", body)
            else:
                head = f"GET {depth_path}?symbol={symbol}&limit=1000 200\n".encode()
                yield Line(recv_ns, connection, "R", head + body)
