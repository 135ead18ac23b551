"""L2Book as Python sees it: batches in, levels as mantissas out."""

import json

import pytest

from tickd.events import ID_UNDEF, BookState
from tickd.native import Decoder, L2Book


def record(frame_no, kind, payload):
    return b"%d 1 0 1 %s %d %s\n" % (frame_no, kind, len(payload), payload)


class Market:
    """One OKX symbol on one connection: snapshots in the stream keep the test short."""

    def __init__(self):
        self.decoder = Decoder()
        self.frame_no = 0
        self.send(
            b"C", {"kind": "connect", "connection": 1, "venue": "okx", "url": "", "streams": []}
        )
        self.send(
            b"C",
            {
                "kind": "instrument",
                "venue": "okx",
                "symbol": "BTC-USDT",
                "asset_class": "spot",
                "price_scale": 1,
                "size_scale": 0,
                "tick": 1,
                "lot": 1,
                "multiplier": "1",
            },
        )
        ((self.instrument, _),) = self.decoder.instruments()

    def send(self, kind, body):
        self.frame_no += 1
        return self.decoder.decode(record(self.frame_no, kind, json.dumps(body).encode()))

    def book(self, action, previous, last, bids=(), asks=()):
        data = {
            "asks": [[price, size, "0", "1"] for price, size in asks],
            "bids": [[price, size, "0", "1"] for price, size in bids],
            "ts": "1597026383085",
            "checksum": 0,
            "prevSeqId": previous,
            "seqId": last,
        }
        arg = {"channel": "books", "instId": "BTC-USDT"}
        return self.send(b"W", {"arg": arg, "action": action, "data": [data]})


@pytest.fixture
def market():
    return Market()


def test_a_new_book_is_empty_and_in_init(market):
    book = L2Book("okx", market.instrument)
    assert (book.state, book.last_id) == (BookState.INIT, ID_UNDEF)
    assert book.top(5) == ([], [])
    assert (book.bid_count, book.ask_count, book.kept_bytes) == (0, 0, 0)
    assert book.known_limit("B") is None


def test_levels_come_best_first_and_the_snapshot_bounds_what_is_known(market):
    book = L2Book("okx", market.instrument)
    bids, asks = [("9.5", "1"), ("9.7", "2")], [("9.9", "3"), ("10", "4")]
    assert book.apply(market.book("snapshot", -1, 5, bids, asks)) == 1
    assert book.top(1) == ([(97, 2)], [(99, 3)])
    change = market.book("update", 5, 8, [("9.7", "0"), ("1", "7")], [("9.8", "1")])
    assert book.apply(change) == 1
    assert book.levels("B") == [(95, 1), (10, 7)]
    assert book.levels("A") == [(98, 1), (99, 3), (100, 4)]
    assert (book.bid_count, book.ask_count) == (2, 3)
    assert (book.known_limit("B"), book.known_limit("A")) == (95, 100)
    assert (book.state, book.last_id) == (BookState.SYNCED, 8)


def test_a_gap_keeps_the_last_live_levels(market):
    book = L2Book("okx", market.instrument)
    book.apply(market.book("snapshot", -1, 5, [("9.5", "1")]))
    assert book.apply(market.book("update", 6, 8, [("9.6", "1")])) == 0
    assert (book.state, book.levels("B")) == (BookState.GAP, [(95, 1)])
    assert book.apply(market.book("snapshot", -1, 9, [("9.1", "1")])) == 1
    assert (book.state, book.levels("B")) == (BookState.SYNCED, [(91, 1)])


def test_other_instruments_do_not_touch_the_book(market):
    book = L2Book("okx", market.instrument ^ 1)
    assert book.apply(market.book("snapshot", -1, 5, [("9.5", "1")])) == 0
    assert book.state == BookState.INIT


def test_unknown_venues_and_sides_are_refused(market):
    with pytest.raises(ValueError, match="no book rule for venue"):
        L2Book("nowhere", 1)
    book = L2Book("okx", market.instrument)
    for side in ("", "b", "C"):
        with pytest.raises(ValueError, match="side must be B or A"):
            book.levels(side)
