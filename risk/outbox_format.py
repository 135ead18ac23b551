"""The outbox's bytes: records, their frames, and what a file holds up to its torn end.

Pure: bytes in, values out. The format is docs/formats/outbox.md; an independent reader stands in
tests/reference. It opens no file and knows no order.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

from risk.orders import Request, Side, TimeInForce

__all__ = [
    "HEADER_BYTES",
    "CancelAsked",
    "Carried",
    "Held",
    "New",
    "NotSent",
    "Record",
    "ReplaceAsked",
    "Reported",
    "Resolved",
    "Scan",
    "encode_payload",
    "header",
    "scan",
]

MAGIC: Final = b"TICKDOBX"
VERSION: Final = 1
HEADER_BYTES: Final = 64
# An order with very many executions is the longest; beyond this a length is damage.
PAYLOAD_BYTES_MAX: Final = 4 << 20
_HEADER: Final = Struct("<8sIIQq")  # magic, version, 0, generation, wall clock
_HEADER_CRC: Final = Struct("<I")
_HEAD: Final = Struct("<IIQ")  # length of the payload, CRC-32 of number and payload, number
_NUMBER: Final = Struct("<Q")
_ALIGN: Final = 8


class New(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A new order is about to be written to the venue."""

    number: int
    wall_ns: int
    client_id: int
    strategy: str
    account: str
    instrument: int
    venue: str
    symbol: str
    side: Side
    price: int | None
    size: int
    time_in_force: TimeInForce
    reduce_only: bool

    def request(self) -> Request:
        return Request(
            client_id=self.client_id,
            strategy=self.strategy,
            account=self.account,
            instrument=self.instrument,
            venue=self.venue,
            symbol=self.symbol,
            side=self.side,
            price=self.price,
            size=self.size,
            time_in_force=self.time_in_force,
            reduce_only=self.reduce_only,
        )


class CancelAsked(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A cancel is about to be written."""

    number: int
    wall_ns: int


class ReplaceAsked(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """A replacement is about to be written."""

    number: int
    wall_ns: int
    price: int | None
    size: int


class Reported(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """A report of the venue, or of a snapshot, that changed something."""

    number: int
    wall_ns: int
    kind: int
    venue_id: str
    exec_id: str
    price: int | None
    size: int | None
    cum_size: int | None
    fee: int
    fee_currency: str
    code: str
    reason: str
    ts_event_ns: int | None


class NotSent(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """Proof that nothing left: of the order (1), its cancel (2) or its replacement (4)."""

    number: int
    wall_ns: int
    what: int
    reason: str


class Resolved(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """An operator's word about an order in doubt."""

    number: int
    wall_ns: int
    end: int
    filled: int
    price: int | None
    operator: str
    reason: str


class Carried(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """All that is known of an order, where a file is written anew; it replaces what came before."""

    new: New
    price: int | None
    size: int
    venue_id: str
    filled: int
    cum: int
    is_acked: bool
    cancel_asked: bool
    replace_asked: bool
    replace_price: int | None
    replace_size: int
    doubts: int
    state: int
    end: int
    assumed: int
    executions: tuple[str, ...]
    past: tuple[tuple[int | None, int], ...]

    @property
    def number(self) -> int:
        return self.new.number


class Held(msgspec.Struct, frozen=True, array_like=True, tag=8, gc=False):
    """What a strategy holds where a file is written anew: bought minus sold."""

    account: str
    strategy: str
    instrument: int
    symbol: str
    size: int


Record = New | CancelAsked | ReplaceAsked | Reported | NotSent | Resolved | Carried | Held
encode_payload: Final[Callable[[Record], bytes]] = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Record)


class Scan(msgspec.Struct, frozen=True):
    """What a file holds. end: where the next frame goes; number: the last frame's.

    torn_bytes: of a last frame that is not whole; beyond: whole frames behind such a place, which
    no end of a process leaves: the file is damaged.
    """

    generation: int
    records: tuple[Record, ...]
    end: int
    number: int
    torn_bytes: int
    beyond: int


def header(generation: int, wall_ns: int) -> bytes:
    """Return the first HEADER_BYTES of a file."""
    head = _HEADER.pack(MAGIC, VERSION, 0, generation, wall_ns)
    return (head + _HEADER_CRC.pack(crc32(head))).ljust(HEADER_BYTES, b"\0")


def _generation(data: bytes) -> int | None:
    if len(data) < HEADER_BYTES:
        return None
    magic, version, _, generation, _ = _HEADER.unpack_from(data)
    (crc,) = _HEADER_CRC.unpack_from(data, _HEADER.size)
    if (magic, version) != (MAGIC, VERSION) or crc != crc32(data[: _HEADER.size]):
        return None
    return int(generation)


def _whole(data: bytes, at: int, number_min: int) -> tuple[int, bytes] | None:
    """Return the number and the payload of a whole frame at `at`."""
    if at + _HEAD.size > len(data):
        return None
    length, crc, number = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    if not 0 < length <= PAYLOAD_BYTES_MAX or start + length > len(data) or number < number_min:
        return None
    payload = data[start : start + length]
    return (number, payload) if crc == crc32(payload, crc32(_NUMBER.pack(number))) else None


def scan(data: bytes) -> Scan | None:
    """Return what a file holds; None: its header is not one of ours.

    A whole frame that cannot be decoded counts as damage, like everything behind it.
    """
    generation = _generation(data)
    if generation is None:
        return None
    records: list[Record] = []
    at, last = HEADER_BYTES, 0
    while (found := _whole(data, at, last + 1)) is not None:
        try:
            records.append(_decoder.decode(found[1]))
        except msgspec.DecodeError:
            break
        last = found[0]
        at += _HEAD.size + len(found[1]) + -len(found[1]) % _ALIGN
    torn_bytes = len(data[at:].rstrip(b"\0"))
    beyond = _count_beyond(data, at, last, at + torn_bytes) if torn_bytes else 0
    return Scan(generation, tuple(records), at, last, torn_bytes, beyond)


def _count_beyond(data: bytes, start: int, last: int, end: int) -> int:
    """How many whole frames stand behind a broken one; frames begin at multiples of eight."""
    count, at = 0, start + _ALIGN
    while at < end:
        found = _whole(data, at, last + 1)
        if found is None:
            at += _ALIGN
            continue
        count += 1
        at += _HEAD.size + len(found[1]) + -len(found[1]) % _ALIGN
    return count
