"""What a session carries: wishes of every kind, against listings that change, within the limits."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import chain

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import SubscriptionConfig, VenueConfig
from gateway.errors import PatternError, PlanRefusedError, UnknownStreamError
from gateway.subscriptions.carried import Carried
from gateway.subscriptions.patterns import parse
from gateway.subscriptions.shard import Shard
from gateway.subscriptions.wishes import Listing, Order, Wanted, check_patterns
from gateway.venue import PlanVenue
from gateway.venues.registry import find, find_callback

USDM, OKX, COINM = find("binance-usdm"), find("okx"), find("binance-coinm")
SHIOAJI = find_callback("shioaji")
S = 1_000_000_000


def group(name: str, *patterns: str, **fields: object) -> SubscriptionConfig:
    return msgspec.convert({"name": name, "patterns": patterns, **fields}, SubscriptionConfig)


def config(*symbols: str, **fields: object) -> VenueConfig:
    return msgspec.convert(
        {"name": "binance-usdm", "symbols": symbols, "channels": ["trade"], **fields}, VenueConfig
    )


def listing(*names: str, halted: tuple[str, ...] = ()) -> Listing:
    return Listing(frozenset((*names, *halted)), frozenset(names))


def names(carried: Carried) -> list[str]:
    return sorted(stream.name for place in carried.places for stream in place.streams)


def planned(wanted: Wanted, listed: Listing | None) -> Carried:
    carried = Carried(USDM, wanted)
    carried.listed(listed, "start", strict=True)
    return carried


def test_patterns_select_what_is_traded_and_names_what_is_listed() -> None:
    wanted = Wanted(
        config("BTCUSDT", "GONEUSDT"),
        (group("all", "binance-usdm:*USDT@quote", "!binance-usdm:DOGE*@*", "okx:*@trade"),),
    )
    carried = planned(wanted, listing("BTCUSDT", "DOGEUSDT", "ETHUSDC", halted=("OLDUSDT",)))
    assert names(carried) == ["btcusdt@bookTicker", "btcusdt@trade"]
    assert wanted.needs_listing
    assert carried.wishes.empty == []


def test_without_a_list_what_is_named_is_planned_and_patterns_wait() -> None:
    wanted = Wanted(config("BTCUSDT"), (group("all", "binance-usdm:*@trade"),))
    carried = planned(wanted, None)
    assert names(carried) == ["btcusdt@trade"]
    change = carried.listed(listing("BTCUSDT", "ETHUSDT"), "listing")
    assert (change.added, change.removed) == (("ethusdt@trade",), ())


def test_a_star_is_the_channels_of_the_venue_and_a_stream_is_asked_for_once() -> None:
    wanted = Wanted(
        config("BTCUSDT", channels=["mark"]),
        (group("all", "binance-usdm:BTCUSDT@index", "binance-usdm:ETHUSDT@*", priority=7),),
    )
    carried = planned(wanted, None)
    assert names(carried) == ["btcusdt@markPrice@1s", "ethusdt@markPrice@1s"]
    assert sorted(carried.wishes.always.values()) == [7, 100]
    pair = Wanted(
        VenueConfig(
            name="binance-coinm", symbols=("BTCUSD_PERP", "BTCUSD_260925"), channels=("index",)
        )
    )
    coinm = Carried(COINM, pair)
    coinm.listed(None, "start")
    assert names(coinm) == ["btcusd@indexPrice@1s"]


def test_a_pattern_that_selects_nothing_is_told_once() -> None:
    carried = planned(Wanted(config("A"), (group("x", "binance-usdm:*ZZZ@trade"),)), listing("A"))
    assert "selects none of the 1 symbols" in carried.take_warnings()[0]
    carried.listed(listing("A"), "listing")
    assert carried.take_warnings() == ()


def test_an_unknown_channel_and_a_venue_without_a_table_are_refused() -> None:
    with pytest.raises(UnknownStreamError):
        Carried(USDM, Wanted(config(), (group("x", "binance-usdm:BTCUSDT@book_state"),)))
    with pytest.raises(PatternError, match="names a venue that has no"):
        check_patterns((group("x", "okx:BTC@trade"),), ["binance-usdm"])


def test_a_shard_plans_its_symbols_with_all_their_channels() -> None:
    symbols = [f"S{number}USDT" for number in range(50)]
    parts = []
    for part in range(3):
        wanted = Wanted(config(*symbols, channels=["trade", "depth"]), shard=Shard(part, 3))
        parts.append(names(planned(wanted, None)))
    assert sorted(chain.from_iterable(parts)) == names(
        planned(Wanted(config(*symbols, channels=["trade", "depth"])), None)
    )
    for part in parts:
        trades = {name.split("@")[0] for name in part if name.endswith("@trade")}
        assert trades == {name.split("@")[0] for name in part if "@depth" in name}


def test_of_two_orders_the_later_counts() -> None:
    all_, one = parse("binance-usdm:*@trade"), parse("binance-usdm:BTCUSDT@trade")
    listed = listing("BTCUSDT", "ETHUSDT", "XRPUSDT")
    for orders, expected in (
        ((Order(True, all_, 5),), ["btcusdt@trade", "ethusdt@trade", "xrpusdt@trade"]),
        ((Order(True, all_, 5), Order(False, one)), ["ethusdt@trade", "xrpusdt@trade"]),
        ((Order(False, all_), Order(True, one, 5)), ["btcusdt@trade"]),
    ):
        carried = planned(Wanted(config("XRPUSDT"), (), orders), listed)
        assert names(carried) == expected


def test_an_order_can_take_a_symbol_out_of_a_rotation() -> None:
    tail = group("tail", "binance-usdm:*@trade", rotation_seconds=60, rotation_symbols=9)
    order = Order(False, parse("binance-usdm:A@*"))
    carried = planned(Wanted(config(), (tail,), (order,)), listing("A", "B"))
    assert names(carried) == ["b@trade"]


def test_a_refused_change_changes_nothing() -> None:
    small = config("A", "B", streams_per_connection=1, connections_max=3)
    carried = planned(Wanted(small), None)
    before = (carried.wanted, carried.wishes, carried.places)
    more = msgspec.structs.replace(small, symbols=("A", "B", "C"))
    with pytest.raises(PlanRefusedError) as refused:
        carried.want(Wanted(more), "reload")
    assert refused.value.left_out == ("c@trade",)
    assert (carried.wanted, carried.wishes, carried.places) == before


def test_a_listing_that_outgrows_the_limits_is_refused_at_the_start_and_cut_later() -> None:
    groups = (group("all", "binance-usdm:*@trade", priority=1),)
    wanted = Wanted(config("Z", streams_per_connection=2, connections_max=2), groups)
    with pytest.raises(
        PlanRefusedError, match="2 connections of at most 2 streams, 1 are possible"
    ):
        planned(wanted, listing("A", "B", "Z"))
    carried = planned(wanted, listing("A", "Z"))
    change = carried.listed(listing("A", "B", "Z"), "listing")
    assert not change
    assert names(carried) == ["a@trade", "z@trade"], "the highest priority has its place"
    assert carried.left_out == ("b@trade",)
    assert carried.refusal is not None
    assert carried.take_warnings() == (carried.refusal,)


def test_turns_that_need_too_many_messages_are_refused_with_the_shortest_legal_slice() -> None:
    """OKX: 480 messages an hour and connection; a turn costs two."""
    okx = VenueConfig(name="okx", channels=("trade",))
    tail = group("tail", "okx:*@trade", rotation_seconds=20, rotation_symbols=5)
    wanted = Wanted(okx, (tail,))
    listed = listing(*(f"S{number}-USDT" for number in range(30)))
    carried = Carried(OKX, wanted)
    with pytest.raises(PlanRefusedError, match="more than half of the 480 messages") as refused:
        carried.listed(listed, "start", strict=True)
    assert refused.value.hint == "nearest legal plan: rotation_seconds = 30.0"
    slower = msgspec.structs.replace(tail, rotation_seconds=30.0)
    Carried(OKX, Wanted(okx, (slower,))).listed(listed, "start", strict=True)


def test_a_paused_rotation_waits_for_its_turn_to_go_on() -> None:
    tail = group(
        "tail", "binance-usdm:*@trade", priority=1, rotation_seconds=10, rotation_symbols=1
    )
    carried = planned(Wanted(config("Z"), (tail,)), listing("A", "B", "Z"))
    carried.advance(0)
    carried.floor = 100
    assert carried.next_ns is None
    assert not carried.advance(4 * S)
    assert not carried.advance(60 * S)
    carried.floor = None
    assert not carried.advance(61 * S)
    assert carried.turning == {"tail": ("A",)}
    assert carried.next_ns == 67 * S, "a turn is a whole slice"
    assert carried.advance(67 * S).added == ("b@trade",)


def test_a_stop_pauses_everything_and_keeps_the_places() -> None:
    carried = planned(Wanted(config("A", "B")), None)
    carried.stopped = True
    streams = [stream for place in carried.places for stream in place.streams]
    assert len(streams) == 2
    assert all(map(carried.paused, streams))


UNIVERSE = [f"S{number}" for number in range(25)]
VENUES = st.sampled_from([USDM, OKX, SHIOAJI])
SECOND = {USDM.name: "mark", OKX.name: "mark", SHIOAJI.name: "depth"}
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("listing"), st.sets(st.sampled_from(UNIVERSE))),
        st.tuples(st.just("symbols"), st.sets(st.sampled_from(UNIVERSE))),
        st.tuples(st.just("universe"), st.sets(st.sampled_from(UNIVERSE), max_size=8)),
        st.tuples(st.just("advance"), st.integers(1, 50)),
        st.tuples(st.just("pause"), st.sampled_from([None, 5, 100, 200])),
        st.tuples(st.just("width"), st.integers(1, 9)),
        st.tuples(st.just("order"), st.tuples(st.booleans(), st.sampled_from(UNIVERSE))),
    ),
    max_size=30,
)


@settings(max_examples=150)
@given(VENUES, OPERATIONS, st.integers(1, 12), st.integers(2, 6))
def test_whatever_happens_the_plan_stays_within_the_limits(
    venue: PlanVenue,
    operations: list[tuple[str, object]],
    per_connection: int,
    connections_max: int,
) -> None:
    """Reloads, orders, listings, rotations and pauses in any order; reconnects plan nothing."""
    name = venue.name
    tail = group("tail", f"{name}:S1*@quote", rotation_seconds=10, rotation_symbols=3)
    bounds = {"streams_per_connection": per_connection, "connections_max": connections_max}
    low = group("low", f"{name}:S2*@{SECOND[name]}", f"{name}:{{best}}@trade", priority=5)
    wanted = Wanted(config(name=name, **bounds), (tail, low))
    carried = Carried(venue, wanted)
    carried.listed(None, "start")
    now_ns = 0
    for kind, value in operations:
        wanted = carried.wanted
        match kind:
            case "listing":
                carried.listed(Listing(frozenset(value), frozenset(value)), "listing")
            case "advance":
                now_ns += value * S
                carried.advance(now_ns)
            case "pause":
                carried.floor = value
            case "symbols":
                changed = msgspec.structs.replace(wanted.config, symbols=tuple(sorted(value)))
                wanted = wanted._replace(config=changed)
            case "width":
                wider = msgspec.structs.replace(tail, rotation_symbols=value)
                wanted = wanted._replace(groups=(wider, wanted.groups[1]))
            case "order":
                order = Order(value[0], parse(f"{name}:{value[1]}@trade"), 50)
                wanted = wanted._replace(orders=(*wanted.orders, order))
            case "universe":
                wanted = wanted._replace(universes={"best": tuple(sorted(value))})
        if wanted is not carried.wanted:
            with suppress(PlanRefusedError):  # refused as a whole
                carried.want(wanted, kind)
        _is_within(carried, per_connection, connections_max)


def _is_within(carried: Carried, per_connection: int, connections_max: int) -> None:
    assert len(carried.places) < connections_max
    limits = carried._venue.limits
    assert len(carried.places) < (limits.connections_max or len(carried.places) + 1)
    assert all(1 <= len(place.streams) <= per_connection for place in carried.places)
    every = [stream for place in carried.places for stream in place.streams]
    assert len(every) == len(set(every))
    turning = {
        stream
        for name, symbols in carried.turning.items()
        for symbol in symbols
        for stream in carried.wishes.turning[name][symbol]
    }
    wished = {stream.name for stream in (*carried.wishes.always, *turning)}
    assert {stream.name for stream in every} == wished - set(carried.left_out)
    for name, symbols in carried.turning.items():
        (own,) = (group for group in carried.wanted.groups if group.name == name)
        assert len(symbols) <= own.rotation_symbols
        assert all(fnmatchcase(symbol, "S1*") for symbol in symbols)
