"""`latch.json`: whether orders may leave, and if not, why, as a restart finds it.

It reads, checks and words the file (docs/formats/latch.md); the native latch thread writes it.
Whatever cannot be read as a whole record means HALTED. It decides nothing else.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final, Literal

import msgspec

from risk.errors import LatchError
from tickd.native import xxh3_hex

__all__ = [
    "LATCH",
    "HaltedScope",
    "HaltedSide",
    "Latch",
    "Scope",
    "Source",
    "at_start",
    "boot_id",
    "decode",
    "encode",
    "read",
]

LATCH: Final = "latch.json"
DAMAGED: Final = "latch.json.damaged"
VERSION: Final = 1
# A record with all scopes halted that a switch takes; what is longer is none of ours.
LATCH_BYTES_MAX: Final = 8 << 20
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CHECK: Final = b',"check":"'
_CHECK_BYTES: Final = len(_CHECK) + 16 + len(b'"}\n')

Scope = Literal["global", "venue", "account", "strategy", "instrument"]
HaltedSide = Literal["", "B", "A"]  # both, buys, sells


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who: a signal with its sender, a part of the program, a person, or the daemon's own life."""

    kind: Literal["signal", "call", "operator", "daemon"]
    name: str = ""
    uid: int | None = None
    pid: int | None = None


class HaltedScope(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A part of trading that is halted beside the whole; of everything, one side.

    Both sides are not written: builds that know of none read such a file.
    """

    scope: Scope
    key: str
    reason: str
    source: str
    wall_ns: int
    side: HaltedSide = ""


class Latch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record. open_orders: at the trip; None: nobody could say any more."""

    version: Literal[1] = VERSION
    state: Literal["halted", "armed"]
    epoch: int
    scope: Literal["global"] = "global"
    reason: str
    source: Source
    wall_ns: int
    mono_ns: int
    boot_id: str
    config: str
    open_orders: int | None = None
    halts: tuple[HaltedScope, ...] = ()

    @property
    def is_armed(self) -> bool:
        return self.state == "armed"


def encode(latch: Latch) -> bytes:
    """Return the file of a record: one JSON object whose last member is the hash of the rest."""
    body = msgspec.json.encode(latch)[:-1]
    return body + _CHECK + xxh3_hex(body).encode() + b'"}\n'


def decode(content: bytes) -> Latch:
    """Return the record in a file. Raises LatchError: not a whole one, to the last byte."""
    body, tail = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    if not body or tail != _CHECK + xxh3_hex(body).encode() + b'"}\n':
        raise LatchError("latch file is damaged or cut short")
    try:
        return msgspec.json.decode(body + b"}", type=Latch)
    except msgspec.DecodeError as error:  # whole, of a version that we do not know
        raise LatchError(f"latch file is not understood: {error}") from error


def read(directory: Path) -> Latch:
    """Return what the file says. Raises LatchError: it is missing, unreadable or damaged."""
    path = directory / LATCH
    try:
        with path.open("rb") as stream:
            content = stream.read(LATCH_BYTES_MAX)
    except FileNotFoundError as error:
        missing = "there is no latch file" if directory.is_dir() else "its directory is missing"
        raise LatchError(f"{path}: {missing}") from error
    except OSError as error:
        raise LatchError(f"{path}: {error.strerror or error}") from error
    return decode(content)


def at_start(directory: Path, *, config: str, wall_ns: int, mono_ns: int) -> tuple[Latch, str]:
    """Return the record a life begins with, always halted, and what was wrong with the old file.

    A halt keeps its reason, sender and time over restarts. A damaged file is set aside. `epoch` is
    1, as of every new halt word. Raises nothing.
    """
    fault = ""
    old: Latch | None = None
    try:
        old = read(directory)
    except LatchError as error:
        fault = str(error)
        with contextlib.suppress(OSError):
            (directory / LATCH).rename(directory / DAMAGED)
    if old is not None and not old.is_armed:
        return msgspec.structs.replace(old, epoch=1, config=config), ""
    if old is not None:
        fault = "the daemon before this one did not stop cleanly while it was armed"
    return Latch(
        state="halted",
        epoch=1,
        reason=fault,
        source=Source(kind="daemon", name="start"),
        wall_ns=wall_ns,
        mono_ns=mono_ns,
        boot_id=boot_id(),
        config=config,
        halts=old.halts if old is not None else (),
    ), fault


def boot_id() -> str:
    """The machine's life that a monotonic stamp belongs to; empty where the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
