"""The cache after a restart anywhere is the cache that never restarted.

Method: random trades, quotes, funding, marks, books and orders of two strategies in two
instruments. An image at a random message, taken back by a host of its own, and the rest behind it;
then everything that a strategy can ask for is compared with a host that took all of it.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_runner.runner import StrategyHost, owner_of
from strategy_runner.strategy import Strategy
from tests.unit.strategy_runner.kit import BTC, ETH, VENUE, Tape, World
from tests.unit.strategy_runner.test_image import changes, snapshot_of
from tickd.events import Kind, OrderState, Side


class First(Strategy):
    pass


class Second(Strategy):
    pass


OWNERS = tuple(owner_of(name) for name in ("first", "second"))
VALUES = {
    Kind.MARK: "mark",
    Kind.INDEX: "index",
    Kind.FUNDING: "funding",
    Kind.OPEN_INTEREST: "open_interest",
    Kind.LIQUIDATION: "liquidation",
    Kind.STATUS: "status",
}
# Whatever the state: a late fill comes behind an order's end.
FILLS = (OrderState.PARTLY_FILLED, OrderState.FILLED, OrderState.CANCELLED)


def everything(host: StrategyHost) -> list[object]:
    last, found = host._dispatch.last, [host._dispatch.seq, host._dispatch.now_ns]
    said: list[object] = [*found]
    for instrument in (BTC, ETH):
        trade, quote = last.trade(instrument), last.quote(instrument)
        said.append(trade and (trade.seq, trade.price, trade.size, trade.ts_recv_ns))
        said.append(quote and (quote.seq, quote.bid_price, quote.bid_size, quote.ask_price))
        for name in VALUES.values():
            value = getattr(last, name)(instrument)
            said.append(value and (value.seq, value.price, value.size, value.ts_recv_ns))
        book = host._dispatch.book(instrument)
        said.append(book and (book.levels("B"), book.levels("A"), book.last_id, book.state))
        said.append(last.top(instrument))
        said += [last.position(owner, instrument) for owner in OWNERS]
    for owner in OWNERS:
        said += [
            (order.client_id, order.seq, order.instrument, order.state, order.price, order.size)
            for order in last.open_orders(owner)
        ]
    return said


def market(dice: Random, messages: int) -> Tape:
    tape, live = Tape(), {}
    for _ in range(messages):
        instrument = dice.choice((BTC, ETH))
        match dice.randrange(8):
            case 0 | 1:
                tape.trade(
                    dice.randrange(1, 10**9), dice.randrange(1, 10**6), instrument=instrument
                )
            case 2:
                tape.quote(dice.randrange(1, 10**6), 10**6, instrument=instrument)
            case 3:
                part = {"price": dice.randrange(10**6), "size": dice.randrange(10**6)}
                tape.add(dice.choice(list(VALUES)), part, instrument=instrument)
            case 4 if instrument == BTC and BTC not in live:
                snapshot_of(tape, VENUE, 100, dice)
                live[BTC] = changes(tape, VENUE, 100, 1, dice)
            case 4 | 5 if BTC in live:
                live[BTC] = changes(tape, VENUE, live[BTC], 1, dice)
            case _:
                number = dice.choice(OWNERS) << 32 | dice.randrange(1, 12)
                state = dice.choice(list(OrderState))
                is_fill = state in FILLS
                fill = (dice.randrange(1, 10**9), dice.randrange(1, 10**6)) if is_fill else None
                tape.order(number, state, fill)
                row = list(tape.rows[-1])
                row[7], row[10] = instrument, int(dice.choice((Side.BID, Side.ASK)))
                tape.rows[-1] = tuple(row)
    return tape.clock()


@given(st.integers(0, 2**32), st.lists(st.floats(0, 1), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_an_image_and_what_came_behind_it_are_everything(seed: int, cuts: list[float]) -> None:
    """Several restarts, one after the other."""
    batches = market(Random(seed), 120).cut(1)
    always = World(First, Second).host
    for batch in batches:
        always.warm(batch)
    host, at = World(First, Second).host, 0
    for cut in sorted(cuts):
        behind = round(cut * len(batches))
        # No image is kept while a book waits for its snapshot.
        while at < behind or host.has_waiting_books:
            host.warm(batches[at])
            at += 1
        image = host.image(batches[at - 1].seq_last if at else 0x1FFFF)
        host = World(First, Second).host
        host.restore(image)
    for batch in batches[at:]:
        host.warm(batch)
    assert everything(host)[2:] == everything(always)[2:]
    assert host._dispatch.last.refused == 0
