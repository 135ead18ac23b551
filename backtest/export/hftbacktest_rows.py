"""One instrument's recorded rows as hftbacktest rows, in the order in which they were received.

Trades become TRADE, applied book changes DEPTH, a proven book CLEAR and SNAPSHOT rows; changes that
no proven book takes are counted and left out, as a live consumer would. It gives EXCH and LOCAL to
no row: `hftbacktest_order` does.
Source: hftbacktest 2.4.4, `types.py` and the local and exchange processors, read 2026-11-20.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from backtest.export.errors import RefusedRowsError
from backtest.export.formats.port import ClockSkew
from tickd.events import EVENT, ID_UNDEF, PRICE_UNDEF, SIZE_UNDEF, BookState, Flag, Kind, Side
from tickd.native import EventBatch, L2Book
from tickd.rows import Definition, Integers, TableRows

__all__ = [
    "BUY",
    "CLEAR",
    "DAY_EXCH",
    "DAY_LOCAL",
    "DEPTH",
    "DEPTH_BBO",
    "EXCH",
    "LOCAL",
    "ROW",
    "SELL",
    "SNAPSHOT",
    "TRADE",
    "Feed",
    "Rows",
    "prices",
]

ROW: Final = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ],
    align=True,
)
Rows = npt.NDArray[np.void]

EXCH: Final = 1 << 31
LOCAL: Final = 1 << 30
BUY: Final = 1 << 29
SELL: Final = 1 << 28
DEPTH, TRADE, CLEAR, SNAPSHOT, DEPTH_BBO = 1, 2, 3, 4, 5
# Ours, and gone before a file is written: here a new day's file begins, in the one order or the
# other. A book that opens a file must be the first thing that the exchange side reads in it.
DAY_LOCAL: Final = 1 << 16
DAY_EXCH: Final = 1 << 17
_DAY_NS: Final = 86_400 * 10**9
_EXACT: Final = 1 << 53  # integers below it are exact as float64
_UNDEFINED: Final = (1 << 64) - 1


class Feed:
    """Rows of one instrument in, hftbacktest rows out; times only move forward.

    `counts` says what was left out or changed, and why.
    """

    def __init__(
        self, definition: Definition, *, with_book: bool, from_ns: int, clock_skew: ClockSkew
    ) -> None:
        self.definition: Final = definition
        self._book = L2Book(definition.venue, definition.instrument) if with_book else None
        self._from_ns = from_ns
        self._clock_skew = clock_skew
        self.counts: Counter[str] = Counter()
        # Most that an event lies after its receive stamp; None while there are no rows.
        self.skew_ns: int | None = None
        self._live = False
        self._book_ts = 0  # exchange time of the book
        self._local_ts = 0
        self._day = -1  # of the newest row taken
        self._marked_day = -1  # of the newest row given away
        self._worst: dict[int, float] = {}  # price furthest from the best, per side
        self._held: list[tuple[Rows, Integers]] = []
        self._merged: bool | None = None  # whether its trades are merged ones

    def take(self, parts: dict[str, TableRows]) -> Rows:
        """Return what can be said so far: all but the newest stamp, which may not be complete.

        Raises RefusedRowsError.
        """
        while (opens := self._next_day(parts)) is not None:
            seq, stamp = opens
            self._take({name: _below(rows, seq) for name, rows in parts.items()})
            parts = {name: _from(rows, seq) for name, rows in parts.items()}
            self._open_day(stamp, seq)
        self._take(parts)
        rows, order = self._taken()
        if not len(rows):
            return rows
        newest = rows["local_ts"] == rows["local_ts"][-1]
        self._held = [(rows[newest], order[newest])]
        return self._settled(rows[~newest])

    def finish(self) -> Rows:
        """Return the rest."""
        rows, _ = self._taken()
        self._held = []
        return self._settled(rows)

    def _next_day(self, parts: dict[str, TableRows]) -> tuple[int, int] | None:
        """Number and stamp of the first row that belongs to a later day than the last one."""
        first: tuple[int, int] | None = None
        begin = max((self._day + 1) * _DAY_NS, self._from_ns)
        for rows in parts.values():
            later = np.flatnonzero(rows.integers("ts_recv") >= begin)
            if len(later):
                found = (
                    int(rows.integers("seq")[later[0]]),
                    int(rows.integers("ts_recv")[later[0]]),
                )
                first = found if first is None else min(first, found)
        return first

    def _open_day(self, stamp: int, seq: int) -> None:
        """Begin a day's file: with the whole book, where there is a proven one."""
        is_first, self._day = self._day < 0, stamp // _DAY_NS
        if self._live:
            mark = 0 if is_first else DAY_EXCH
            begin = max(self._day * _DAY_NS, self._from_ns)
            self._whole_book(begin, seq << 1, mark=mark)

    def _take(self, parts: dict[str, TableRows]) -> None:
        if (trades := parts.get("trades")) is not None:
            self._keep(*self._trades(trades))
        if (quotes := parts.get("quotes")) is not None:
            self._keep(*self._quotes(quotes))
        if (messages := parts.get("book")) is not None and len(messages):
            self._messages(messages)

    def _keep(self, rows: Rows, order: Integers) -> None:
        if len(rows):
            self._held.append((rows, order))

    def _taken(self) -> tuple[Rows, Integers]:
        """What is held, by receive time; of one stamp the trades first, then by number."""
        if not self._held:
            return np.empty(0, ROW), np.empty(0, np.uint64)
        rows = np.concatenate([rows for rows, _ in self._held])
        order = np.concatenate([order for _, order in self._held])
        is_book = (rows["ev"] & 0xFF) != TRADE
        rows["local_ts"] = self._forward(rows["local_ts"], order)
        places = np.lexsort((order, is_book, rows["local_ts"]))
        return rows[places], order[places]

    def _forward(self, stamps: Integers, order: Integers) -> Integers:
        """Receive stamps that never run back, in the order of the stream."""
        places = np.argsort(order, kind="stable")
        ordered = stamps[places]
        raised = np.maximum(np.maximum.accumulate(ordered), self._local_ts)
        behind = int(np.count_nonzero(raised != ordered))
        if behind:
            self.counts["receive stamps raised"] += behind
            stamps = stamps.copy()
            stamps[places] = raised
        return stamps

    def _settled(self, rows: Rows) -> Rows:
        """Count and judge rows whose order is known now."""
        if not len(rows):
            return rows
        self._local_ts = int(rows["local_ts"][-1])
        lead = rows["exch_ts"] - rows["local_ts"]
        self.skew_ns = max(int(lead.max()), -_UNDEFINED if self.skew_ns is None else self.skew_ns)
        skewed = lead >= 0
        self.counts["clock skew"] += int(np.count_nonzero(skewed))
        if self._clock_skew == "drop" and skewed.any():
            codes = rows["ev"] & 0xFF
            if bool((skewed & ((codes == DEPTH) | (codes == SNAPSHOT))).any()):
                raise RefusedRowsError(
                    f"{self.definition.symbol}: book rows are not later than their event and "
                    "cannot be dropped without breaking the book",
                    hint="--clock-skew shift",
                )
            rows = rows[~skewed]
        return self._with_days(rows)

    def _with_days(self, rows: Rows) -> Rows:
        """Mark the first row of each later day that no opening book marks."""
        days = rows["local_ts"] // _DAY_NS
        before = np.concatenate((np.array([self._marked_day]), days[:-1]))
        begins = (days != before) & (before >= 0) & ((rows["ev"] & DAY_EXCH) == 0)
        if begins.any():
            rows = rows.copy()
            rows["ev"][begins] |= DAY_LOCAL
        if len(days):
            self._marked_day = int(days[-1])
        return rows

    def _trades(self, rows: TableRows) -> tuple[Rows, Integers]:
        # A strategy saw them late or not at all, and so has to its backtest.
        fetched = (rows.integers("flags") & int(Flag.BACKFILLED)) != 0
        self.counts["trades fetched later left out"] += int(np.count_nonzero(fetched))
        rows = rows.take(~fetched)
        flags = rows.integers("flags")
        merged = (flags & int(Flag.AGGREGATE)) != 0
        if len(merged):
            kinds = {bool(merged.any()), not bool((~merged).any())}
            if self._merged is not None:
                kinds.add(self._merged)
            if len(kinds) > 1:
                raise RefusedRowsError(
                    f"{self.definition.symbol} has trades and merged trades: each counts twice",
                    hint="name one of the channels, trade or aggtrade",
                )
            self._merged = kinds.pop()
        off_book = (flags & int(Flag.OFF_BOOK)) != 0
        no_side = rows.integers("side") == 0
        early = rows.integers("ts_recv") < self._from_ns
        self.counts["trades outside the book left out"] += int((off_book & ~early).sum())
        self.counts["trades without a side left out"] += int((no_side & ~off_book & ~early).sum())
        rows = rows.take(~(off_book | no_side | early))
        out = self._plain(rows, rows.integers("price"), rows.integers("size"))
        out["ev"] = np.where(rows.integers("side") == 1, TRADE | BUY, TRADE | SELL)
        ids = rows.integers("id")
        out["order_id"] = np.where(ids == ID_UNDEF, np.uint64(0), ids)
        return out, rows.integers("seq") << np.uint64(1)

    def _quotes(self, rows: TableRows) -> tuple[Rows, Integers]:
        rows = rows.take(rows.integers("ts_recv") >= self._from_ns)
        parts, orders = [], []
        for place, (side, code) in enumerate((("bid", BUY), ("ask", SELL))):
            said = rows.take(rows.integers(f"{side}_price") != PRICE_UNDEF)
            price, size = said.integers(f"{side}_price"), said.integers(f"{side}_size")
            part = self._plain(said, price, size)
            part["ev"] = DEPTH_BBO | code
            parts.append(part)
            orders.append((said.integers("seq") << np.uint64(1)) | np.uint64(place))
        order = np.concatenate(orders)
        places = np.argsort(order, kind="stable")
        return np.concatenate(parts)[places], order[places]

    def _plain(self, rows: TableRows, price: Integers, size: Integers) -> Rows:
        out = np.zeros(len(rows), ROW)
        out["local_ts"] = rows.integers("ts_recv")
        untimed = (rows.integers("flags") & int(Flag.NO_EVENT_TIME)) != 0
        self.counts["rows without a venue time, taken as received at once"] += int(untimed.sum())
        out["exch_ts"] = np.where(untimed, out["local_ts"] - 1, rows.integers("ts_event"))
        out["px"] = prices(price, self.definition.price_scale)
        out["qty"] = prices(np.where(size == SIZE_UNDEF, 0, size), self.definition.size_scale)
        return out

    def _messages(self, rows: TableRows) -> None:
        """Lead each message through the book and keep what it says."""
        book = self._book
        assert book is not None
        events, starts = _events(rows)
        batch = EventBatch.from_events(events.tobytes(), [(0, 0, len(events))])
        flags, stamps = rows.integers("flags").tolist(), rows.integers("ts_recv").tolist()
        said, seqs = rows.integers("ts_event").tolist(), rows.integers("seq").tolist()
        applied: list[int] = []
        for place, (start, stop) in enumerate(pairwise(starts)):
            changed = book.apply(batch.slice(start, stop))
            if not flags[place] & Flag.NO_EVENT_TIME:
                if said[place] < self._book_ts:
                    self.counts["book stamps raised"] += 1
                self._book_ts = max(self._book_ts, said[place])
            elif not self._book_ts:
                self._book_ts = stamps[place] - 1
            was_live, self._live = self._live, book.state == BookState.SYNCED
            if stamps[place] < self._from_ns:
                continue
            if self._live and changed and was_live and not flags[place] & Flag.SNAPSHOT:
                events["ts_event"][start:stop] = self._book_ts
                applied.append(place)
            elif self._live and changed:
                self._changes(events, starts, applied)
                self._whole_book(stamps[place], (seqs[place] << 1) | 1, mark=0)
            elif not self._live:
                self.counts["book messages without a proven book left out"] += 1
        self._changes(events, starts, applied)

    def _changes(self, events: Rows, starts: list[int], applied: list[int]) -> None:
        """Keep the levels of applied messages, and forget the list."""
        if not applied:
            return
        spans = [np.arange(starts[place] + 1, starts[place + 1]) for place in applied]
        levels = events[np.concatenate(spans)]
        del applied[:]
        out = np.zeros(len(levels), ROW)
        out["exch_ts"], out["local_ts"] = levels["ts_event"], levels["ts_recv"]
        out["px"] = prices(levels["price"], self.definition.price_scale)
        out["qty"] = prices(levels["size"], self.definition.size_scale)
        out["ev"] = np.where(levels["side"] == Side.BID, DEPTH | BUY, DEPTH | SELL)
        self._note_worst(out)
        self._keep(out, levels["seq"] << np.uint64(1) | np.uint64(1))

    def _whole_book(self, local_ts: int, order: int, *, mark: int) -> None:
        """Keep the whole book: both sides emptied, then every level."""
        assert self._book is not None
        levels = []
        for name, side in (("B", BUY), ("A", SELL)):
            found = np.array(self._book.levels(name), np.int64).reshape(-1, 2)
            part = np.zeros(len(found), ROW)
            part["ev"] = SNAPSHOT | side
            part["px"] = prices(found[:, 0], self.definition.price_scale)
            part["qty"] = prices(found[:, 1], self.definition.size_scale)
            levels.append(part)
        self._note_worst(np.concatenate(levels))
        clear = np.zeros(len(self._worst), ROW)
        # hftbacktest empties a side from its best price to the given one: to the furthest known.
        for place, side in enumerate(sorted(self._worst, reverse=True)):
            clear["ev"][place], clear["px"][place] = CLEAR | side, self._worst[side]
        out = np.concatenate([clear, *levels])
        out["local_ts"], out["exch_ts"] = local_ts, self._book_ts
        out["ev"][:1] |= np.uint64(mark)
        self._keep(out, np.full(len(out), order, np.uint64))

    def _note_worst(self, rows: Rows) -> None:
        for side, worse in ((BUY, np.min), (SELL, np.max)):
            found = rows["px"][(rows["ev"] & side) != 0]
            if len(found):
                both = [float(worse(found)), *([self._worst[side]] if side in self._worst else [])]
                self._worst[side] = float(worse(both))


def _below(rows: TableRows, seq: int) -> TableRows:
    return rows.take(rows.integers("seq") < np.uint64(seq))


def _from(rows: TableRows, seq: int) -> TableRows:
    return rows.take(rows.integers("seq") >= np.uint64(seq))


def prices(mantissas: Integers, scale: int) -> npt.NDArray[np.float64]:
    """Return mantissa x 10^-scale as the nearest float64."""
    found: npt.NDArray[np.float64] = mantissas.astype(np.float64) / 10.0**scale
    large = np.flatnonzero((mantissas > _EXACT) | (mantissas < -_EXACT))
    for place in large:  # two roundings would be one too many
        found[place] = float(Decimal(int(mantissas[place])).scaleb(-scale))
    return found


def _events(rows: TableRows) -> tuple[Rows, list[int]]:
    """Book messages as the events they were, and where each begins."""
    bids, asks = rows.lists("bid_price"), rows.lists("ask_price")
    counts = bids.lengths + asks.lengths
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts + 1)))
    events = np.zeros(int(starts[-1]), EVENT)
    row = np.repeat(np.arange(len(rows)), counts + 1)
    for name in ("ts_event", "ts_recv", "seq", "instrument", "flags"):
        events[name] = rows.integers(name)[row]
    events["id"] = rows.integers("last_id")[row]
    events["kind"], events["side"] = Kind.DEPTH, Side.ASK
    heads = starts[:-1]
    events["kind"][heads], events["side"][heads] = Kind.DEPTH_HEAD, Side.NONE
    for name, column in (("price", "first_id"), ("size", "previous_id")):
        ids = rows.integers(column)
        events[name][heads] = np.where(ids == ID_UNDEF, PRICE_UNDEF, ids.astype(np.int64))
    events["aux"][heads] = counts
    place = np.arange(len(events)) - np.repeat(heads, counts + 1) - 1
    is_bid = (place >= 0) & (place < bids.lengths[row])
    is_ask = (place >= 0) & ~is_bid
    events["side"][is_bid] = Side.BID
    for name in ("price", "size"):
        events[name][is_bid] = rows.lists(f"bid_{name}").values
        events[name][is_ask] = rows.lists(f"ask_{name}").values
    return events, starts.tolist()
