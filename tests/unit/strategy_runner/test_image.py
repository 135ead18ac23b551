"""Images: what a host begins with is what another one knew, book by book and fill by fill."""

from __future__ import annotations

import json
from random import Random

import pytest

from strategy_runner.context import Instruments
from strategy_runner.errors import StrategyError
from strategy_runner.image import IMAGE_BYTES_MAX, PIECE_BYTES, Image, joined, pack, pieces, unpack
from strategy_runner.runner import StrategyHost, owner_of
from strategy_runner.strategy import Strategy
from tests.unit.strategy_runner.kit import BTC, ETH, VENUE, Tape, World, definition
from tickd.events import ID_UNDEF, BookState, OrderState, Side
from tickd.native import L2Book

VENUES = ("binance-usdm", "binance-spot", "binance-coinm", "okx")


class Idle(Strategy):
    pass


OWNER = owner_of("idle")


def world(venue: str = VENUE) -> World:
    made = World(Idle)
    for number, symbol in ((BTC, "BTCUSDT"), (ETH, "ETHUSDT")):
        fields = json.loads(definition(symbol)) | {"venue": venue}
        made.host.define(number, json.dumps(fields).encode())
    return made


def book_of(host: StrategyHost, instrument: int = BTC) -> L2Book:
    book = host._dispatch.book(instrument)
    assert book is not None
    return book


def described(book: L2Book) -> tuple[object, ...]:
    sides = tuple(
        (book.levels(side), book.total(side), book.known_limit(side)) for side in ("B", "A")
    )
    return (*sides, book.state, book.last_id, book.is_crossed)


def known(host: StrategyHost) -> list[object]:
    """Everything that a strategy could read."""
    last = host._dispatch.last
    found: list[object] = [host._dispatch.seq | 0xFFFF, host._dispatch.now_ns]
    for instrument in (BTC, ETH):
        trade, quote = last.trade(instrument), last.quote(instrument)
        found.append(trade and (trade.seq, trade.price, trade.size, trade.ts_recv_ns))
        found.append(quote and (quote.seq, quote.bid_price, quote.ask_price))
        found += [last.top(instrument), last.position(OWNER, instrument)]
        book = host._dispatch.book(instrument)
        found.append(book and described(book))
    found += [
        (order.seq, order.client_id, order.state, order.price, order.size, order.side)
        for order in last.open_orders(OWNER)
    ]
    return found


def snapshot_of(tape: Tape, venue: str, last: int, dice: Random, *, instrument: int = BTC) -> None:
    """A book that is live at `last`, with levels beyond what its snapshot told."""
    bids = [(Side.BID, 1000 - 10 * level, dice.randrange(1, 99)) for level in range(8)]
    asks = [(Side.ASK, 1010 + 10 * level, dice.randrange(1, 99)) for level in range(8)]
    if venue != "okx":
        tape.depth((last, last + 1, last - 1))
    tape.depth((last, last, 0), *bids, *asks, snapshot=True)


def changes(tape: Tape, venue: str, last: int, count: int, dice: Random) -> int:
    if venue != "okx":
        last += 1
    for _ in range(count):
        levels = [
            (side, price + 10 * dice.randrange(-12, 12), dice.choice((0, 0, 5, 9)))
            for side, price in ((Side.BID, 950), (Side.ASK, 1060))
        ]
        tape.depth((last + 1, last + 3, last), *levels)
        last += 3
    return last - (venue != "okx")


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("seed", range(5))
def test_a_book_from_an_image_is_that_book_and_goes_on_as_it(venue: str, seed: int) -> None:
    dice, tape, first = Random(seed), Tape(), world(venue)
    snapshot_of(tape, venue, 100, dice)
    last = changes(tape, venue, 100, 60, dice)
    first.host.warm(tape.take())
    assert book_of(first.host).state == BookState.SYNCED
    second = world(venue)
    second.host.restore(first.host.image())
    assert known(second.host) == known(first.host)
    changes(tape, venue, last, 60, dice)
    events = tape.take()
    for each in (first, second):
        each.host.warm(events)
    assert known(second.host) == known(first.host)
    assert book_of(second.host).state == BookState.SYNCED


def test_a_book_whose_every_message_is_whole_needs_no_change() -> None:
    tape, first = Tape(), world("shioaji")
    for size in (3, 4):
        tape.depth((0, ID_UNDEF, 0), (Side.BID, 10, size), (Side.ASK, 11, 2), snapshot=True)
    first.host.warm(tape.take())
    second = world("shioaji")
    second.host.restore(first.host.image())
    assert known(second.host) == known(first.host)
    assert book_of(second.host).levels("B") == [(10, 4)]


def test_an_image_of_an_image_is_the_same_image() -> None:
    dice, tape, first = Random(1), Tape(), world()
    tape.trade(100, 5).quote(20, 30, instrument=ETH)
    snapshot_of(tape, VENUE, 100, dice)
    changes(tape, VENUE, 100, 9, dice)
    tape.order(OWNER << 32 | 1, OrderState.PARTLY_FILLED, (100, 5))
    tape.order(OWNER << 32 | 2, OrderState.ACCEPTED)
    tape.order(OWNER << 32 | 3, OrderState.FILLED, (101, 7))
    tape.trade(101, 1)
    first.host.warm(tape.take())
    image = first.host.image()
    second = world()
    second.host.restore(image)
    assert known(second.host) == known(first.host)
    third = world()
    third.host.restore(second.host.image())
    assert known(third.host) == known(first.host)


@pytest.mark.parametrize(
    "fills",
    [
        [(Side.BID, 100, 5)],
        [(Side.ASK, 100, 5)],
        [(Side.BID, 100, 5), (Side.ASK, 130, 5)],
        [(Side.BID, 100, 5), (Side.ASK, 70, 9)],
        [(Side.BID, 10**15, 10**12), (Side.ASK, 10**14, 10**12 - 1)],
        [(Side.ASK, 10**17, 10**12)],
    ],
)
def test_positions_come_back_to_the_last_unit(fills: list[tuple[Side, int, int]]) -> None:
    tape, first = Tape(), world()
    for number, (side, price, size) in enumerate(fills, 1):
        tape.order(OWNER << 32 | number, OrderState.FILLED, (price, size))
        row = list(tape.rows[-1])
        row[10] = int(side)
        tape.rows[-1] = tuple(row)
    first.host.warm(tape.take())
    size, cost = first.host._dispatch.last.position(OWNER, BTC)
    assert size or cost
    second = world()
    second.host.restore(first.host.image())
    assert second.host._dispatch.last.position(OWNER, BTC) == (size, cost)
    assert not second.host._dispatch.last.open_orders(OWNER)


def test_a_position_in_an_instrument_that_is_gone_is_handed_on() -> None:
    tape, first = Tape(), world()
    tape.order(OWNER << 32 | 1, OrderState.FILLED, (100, 5))
    first.host.warm(tape.take())
    image = first.host.image()
    for _ in range(2):
        later = World(Idle)
        later.host._instruments = Instruments()
        later.host.restore(image)
        assert later.host._dispatch.last.position(OWNER, BTC) == (5, 500)
        image = later.host.image()


def test_books_that_are_not_live_and_topics_that_are_not_wanted_stay_cold() -> None:
    dice, tape, first = Random(1), Tape(), world()
    snapshot_of(tape, VENUE, 100, dice)
    tape.depth((900, 903, 899), (Side.BID, 10, 1))  # a gap
    first.host.warm(tape.take())
    assert first.host.has_waiting_books is False
    assert book_of(first.host).state == BookState.GAP
    second = world()
    second.host.restore(first.host.image())
    assert second.host._dispatch.book(BTC) is None
    tape.depth((904, 905, 903), (Side.BID, 10, 1))
    second.host.warm(tape.take())
    assert second.host.has_waiting_books


def test_nobody_is_called_for_what_an_image_holds() -> None:
    tape, first = Tape(), world()
    snapshot_of(tape, VENUE, 100, Random(1))
    tape.order(OWNER << 32 | 1, OrderState.FILLED, (100, 5))
    first.host.warm(tape.take())
    second = world()
    second.host.restore(first.host.image())
    second.run()
    assert second.report(Idle)["events"] == 0
    assert [line["kind"] for line in second.records] == ["state", "decisions"]


def test_every_other_byte_is_refused() -> None:
    tape, first = Tape(), world()
    tape.trade(100, 5)
    first.host.warm(tape.take())
    image = first.host.image()
    for at in range(len(image)):
        damaged = bytearray(image)
        damaged[at] ^= 1
        with pytest.raises(StrategyError, match="damaged"):
            unpack(bytes(damaged))
        with pytest.raises(StrategyError, match="damaged"):
            unpack(image[:at])
    with pytest.raises(StrategyError, match="makes no sense"):
        world().host.restore(pack(Image(seq=1, now_ns=0, known_from=0, values=b"no image")))


def test_an_image_goes_through_the_record_in_pieces() -> None:
    dice = Random(1)
    for size in (0, 1, PIECE_BYTES, 3 * PIECE_BYTES):
        content = dice.randbytes(size)
        parts = pieces(content)
        assert max(map(len, parts)) <= 64_000
        assert joined(parts) == content
    for bad in ([*parts[:-1]], [*parts, "no letters!"], ["AAAA"]):
        with pytest.raises(StrategyError, match="recorded image"):
            joined(bad)
    with pytest.raises(StrategyError, match="at most"):
        pieces(dice.randbytes(9 << 20))
    assert IMAGE_BYTES_MAX > 9 << 20
