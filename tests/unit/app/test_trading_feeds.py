"""Which books trading misses: those that are not whole, unless nobody wants them any more."""

from __future__ import annotations

import numpy as np

from gateway.shedding import shed_record
from gateway.venue import Stream
from tickd.app.trading_feeds import TradingFeeds
from tickd.events import EVENT, BookState, Flag, Kind
from tickd.native import EventBatch
from tickd.testing.clock import ManualClock

TOPIC, LABEL = "book_state.okx.BTC-USDT", "okx:BTC-USDT"
DEPTH = Stream("books", "depth", "BTC-USDT", "market", ("depth.okx.BTC-USDT",))


def verdicts(*states: BookState) -> EventBatch:
    events = np.zeros(len(states), EVENT)
    events["kind"] = Kind.BOOK_STATE
    events["aux"] = states
    events["flags"] = Flag.LAST
    return EventBatch.from_events(events.tobytes(), [(1, 0, len(states))], 0)


class Desk:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.feeds = TradingFeeds(self.clock)

    def take(self, *states: BookState) -> None:
        self.feeds.take(TOPIC, verdicts(*states))

    def hear(self, kind: str) -> None:
        self.feeds.hear(1, 1, shed_record(kind, 7, [DEPTH], "a wish"))

    @property
    def broken(self) -> list[tuple[str, int]]:
        return list(self.feeds.broken([LABEL, "okx:OTHER"]))


async def test_a_book_is_broken_since_it_began_to_be() -> None:
    desk = Desk()
    began = desk.clock.mono_ns()
    desk.take(BookState.GAP)
    await desk.clock.advance(1.0)
    desk.take(BookState.BUFFERING)
    assert desk.broken == [(LABEL, began)]
    desk.take(BookState.BUFFERING, BookState.SYNCED)
    assert not desk.broken


def test_what_is_shed_is_not_missed_whatever_comes_late() -> None:
    desk = Desk()
    desk.take(BookState.BUFFERING)
    desk.hear("shed")
    desk.take(BookState.INIT)
    desk.take(BookState.BUFFERING)
    assert not desk.broken


def test_what_is_to_come_back_is_missed_until_it_is_whole() -> None:
    desk = Desk()
    desk.take(BookState.SYNCED)
    desk.hear("shed")
    desk.take(BookState.INIT)
    assert not desk.broken
    desk.hear("restore")
    assert desk.broken, "nothing came since"
    desk.take(BookState.BUFFERING, BookState.SYNCED)
    assert not desk.broken


async def test_a_record_of_what_comes_back_does_not_forgive_a_gap() -> None:
    desk = Desk()
    began = desk.clock.mono_ns()
    desk.take(BookState.GAP)
    await desk.clock.advance(1.0)
    desk.hear("restore")
    assert desk.broken == [(LABEL, began)]


def test_a_book_whose_stream_moved_is_followed_as_before() -> None:
    """The new connection says `restore`, then the old one `shed`; the book stays whole."""
    desk = Desk()
    desk.take(BookState.SYNCED)
    desk.hear("restore")
    desk.hear("shed")
    assert not desk.broken
    desk.take(BookState.GAP)
    assert desk.broken


def test_other_records_and_other_channels_change_nothing() -> None:
    desk = Desk()
    desk.take(BookState.GAP)
    desk.feeds.hear(1, 1, b'{"kind":"connect","streams":["kind\\":\\"shed"]}')
    desk.feeds.hear(1, 1, b'not JSON "kind":"shed"')
    trade = DEPTH._replace(channel="trade", topics=("trade.okx.BTC-USDT",))
    desk.feeds.hear(1, 1, shed_record("shed", 7, [trade], "a wish"))
    assert desk.broken
