"""What the gate is told of books: tops of those that are whole, of what may be traded; both gates.

Bursts are made by hand, under OKX's rule: a snapshot in the stream, then changes that name theirs.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from risk.limits import LimitConfig, Limits, VenueLimitConfig
from risk.prices import Prices
from tests.harness.gates import DEFINITION, INSTRUMENT, PRICE, SECOND, Desk, limits_of, row
from tests.harness.paper_world import Message, depth, quote, trade
from tickd.events import EVENT, BookState, Flag, Kind, Side
from tickd.native import EventBatch

Backend = Literal["native", "numpy"]
OKX = VenueLimitConfig(venue="okx", messages_max=1_000_000, window_ms=1_000)
OF_OKX = {**DEFINITION, "venue": "okx"}
NAMES = {
    1: "depth.okx.ABC",
    2: "book_state.okx.ABC",
    3: "quote.okx.ABC",
    4: "trade.okx.ABC",
    5: "depth.nowhere.ABC",
}
DEPTH, VERDICT, QUOTE, TRADE, NOWHERE = NAMES
BOOK = [("B", PRICE - 10, 5), ("B", PRICE - 20, 5), ("A", PRICE + 30, 5)]


@pytest.fixture(params=["native", "numpy"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param  # type: ignore[no-any-return]


class Market:
    """A desk whose gate hears bursts, and nothing else."""

    def __init__(
        self, backend: Backend, *rows: LimitConfig, venues: Any = (OKX,), **given: Any
    ) -> None:
        settings = {"definition": OF_OKX, "is_quoted": False, "venues": venues, **given}
        self.desk = Desk(backend, *rows, **settings)
        self.asked: list[int] = []
        self.prices = Prices(self.desk.gate, self._named)
        self.seq = 1 << 16

    def _named(self, topic: int) -> str:
        self.asked.append(topic)
        return NAMES[topic]

    def hear(self, *parts: tuple[int, Message], instrument: int = INSTRUMENT) -> None:
        """Take a burst of (topic, message)."""
        rows: Message = []
        ranges = []
        for topic, message in parts:
            ranges.append((topic, len(rows), len(rows) + len(message)))
            rows += message
        events = np.zeros(len(rows), EVENT)
        events["side"] = Side.NONE
        for at, fields in enumerate(rows):
            self.seq += 1
            for name, value in {"instrument": instrument, **fields, "seq": self.seq}.items():
                events[name][at] = value
        self.prices.take(EventBatch.from_events(events.tobytes(), ranges, self.desk.now))

    @property
    def price(self) -> int | None:
        return self.desk.gate.reference(INSTRUMENT)

    def reason(self, **given: Any) -> str:
        return self.desk.reason(venue="okx", **given)


def snapshot(update: int = 1, levels: Any = BOOK) -> tuple[int, Message]:
    return DEPTH, depth(0, update, levels, snapshot=True)


def change(update: int, *levels: tuple[str, int, int], previous: int = -1) -> tuple[int, Message]:
    return DEPTH, depth(0, update, levels, previous=update - 1 if previous < 0 else previous)


def verdict(state: BookState) -> tuple[int, Message]:
    return VERDICT, [{"kind": Kind.BOOK_STATE, "aux": state, "flags": Flag.LAST}]


def test_where_there_is_only_depth_the_top_of_the_book_prices_the_gate(backend: Backend) -> None:
    market = Market(backend, row(collar_bps=100, reference_age_ms_max=1_000))
    assert market.reason() == "MISSING_REFERENCE"
    market.hear(snapshot())
    assert market.price == PRICE + 10
    assert market.reason(price=PRICE + 5) == "-"
    assert market.reason(price=2 * PRICE) == "PRICE_COLLAR"
    market.desk.now += 2 * SECOND
    assert market.reason() == "STALE_REFERENCE"
    market.hear(change(2, ("B", PRICE + 20, 1)))
    assert market.price == PRICE + 25
    assert market.reason() == "-"
    market.hear(change(3, ("B", PRICE + 20, 0), ("A", PRICE + 30, 0), ("A", PRICE + 50, 1)))
    assert market.price == PRICE + 20


def test_a_change_far_from_the_top_tells_that_it_still_stands(backend: Backend) -> None:
    market = Market(backend, row(reference_age_ms_max=1_000))
    market.hear(snapshot())
    market.desk.now += 2 * SECOND
    assert market.reason() == "STALE_REFERENCE"
    market.hear(change(2, ("B", PRICE - 20, 9)))
    assert market.reason() == "-"


def test_a_book_before_its_snapshot_and_one_with_a_gap_price_nothing(backend: Backend) -> None:
    market = Market(backend)
    market.hear(change(5, *BOOK))
    assert market.reason() == "MISSING_REFERENCE"
    market.hear(snapshot(5))
    assert market.reason() == "-"
    market.hear(change(9, ("B", PRICE + 20, 1), previous=8))
    assert market.price is None
    assert market.reason() == "MISSING_REFERENCE"
    market.hear(change(10, ("B", PRICE + 20, 1)))
    assert market.reason() == "MISSING_REFERENCE"
    market.hear(snapshot(10))
    assert market.reason() == "-"


@pytest.mark.parametrize("state", [BookState.INIT, BookState.BUFFERING, BookState.GAP])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_the_decoder_knows_to_be_broken_prices_nothing(
    backend: Backend, state: BookState, *, is_first: bool
) -> None:
    """A lost connection shows in no message; in a burst verdicts stand before them or behind."""
    market = Market(backend)
    market.hear(snapshot())
    broken, news = verdict(state), change(2, ("B", PRICE, 1))
    market.hear(*((broken, news) if is_first else (news, broken)))
    assert market.reason() == "MISSING_REFERENCE"
    market.hear(change(3, ("B", PRICE + 2, 1)))
    assert market.reason() == "MISSING_REFERENCE"
    whole, news = verdict(BookState.SYNCED), change(4, ("B", PRICE + 4, 1))
    market.hear(*((whole, news) if is_first else (news, whole)))
    assert market.price == PRICE + 17


def test_a_verdict_alone_makes_an_old_top_no_newer(backend: Backend) -> None:
    market = Market(backend)
    market.hear(snapshot())
    market.hear(verdict(BookState.GAP))
    market.hear(change(2, ("B", PRICE, 1)))
    market.hear(verdict(BookState.SYNCED))
    assert market.reason() == "MISSING_REFERENCE"
    market.hear(change(3, ("B", PRICE, 2)))
    assert market.reason() == "-"


def test_one_side_is_no_price_and_other_sources_go_on(backend: Backend) -> None:
    market = Market(backend)
    market.hear(snapshot(), (QUOTE, quote(0, (PRICE + 100, 1), (PRICE + 102, 1))))
    assert market.price == PRICE + 10, "of two that spoke at once the book"
    market.desk.now += 1
    market.hear((QUOTE, quote(0, (PRICE + 100, 1), (PRICE + 102, 1))))
    assert market.price == PRICE + 101
    market.desk.now += 1
    market.hear(change(2, ("B", PRICE, 1)))
    assert market.price == PRICE + 15
    market.hear(change(3, ("A", PRICE + 30, 0)))
    assert market.price == PRICE + 101, "a side without levels"
    market.hear(verdict(BookState.GAP), (TRADE, trade(0, PRICE, 1, "B")))
    assert market.price == PRICE + 101


@pytest.mark.parametrize("flag", [Flag.TRIAL, Flag.ODD_LOT, Flag.BACKFILLED])
def test_what_would_be_no_quote_is_no_book(backend: Backend, flag: Flag) -> None:
    market = Market(backend)
    topic, message = snapshot()
    for record in message:
        record["flags"] |= flag
    market.hear((topic, message))
    assert market.reason() == "MISSING_REFERENCE"


def test_under_a_new_definition_the_book_begins_anew(backend: Backend) -> None:
    market = Market(backend)
    market.hear(snapshot())
    new = INSTRUMENT + 1
    fields = {**OF_OKX, "price_scale": 3}
    market.desk.gate.define(new, msgspec.json.encode(fields))
    market.hear(change(2, ("B", PRICE + 20, 1)), instrument=new)
    assert market.price is None, "nobody keeps that one up any more"
    assert market.desk.gate.reference(new) is None
    market.hear(snapshot(3, [("B", 90, 1), ("A", 92, 1)]), instrument=new)
    assert market.desk.gate.reference(new) == 91
    assert market.price is None


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        ((row(tradable=False),), {}),
        ((row(tradable=None), LimitConfig(instrument="okx:ABD", tradable=True)), {}),
        ((), {"venues": ()}),
        ((), {"restricted": ("okx:ABC",)}),
    ],
)
def test_no_book_is_kept_of_what_nobody_may_trade(
    backend: Backend, rows: tuple[LimitConfig, ...], settings: dict[str, Any]
) -> None:
    market = Market(backend, *rows, **settings)
    market.hear(snapshot())
    assert market.price is None


def test_other_limits_choose_the_books_again(backend: Backend) -> None:
    market = Market(backend)
    market.desk.halt.trip()

    def reload(**other: Any) -> None:
        limits: Limits = limits_of(row(), venues=(OKX,), **other)
        market.desk.gate.reload(limits)

    market.hear(snapshot())
    reload(restricted=("okx:ABC",))
    market.hear(change(2, ("B", PRICE, 1)))
    assert market.price is None
    reload()
    market.hear(change(3, ("B", PRICE, 1)))
    assert market.price is None, "a change is no book"
    market.hear(snapshot(4))
    assert market.price == PRICE + 10


def test_names_are_asked_for_once_and_a_venue_without_a_rule_has_no_book(backend: Backend) -> None:
    nowhere = VenueLimitConfig(venue="nowhere", messages_max=10, window_ms=1_000)
    market = Market(backend, venues=(OKX, nowhere))
    for update in range(1, 4):
        market.hear((NOWHERE, depth(0, update, BOOK, snapshot=True)))
        market.hear(change(update + 1), (TRADE, trade(0, PRICE, 1, "B")))
    assert sorted(market.asked) == [DEPTH, TRADE, NOWHERE]
    assert market.price == PRICE, "the trades alone"
