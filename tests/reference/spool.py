"""An independent reader of spool files, written from docs/formats/spool.md: slow and obvious.

It shares no code with recorder/spool/file.py and serves as its oracle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

MAGIC = b"TKSPOOL1"
PREFIX_BYTES = 40


class SpoolRecord(NamedTuple):
    offset: int
    done: bool
    header: dict[str, Any]
    body: bytes
    whole: bool


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def read_spool(path: Path) -> list[SpoolRecord]:
    """Every record whose head is right, at whatever byte it begins, and whose body is all there."""
    data = path.read_bytes()
    records = []
    at = 0
    while at < len(data):
        prefix = data[at : at + PREFIX_BYTES]
        head_bytes, body_bytes = number(prefix[12:16]), number(prefix[16:24])
        body_at = at + PREFIX_BYTES + head_bytes
        head = data[at + PREFIX_BYTES : body_at]
        right = (
            len(prefix) == PREFIX_BYTES
            and prefix[:8] == MAGIC
            and body_at + body_bytes <= len(data)
            and xxhash.xxh3_64_intdigest(prefix[12:32] + head) == number(prefix[32:40])
        )
        if not right:
            at += 1
            continue
        body = data[body_at : body_at + body_bytes]
        whole = xxhash.xxh3_64_intdigest(body) == number(prefix[24:32])
        records.append(SpoolRecord(at, prefix[8:9] == b"D", json.loads(head), body, whole))
        at = body_at + body_bytes
    return records
