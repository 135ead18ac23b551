"""What the gate hears of the market: the events of each burst, and the tops of books.

Depth messages are changes and no prices: whoever keeps the book tells its top. Books are kept here,
natively, of what the limits let anybody trade; one that is not whole prices nothing. Time is the
burst's. It decides nothing about orders, and knows no book of single orders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final, final

from risk.gate import Gate
from risk.gate_terms import INSTRUMENTS_MAX
from tickd.events import EVENT, BookState, Flag
from tickd.native import EventBatch, L2Book

__all__ = ["Prices"]

# Of a record: aux, instrument and flags (docs/formats/event.md).
_TAIL: Final = Struct("<qIH")
_TAIL_AT: Final = 48
_RECORD: Final = EVENT.itemsize
# What is no quote is no book, either.
_NO_PRICE: Final = int(Flag.BACKFILLED | Flag.TRIAL | Flag.ODD_LOT)
_SYNCED: Final = int(BookState.SYNCED)


@dataclass(slots=True, eq=False)
class _Kept:
    """The book of a symbol, under the definition that its last message came under."""

    venue: str
    instrument: int = 0
    book: L2Book | None = None
    # The decoder knows of losses that the messages do not show, such as a lost connection.
    is_broken: bool = False
    is_moved: bool = False  # by this burst
    is_told: bool = False  # its top stands at the gate

    @property
    def is_whole(self) -> bool:
        return self.book is not None and not self.is_broken and self.book.state == _SYNCED


@final
class Prices:
    """The ears of one gate. One thread: the gate's."""

    def __init__(self, gate: Gate, topic_name: Callable[[int], str]) -> None:
        """`topic_name`: of the decoder that made the bursts."""
        self._gate: Final = gate
        self._topic_name: Final = topic_name
        self._limits = gate.limits
        self._kept: Final[dict[str, _Kept]] = {}  # by venue.symbol
        # By number: the book and whether the topic carries verdicts on it; None: no book's.
        self._topics: Final[dict[int, tuple[_Kept, bool] | None]] = {}

    def take(self, batch: EventBatch) -> None:
        """Take a burst, as of its receive stamp."""
        gate, topics = self._gate, self._topics
        gate.take(batch)
        if gate.limits is not self._limits:
            self._choose_again(batch.ts_mono_ns)
        touched: list[_Kept] = []
        for topic, start, stop in batch.topics:
            known = topics[topic] if topic in topics else self._meet(topic)
            if known is None:
                continue
            kept, is_verdict = known
            touched.append(kept)
            last = _TAIL.unpack_from(batch, (stop - 1) * _RECORD + _TAIL_AT)
            if is_verdict:
                kept.is_broken = last[0] != _SYNCED
            elif not last[2] & _NO_PRICE:
                self._turn(kept, batch.slice(start, stop), last[1])
        # Verdicts and messages of one burst come in any order: what counts is where they leave it.
        for kept in touched:
            self._tell(kept, batch.ts_mono_ns)

    def _turn(self, kept: _Kept, messages: EventBatch, instrument: int) -> None:
        """Take whole depth messages into the book."""
        if kept.instrument != instrument:
            # Another definition: mantissas of one scale say nothing about those of the other.
            self._withdraw(kept, messages.ts_mono_ns)
            kept.instrument, kept.book = instrument, _book(kept.venue, instrument)
        if kept.book is not None and kept.book.apply(messages):
            kept.is_moved = True

    def _tell(self, kept: _Kept, mono_ns: int) -> None:
        if not kept.is_whole:
            self._withdraw(kept, mono_ns)
        elif kept.is_moved and kept.book is not None:
            bids, asks = kept.book.top(1)
            bid, ask = bids[0][0] if bids else 0, asks[0][0] if asks else 0
            self._gate.quote(kept.instrument, bid=bid, ask=ask, mono_ns=mono_ns)
            kept.is_told = True
        kept.is_moved = False

    def _withdraw(self, kept: _Kept, mono_ns: int) -> None:
        """A book that is not whole has no top."""
        if kept.is_told:
            self._gate.quote(kept.instrument, bid=0, ask=0, mono_ns=mono_ns)
            kept.is_told = False

    def _meet(self, topic: int) -> tuple[_Kept, bool] | None:
        """Look at a topic for the first time under these limits."""
        channel, _, name = self._topic_name(topic).partition(".")
        known = None
        if channel in {"depth", "book_state"}:
            kept = self._kept_of(name)
            known = None if kept is None else (kept, channel == "book_state")
        self._topics[topic] = known
        return known

    def _kept_of(self, name: str) -> _Kept | None:
        kept = self._kept.get(name)
        if kept is None and len(self._kept) < INSTRUMENTS_MAX and self._is_wanted(name):
            kept = self._kept[name] = _Kept(name.partition(".")[0])
        return kept

    def _is_wanted(self, name: str) -> bool:
        return self._limits.may_trade(*name.split(".", 1))

    def _choose_again(self, mono_ns: int) -> None:
        """Other limits are in force: books of what they let nobody trade are let go."""
        self._limits = self._gate.limits
        self._topics.clear()
        for name in [name for name in self._kept if not self._is_wanted(name)]:
            self._withdraw(self._kept.pop(name), mono_ns)


def _book(venue: str, instrument: int) -> L2Book | None:
    """An empty book under the venue's rule; None: it has none, and so there is no price."""
    try:
        return L2Book(venue, instrument)
    except ValueError:
        return None
