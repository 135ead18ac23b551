"""L3Book as Python sees it, and both books' levels as numpy arrays."""

import numpy as np
import pytest

from tickd.events import EVENT, LEVEL, QUEUE_LEVEL, SIZE_UNDEF, Kind
from tickd.native import EventBatch, L2Book, L3Book

INSTRUMENT = 7
LAST = 0x80
DEPTH = ("B", 10, 5), ("B", 9, 4), ("A", 12, 3)


def batch(*rows):
    events = np.zeros(len(rows), EVENT)
    for event, (kind, order, side, price, size) in zip(events, rows, strict=True):
        event["kind"], event["id"], event["side"] = kind, order, ord(side)
        event["price"], event["size"] = price, size
        event["instrument"], event["flags"] = INSTRUMENT, LAST
    return EventBatch.from_events(events.tobytes(), ((1, 0, len(rows)),))


@pytest.fixture
def book():
    book = L3Book(INSTRUMENT)
    for order, price, size in ((1, 10, 5), (2, 10, 7), (3, 9, 1)):
        book.add(order, "B", price, size)
    return book


def test_levels_are_an_array_with_the_number_of_orders(book):
    rows = np.frombuffer(book.rows("B", 20), QUEUE_LEVEL)
    assert rows.tolist() == [(10, 12, 2), (9, 1, 1)]
    assert np.frombuffer(book.rows("A", 20), QUEUE_LEVEL).size == 0
    assert len(book.rows("B", 1)) == QUEUE_LEVEL.itemsize


def test_an_order_knows_what_stands_before_it(book):
    assert book.queue("B", 10) == [(1, 5), (2, 7)]
    assert (book.ahead_of(2), book.ahead_of(1), book.ahead_of(9)) == ((1, 5), (0, 0), None)
    book.reduce(1, 2)
    book.modify(2, 10, 8)
    assert book.queue("B", 10) == [(1, 3), (2, 8)]
    assert book.take(1) == 3
    assert (book.total("B"), book.order_count("B"), book.level_count("B")) == (9, 2, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda book: book.add(1, "A", 12, 1), "an order 1 rests already"),
        (lambda book: book.add(4, "B", 12, 0), "order 4: size must be above 0"),
        (lambda book: book.add(4, "C", 12, 1), "side must be B or A"),
        (lambda book: book.add(4, "B", 10, SIZE_UNDEF - 1), "order 4: its level has no room"),
        (lambda book: book.reduce(4, 1), "no order 4 rests here"),
        (lambda book: book.take(4), "no order 4 rests here"),
        (lambda book: book.modify(1, 10, -1), "order 1: size must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(book, change, words):
    before = book.rows("B", 20)
    with pytest.raises(ValueError, match=words):
        change(book)
    assert book.rows("B", 20) == before


def test_an_overdrawn_order_is_gone(book):
    with pytest.raises(ValueError, match="order 1: more than was left; it is gone"):
        book.reduce(1, 6)
    assert book.queue("B", 10) == [(2, 7)]


def test_batches_build_the_book_and_what_is_wrong_is_counted():
    book = L3Book(INSTRUMENT)
    applied = book.apply(
        batch(
            (Kind.ADD, 1, "B", 10, 5),
            (Kind.ADD, 2, "A", 10, 5),
            (Kind.MODIFY, 2, "A", 9, 5),
            (Kind.EXECUTE, 1, "B", 10, 1),
            (Kind.CANCEL, 2, "A", 0, SIZE_UNDEF),
            (Kind.CANCEL, 2, "A", 0, SIZE_UNDEF),
        )
    )
    assert (applied, book.queue("B", 10), book.order_count("A")) == (5, [(1, 4)], 0)
    assert dict(book.refusals) == {
        "duplicate": 0,
        "unknown": 1,
        "bad_size": 0,
        "overdrawn": 0,
        "no_room": 0,
    }
    assert (book.crossed_count, book.is_crossed, book.is_locked) == (2, False, False)
    assert L3Book(INSTRUMENT + 1).apply(batch((Kind.ADD, 1, "B", 10, 5))) == 0


def l2_book():
    """A live book of made depth events: OKX' rule, a snapshot."""
    rows = [(Kind.DEPTH_HEAD, 5, "N", 5, SIZE_UNDEF)]
    rows += [(Kind.DEPTH, 5, side, price, size) for side, price, size in DEPTH]
    events = np.frombuffer(batch(*rows), EVENT).copy()
    events["flags"] = 0x20
    events["aux"][0] = len(DEPTH)
    events["flags"][-1] |= LAST
    book = L2Book("okx", INSTRUMENT)
    book.apply(EventBatch.from_events(events.tobytes(), ((1, 0, len(events)),)))
    return book


def test_levels_of_an_l2_book_are_an_array():
    book = l2_book()
    assert np.frombuffer(book.rows("B", 20), LEVEL).tolist() == [(10, 5), (9, 4)]
    assert (book.total("B"), book.total("A")) == (9, 3)
    assert (book.is_locked, book.is_crossed) == (False, False)


def test_the_flat_form_has_nothing_beyond_all_prices():
    flat = np.empty((3, 4))
    l2_book().write_flat(flat)
    inf = float("inf")
    assert flat.tolist() == [[10, 5, 12, 3], [9, 4, inf, 0], [-inf, 0, inf, 0]]


@pytest.mark.parametrize("bad", [np.empty(3), b"12345678" * 4])
def test_the_flat_form_needs_a_writable_buffer_of_four_numbers_a_level(bad):
    with pytest.raises((ValueError, BufferError)):
        l2_book().write_flat(bad)
