"""What a row is worth: the same number from the decoded events and, by SQL, from a stored row.

Each column of a table has an odd weight; a row's value is the weighted sum of its columns modulo
2^64, a level list counts with its positions. So a changed column shows, and so do two that were
exchanged. The events are read here without the block encoder, so that a mistake of the encoder
shows as well. It compares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tickd.events import ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, TS_UNDEF, Flag, GapCause, Kind

__all__ = ["Rows", "Scales", "rows_of", "scattered", "scattered_sql", "value_sql"]

Events = npt.NDArray[np.void]
Words = npt.NDArray[np.uint64]

# Any odd number would do; this one spreads small values over all bits.
_WEIGHT: Final = 0x9E37_79B9_7F4A_7C15
_MASK: Final = (1 << 64) - 1
# The scale that the tables hold where an instrument has no definition.
_UNKNOWN: Final = 255
_SIDES: Final = {ord("B"): 1, ord("A"): 2}
_FIRST: Final = (
    "toUnixTimestamp64Nano(ts_recv)",
    "toUnixTimestamp64Nano(ts_event)",
    "instrument",
    "price_scale",
    "size_scale",
    "flags",
)
# The columns of each table behind the first ones, as SQL, in the order of its `_*_rows` below.
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "trades": ("id", "price", "size", "toInt8(side)", "fills"),
    "quotes": ("id", "bid_price", "bid_size", "ask_price", "ask_size"),
    "book": ("first_id", "last_id", "previous_id"),
    "marks": ("toInt8(kind)", "value", "value_scale", "toUnixTimestamp64Nano(next_ts)"),
    "liquidations": ("id", "price", "average_price", "size", "toInt8(side)"),
    "states": ("toInt8(kind)", "state", "last_id", "expected_id", "received_id"),
    "gaps": ("toInt8(cause)", "channel", "from_id", "to_id", "missing"),
}
_LISTS: Final = ("bid_price", "bid_size", "ask_price", "ask_size")


class Rows(NamedTuple):
    """The rows that a stretch of events must have become in one table, in no particular order."""

    seq: Words
    value: Words

    def without(self, ranges: list[tuple[int, int]]) -> Rows:
        """Leave out the rows whose seq lies in one of the (first, last) ranges."""
        kept = np.ones(len(self.seq), dtype=bool)
        for first, last in ranges:
            kept &= (self.seq < np.uint64(first)) | (self.seq > np.uint64(last))
        return Rows(self.seq[kept], self.value[kept])


class Scales:
    """Price and size scales by instrument, for whole arrays; an unknown one has 255 and 255."""

    def __init__(self, scales: Mapping[int, tuple[int, int]]) -> None:
        scales = {0: (0, 0), **scales}  # instrument 0 is "none"
        known = sorted(scales)
        self._known = np.array([*known, 1 << 32], dtype=np.uint64)
        self._price = np.array([*(scales[each][0] for each in known), _UNKNOWN], dtype=np.int64)
        self._size = np.array([*(scales[each][1] for each in known), _UNKNOWN], dtype=np.int64)

    def of(self, instruments: npt.NDArray[np.uint32]) -> tuple[Words, Words]:
        """Return the price scales and the size scales."""
        wanted = instruments.astype(np.uint64)
        at = np.searchsorted(self._known, wanted)
        found = self._known[at] == wanted
        return _words(np.where(found, self._price[at], _UNKNOWN)), _words(
            np.where(found, self._size[at], _UNKNOWN)
        )


def value_sql(table: str) -> str:
    """Return the SQL expression of a row's value, a UInt64."""
    columns = (*_FIRST, *_OWN[table])
    terms = [f"{_weight(k)} * toUInt64({sql})" for k, sql in enumerate(columns)]
    if table == "book":
        for k, name in enumerate(_LISTS, start=len(columns)):
            total = f"(v, i) -> toUInt64(v) * {scattered_sql('i')}, {name}, arrayEnumerate({name})"
            terms.append(f"{_weight(k)} * arraySum({total})")
    return " + ".join(terms)


def scattered(numbers: Words) -> Words:
    """Return an odd number for each, far from its neighbours': ClickHouse's `intHash64`, odd.

    With factors that are linear in a position, small changes can cancel each other out.
    """
    mixed = numbers ^ np.uint64(0x4CF2_D2BA_AE6D_A887)
    for factor in (0xFF51_AFD7_ED55_8CCD, 0xC4CE_B9FE_1A85_EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(33))) | np.uint64(1)


def scattered_sql(number: str) -> str:
    """Return `scattered` of an expression."""
    return f"bitOr(intHash64({number}), 1)"


def rows_of(events: Events, scales: Scales) -> dict[str, Rows]:
    """Return the rows of whole venue messages by table; tables without any are left out."""
    found: dict[str, Rows] = {}
    kinds = events["kind"]
    for table, (wanted, build) in _TABLES.items():
        chosen = events[np.isin(kinds, wanted)]
        if len(chosen):
            rows = build(chosen, scales)
            if len(rows.seq):
                found[table] = rows
    return found


def _weight(k: int) -> int:
    return (_WEIGHT * (2 * k + 1)) & _MASK


def _words(values: npt.NDArray[np.generic]) -> Words:
    return values.astype(np.int64).view(np.uint64)


def _value(
    first: Events, scales: Scales, flags: npt.NDArray[np.generic], own: list[Words]
) -> Words:
    """Weigh the columns of rows whose first events are `first`."""
    recv = first["ts_recv"]
    price_scale, size_scale = scales.of(first["instrument"])
    columns = [
        _words(recv),
        _words(np.where(first["ts_event"] == TS_UNDEF, recv, first["ts_event"])),
        first["instrument"].astype(np.uint64),
        price_scale,
        size_scale,
        flags.astype(np.uint64),
        *own,
    ]
    total = np.zeros(len(first), dtype=np.uint64)
    for k, column in enumerate(columns):
        total += np.uint64(_weight(k)) * column
    return total


def _side(events: Events) -> Words:
    side = np.zeros(len(events), dtype=np.uint64)
    for letter, number in _SIDES.items():
        side[events["side"] == letter] = number
    return side


def _id_in(values: npt.NDArray[np.int64], undefined: int) -> Words:
    """An id that travelled in a signed field; undefined is 2^64-1 in every id column."""
    return np.where(values == undefined, np.uint64(ID_UNDEF), values.view(np.uint64))


def _trades(events: Events, scales: Scales) -> Rows:
    own = [
        events["id"],
        _words(events["price"]),
        _words(events["size"]),
        _side(events),
        _words(events["aux"]) & np.uint64(0xFFFF_FFFF),
    ]
    return Rows(events["seq"], _value(events, scales, events["flags"], own))


def _quotes(events: Events, scales: Scales) -> Rows:
    """One row per message: a bid and the ask behind it, or one of them alone."""
    is_ask = events["side"] == ord("A")
    last = (events["flags"] & Flag.LAST) != 0
    paired = np.zeros(len(events), dtype=bool)  # a bid whose ask follows
    same = events["instrument"][:-1] == events["instrument"][1:]
    paired[:-1] = ~is_ask[:-1] & ~last[:-1] & is_ask[1:] & same
    second = np.concatenate(([False], paired[:-1]))
    at = np.flatnonzero(~second)
    first, with_ask = events[at], paired[at]
    ask = events[np.minimum(at + 1, len(events) - 1)]
    alone_ask = is_ask[at]
    undefined = (np.int64(PRICE_UNDEF), np.int64(SIZE_UNDEF))
    bids = [np.where(alone_ask, undefined[k], first[name]) for k, name in enumerate(_PAIR)]
    asks = [
        np.where(with_ask, ask[name], np.where(alone_ask, first[name], undefined[k]))
        for k, name in enumerate(_PAIR)
    ]
    flags = np.where(with_ask, first["flags"] | ask["flags"], first["flags"])
    own = [first["id"], *(_words(column) for column in (*bids, *asks))]
    return Rows(first["seq"], _value(first, scales, flags, own))


_PAIR: Final = ("price", "size")


def _book(events: Events, scales: Scales) -> Rows:
    """One row per head; the levels behind it count with their position on their side."""
    is_head = events["kind"] != Kind.DEPTH
    heads = events[is_head]
    clear = heads["kind"] == Kind.CLEAR
    undefined = np.uint64(ID_UNDEF)
    first_id = np.where(clear, undefined, _id_in(heads["price"], PRICE_UNDEF))
    previous_id = np.where(clear, undefined, _id_in(heads["size"], SIZE_UNDEF))
    flags = np.where(clear, heads["flags"] | Flag.SNAPSHOT, heads["flags"])
    value = _value(heads, scales, flags, [first_id, heads["id"], previous_id])
    levels = events[~is_head]
    if len(levels) and len(heads):
        of_head = (np.cumsum(is_head) - 1)[~is_head]
        side = of_head * 2 + (levels["side"] == ord("A"))
        order = np.argsort(side, kind="stable")
        side, levels = side[order], levels[order]
        starts = np.flatnonzero(np.concatenate(([True], side[1:] != side[:-1])))
        lengths = np.diff(np.append(starts, len(side)))
        position = np.arange(len(side)) - np.repeat(starts, lengths) + 1
        factor = scattered(position.astype(np.uint64))
        columns = len(_FIRST) + len(_OWN["book"])
        for k, name in enumerate(_PAIR):
            sums = np.add.reduceat(_words(levels[name]) * factor, starts)
            for ask in (0, 1):
                own = (side[starts] & 1) == ask
                weight = np.uint64(_weight(columns + 2 * ask + k))
                value[side[starts][own] >> 1] += weight * sums[own]
    return Rows(heads["seq"], value)


def _marks(events: Events, scales: Scales) -> Rows:
    kinds = events["kind"]
    tag = np.ones(len(events), dtype=np.uint64)
    for kind, number in ((Kind.INDEX, 2), (Kind.FUNDING, 3), (Kind.OPEN_INTEREST, 4)):
        tag[kinds == kind] = number
    interest = kinds == Kind.OPEN_INTEREST
    _, size_scale = scales.of(events["instrument"])
    funding = (kinds == Kind.FUNDING) & (events["id"] != ID_UNDEF)
    own = [
        tag,
        _words(np.where(interest, events["size"], events["price"])),
        np.where(interest, size_scale, _words(events["aux"])),
        np.where(funding, events["id"], np.uint64(0)),
    ]
    return Rows(events["seq"], _value(events, scales, events["flags"], own))


def _liquidations(events: Events, scales: Scales) -> Rows:
    own = [events["id"], *(_words(events[name]) for name in ("price", "aux", "size"))]
    own.append(_side(events))
    return Rows(events["seq"], _value(events, scales, events["flags"], own))


def _states(events: Events, scales: Scales) -> Rows:
    own = [
        np.where(events["kind"] == Kind.BOOK_STATE, np.uint64(1), np.uint64(2)),
        _words(events["aux"]),
        events["id"],
        _id_in(events["price"], PRICE_UNDEF),
        _id_in(events["size"], SIZE_UNDEF),
    ]
    return Rows(events["seq"], _value(events, scales, events["flags"], own))


def _gaps(events: Events, scales: Scales) -> Rows:
    cause = events["aux"] & 0xFF
    known = (cause >= GapCause.DISCONNECT) & (cause <= max(GapCause))
    events, cause = events[known], cause[known]
    own = [
        _words(cause),
        _words((events["aux"] >> 8) & 0xFF),
        events["id"],
        _id_in(events["price"], PRICE_UNDEF),
        _id_in(events["size"], SIZE_UNDEF),
    ]
    return Rows(events["seq"], _value(events, scales, events["flags"], own))


_TABLES: Final[Mapping[str, tuple[tuple[Kind, ...], Callable[[Events, Scales], Rows]]]] = {
    "trades": ((Kind.TRADE,), _trades),
    "quotes": ((Kind.QUOTE,), _quotes),
    "book": ((Kind.DEPTH_HEAD, Kind.DEPTH, Kind.CLEAR), _book),
    "marks": ((Kind.MARK, Kind.INDEX, Kind.FUNDING, Kind.OPEN_INTEREST), _marks),
    "liquidations": ((Kind.LIQUIDATION,), _liquidations),
    "states": ((Kind.BOOK_STATE, Kind.STATUS), _states),
    "gaps": ((Kind.GAP,), _gaps),
}
