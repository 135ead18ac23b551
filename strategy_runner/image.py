"""What a host knows of the market and of its orders, as bytes that another host begins with.

An image has last values, live books, open orders and positions up to a number. It is taken apart
into events, so that a host takes it in the way it takes everything. It reads and writes no file.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from strategy_runner.errors import StrategyError
from tickd.events import (
    EVENT,
    ID_UNDEF,
    LEVEL,
    PRICE_UNDEF,
    SIZE_UNDEF,
    TS_UNDEF,
    BookState,
    Flag,
    Kind,
    OrderState,
    Side,
)
from tickd.native import EventBatch, L2Book, Order, xxh3_hex

__all__ = [
    "Image",
    "KeptBook",
    "KeptPosition",
    "batch_of",
    "book_of",
    "events_of",
    "joined",
    "order_rows",
    "pack",
    "pieces",
    "position_rows",
    "unpack",
]

VERSION: Final = 1
# As much of the raw log may the beginning of one life take, and so much may it be when unpacked.
RECORDED_BYTES_MAX: Final = 8 << 20
IMAGE_BYTES_MAX: Final = 256 << 20
# 64,000 letters: a line of a strategy has 65,536 at most.
PIECE_BYTES: Final = 48_000

Rows = npt.NDArray[np.void]

# A cost is split into pairs of fills of this size and of one, which leave the position as it is.
_PAIR_BITS: Final = 40
_COST_BITS_MAX: Final = _PAIR_BITS + 62


class KeptBook(msgspec.Struct, frozen=True, array_like=True):
    """A live book: rows of LEVEL, best first, and how far its last snapshot told them."""

    instrument: int
    venue: str
    last_id: int
    bids: bytes
    asks: bytes
    bid_limit: int | None
    ask_limit: int | None


class KeptPosition(msgspec.Struct, frozen=True, array_like=True):
    """Of one strategy in one instrument; `cost` as text: it may have more than 64 bits."""

    owner: int
    instrument: int
    size: int
    cost: str


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to `seq`; above `known_from` nothing is missing."""

    seq: int
    now_ns: int
    known_from: int
    values: bytes
    books: tuple[KeptBook, ...] = ()
    # Rows of EVENT in the order of `seq`.
    orders: bytes = b""
    positions: tuple[KeptPosition, ...] = ()


def pack(image: Image) -> bytes:
    body = msgspec.msgpack.encode(image)
    return _head(body) + b"\n" + body


def unpack(content: bytes) -> Image:
    """Raises StrategyError: damaged, cut short, of another version."""
    head, _, body = content.partition(b"\n")
    if head != _head(body):
        raise StrategyError("the image is damaged or of another version")
    try:
        return msgspec.msgpack.decode(body, type=Image)
    except msgspec.DecodeError as error:
        raise StrategyError(f"the image makes no sense: {error}") from error


def pieces(content: bytes) -> list[str]:
    """Return what an image is in the raw log. Raises StrategyError: too much for it."""
    packed = zlib.compress(content, 1)
    if len(packed) > RECORDED_BYTES_MAX:
        raise StrategyError(
            f"an image of {len(packed):,} bytes, at most {RECORDED_BYTES_MAX:,} are recorded"
        )
    starts = range(0, len(packed), PIECE_BYTES)
    return [base64.b64encode(packed[at : at + PIECE_BYTES]).decode() for at in starts]


def joined(parts: Sequence[str]) -> bytes:
    """Return the image that `pieces` made these of. Raises StrategyError."""
    try:
        packed = b"".join(base64.b64decode(part, validate=True) for part in parts)
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, IMAGE_BYTES_MAX)
    except (ValueError, zlib.error) as error:
        raise StrategyError(f"the recorded image is damaged: {error}") from error
    if not unpacker.eof:
        raise StrategyError("the recorded image is cut short, or too large")
    return content


def book_of(venue: str, book: L2Book) -> KeptBook | None:
    """Return what is kept of a book; None: it is not live, or has no number to go on from."""
    if book.state != BookState.SYNCED or book.last_id == 0:
        return None
    return KeptBook(
        book.instrument,
        venue,
        book.last_id,
        bytes(book.rows("B", book.bid_count)),
        bytes(book.rows("A", book.ask_count)),
        book.known_limit("B"),
        book.known_limit("A"),
    )


def order_rows(orders: Sequence[Order]) -> bytes:
    """Return the events that the newest news of orders were, in the order of their numbers."""
    rows = _rows(len(orders), Kind.ORDER)
    for row, order in zip(rows, sorted(orders, key=lambda order: order.seq), strict=True):
        row["ts_event"], row["ts_recv"] = order.ts_event_ns, order.ts_recv_ns
        row["seq"], row["id"], row["aux"] = order.seq, order.client_id, order.state
        row["price"], row["size"], row["side"] = order.price, order.size, ord(order.side)
        row["instrument"], row["flags"] = order.instrument, order.flags
    return rows.tobytes()


def position_rows(owner: int, instrument: int, size: int, cost: int) -> list[Rows]:
    """Return fills that add up to exactly this much. Raises StrategyError: too many bits."""
    if abs(cost) >> _COST_BITS_MAX:
        raise StrategyError(f"a position that cost {cost}")
    high, low = cost >> _PAIR_BITS, cost & ((1 << _PAIR_BITS) - 1)
    fills = [(size, 0)] if size else []
    for amount, price in ((1 << _PAIR_BITS, high), (1, low)):
        if price:
            fills += [(amount, price), (-amount, 0)]
    messages = []
    for amount, price in fills:
        row = _rows(1, Kind.ORDER)
        row["id"] = owner << 32  # numbers of orders begin at 1
        row["price"], row["size"], row["instrument"] = price, abs(amount), instrument
        row["aux"] = OrderState.FILLED
        row["side"] = Side.BID if amount > 0 else Side.ASK
        messages.append(row)
    return messages


def batch_of(rows: Rows | bytes) -> EventBatch:
    content = rows if isinstance(rows, bytes) else rows.tobytes()
    return EventBatch.from_events(content, [(0, 0, len(content) // EVENT.itemsize)])


def events_of(image: Image, positions: Sequence[Rows]) -> EventBatch:
    """Return positions, books and the moment of an image as messages up to its number.

    Every message has one of the numbers below it, the last one is a clock record with it. Raises
    StrategyError: there are not so many numbers.
    """
    messages = list(positions)
    forms = {venue: _is_joined(venue) for venue in {book.venue for book in image.books}}
    for book in image.books:
        messages += _book_messages(book, joins=forms[book.venue])
    clock = _rows(1, Kind.CLOCK)
    clock["ts_event"] = image.now_ns
    messages.append(clock)
    first = image.seq - len(messages) + 1
    if first < 1:
        raise StrategyError(f"the image has {len(messages)} messages below number {image.seq}")
    for number, message in enumerate(messages):
        message["seq"] = first + number
        message["ts_recv"] = image.now_ns
    return batch_of(np.concatenate(messages))


def _head(body: bytes) -> bytes:
    return f"tickd-image {VERSION} {xxh3_hex(body)}".encode()


def _rows(count: int, kind: Kind) -> Rows:
    rows = np.zeros(count, EVENT)
    rows["ts_event"], rows["id"] = TS_UNDEF, ID_UNDEF
    rows["price"], rows["size"] = PRICE_UNDEF, SIZE_UNDEF
    rows["flags"], rows["kind"], rows["side"] = Flag.SYNTHETIC | Flag.LAST, kind, Side.NONE
    return rows


def _is_joined(venue: str) -> bool:
    """Whether a snapshot makes a book live only together with a change; tried out, not known."""
    book = L2Book(venue, 1)
    for message in _book_messages(KeptBook(1, venue, 10, b"", b"", None, None), joins=True):
        book.apply(batch_of(message))
    return (book.state, book.last_id) == (BookState.SYNCED, 10)


def _book_messages(book: KeptBook, *, joins: bool) -> list[Rows]:
    """The messages that make an empty book this one, under its venue's own rule.

    The snapshot has the levels that the last one told, and so knows as far; a change has the rest.
    """
    told, rest = [], []
    for side, content, limit in (
        (Side.BID, book.bids, book.bid_limit),
        (Side.ASK, book.asks, book.ask_limit),
    ):
        levels = _rows(len(content) // LEVEL.itemsize, Kind.DEPTH)
        packed = np.frombuffer(content, LEVEL)
        levels["price"], levels["size"], levels["side"] = packed["price"], packed["size"], side
        if limit is None:
            rest.append(levels)
            continue
        inside = levels["price"] >= limit if side is Side.BID else levels["price"] <= limit
        told.append(levels[inside])
        rest.append(levels[~inside])
        if limit not in levels["price"]:
            # The worst level that was told is gone meanwhile.
            for size, rows in ((1, told), (0, rest)):
                gone = _rows(1, Kind.DEPTH)
                gone["price"], gone["size"], gone["side"] = limit, size, side
                rows.append(gone)
    before = book.last_id - 1
    if joins:
        change = _message(book, (book.last_id, book.last_id, before), rest)
        return [change, _message(book, (before, before, SIZE_UNDEF), told, Flag.SNAPSHOT)]
    ids = (0 if book.last_id == ID_UNDEF else book.last_id, book.last_id, SIZE_UNDEF)
    snapshot = _message(book, ids, told, Flag.SNAPSHOT)
    return [snapshot, _message(book, ids, rest)] if any(map(len, rest)) else [snapshot]


def _message(
    book: KeptBook, ids: tuple[int, int, int], levels: Sequence[Rows], flags: int = 0
) -> Rows:
    """A head with (first id, last id, previous id), and its levels."""
    head = _rows(1, Kind.DEPTH_HEAD)
    head["price"], head["size"], head["aux"] = ids[0], ids[2], sum(map(len, levels))
    rows = np.concatenate([head, *levels])
    rows["aux"][1:] = np.arange(len(rows) - 1)
    rows["id"], rows["instrument"] = ids[1], book.instrument
    rows["flags"] = Flag.SYNTHETIC | flags
    rows["flags"][-1] |= Flag.LAST
    return rows
