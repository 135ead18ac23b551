"""An independent reader of the outbox, written from docs/formats/outbox.md: slow and obvious.

It shares no code with risk/outbox_format.py and serves as its oracle.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec


class ReadOutbox(NamedTuple):
    generation: int
    wall_ns: int
    numbers: list[int]
    payloads: list[list[Any]]
    end: int
    torn_bytes: int


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def read_outbox(path: Path) -> ReadOutbox:
    data = path.read_bytes()
    assert data[:8] == b"TICKDOBX"
    assert number(data[8:12]) == 1
    assert number(data[32:36]) == zlib.crc32(data[:32])
    numbers: list[int] = []
    payloads: list[list[Any]] = []
    at = 64
    while at + 16 <= len(data):
        length, crc, its_number = number(data[at : at + 4]), number(data[at + 4 : at + 8]), 0
        body = data[at + 8 : at + 16 + length]
        if length == 0 or len(body) < 8 + length or zlib.crc32(body) != crc:
            break
        its_number = number(body[:8])
        assert not numbers or its_number == numbers[-1] + 1
        numbers.append(its_number)
        payloads.append(msgspec.msgpack.decode(body[8:]))
        at += 16 + length
        while at % 8:
            assert data[at] == 0
            at += 1
    rest = data[at:].rstrip(b"\0")
    generation, wall_ns = number(data[16:24]), number(data[24:32])
    return ReadOutbox(generation, wall_ns, numbers, payloads, at, len(rest))
