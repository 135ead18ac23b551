"""Hand-computed tables of the paper exchange: a short market, and what must come of it."""

from __future__ import annotations

import pytest

from tests.harness.paper_world import (
    ACKED,
    CANCEL_REJECTED,
    CANCELLED,
    EXPIRED,
    FILL,
    INSTRUMENT,
    OTHER,
    REJECTED,
    REPLACE_REJECTED,
    REPLACED,
    World,
    definition,
    depth,
    quote,
    short,
    trade,
)
from tickd.events import Flag

WIDE = quote(10, (100, 50), (110, 30))


def test_a_resting_order_trades_what_comes_past_its_place() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 100, 20)
    assert short(world.pass_to(10)) == [(ACKED, 1)]
    # 50 in front: 30 trade, 20 left; 25 trade, 5 come to us; 40 more, 15 were left of ours.
    world.market(trade(11, 100, 30, "A"))
    world.market(trade(12, 100, 25, "A"))
    world.market(trade(13, 100, 40, "A"))
    assert world.fills() == [(12, 100, 5), (13, 100, 15)]
    assert short(world.heard) == [(ACKED, 1), (FILL, 1, 100, 5), (FILL, 1, 100, 15)]
    assert world.exchange.open_numbers() == []
    assert world.exchange.orders()[0][5:] == (20, 20, "filled")


def test_buyers_and_trades_at_better_prices_do_not_move_a_bid() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 100, 20)
    world.market(trade(11, 100, 500, "B"), trade(12, 101, 500, "A"))
    assert world.fills() == []


def test_a_trade_beyond_the_price_fills_up_to_its_size() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 100, 20)
    world.market(trade(11, 99, 8, "A"), trade(12, 100, 5, "A"))
    # Nobody is in front any more once 99 has traded.
    assert world.fills() == [(11, 100, 8), (12, 100, 5)]


def test_one_trade_fills_one_volume_better_price_first_then_the_earlier() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 101, 4)
    world.send(10, 2, "B", 101, 4)
    world.send(10, 3, "B", 102, 4)
    world.market(trade(11, 101, 10, "A"))
    assert world.fills(3) == [(11, 102, 4)]
    assert world.fills(1) == [(11, 101, 4)]
    assert world.fills(2) == [(11, 101, 2)]


def test_a_level_that_shrinks_below_the_place_moves_it() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 100, 20)
    world.market(quote(11, (100, 7), (110, 30)), quote(12, (100, 90), (110, 30)))
    world.market(trade(13, 100, 8, "A"))
    assert world.fills() == [(13, 100, 1)]


def test_prob_moves_with_cancels() -> None:
    world = World(queue="prob", queue_power=1)
    world.market(WIDE)
    world.send(10, 1, "B", 100, 20)
    # Behind us come 50; of 20 cancelled a half was in front: 40 left there.
    world.market(quote(11, (100, 100), (110, 30)), quote(12, (100, 80), (110, 30)))
    world.market(trade(13, 100, 43, "A"))
    assert world.fills() == [(13, 100, 3)]


def test_a_crossing_order_takes_the_book_level_by_level_and_rests() -> None:
    world = World(follow=True)
    levels = [("B", 100, 5), ("A", 103, 2), ("A", 104, 3), ("A", 107, 9)]
    world.market(depth(10, 1, levels, snapshot=True))
    world.send(10, 1, "B", 105, 10)
    assert short(world.pass_to(11)) == [(ACKED, 1), (FILL, 1, 103, 2), (FILL, 1, 104, 3)]
    # What it took is displayed still and is not there any more: another order finds nothing.
    world.send(11, 2, "B", 105, 10, "ioc")
    assert short(world.pass_to(12)) == [(ACKED, 2), (EXPIRED, 2, "no_market")]
    # A new ask at 105 meets the resting bid at its own price.
    world.market(depth(13, 2, [("A", 105, 4)], previous=1))
    assert world.fills(1) == [(10, 103, 2), (10, 104, 3), (13, 105, 4)]


def test_what_was_taken_comes_back_when_the_level_was_gone() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", None, 30)
    world.market(quote(11, (100, 50), (110, 35)))
    world.send(11, 2, "B", None, 30)
    world.market(quote(12, (100, 50), (111, 9)), quote(13, (100, 50), (110, 8)))
    world.send(13, 3, "B", None, 30)
    world.pass_to(14)
    assert world.fills(1) == [(10, 110, 30)]
    assert world.fills(2) == [(11, 110, 5)]
    assert world.fills(3) == [(13, 110, 8)]


def test_with_quotes_alone_one_level_of_the_quoted_size_can_be_taken() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "A", None, 80)
    assert short(world.pass_to(10)) == [(ACKED, 1), (FILL, 1, 100, 50), (EXPIRED, 1, "no_market")]


@pytest.mark.parametrize(("size", "expected"), [(30, [(10, 110, 30)]), (31, [])])
def test_fok_is_all_or_nothing(size: int, expected: list[tuple[int, int, int]]) -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 110, size, "fok")
    world.pass_to(10)
    assert world.fills() == expected
    assert world.heard[-1][0] == (FILL if expected else EXPIRED)


def test_only_whole_lots_trade() -> None:
    world = World(contract=definition(lot=10))
    world.market(quote(10, (100, 50), (110, 35)))
    world.send(10, 1, "B", 105, 40)
    world.send(10, 2, "B", 110, 40, "fok")
    world.send(10, 3, "B", 110, 30, "fok")
    world.send(10, 4, "B", 110, 40, "ioc")
    world.market(trade(11, 105, 25, "A"), trade(12, 105, 9, "A"), trade(13, 104, 999, "A"))
    assert world.fills() == [(10, 110, 30), (11, 105, 20), (13, 105, 20)]


def test_a_locked_limit_and_no_market_fill_nothing() -> None:
    world = World()
    world.send(5, 1, "B", None, 3)
    world.market(quote(10, (110, 99), None))
    world.send(10, 2, "B", 110, 3)
    world.send(10, 3, "B", None, 3, "ioc")
    world.market(quote(11, (110, 80), None))
    assert world.fills() == []
    ends = {row[0]: row[7] for row in world.exchange.orders()}
    assert ends == {1: "expired", 2: "", 3: "expired"}


def test_post_only_is_refused_where_it_would_take() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 110, 1, "post_only")
    world.send(10, 2, "B", 109, 1, "post_only")
    world.send(10, 3, "B", None, 1, "post_only")
    expected = [(REJECTED, 1, "would_take"), (ACKED, 2), (REJECTED, 3, "would_take")]
    assert short(world.pass_to(10)) == expected


def test_what_is_off_the_grid_or_unknown_is_refused() -> None:
    world = World(contract=definition(tick=5, lot=10))
    world.market(WIDE)
    world.send(10, 1, "B", 101, 10)
    world.send(10, 2, "B", 100, 15)
    world.send(10, 3, "B", 100, 0)
    world.send(10, 4, "B", 100, -10)
    world.exchange.submit(10, 5, OTHER, "B", 100, 10, "gtc", False)
    reasons = ["bad_tick", "bad_lot", "bad_lot", "bad_lot", "unknown_instrument"]
    expected = [(REJECTED, number, reason) for number, reason in enumerate(reasons, 1)]
    assert short(world.pass_to(10)) == expected


def test_the_count_of_open_orders_is_limited() -> None:
    world = World(open_orders_max=2)
    world.market(WIDE)
    for number in (1, 2, 3):
        world.send(10, number, "B", 99, 1)
    assert short(world.pass_to(10)) == [(ACKED, 1), (ACKED, 2), (REJECTED, 3, "too_many_orders")]
    world.exchange.cancel(11, 1)
    world.send(11, 4, "B", 99, 1)
    assert short(world.pass_to(11)) == [(CANCELLED, 1), (ACKED, 4)]


def test_the_count_of_requests_under_way_is_limited() -> None:
    world = World(open_orders_max=2, entry_ns=[100])
    for number in range(8):
        world.exchange.cancel(12, number)
    with pytest.raises(OverflowError, match="under way"):
        world.exchange.replace(12, 9, 1, 1)
    world.pass_to(112)
    world.exchange.cancel(112, 9)


def test_reduce_only_must_reduce() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "A", None, 5, reduce_only=True)
    world.send(10, 2, "B", None, 5)
    world.send(10, 3, "A", None, 6, reduce_only=True)
    world.send(10, 4, "B", None, 1, reduce_only=True)
    world.send(10, 5, "A", None, 5, reduce_only=True)
    refused = [(each[1], each[8]) for each in world.pass_to(10) if each[0] == REJECTED]
    assert refused == [(1, "reduce_only"), (3, "reduce_only"), (4, "reduce_only")]
    assert world.fills(5) == [(10, 100, 5)]


def test_what_earlier_lives_left_can_be_reduced() -> None:
    """Told before the definition or behind it, of several strategies, long or short."""
    world = World()
    world.exchange.hold(INSTRUMENT, 7)
    world.exchange.hold(INSTRUMENT, -2)
    world.exchange.hold(INSTRUMENT + 90, -4)
    world.exchange.define(INSTRUMENT + 90, definition(symbol="LATER"), False)
    world.market(WIDE)
    world.send(10, 1, "A", None, 6, reduce_only=True)
    world.send(10, 2, "A", None, 5, reduce_only=True)
    world.send(10, 3, "A", None, 1, reduce_only=True)
    world.exchange.submit(10, 4, INSTRUMENT + 90, "A", 100, 1, "gtc", True)
    world.exchange.submit(10, 5, INSTRUMENT + 90, "B", 100, 4, "gtc", True)
    told = {each[1]: (each[0], each[8]) for each in world.pass_to(10) if each[0] != FILL}
    assert told[1] == (REJECTED, "reduce_only")
    assert told[2][0] == ACKED
    assert told[3] == (REJECTED, "reduce_only")
    assert told[4] == (REJECTED, "reduce_only")
    assert told[5][0] == ACKED


def test_latency_passes_both_ways_with_and_without_a_market() -> None:
    world = World(entry_ns=[100], response_ns=[30])
    world.market(WIDE)
    world.send(10, 1, "B", 110, 5)
    # It arrives at 110: the market of 109 is what it meets, the one of 110 comes behind it.
    assert world.market(quote(109, (100, 50), (108, 3))) == []
    assert world.market(quote(110, (100, 50), (105, 9))) == []
    assert world.exchange.next_due_ns == 140
    assert world.pass_to(139) == []
    # 3 at 108; at 110 the rest is met where it rests.
    assert short(world.pass_to(140)) == [(ACKED, 1), (FILL, 1, 108, 3), (FILL, 1, 110, 2)]
    world.send(200, 2, "B", 99, 5)
    world.exchange.cancel(250, 2)
    assert world.exchange.next_due_ns == 300
    assert [(each[0], each[9]) for each in world.pass_to(400)] == [(ACKED, 300), (CANCELLED, 350)]


def test_a_cancel_that_comes_late_finds_nothing() -> None:
    world = World(entry_ns=[100])
    world.market(WIDE)
    world.send(10, 1, "B", 100, 5)
    world.pass_to(200)
    world.exchange.cancel(200, 1)
    world.market(trade(250, 99, 5, "A"))
    expected = [(FILL, 1, 100, 5), (CANCEL_REJECTED, 1, "unknown_order")]
    assert short(world.heard[1:] + world.pass_to(300)) == expected


def test_replace_keeps_its_place_only_when_smaller() -> None:
    world = World()
    world.market(WIDE)
    for number in (1, 2, 3):
        world.send(10, number, "B", 100, 20)
    world.pass_to(10)
    world.market(quote(11, (100, 90), (110, 30)), trade(12, 100, 40, "A"))
    world.exchange.replace(12, 1, 100, 5)  # smaller: 10 in front, as before
    world.exchange.replace(12, 2, 100, 30)  # larger: behind all that is shown
    world.exchange.replace(12, 3, 99, 5)  # elsewhere
    assert short(world.pass_to(12)) == [
        (REPLACED, 1, 100, 5),
        (REPLACED, 2, 100, 30),
        (REPLACED, 3, 99, 5),
    ]
    world.market(trade(13, 100, 60, "A"))
    assert world.fills() == [(13, 100, 5)]
    assert world.market(trade(14, 100, 45, "A"))[0][5] == 10


def test_replace_that_crosses_takes_and_one_that_cannot_be_changes_nothing() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 100, 20)
    world.send(10, 2, "B", 100, 20, "post_only")
    world.pass_to(10)
    world.market(trade(11, 99, 6, "A"))
    for to in ((110, 20), (100, 0), (100, -1)):
        world.exchange.replace(11, 2, *to)
    world.exchange.replace(11, 1, 100, 6)  # no more than has traded
    world.exchange.replace(11, 9, 100, 6)
    world.exchange.replace(11, 1, 110, 16)
    assert short(world.pass_to(11)) == [
        (REPLACE_REJECTED, 2, "would_take"),
        (REPLACE_REJECTED, 2, "bad_lot"),
        (REPLACE_REJECTED, 2, "bad_lot"),
        (REPLACE_REJECTED, 1, "bad_lot"),
        (REPLACE_REJECTED, 9, "unknown_order"),
        (REPLACED, 1, 110, 16),
        (FILL, 1, 110, 10),
    ]


def test_fees_are_those_of_makers_and_takers_and_of_sells() -> None:
    rates = {"maker_rate": -10_000, "taker_rate": 50_000, "sell_rate": 300_000, "unit_fee": 7}
    world = World(**rates)
    world.market(WIDE)
    world.send(10, 1, "B", None, 2)  # takes 2 at 110
    world.send(10, 2, "A", 105, 3)  # rests, sells 3 at 105
    world.market(trade(11, 106, 3, "B"))
    fees = [each[7] for each in world.heard if each[0] == FILL]
    assert fees == [220 * 50_000 + 14, 315 * 290_000 + 21]


def test_trades_beside_the_book_and_repeated_merged_ones_do_not_count() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 105, 20)
    for flags in (Flag.TRIAL, Flag.OFF_BOOK, Flag.ODD_LOT, Flag.BACKFILLED):
        world.market(trade(11, 100, 9, "A", flags))
    assert world.fills() == []
    world.market(trade(12, 105, 2, "A", Flag.AGGREGATE))
    world.market(trade(13, 105, 3, "A"), trade(14, 105, 3, "A", Flag.AGGREGATE))
    assert [size for _, _, size in world.fills()] == [2, 3]


def test_a_trade_of_no_side_is_of_whose_price_it_is() -> None:
    world = World()
    world.market(quote(10, (100, 1), (110, 1)))
    world.send(10, 1, "B", 100, 9)
    world.send(10, 2, "A", 110, 9)
    world.market(trade(11, 100, 3, "N"), trade(12, 110, 4, "N"), trade(13, 105, 9, "N"))
    assert (world.fills(1), world.fills(2)) == ([(11, 100, 2)], [(12, 110, 3)])


def test_a_level_that_is_not_seen_gives_no_place_until_it_is() -> None:
    world = World()
    world.market(WIDE)
    world.send(10, 1, "B", 95, 5)
    world.market(trade(11, 95, 999, "A"))
    assert world.fills() == []
    world.market(quote(12, (95, 4), (110, 30)), trade(13, 95, 6, "A"))
    assert world.fills() == [(13, 95, 2)]


def test_a_newer_quote_hides_the_older_books_better_levels() -> None:
    world = World(follow=True)
    levels = [("B", 100, 5), ("A", 103, 2), ("A", 104, 3), ("A", 107, 9)]
    world.market(depth(10, 1, levels, snapshot=True), quote(11, (100, 5), (104, 1)))
    world.send(11, 1, "B", None, 5, "ioc")
    world.pass_to(11)
    assert world.fills() == [(11, 104, 1), (11, 107, 4)]
    world.market(depth(12, 2, [("A", 103, 0), ("A", 104, 0)], previous=1))
    assert world.exchange.touch(7) == (100, 107)


def test_a_book_with_a_gap_is_not_looked_at() -> None:
    world = World(follow=True)
    levels = [("B", 100, 5), ("A", 103, 2)]
    world.market(depth(10, 1, levels, snapshot=True), depth(11, 9, [("A", 101, 5)], previous=8))
    assert world.exchange.touch(7) == (None, None)
    world.send(11, 1, "B", None, 5)
    world.pass_to(12)
    assert world.fills() == []
    world.market(depth(13, 10, levels, snapshot=True))
    assert world.exchange.touch(7) == (100, 103)


def test_a_repeated_number_does_not_leave() -> None:
    world = World()
    world.send(1, 1, "B", 100, 5)
    with pytest.raises(ValueError, match="is there"):
        world.send(1, 1, "B", 100, 5)


def test_faults_are_the_share_asked_for_and_the_same_in_every_run() -> None:
    def run(**faults: int) -> World:
        world = World(faults=faults)
        world.market(WIDE)
        for number in range(1, 2001):
            world.send(10, number, "B", 99, 1)
            world.exchange.cancel(10, number)
            world.pass_to(10)
        return world

    def count(world: World, kind: int) -> int:
        return sum(each[0] == kind for each in world.heard)

    rejected = run(reject_ppm=100_000)
    assert 150 < count(rejected, REJECTED) < 250
    assert count(rejected, CANCEL_REJECTED) == count(rejected, REJECTED)
    lost = run(lost_ack_ppm=100_000)
    assert 150 < 2000 - count(lost, ACKED) < 250
    assert 150 < 2000 - count(lost, CANCELLED) < 250
    assert {row[7] for row in lost.exchange.orders()} == {"cancelled"}
    unheard = run(lost_request_ppm=100_000)
    assert 150 < 2000 - count(unheard, ACKED) < 250
    # Some cancels were lost, too: those orders are open.
    assert 150 < len(unheard.exchange.open_numbers()) < 250
    assert 150 < count(run(duplicate_ppm=100_000), ACKED) - count(run(), ACKED) < 250
    late = run(late_ack_ppm=100_000, late_ack_ns=50)
    assert 300 < 4000 - len(late.heard) < 500
    late.pass_to(60)
    assert len(late.heard) == 4000
    assert run(lost_ack_ppm=100_000).heard == lost.heard


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"entry_ns": []}, "entry_ns needs"),
        ({"response_ns": [-1]}, "response_ns must"),
        ({"queue_power": 4}, "queue_power"),
        ({"open_orders_max": 0}, "open_orders_max"),
        ({"faults": {"reject_ppm": 1_000_001}}, "share"),
        ({"what": 1}, "unknown field"),
    ],
)
def test_a_bad_description_is_refused_with_a_sentence(
    change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        World(**change)


def test_a_definition_without_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="terms"):
        World(contract=definition(tick=0))
    with pytest.raises(ValueError, match="missing field"):
        World(contract=b"{}")
