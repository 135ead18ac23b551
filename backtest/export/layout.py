"""The columns of an exported table: their names, in order, and what each holds.

Shared by every format of tables; a format only says how a role looks in it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal, NamedTuple

import numpy as np

from tickd.events import SIZE_UNDEF, GapCause
from tickd.rows import Column, TableRows
from tickd.topics import CHANNELS

__all__ = ["Field", "LevelsAs", "Role", "fields_of", "flattened"]

LevelsAs = Literal["list", "flat"]


class Role(Enum):
    """What a column holds, and which of its values mean "nothing"."""

    INTEGER = "integer"
    ID = "id"  # 2^64 - 1: none
    TIME = "time"  # ns since the Unix epoch
    EVENT_TIME = "event time"  # none where the flags say NO_EVENT_TIME
    NEXT_TIME = "next time"  # 0: none
    VENUE = "venue"
    SYMBOL = "symbol"
    PRICE = "price"  # mantissa in the row's price scale; 2^63 - 1: none
    SIZE = "size"  # mantissa in the row's size scale; 2^63 - 1: none
    VALUE = "value"  # mantissa in the row's value scale; 2^63 - 1: none
    PRICES = "prices"  # lists of them
    SIZES = "sizes"
    NAME = "name"  # a code with a name


class Field(NamedTuple):
    """A column of a file; `source` is the event table's column."""

    name: str
    role: Role
    source: str
    width: str = "u8"  # numpy type of an INTEGER
    names: Mapping[int, str] = {}


def _integer(name: str, width: str) -> Field:
    return Field(name, Role.INTEGER, name, width)


def _plain(name: str, role: Role) -> Field:
    return Field(name, role, name)


def _named(name: str, names: Mapping[int, str]) -> Field:
    return Field(name, Role.NAME, name, names=names)


_SIDES: Final = {0: "N", 1: "B", 2: "A"}
_MARKS: Final = {1: "mark", 2: "index", 3: "funding", 4: "open_interest"}
_CAUSES: Final = {cause.value: cause.name.lower() for cause in GapCause}
_FIRST: Final = (
    _integer("node", "u2"),
    _integer("seq", "u8"),
    _plain("ts_recv", Role.TIME),
    _plain("ts_event", Role.EVENT_TIME),
    Field("venue", Role.VENUE, "instrument"),
    Field("symbol", Role.SYMBOL, "instrument"),
    _integer("instrument", "u4"),
    _integer("flags", "u2"),
)
_MESSAGE: Final = tuple(_plain(name, Role.ID) for name in ("first_id", "last_id", "previous_id"))
_OWN: Final[Mapping[str, tuple[Field, ...]]] = {
    "trades": (
        _plain("id", Role.ID),
        _plain("price", Role.PRICE),
        _plain("size", Role.SIZE),
        _named("side", _SIDES),
        _integer("fills", "u4"),
    ),
    "quotes": (
        _plain("id", Role.ID),
        _plain("bid_price", Role.PRICE),
        _plain("bid_size", Role.SIZE),
        _plain("ask_price", Role.PRICE),
        _plain("ask_size", Role.SIZE),
    ),
    "book": (
        *_MESSAGE,
        _plain("bid_price", Role.PRICES),
        _plain("bid_size", Role.SIZES),
        _plain("ask_price", Role.PRICES),
        _plain("ask_size", Role.SIZES),
    ),
    "marks": (
        _named("kind", _MARKS),
        _plain("value", Role.VALUE),
        _integer("value_scale", "u1"),
        _plain("next_ts", Role.NEXT_TIME),
    ),
    "liquidations": (
        _plain("id", Role.ID),
        _plain("price", Role.PRICE),
        _plain("average_price", Role.PRICE),
        _plain("size", Role.SIZE),
        _named("side", _SIDES),
    ),
    "states": (
        _named("kind", {1: "book", 2: "status"}),
        _integer("state", "i4"),
        _plain("last_id", Role.ID),
        _plain("expected_id", Role.ID),
        _plain("received_id", Role.ID),
    ),
    "gaps": (
        _named("cause", _CAUSES),
        _named("channel", dict(enumerate(CHANNELS))),
        _plain("from_id", Role.ID),
        _plain("to_id", Role.ID),
        _plain("missing", Role.ID),
    ),
}
_FLAT: Final = (
    *_MESSAGE,
    _integer("level", "u4"),
    _named("side", _SIDES),
    _plain("price", Role.PRICE),
    _plain("size", Role.SIZE),
)


def fields_of(table: str, levels: LevelsAs) -> tuple[Field, ...]:
    """Return the columns of a table's file."""
    own = _FLAT if table == "book" and levels == "flat" else _OWN[table]
    return _FIRST + own


def flattened(rows: TableRows) -> Mapping[str, Column]:
    """Return book messages as columns with one row per price level, bids first.

    A message without levels (a book that was emptied) stays as one row of side `N` without price.
    """
    bids, asks = rows.lists("bid_price"), rows.lists("ask_price")
    bid_counts, ask_counts = bids.lengths, asks.lengths
    counts = np.maximum(bid_counts + ask_counts, 1)
    row = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_bid = place < bid_counts[row]
    is_ask = ~is_bid & (place - bid_counts[row] < ask_counts[row])
    columns: dict[str, Column] = {
        name: column[row] for name, column in rows.columns.items() if isinstance(column, np.ndarray)
    }
    columns["level"] = np.where(is_ask, place - bid_counts[row], place).astype(np.uint32)
    columns["side"] = (is_bid + 2 * is_ask).astype(np.int8)
    for name in ("price", "size"):
        values = np.full(len(row), SIZE_UNDEF, np.int64)
        # Bids of all rows in order, and asks of all rows in order: as they stand in the lists.
        values[is_bid] = rows.lists(f"bid_{name}").values
        values[is_ask] = rows.lists(f"ask_{name}").values
        columns[name] = values
    return columns
